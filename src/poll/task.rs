//! The life of one device: connect, verify, read, and from any failure back to connect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Connector, Pace, PollError, Quality, RawSample, Value};
use tokio::time::{Instant, timeout};

use super::Shared;
use super::address::Addresses;
use super::backoff::Backoff;
use super::budget::{Allowance, begin_round, within};
use super::connections::{Connections, Place};
use super::engineer::{Engineer, transform};
use super::history::History;
use super::messages::Messages;
use super::outage::Outage;
use super::pace;
use super::schedule::Schedule;
use crate::batch::{BATCH_SAMPLES_MAX, Batch, GapBefore, Sample};
use crate::clock;
use crate::device::{Device, Expected, Verify};
use crate::twin::{Cause, DeviceTwin, REFUSALS_MAX, Slowed};

/// Connectors bound their own waits; this only catches one that does not.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// The same for one round of reads.
const POLL_MAX: Duration = Duration::from_secs(60);
/// Refused tags named in the log at once.
const REFUSALS_LOGGED_MAX: usize = 5;
/// Between two batches of a device's own history: 50,000 samples a second, a small part of what the
/// journal takes.
const HISTORY_PAUSE: Duration = Duration::from_millis(20);
/// How often a batch of it is offered to a full queue: a minute.
const HISTORY_TRIES: u32 = 3000;
/// Longest wait for a place at an address when there is another one.
const PLACE_MAX: Duration = Duration::from_secs(10);
/// Longest goodbye.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Why a connection ended.
enum Ended {
    Stopped,
    /// The last says whether there had been a connection.
    Failed(Cause, Retry, bool),
}

enum Retry {
    /// Nobody took the connection.
    Often,
    Soon,
    Late,
}

/// Why there is no connection that can be read.
struct NotReady {
    cause: Cause,
    retry: Retry,
    /// The device did take the connection.
    reached: bool,
}

impl NotReady {
    fn reached((cause, retry): (Cause, Retry)) -> Self {
        Self { cause, retry, reached: true }
    }
}

/// One device's task, from start to panic or stop.
pub struct Task {
    device: Arc<Device>,
    twin: Arc<DeviceTwin>,
    shared: Shared,
    engineer: Engineer,
    history: History,
    messages: Messages,
    raw: Vec<RawSample>,
    samples: Vec<Sample>,
    /// Samples of the last scan; the next one mostly has as many.
    published_before: usize,
    /// Goes with the next batch that the journal takes.
    gap: Option<Box<GapBefore>>,
    schedule: Schedule,
    addresses: Addresses,
    allowance: Option<Arc<Allowance>>,
    /// Of the address in use.
    connections: Option<Connections>,
    /// Requests sent by connectors to other addresses before.
    requests_before: u64,
    /// How late the last scan began.
    late: Duration,
    /// When the scan before was delivered.
    delivered: Instant,
}

impl Task {
    /// A task that has not connected yet.
    pub fn new(device: Arc<Device>, twin: Arc<DeviceTwin>, shared: Shared) -> Self {
        // Another task may have left its own there.
        twin.state().access.slowed.clear();
        Self {
            engineer: Engineer::new(Arc::clone(&device)),
            history: History::new(device.spec.tags.len()),
            messages: Messages::new(Arc::clone(&device), shared.events.clone()),
            schedule: Schedule::new(&device.name, &device.spec.scans, Instant::now()),
            addresses: Addresses::of(&device),
            allowance: Allowance::of(&device),
            connections: None,
            raw: Vec::new(),
            samples: Vec::new(),
            published_before: 0,
            gap: None,
            requests_before: 0,
            late: Duration::ZERO,
            delivered: Instant::now(),
            device,
            twin,
            shared,
        }
    }

