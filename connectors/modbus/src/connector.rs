//! Reads one device.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{Connector, DeviceSpec, OpenFault, Pace, PollError, Quality, RawSample, Value};
use tokio::time::Instant;
use tokio_modbus::ExceptionCode;

use crate::decode;
use crate::line::{Line, Manners};
use crate::plan::{Item, Plan};
use crate::session::{Answer, Read};
use crate::settings::Settings;

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
    requests: u64,
    pace: Option<Arc<dyn Pace>>,
}

/// A plan and what was learnt while using it.
struct KeptPlan {
    due: Vec<usize>,
    plan: Plan,
    /// When the device first refused one of its blocks.
    refused_since: Option<Instant>,
}

impl ModbusConnector {
    /// Prepares; connects nothing.
    ///
    /// # Errors
    /// [`OpenFault`] for options, endpoints and addresses that `check` would have found.
    pub fn open(device: &DeviceSpec) -> Result<Self, OpenFault> {
        let settings = Settings::read(device).map_err(|complaints| {
            let texts: Vec<_> =
                complaints.iter().map(|c| format!("{}: {} ({})", c.key, c.message, c.help)).collect();
            OpenFault { message: texts.join("; ") }
        })?;
        let items = items(device, &settings)?;
        let line = Line::to(&settings.endpoint);
        Ok(Self { settings, items, line, generation: 0, plans: Vec::new(), requests: 0, pace: None })
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
        let plan = Plan::new(&self.items, tags.map(|(tag, _)| tag).collect(), self.settings.limits);
        KeptPlan { due: due.to_vec(), plan, refused_since: None }
    }

    /// Runs the plan. On an error `samples` is as long as before.
    async fn run(&mut self, kept: &mut KeptPlan, samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let before = samples.len();
        // Every tag starts as refused; the answers overwrite it.
        samples.extend(kept.plan.tags.iter().map(|tag| RawSample {
            tag: *tag,
            value: Value::Null,
            quality: Quality::Refused,
            source_us: None,
        }));
        let outcome = self.fill(kept, &mut samples[before..]).await;
        if outcome.is_err() {
            samples.truncate(before);
        }
        outcome
    }

    async fn fill(&mut self, kept: &mut KeptPlan, samples: &mut [RawSample]) -> Result<(), PollError> {
        let Settings { timeout, request_pause: pause, unit, .. } = self.settings;
        let manners = Manners { timeout, pause, generation: self.generation };
        let mut index = 0;
        while let Some(block) = kept.plan.blocks.get(index) {
            if block.refused {
                index += 1;
                continue;
            }
            if let Some(pace) = &self.pace {
                pace.turn().await;
            }
            self.requests += 1;
            let read = Read { unit, table: block.table, start: block.start, count: block.count };
            let exception = match self.line.read(manners, read).await? {
                Answer::Exception(exception) => exception,
                answer => {
                    for member in kept.plan.members(block) {
                        let item = &self.items[member.tag as usize];
                        store(item, block.start, &answer, &mut samples[member.slot]);
                    }
                    index += 1;
                    continue;
                }
            };
            match refusal(exception, unit) {
                Refusal::Device(what) => return Err(PollError::Refused { what }),
                Refusal::Table => kept.plan.blocks[index].refused = true,
                // The halves take the block's place and are asked next.
                Refusal::Block => kept.plan.split(&self.items, index),
            }
            kept.refused_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }
}

#[async_trait]
impl Connector for ModbusConnector {
    async fn connect(&mut self) -> Result<String, PollError> {
        // Another device may have been plugged in: what was refused is asked for again.
        self.plans.retain(|kept| kept.refused_since.is_none());
        self.generation = self.line.connect(self.settings.timeout).await?;
        Ok(String::new())
    }

    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let mut kept = self.take_plan(due);
        let outcome = self.run(&mut kept, samples).await;
        self.plans.push(kept);
        outcome
    }

    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let known = tags.iter().copied().filter(|tag| (*tag as usize) < self.items.len()).collect();
        let plan = Plan::new(&self.items, known, self.settings.limits);
        self.run(&mut KeptPlan { due: Vec::new(), plan, refused_since: None }, samples).await
    }

    fn set_pace(&mut self, pace: Arc<dyn Pace>) {
        self.pace = Some(pace);
    }

    fn requests(&self) -> u64 {
        self.requests
    }

    async fn close(&mut self) {
        // Modbus has no goodbye. A line that neighbours use stays open.
        if Arc::strong_count(&self.line) == 1 {
            self.line.hang_up().await;
        }
    }
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
    device.tags.iter().map(item).collect()
}

