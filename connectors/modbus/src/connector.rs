//! Reads one device.

mod one_by_one;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{Connector, DeviceSpec, Look, OpenFault, Pace, PollError, Quality, RawSample, Value};
use tokio::time::{Instant, sleep};

use crate::decode;
use crate::frame::Read;
use crate::line::{Blame, Line, Manners, Turns};
use crate::plan::{Item, Member, Plan};
use crate::refusal::{self, Failure, Reason};
use crate::session::Answer;
use crate::settings::Settings;
use crate::suspects::{Asking, Suspects, Trust, alone, of_block};

use one_by_one::{Progress, has_time};

/// How long a refused register is left alone before it is asked for again.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(60);
/// Plans kept. There is one for each set of scan classes that were due together, usually a handful.
const MAX_PLANS: usize = 64;

/// Connection to one Modbus device.
pub struct ModbusConnector {
    settings: Settings,
    items: Vec<Item>,
    line: Arc<Line>,
    generation: u64,
    plans: Vec<KeptPlan>,
    turns: Turns,
    suspects: Suspects,
    /// Why tags are refused, as long as they are.
    reasons: BTreeMap<u32, Reason>,
    /// Bytes of the last answer.
    data: Vec<u8>,
}

/// A plan and what was learnt while using it.
struct KeptPlan {
    due: Vec<usize>,
    plan: Plan,
    /// When the device first refused one of its blocks.
    refused_since: Option<Instant>,
    /// What was learnt asks for another plan.
    is_stale: bool,
}

impl ModbusConnector {
    /// Prepares; connects nothing.
    ///
    /// # Errors
    /// [`OpenFault`] for options, endpoints and addresses that `check` would have found, and for a
    /// serial port that another device has set otherwise.
    pub fn open(device: &DeviceSpec) -> Result<Self, OpenFault> {
        let settings = Settings::read(device).map_err(|complaints| {
            let texts: Vec<_> =
                complaints.iter().map(|c| format!("{}: {} ({})", c.key, c.message, c.help)).collect();
            OpenFault { message: texts.join("; ") }
        })?;
        let items = items(device, &settings)?;
        let line = Line::to(&settings.endpoint)?;
        Ok(Self {
            settings,
            items,
            line,
            generation: 0,
            plans: Vec::new(),
            turns: Turns::default(),
            suspects: Suspects::default(),
            reasons: BTreeMap::new(),
            data: Vec::new(),
        })
    }

    /// Takes the plan for `due` out of the kept ones, so that a dropped poll drops it too.
    fn take_plan(&mut self, due: &[usize]) -> KeptPlan {
        if let Some(index) = self.plans.iter().position(|kept| kept.due == due) {
            let kept = self.plans.swap_remove(index);
            if kept.refused_since.is_none_or(|since| since.elapsed() < REFUSAL_REMEMBERED) {
                return kept;
            }
        }
        if self.plans.len() >= MAX_PLANS {
            self.plans.clear();
        }
        let tags = (0u32..).zip(&self.items).filter(|(_, item)| due.contains(&item.scan));
        self.plan(due, tags.map(|(tag, _)| tag).collect())
    }

    fn plan(&self, due: &[usize], tags: Vec<u32>) -> KeptPlan {
        let Settings { unit, one_tag_per_request, limits, .. } = self.settings;
        let mut plan = Plan::new(&self.items, tags, limits);
        self.suspects.apply(&mut plan, &self.items, unit, one_tag_per_request);
        KeptPlan { due: due.to_vec(), plan, refused_since: None, is_stale: false }
    }

    fn manners(&self, blame: Blame) -> Manners {
        let settings = &self.settings;
        Manners {
            unit: settings.unit,
            timeout: settings.timeout,
            pause: settings.request_pause,
            pause_after_connect: settings.pause_after_connect,
            generation: self.generation,
            widest: [settings.limits.registers, settings.limits.coils],
            shared: Arc::strong_count(&self.line) > 1,
            blame,
        }
    }