    /// Connects and reads until told to stop.
    pub async fn run(mut self, outage: &mut Outage) {
        let mut backoff = Backoff::new(self.shared.reconnect_pause_max);
        let Some(mut connector) = self.open(&mut backoff, outage).await else { return };
        loop {
            match self.one_connection(connector.as_mut(), &mut backoff, outage).await {
                Ended::Stopped => break,
                Ended::Failed(cause, retry, reached) => {
                    self.store_held(outage);
                    outage.begin(&self.twin, clock::now_us(), cause);
                    self.engineer.forget();
                    let pause = match retry {
                        Retry::Often => backoff.unreached(),
                        Retry::Soon => backoff.pause(),
                        Retry::Late => backoff.longest(),
                    };
                    if self.pause(pause).await {
                        break;
                    }
                    // The wrong device or a wrong password is no reason to look elsewhere, but one to
                    // leave a backup address again.
                    let counts = !matches!(retry, Retry::Late) || self.addresses.is_backup();
                    if counts && self.addresses.failed(reached) {
                        self.close(connector.as_mut()).await;
                        self.requests_before += connector.requests();
                        connector = match self.open(&mut backoff, outage).await {
                            Some(connector) => connector,
                            None => return,
                        };
                    }
                }
            }
        }
        self.store_held(outage);
        self.messages.end();
        self.close(connector.as_mut()).await;
    }

    /// Stores what swinging doors still hold: it was read, and the connection it came by is over.
    fn store_held(&mut self, outage: &mut Outage) {
        self.samples.clear();
        if let Some(edge_us) = self.engineer.close_doors(&mut self.samples) {
            self.store(edge_us, outage);
        }
    }

    /// A connector for the address in use; `None` when it is time to stop.
    async fn open(&mut self, backoff: &mut Backoff, outage: &mut Outage) -> Option<Box<dyn Connector>> {
        self.connections = Connections::of(&self.device, self.addresses.current());
        loop {
            match self.device.protocol.open(self.addresses.spec(&self.device)) {
                Ok(mut connector) => {
                    if let Some(allowance) = &self.allowance {
                        connector.set_pace(Arc::clone(allowance) as Arc<dyn Pace>);
                    }
                    let backup = self.addresses.is_backup().then(|| self.addresses.current().to_owned());
                    self.twin.state().access.backup = backup;
                    return Some(connector);
                }
                Err(fault) => {
                    let cause = Cause { code: "configuration".into(), message: fault.message };
                    outage.begin(&self.twin, clock::now_us(), cause);
                    if self.pause(backoff.longest()).await {
                        return None;
                    }
                }
            }
        }
    }

    async fn close(&self, connector: &mut dyn Connector) {
        if timeout(CLOSE_MAX, connector.close()).await.is_err() {
            let (device, limit_s) = (&self.device.name, CLOSE_MAX.as_secs());
            tracing::debug!(%device, "no answer to the goodbye within {limit_s} s");
        }
    }

