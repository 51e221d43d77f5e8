//! Reads a device's tags: plans, asks, remembers what is refused, decodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{
    Connector, DeviceMessage, DeviceSpec, Look, Pace, PollError, Quality, RawSample, Value,
};
use tokio::time::Instant;

use crate::address::Place;
use crate::decode;
use crate::frame::ITEM_GOOD;
use crate::paced::Paced;
use crate::plan::{Plan, Slot, Want};
use crate::refusal;
use crate::session::Session;
use crate::settings::Settings;
use crate::steps::Step;
use crate::watch::Watch;

/// How long a refused tag is not asked again: one missing block must not cost a request a scan. Soon
/// after connecting it is less, because a CPU that starts up may not have all its blocks yet.
const REFUSED_FOR: Duration = Duration::from_secs(30);
const REFUSED_FOR_AT_FIRST: Duration = Duration::from_secs(2);

/// Rounds kept; one per combination of scan classes that were due together.
const ROUNDS_MAX: usize = 64;

/// How a tag is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Together with its neighbours.
    Merged,
    /// By an item of its own: a range with neighbours was refused.
    Alone,
    /// Not at all until then, for this return code.
    Refused { code: u8, until: Instant },
}

struct Tag {
    place: Place,
    scan: usize,
    standing: Standing,
}

/// What is done each time these scan classes are due.
struct Round {
    plan: Plan,
    /// How the answers are decoded, in the order of the plan's slots.
    steps: Vec<Step>,
}

/// The connector of one device.
pub(crate) struct S7Connector {
    settings: Settings,
    tags: Vec<Tag>,
    /// Taken out while a request is under way, so that a dropped call leaves no connection behind.
    session: Option<Session>,
    rounds: HashMap<Vec<usize>, Round>,
    connected: Instant,
    /// When the first refused tag is to be asked again.
    recheck: Option<Instant>,
    image: Vec<u8>,
    codes: Vec<u8>,
    /// Requests sent, by this and earlier connections.
    requests: u64,
    watch: Watch,
}

impl S7Connector {
    /// Prepares a connector for checked tags.
    pub(crate) fn new(settings: Settings, device: &DeviceSpec, places: Vec<Place>) -> Self {
        let tags = device
            .tags
            .iter()
            .zip(places)
            .map(|(tag, place)| Tag { place, scan: tag.scan, standing: Standing::Merged })
            .collect();
        Self {
            watch: Watch::new(&settings),
            settings,
            tags,
            session: None,
            rounds: HashMap::new(),
            connected: Instant::now(),
            recheck: None,
            image: Vec::new(),
            codes: Vec::new(),
            requests: 0,
        }
    }

    /// Reads the tags of a round and pushes one sample each. True when a refusal changed what the
    /// next plan has to look like.
    async fn run(
        &mut self,
        session: &mut Session,
        round: &Round,
        samples: &mut Vec<RawSample>,
    ) -> Result<bool, PollError> {
        let Round { plan, steps } = round;
        self.request(session, plan).await?;
        let first = samples.len();
        // Decoded where they stay: moving a sample costs several times as much as decoding it.
        samples.extend(steps.iter().map(|step| refused(step.tag)));
        if self.codes.iter().all(|code| *code == ITEM_GOOD) {
            steps.iter().zip(&mut samples[first..]).for_each(|(step, sample)| self.decode(step, sample));
            return Ok(false);
        }
        for ((slot, step), sample) in plan.slots.iter().zip(steps).zip(&mut samples[first..]) {
            if self.code(slot).is_none() {
                self.decode(step, sample);
            }
        }
        let doubtful: Vec<usize> =
            (0..plan.slots.len()).filter(|index| self.code(&plan.slots[*index]).is_some()).collect();
        // One tag that does not exist spoils the whole range: ask for each tag by itself.
        let wants = doubtful.iter().map(|index| self.want(plan.slots[*index].tag, true)).collect();
        let single = Plan::new(wants, session.limits());
        let steps = self.steps(&single);
        self.request(session, &single).await?;
        let until = Instant::now() + self.connected.elapsed().clamp(REFUSED_FOR_AT_FIRST, REFUSED_FOR);
        let mut explained = vec![false; plan.ranges.len()];
        for (slot, index) in single.slots.iter().zip(&doubtful) {
            if let Some(code) = self.code(slot) {
                self.tags[slot.tag as usize].standing = Standing::Refused { code, until };
                self.recheck = Some(self.recheck.map_or(until, |recheck| recheck.min(until)));
                explained[plan.slots[*index].ranges.clone()].fill(true);
            }
        }
        for ((slot, step), index) in single.slots.iter().zip(&steps).zip(&doubtful) {
            if self.code(slot).is_none() {
                self.decode(step, &mut samples[first + index]);
                if !explained[plan.slots[*index].ranges.start] {
                    // Each tag can be read, their range cannot: the bytes between them are at fault.
                    self.tags[slot.tag as usize].standing = Standing::Alone;
                }
            }
        }
        Ok(true)
    }