    /// One request, repeated while the device is busy.
    async fn ask(&mut self, read: Read, blame: Blame) -> Result<Answer, Failure> {
        let mut repeated = 0;
        loop {
            match self.line.read(self.manners(blame), read, &mut self.turns, &mut self.data).await? {
                Answer::Exception(code)
                    if refusal::is_busy(code) && repeated < self.settings.busy_retries =>
                {
                    repeated += 1;
                    sleep(self.settings.busy_pause).await;
                }
                Answer::Exception(code) => match refusal::failure(code, read.unit) {
                    Some(failure) => return Err(failure),
                    None => return Ok(Answer::Exception(code)),
                },
                Answer::Data => return Ok(Answer::Data),
            }
        }
    }

    /// Runs the plan. On an error `samples` is as long as before.
    async fn run(&mut self, kept: &mut KeptPlan, samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let before = samples.len();
        // Every tag starts as refused; the answers overwrite it.
        samples.extend(kept.plan.tags.iter().map(|tag| refused(*tag)));
        let outcome = self.fill(kept, &mut samples[before..]).await;
        if outcome.is_err() {
            samples.truncate(before);
        }
        outcome
    }

    async fn fill(&mut self, kept: &mut KeptPlan, samples: &mut [RawSample]) -> Result<(), PollError> {
        let unit = self.settings.unit;
        let mut progress = Progress::default();
        let (mut index, mut last) = (0, Vec::new());
        while let Some(block) = kept.plan.blocks.get(index) {
            let read = of_block(block, unit);
            if block.refused {
                index += 1;
            } else if self.suspects.trust(read) == Trust::Full {
                index = self.block(kept, index, &mut progress, samples).await?;
            } else {
                last.push(index);
                index += 1;
            }
        }
        // From the back, so that dividing one moves none of the others.
        for index in last.into_iter().rev() {
            let parts = kept.plan.blocks.len() - index;
            let mut next = index;
            // Its halves, if it is refused, take its place.
            while kept.plan.blocks.len() - next >= parts {
                let read = of_block(&kept.plan.blocks[next], unit);
                next = match self.suspects.trust(read) {
                    Trust::OneByOne(turn) => {
                        self.one_by_one(kept, next, turn, &mut progress, samples).await?;
                        next + 1
                    }
                    Trust::Full | Trust::Last => self.block(kept, next, &mut progress, samples).await?,
                };
            }
        }
        Ok(())
    }

    /// Asks for a block; gives the index of the next one to ask for: the same when it is to be asked
    /// otherwise. A refused block is divided, and its halves take its place; one for which a gateway
    /// has no answer, from a unit that did answer others, is asked one by one.
    async fn block(
        &mut self,
        kept: &mut KeptPlan,
        index: usize,
        progress: &mut Progress,
        samples: &mut [RawSample],
    ) -> Result<usize, PollError> {
        let block = &kept.plan.blocks[index];
        if block.refused {
            return Ok(index + 1);
        }
        let read = of_block(block, self.settings.unit);
        self.suspects.asking(Some(Asking::Block(read)));
        let answer = self.ask(read, Blame::All).await;
        self.suspects.asking(None);
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) if failure.by_gateway && progress.witness.is_some() => {
                self.suspects.distrust(read);
                return Ok(index);
            }
            Err(failure) => {
                self.suspects.failed(read, failure.instead);
                return Err(failure.error);
            }
        };
        progress.witness = Some(read);
        self.suspects.cleared(read);
        let members = kept.plan.members(&kept.plan.blocks[index]);
        let Answer::Exception(code) = answer else {
            self.store(read, members, samples);
            return Ok(index + 1);
        };
        kept.refused_since.get_or_insert_with(Instant::now);
        // Halves of a table that is not there would be refused as well.
        if code == refusal::ILLEGAL_FUNCTION || members.len() < 2 {
            self.reasons.extend(members.iter().map(|member| (member.tag, Reason::Exception(code, read))));
            kept.plan.blocks[index].refused = true;
            return Ok(index + 1);
        }
        kept.plan.split(&self.items, index);
        Ok(index)
    }

    /// Puts the values of an answer into their samples.
    fn store(&mut self, read: Read, members: &[Member], samples: &mut [RawSample]) {
        for member in members {
            decode_into(&self.items[member.tag as usize], read, &self.data, &mut samples[member.slot]);
        }
        if !self.reasons.is_empty() {
            for member in members {
                self.reasons.remove(&member.tag);
            }
        }
    }
}