    /// Waits; true when it is time to stop.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => true,
            () = tokio::time::sleep(pause) => false,
        }
    }

    async fn one_connection(
        &mut self,
        connector: &mut dyn Connector,
        backoff: &mut Backoff,
        outage: &mut Outage,
    ) -> Ended {
        let stop = self.shared.stop.clone();
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Stopped,
            place = self.place(outage) => place,
        };
        let place = match place {
            Ok(place) => place,
            Err(cause) => return Ended::Failed(cause, Retry::Soon, false),
        };
        let ended = self.connect_and_read(connector, backoff, outage).await;
        if place.is_some() {
            // Before another device may have the place.
            self.close(connector).await;
        }
        ended
    }

    /// A place among the connections that the address may have, once one is free; says that it waits.
    /// `None` when they are not counted.
    ///
    /// # Errors
    /// Who has them, when another address is left to try.
    async fn place(&self, outage: &mut Outage) -> Result<Option<Place>, Cause> {
        let Some(connections) = &self.connections else { return Ok(None) };
        let cause = match connections.take() {
            Ok(place) => return Ok(Some(place)),
            Err(cause) => cause,
        };
        outage.begin(&self.twin, clock::now_us(), cause.clone());
        if !self.addresses.has_others() {
            return Ok(Some(connections.wait().await));
        }
        timeout(PLACE_MAX, connections.wait()).await.map(Some).map_err(|_| cause)
    }

    async fn connect_and_read(
        &mut self,
        connector: &mut dyn Connector,
        backoff: &mut Backoff,
        outage: &mut Outage,
    ) -> Ended {
        let stop = self.shared.stop.clone();
        // Connecting may take long and holds nothing worth keeping: it is dropped at a stop.
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Stopped,
            connected = self.connect(connector, outage) => connected,
        };
        match connected {
            Ok(()) => {}
            Err(NotReady { cause, retry, reached }) => return Ended::Failed(cause, retry, reached),
        }
        self.schedule.restart(Instant::now());
        let mut due = Vec::new();
        let allowance = self.allowance.clone();
        while let Some(next) = self.schedule.next() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                () = tokio::time::sleep_until(next) => {}
            }
            self.late = Instant::now().saturating_duration_since(next);
            // Outside `select!`: a stop never drops a poll half-way.
            let round = tokio::select! {
                biased;
                () = stop.cancelled() => return Ended::Stopped,
                round = begin_round(allowance.as_deref()) => round,
            };
            let missed = self.schedule.take_due(Instant::now(), &mut due);
            let started = Instant::now();
            self.raw.clear();
            let poll = connector.poll(&due, &mut self.raw);
            let polled = within(allowance.as_deref(), POLL_MAX, poll).await;
            if let Err(error) = polled.unwrap_or(Err(PollError::Timeout { waited: POLL_MAX })) {
                if let PollError::Timeout { waited } = error {
                    outage.silent_since(before(clock::now_us(), waited));
                }
                // Messages that came in before the end are true all the same.
                self.messages.take(connector);
                let (cause, retry) = cause_of(&error);
                return Ended::Failed(cause, retry, true);
            }
            if let Some(round) = round {
                round.end();
            }
            backoff.reset();
            self.messages.take(connector);
            self.note_address(outage);
            self.note_pace(&due, started);
            let requests = self.requests_before + connector.requests();
            self.deliver(&due, requests, started, (missed, connector.silence()), outage);
            if self.engineer.take_refusals_changed() {
                self.note_refusals(connector);
            }
        }
        // A device without scan classes has nothing to read.
        stop.cancelled().await;
        Ended::Stopped
    }

    async fn connect(&mut self, connector: &mut dyn Connector, outage: &mut Outage) -> Result<(), NotReady> {
        self.connect_and_verify(connector).await?;
        if let Some(since_us) = outage.missing_since() {
            self.raw.clear();
            let (allowance, time) = (self.allowance.clone(), (since_us, clock::now_us()));
            let read = self.history.read(connector, allowance.as_deref(), time, &mut self.raw).await;
            read.map_err(|error| NotReady::reached(cause_of(&error)))?;
            self.deliver_history(outage).await;
        }
        Ok(())
    }

    /// Stores what the device had kept while it could not be read. The gap goes with it.
    async fn deliver_history(&mut self, outage: &mut Outage) {
        if self.raw.is_empty() {
            return;
        }
        let edge_us = clock::now_us();
        self.samples.clear();
        self.engineer.of_the_past(&self.raw, &mut self.samples);
        tracing::info!(device = %self.device.name, "{} values come from its own memory", self.raw.len());
        outage.note_history(self.raw.len());
        self.gap = outage.end(&self.twin, edge_us).map(Box::new).or(self.gap.take());
        let mut rest = std::mem::take(&mut self.samples);
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(BATCH_SAMPLES_MAX));
            self.store_patiently(edge_us, rest, outage).await;
            rest = later;
        }
    }

    /// Stores a batch of the past, and leaves the others' room in the journal's queue to them.
    async fn store_patiently(&mut self, edge_us: i64, samples: Vec<Sample>, outage: &mut Outage) {
        let device = Arc::clone(&self.device);
        let mut batch = Batch { device, edge_us, samples, gap: self.gap.take() };
        for _ in 0..HISTORY_TRIES {
            let taken = self.shared.sink.append(batch);
            tokio::time::sleep(HISTORY_PAUSE).await;
            match taken {
                Ok(()) => return outage.stored(edge_us),
                Err(refused) => batch = refused,
            }
        }
        outage.lost(edge_us, batch.samples.len());
        self.gap = batch.gap;
    }

    async fn connect_and_verify(&mut self, connector: &mut dyn Connector) -> Result<(), NotReady> {
        let connected = within(self.allowance.as_deref(), CONNECT_MAX, connector.connect()).await;
        let identity =
            connected.unwrap_or(Err(PollError::Timeout { waited: CONNECT_MAX })).map_err(|error| {
                let (cause, retry) = cause_of(&error);
                NotReady { cause, retry, reached: false }
            })?;
        let failed = self.verify(connector).await.map_err(NotReady::reached)?;
        let mut state = self.twin.state();
        state.identity = identity;
        state.connects += 1;
        state.verified = (!self.device.verify.is_empty()).then_some(failed.is_none());
        match failed {
            Some(cause) => {
                for current in &mut state.values {
                    current.quality = Quality::NotVerified;
                }
                Err(NotReady::reached((cause, Retry::Late)))
            }
            None => Ok(()),
        }
    }

    /// Runs all `[[verify]]`; the first that does not hold is the cause returned.
    async fn verify(&mut self, connector: &mut dyn Connector) -> Result<Option<Cause>, (Cause, Retry)> {
        if self.device.verify.is_empty() {
            return Ok(None);
        }
        let tags: Vec<u32> = self.device.verify.iter().map(|verify| verify.raw).collect();
        self.raw.clear();
        let reading = connector.read(&tags, &mut self.raw);
        let read = within(self.allowance.as_deref(), POLL_MAX, reading).await;
        read.unwrap_or(Err(PollError::Timeout { waited: POLL_MAX })).map_err(|error| cause_of(&error))?;
        Ok(self.device.verify.iter().find_map(|verify| self.complaint(verify)))
    }

    fn complaint(&self, verify: &Verify) -> Option<Cause> {
        failed_check(&self.device, verify, &self.raw)
    }

    /// Tells when values come from another address than before.
    fn note_address(&mut self, outage: &Outage) {
        if let Some(before) = self.addresses.worked() {
            outage.tell_address(clock::now_us(), &before, self.addresses.current());
        }
    }

    /// Reads scan classes less often that take too long, and tells so.
    fn note_pace(&mut self, due: &[usize], started: Instant) {
        let now = Instant::now();
        for change in self.schedule.note(due, now - started, now) {
            let Some(scan) = self.device.spec.scans.get(change.scan) else { continue };
            let slowed = Slowed::new(scan, change.stretch, change.took);
            pace::tell(&self.device, &self.shared.events, clock::now_us(), &slowed, change.slower);
            let mut state = self.twin.state();
            state.access.slowed.retain(|slowed| slowed.scan != scan.name);
            if slowed.stretch > 1 {
                state.access.slowed.push(slowed);
            }
        }
    }

    /// Publishes one scan: twin first, then the journal.
    fn deliver(
        &mut self,
        due: &[usize],
        requests: u64,
        started: Instant,
        (missed, silence): (u64, Duration),
        outage: &mut Outage,
    ) {
        let edge_us = clock::now_us();
        let silence = if self.raw.is_empty() { silence } else { Duration::ZERO };
        let heard_us = before(edge_us, silence);
        // After a restart the newest in the journal is the beginning of the gap: of a subscription that
        // has fallen silent nothing is put there until it is heard again.
        self.engineer.set_is_heard(silence <= self.delivered.elapsed());
        self.delivered = Instant::now();
        self.history.note(&self.raw);
        self.samples = Vec::with_capacity(self.published_before);
        {
            let mut state = self.twin.state();
            self.engineer.publish(&self.raw, due, edge_us, &mut state, &mut self.samples);
            state.heard_us = heard_us;
            state.requests = requests;
            state.round_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            state.late_us = u64::try_from(self.late.as_micros()).unwrap_or(u64::MAX);
            state.scans_missed += missed;
        }
        // A subscription may have nothing to say yet: only a value proves that values come in.
        if outage.is_over() {
            outage.note_good(heard_us);
        } else if !self.raw.is_empty() {
            self.gap = outage.end(&self.twin, edge_us).map(Box::new).or(self.gap.take());
        }
        self.published_before = self.samples.len();
        self.store(edge_us, outage);
        // Between two scans the memory is for other devices: one allocation a scan, not one a value.
        self.raw = Vec::new();
    }

    /// Hands the samples to the journal, in batches of bounded size.
    fn store(&mut self, edge_us: i64, outage: &mut Outage) {
        let mut lost = 0;
        let mut rest = std::mem::take(&mut self.samples);
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(BATCH_SAMPLES_MAX));
            let samples = std::mem::replace(&mut rest, later);
            let batch = Batch { device: Arc::clone(&self.device), edge_us, samples, gap: self.gap.take() };
            if let Err(batch) = self.shared.sink.append(batch) {
                lost += batch.samples.len();
                self.gap = batch.gap;
            }
        }
        if lost == 0 {
            outage.stored(edge_us);
        } else {
            outage.lost(edge_us, lost);
            self.engineer.publish_again();
        }
    }

    /// Takes over the connector's words for the tags that the device refuses, and logs them once.
    fn note_refusals(&self, connector: &dyn Connector) {
        let tags = &self.device.tags;
        let mut state = self.twin.state();
        let refused = tags.iter().zip(&state.values);
        let refused = refused.filter(|(tag, now)| {
            tag.formula.is_none() && now.edge_us != 0 && now.quality == Quality::Refused
        });
        let raw: BTreeSet<u32> = refused.map(|(tag, _)| tag.raw).collect();
        let words = raw.iter().filter_map(|raw| Some((*raw, connector.refusal(*raw)?)));
        let refusals: BTreeMap<u32, String> = words.take(REFUSALS_MAX).collect();
        let before = std::mem::replace(&mut state.refusals, refusals.clone());
        drop(state);
        if refusals == before {
            return;
        }
        let device = &self.device.name;
        if refusals.is_empty() {
            tracing::info!(%device, "no tag is refused any more");
        }
        let new: Vec<_> = refusals.iter().filter(|(raw, words)| before.get(raw) != Some(words)).collect();
        for (raw, words) in new.iter().take(REFUSALS_LOGGED_MAX) {
            let tag = self.device.spec.tags.get(**raw as usize).map_or("", |tag| &tag.path);
            tracing::warn!(%device, tag, "refused: {words}");
        }
        if new.len() > REFUSALS_LOGGED_MAX {
            let more = new.len() - REFUSALS_LOGGED_MAX;
            tracing::warn!(%device, "{more} more tags are refused, see the machine's page");
        }
    }
}