    /// Sends the requests of `plan`; afterwards `image` and `codes` hold the answers.
    async fn request(&mut self, session: &mut Session, plan: &Plan) -> Result<(), PollError> {
        self.image.resize(plan.image_bytes, 0);
        self.codes.clear();
        self.codes.resize(plan.ranges.len(), 0);
        for request in &plan.requests {
            self.requests += 1;
            session.read(plan, request, &mut self.image, &mut self.codes).await?;
        }
        Ok(())
    }

    /// The return code that keeps this tag from being read, if any.
    fn code(&self, slot: &Slot) -> Option<u8> {
        self.codes[slot.ranges.clone()].iter().copied().find(|code| *code != ITEM_GOOD)
    }

    /// Makes a sample of what was read for it.
    #[inline]
    fn decode(&self, step: &Step, sample: &mut RawSample) {
        if step.plain(&self.image, &mut sample.value) {
            sample.quality = Quality::Good;
        } else {
            self.decode_special(step, sample);
        }
    }

    /// The same of what is no plain number, or no value at all.
    #[inline(never)]
    fn decode_special(&self, step: &Step, sample: &mut RawSample) {
        let bytes = self.image.get(step.at as usize..).unwrap_or_default();
        let decoded = decode::value(&self.tags[step.tag as usize].place, bytes);
        sample.quality = if decoded.is_ok() { Quality::Good } else { Quality::Invalid };
        sample.value = decoded.unwrap_or_default();
    }

    /// How what `plan` reads is decoded.
    fn steps(&self, plan: &Plan) -> Vec<Step> {
        let step = |slot: &Slot| Step::new(slot, &self.tags[slot.tag as usize].place);
        plan.slots.iter().map(step).collect()
    }

    fn want(&self, tag: u32, alone: bool) -> Want {
        let Place { area, byte, len_bytes, .. } = self.tags[tag as usize].place;
        let alone = alone || area.is_sparse();
        Want { tag, area, start: byte, len_bytes, alone }
    }

    /// Plans the reading of these tags, without those refused lately.
    fn round(&self, tags: impl Iterator<Item = u32>, session: &Session) -> Round {
        let wants = tags
            .filter_map(|tag| match self.tags[tag as usize].standing {
                Standing::Merged => Some(self.want(tag, false)),
                Standing::Alone => Some(self.want(tag, true)),
                Standing::Refused { .. } => None,
            })
            .collect();
        let plan = Plan::new(wants, session.limits());
        Round { steps: self.steps(&plan), plan }
    }

    /// Lets refused tags be asked again whose time has come.
    fn recheck(&mut self) {
        let now = Instant::now();
        if self.recheck.is_none_or(|recheck| now < recheck) {
            return;
        }
        self.recheck = None;
        for tag in &mut self.tags {
            match tag.standing {
                Standing::Refused { until, .. } if until <= now => tag.standing = Standing::Merged,
                Standing::Refused { until, .. } => {
                    self.recheck = Some(self.recheck.map_or(until, |recheck| recheck.min(until)));
                }
                _ => {}
            }
        }
        self.rounds.clear();
    }