/// Puts the value of `item` from a block that begins at `start` into its sample.
fn store(item: &Item, start: u16, answer: &Answer, sample: &mut RawSample) {
    let from = usize::from(item.place.start - start);
    let range = from..from + usize::from(item.count);
    // The session has checked that the answer is as long as the block, and a block holds its tags.
    let value = match answer {
        Answer::Registers(words) => decode::registers(item, &words[range]).ok(),
        Answer::Bits(bits) => Some(decode::bits(item, &bits[range])),
        Answer::Exception(_) => return,
    };
    sample.quality = if value.is_some() { Quality::Good } else { Quality::Invalid };
    sample.value = value.unwrap_or_default();
}

/// What an exception is about.
enum Refusal {
    /// Something in this block.
    Block,
    /// The whole table: splitting would not help.
    Table,
    /// The device, in words.
    Device(String),
}

/// Exception codes of MODBUS Application Protocol V1.1b3, section 7.
fn refusal(exception: ExceptionCode, unit: u8) -> Refusal {
    Refusal::Device(match exception {
        ExceptionCode::IllegalFunction => return Refusal::Table,
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => format!(
            "unit {unit} is busy (exception {:02X}): poll it less often or set request_pause",
            u8::from(exception)
        ),
        ExceptionCode::GatewayPathUnavailable => format!(
            "the gateway has no path to unit {unit} (exception 0A): check unit_id and the gateway's serial port"
        ),
        ExceptionCode::GatewayTargetDevice => format!(
            "unit {unit} behind the gateway does not answer (exception 0B): check its power, its cable and unit_id"
        ),
        _ => return Refusal::Block,
    })
}

#[cfg(test)]
mod tests {
    use forebay_connector::{ByteOrder, DataType, Scalar};

    use super::*;
    use crate::address;
    use crate::plan::Limits;
    use crate::settings::Endpoint;

    fn connector() -> ModbusConnector {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: 1 };
        let item = |(offset, scan): (u16, usize)| {
            let data_type = DataType::single(Scalar::Word);
            let (place, count) = address::check(&format!("hr:{offset}"), data_type).unwrap();
            Item { place, count, data_type, order: ByteOrder::Abcd, scan }
        };
        ModbusConnector {
            line: Line::to(&endpoint),
            settings: Settings {
                endpoint,
                unit: 1,
                order: ByteOrder::Abcd,
                limits: Limits { registers: 125, gap: 0 },
                request_pause: Duration::ZERO,
                timeout: Duration::from_millis(100),
            },
            items: [(0, 0), (1, 1), (2, 0)].map(item).into(),
            generation: 0,
            plans: Vec::new(),
            requests: 0,
            pace: None,
        }
    }

    #[test]
    fn a_plan_is_made_once_for_each_set_of_scan_classes() {
        let mut connector = connector();
        for (due, tags) in [(&[0][..], &[0, 2][..]), (&[1], &[1]), (&[0, 1], &[0, 1, 2]), (&[7], &[])] {
            let kept = connector.take_plan(due);
            assert_eq!((&kept.due[..], &kept.plan.tags[..]), (due, tags));
            connector.plans.push(kept);
        }
        let before = connector.plans[0].plan.tags.as_ptr();
        assert_eq!(connector.take_plan(&[0]).plan.tags.as_ptr(), before, "the same plan, not a new one");
    }

    #[test]
    fn a_refused_register_is_asked_for_again_after_a_while() {
        let mut connector = connector();
        for (age, refused) in [(REFUSAL_REMEMBERED / 2, true), (REFUSAL_REMEMBERED, false)] {
            let mut kept = connector.take_plan(&[1]);
            kept.plan.split(&connector.items, 0);
            kept.refused_since = Some(Instant::now().checked_sub(age).unwrap());
            connector.plans.push(kept);
            assert_eq!(connector.take_plan(&[1]).plan.blocks[0].refused, refused, "{age:?}");
        }
    }

    #[test]
    fn the_number_of_plans_is_bounded() {
        let mut connector = connector();
        for scan in 0..10 * MAX_PLANS {
            let kept = connector.take_plan(&[scan]);
            connector.plans.push(kept);
            assert!(connector.plans.len() <= MAX_PLANS);
        }
    }
}