/// `us` minus a duration.
fn before(us: i64, duration: Duration) -> i64 {
    us.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

fn cause_of(error: &PollError) -> (Cause, Retry) {
    let (code, retry) = match error {
        PollError::Connect { .. } => ("unreachable", Retry::Often),
        PollError::Timeout { .. } => ("timeout", Retry::Soon),
        PollError::Mismatch { .. } => ("mismatch", Retry::Soon),
        PollError::Lost { .. } => ("lost", Retry::Soon),
        PollError::Refused { .. } => ("refused", Retry::Soon),
        PollError::Security { .. } => ("not-trusted", Retry::Late),
    };
    (Cause { code: code.into(), message: error.to_string() }, retry)
}

/// What a `[[verify]]` complains of, given the raw tags that were read for it.
pub fn failed_check(device: &Device, verify: &Verify, raw: &[RawSample]) -> Option<Cause> {
    let sample = raw.iter().find(|sample| sample.tag == verify.raw);
    let value = sample
        .filter(|sample| sample.quality.is_good())
        .map(|sample| transform(verify.transform, &sample.value));
    let holds = value.as_ref().is_some_and(|value| holds(&verify.expected, value));
    if holds {
        return None;
    }
    let spec = &device.spec.tags[verify.raw as usize];
    let found = value.map_or_else(|| "no readable value".to_owned(), |value| plain(&value));
    let why = verify.why.get("en");
    Some(Cause {
        code: "not-verified".into(),
        message: format!(
            "check failed: {} ({}) is {found}, {}{}{why}",
            spec.path,
            spec.address,
            wanted(&verify.expected),
            if why.is_empty() { "" } else { ". " },
        ),
    })
}

/// True when a scaled value is what a `[[verify]]` demands.
pub fn holds(expected: &Expected, value: &Value) -> bool {
    match expected {
        Expected::Between(low, high) => value.as_f64().is_some_and(|number| (*low..=*high).contains(&number)),
        Expected::Is(wanted) => match (wanted.as_f64(), value.as_f64()) {
            #[allow(clippy::float_cmp)] // "is = 3" means exactly 3
            (Some(wanted), Some(value)) => wanted == value,
            _ => wanted == value,
        },
    }
}

fn wanted(expected: &Expected) -> String {
    match expected {
        Expected::Is(value) => format!("must be {}", plain(value)),
        Expected::Between(low, high) => format!("must be within {low} and {high}"),
    }
}

/// A value as a person writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Lreal(value) => value.to_string(),
        Value::Text(value) => format!("\"{value}\""),
        Value::DateTime(us) => clock::rfc3339(*us),
        Value::Array(values) => format!("an array of {}", values.len()),
    }
}