    /// Adds the tags that were not asked, so that each tag of `tags` has its sample.
    fn fill(&self, tags: impl Iterator<Item = u32>, first: usize, samples: &mut Vec<RawSample>) {
        if self.recheck.is_none() {
            return; // nothing is refused
        }
        let asked = samples.len();
        for tag in tags {
            let missing = samples[first..asked].binary_search_by_key(&tag, |sample| sample.tag).is_err();
            if missing {
                samples.push(refused(tag));
            }
        }
        // Two runs in order, which a stable sort merges.
        samples[first..].sort_by_key(|sample| sample.tag);
    }

    fn due(&self, due: &[usize]) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.tags).filter(|(_, tag)| due.contains(&tag.scan)).map(|(index, _)| index)
    }

    /// Takes the connection out, or says that there is none.
    fn take_session(&mut self) -> Result<Session, PollError> {
        self.session.take().ok_or_else(|| PollError::Lost { cause: "not connected".into() })
    }
}

fn refused(tag: u32) -> RawSample {
    RawSample { tag, value: Value::Null, quality: Quality::Refused, source_us: None }
}

#[async_trait]
impl Connector for S7Connector {
    async fn connect(&mut self) -> Result<String, PollError> {
        self.session = None;
        // Another program may run in the CPU by now.
        self.rounds.clear();
        self.recheck = None;
        self.tags.iter_mut().for_each(|tag| tag.standing = Standing::Merged);

        let (session, identity) = self.watch.connect(&self.settings).await?;
        self.session = Some(session);
        self.connected = Instant::now();
        Ok(identity)
    }

    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let mut session = self.take_session()?;
        self.watch.look(&mut session, &self.settings).await?;
        self.recheck();
        // Taken out of the map while it is used; put back unless a refusal made it outdated.
        let (key, round) = match self.rounds.remove_entry(due) {
            Some(known) => known,
            None => (due.to_vec(), self.round(self.due(due), &session)),
        };
        let first = samples.len();
        if self.run(&mut session, &round, samples).await? {
            self.rounds.clear();
        } else if self.rounds.len() < ROUNDS_MAX {
            self.rounds.insert(key, round);
        }
        self.fill(self.due(due), first, samples);
        self.session = Some(session);
        Ok(())
    }

    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let mut session = self.take_session()?;
        self.recheck();
        let known = |tag: &u32| (*tag as usize) < self.tags.len();
        let mut tags: Vec<u32> = tags.iter().copied().filter(known).collect();
        tags.sort_unstable();
        tags.dedup();
        let round = self.round(tags.iter().copied(), &session);
        let first = samples.len();
        if self.run(&mut session, &round, samples).await? {
            self.rounds.clear();
        }
        self.fill(tags.iter().copied(), first, samples);
        self.session = Some(session);
        Ok(())
    }

    async fn look(&mut self, tag: u32) -> Result<Look, PollError> {
        let mut samples = Vec::new();
        // Asked even when refused lately: somebody is looking at it now.
        if let Some(tag) = self.tags.get_mut(tag as usize) {
            tag.standing = Standing::Merged;
            self.rounds.clear();
        }
        self.read(&[tag], &mut samples).await?;
        let sample =
            samples.pop().ok_or_else(|| PollError::Mismatch { what: format!("there is no tag {tag}") })?;
        // The tag alone was read, so the image holds its bytes and nothing else.
        let bytes = (sample.quality != Quality::Refused).then(|| self.image.clone());
        Ok(Look { sample, bytes })
    }

    fn take_messages(&mut self, messages: &mut Vec<DeviceMessage>) {
        self.watch.take_messages(messages);
    }

    fn set_pace(&mut self, pace: Arc<dyn Pace>) {
        self.settings.pace = Paced(Some(pace));
    }

    fn requests(&self) -> u64 {
        self.requests
    }

    fn refusal(&self, tag: u32) -> Option<String> {
        let tag = self.tags.get(tag as usize)?;
        match tag.standing {
            Standing::Refused { code, .. } => Some(refusal::of_item(code, &tag.place, self.settings.family)),
            Standing::Merged | Standing::Alone => None,
        }
    }

    async fn close(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.close().await;
        }
    }
}