#[async_trait]
impl Connector for ModbusConnector {
    async fn connect(&mut self) -> Result<String, PollError> {
        // Another device may have been plugged in: what was refused is asked for again.
        self.plans.retain(|kept| kept.refused_since.is_none());
        self.generation = self.line.connect(self.manners(Blame::All)).await?;
        Ok(String::new())
    }

    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let began = Instant::now();
        if self.suspects.resume() {
            self.plans.clear();
        }
        let mut kept = self.take_plan(due);
        let outcome = self.run(&mut kept, samples).await;
        let is_news = outcome.is_ok() && has_time(began, self.settings.timeout) && self.ask_muted().await;
        if !kept.is_stale && !is_news {
            self.plans.push(kept);
        }
        if self.settings.close_after_poll {
            self.line.hang_up().await;
        }
        outcome
    }

    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let known = tags.iter().copied().filter(|tag| (*tag as usize) < self.items.len()).collect();
        let mut kept = self.plan(&[], known);
        self.run(&mut kept, samples).await
    }

    async fn look(&mut self, tag: u32) -> Result<Look, PollError> {
        let item = self.items.get(tag as usize).cloned();
        let item = item.ok_or_else(|| PollError::Mismatch { what: format!("no tag number {tag}") })?;
        let read = alone(&item, self.settings.unit);
        let mut sample = refused(tag);
        let bytes = match self.ask(read, Blame::All).await? {
            Answer::Data => {
                decode_into(&item, read, &self.data, &mut sample);
                self.reasons.remove(&tag);
                Some(self.data.clone())
            }
            Answer::Exception(code) => {
                self.reasons.insert(tag, Reason::Exception(code, read));
                None
            }
        };
        Ok(Look { sample, bytes })
    }

    fn set_pace(&mut self, pace: Arc<dyn Pace>) {
        self.turns.pace = Some(pace);
    }

    fn requests(&self) -> u64 {
        self.turns.requests
    }

    fn refusal(&self, tag: u32) -> Option<String> {
        let muted = || self.suspects.muted(self.items.get(tag as usize)?, self.settings.unit);
        self.reasons.get(&tag).copied().or_else(muted).map(Reason::words)
    }

    async fn close(&mut self) {
        // Modbus has no goodbye. A line that neighbours use stays open.
        if Arc::strong_count(&self.line) == 1 {
            self.line.hang_up().await;
        }
    }
}

fn refused(tag: u32) -> RawSample {
    RawSample { tag, value: Value::Null, quality: Quality::Refused, source_us: None }
}

/// All tags of the device, addresses understood.
///
/// # Errors
/// [`OpenFault`] for the first tag whose address `check` would have found faulty.
pub fn items(device: &DeviceSpec, settings: &Settings) -> Result<Vec<Item>, OpenFault> {
    let item = |tag| {
        Item::read(tag, settings.order).map_err(|fault| OpenFault {
            message: format!(
                "tag `{}`, address {}: {} ({})",
                tag.path, tag.address, fault.message, fault.help
            ),
        })
    };
    let mut items = device.tags.iter().map(item).collect::<Result<Vec<_>, _>>()?;
    items.shrink_to_fit();
    Ok(items)
}

/// Puts the value of `item` into its sample; `data` answers `read`, which holds the item.
fn decode_into(item: &Item, read: Read, data: &[u8], sample: &mut RawSample) {
    let from = usize::from(item.place.start - read.start);
    let value = if item.place.table.is_bits() {
        Some(decode::bits(item, data, from))
    } else {
        // The answer is as long as the request asked for.
        data.get(2 * from..2 * (from + usize::from(item.count)))
            .and_then(|bytes| decode::registers(item, bytes).ok())
    };
    let value = value.filter(|value| *value != Value::Null);
    sample.quality = if value.is_some() { Quality::Good } else { Quality::Invalid };
    sample.value = value.unwrap_or_default();
}

#[cfg(test)]
mod tests;
