//! What the page asks, answered from lanes, replicators and models.

mod lanes;
mod line;
mod metrics;
mod room;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::flash::{FlashWear, Journalled};
use super::trend;
use crate::clock;
use crate::control::Controls;
use crate::device::Text;
use crate::event::{Event, Kind, What};
use crate::infer::{self, diary::Diary, models::Models};
use crate::standby::Report;
use crate::status::facts::{
    Certificate, ClockJump, EVENTS_SHOWN_MAX, Facts, Identity, Metric, NotRead, Prediction, PredictionState,
    Remaining, Reserve, ToIt, Trend, TrendWanted, Watching,
};

pub use lanes::{LaneFacts, Lanes};

/// All facts of a running box.
pub struct BoxFacts {
    /// Who the box is.
    pub identity: Identity,
    /// Both lanes.
    pub lanes: Lanes,
    /// The models.
    pub models: Arc<Models>,
    /// The latest events, newest first.
    pub latest: Mutex<VecDeque<Event>>,
    /// The last time that the clock was set.
    pub clock_jump: Mutex<Option<ClockJump>>,
    /// Machines whose files have faults.
    pub not_read: Mutex<Vec<NotRead>>,
    /// How the last reading of the files went.
    pub read: Mutex<LastRead>,
    /// Since when the disk does not work, microseconds since 1970; 0 = it works.
    pub disk_broken_us: Mutex<i64>,
    /// The flash below the journal.
    pub flash: Mutex<FlashWear>,
    /// What is sent besides.
    pub controls: Arc<Controls>,
    /// What servers have shown, as last read.
    pub certificates: Mutex<Vec<Certificate>>,
    /// How two boxes share the plant.
    standby: OnceLock<watch::Receiver<Report>>,
}

/// How the last reading of the configuration went.
#[derive(Debug, Clone, Copy)]
pub struct LastRead {
    /// When the configuration that runs was read, microseconds since 1970 UTC.
    pub at_us: i64,
    /// The last reading found no errors.
    pub successful: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BoxFacts {
    /// Facts of a box that has just started.
    pub fn new(
        identity: Identity,
        models: Arc<Models>,
        not_read: Vec<NotRead>,
        flash: FlashWear,
        controls: Arc<Controls>,
    ) -> Self {
        let (lanes, latest, clock_jump, disk_broken_us, certificates, standby) = Default::default();
        let (flash, not_read) = (Mutex::new(flash), Mutex::new(not_read));
        let read = Mutex::new(LastRead { at_us: identity.started_us, successful: true });
        Self {
            identity,
            lanes,
            models,
            latest,
            clock_jump,
            not_read,
            read,
            disk_broken_us,
            flash,
            controls,
            certificates,
            standby,
        }
    }

    /// Shows how two boxes share the plant, from now on.
    pub fn show_standby(&self, report: Option<watch::Receiver<Report>>) {
        if let Some(report) = report {
            self.standby.get_or_init(|| report);
        }
    }

    /// False when only a new start helps: a lane has ended. A disk that does not work is no such
    /// thing: everything is tried again by itself.
    pub fn is_alive(&self) -> bool {
        !self.lanes.is_given_up() && !self.lanes.iter().any(|lane| lane.writer.is_closed())
    }

    /// Remembers an event for the page.
    pub fn remember(&self, event: &Event) {
        // One of each model every minute would leave no room for what happened.
        if event.kind == Kind::Score {
            return;
        }
        let mut latest = lock(&self.latest);
        latest.push_front(event.clone());
        latest.truncate(EVENTS_SHOWN_MAX);
        if event.what() == Some(What::ClockJump) {
            let by_s = event.data.get("seconds").and_then(serde_json::Value::as_f64).unwrap_or_default();
            *lock(&self.clock_jump) = Some(ClockJump { at_us: event.edge_time, by_s });
        }
    }

    /// Called once a second.
    pub fn tick(&self) {
        let mut broken = false;
        let mut journalled = Journalled::default();
        for lane in self.lanes.iter() {
            let status = lane.status.borrow();
            let committed = lane.replication.snapshot().records;
            lock(&lane.rates).push(status.records, committed, status.written_bytes);
            broken |= status.error.is_some();
            journalled.device_bytes += status.device_bytes;
            journalled.syncs += status.syncs;
        }
        lock(&self.flash).look(Instant::now(), journalled);
        let mut since = lock(&self.disk_broken_us);
        *since = match (broken, *since) {
            (false, _) => 0,
            (true, 0) => clock::now_us(),
            (true, since) => since,
        };
    }
}
impl Facts for BoxFacts {
    fn identity(&self) -> Identity {
        let (clock_synchronised, clock_jump) = (clock::is_synchronised(), *lock(&self.clock_jump));
        Identity { clock_synchronised, clock_jump, ..self.identity.clone() }
    }

    fn to_it(&self) -> ToIt {
        self.line()
    }

    fn reserve(&self) -> Reserve {
        self.room()
    }

    fn predictions(&self) -> Vec<Prediction> {
        self.models
            .predictions()
            .with_diaries()
            .into_iter()
            .map(|(now, diary)| prediction(now, &diary))
            .collect()
    }

    fn watching(&self) -> Vec<Watching> {
        let watching = |(now, diary): (infer::Prediction, Arc<Diary>)| Watching {
            hash8: now.hash8.clone(),
            version_since_us: diary.version_since_us(),
            episodes: diary.episodes(),
            hours: diary.hours(),
            remaining: now.remaining.as_ref().and_then(|(life, unit)| remaining(*life, unit)),
            reach_used: now.reach_used.clone(),
            prediction: prediction(now, &diary),
        };
        self.models.predictions().with_diaries().into_iter().map(watching).collect()
    }

    fn not_read(&self) -> Vec<NotRead> {
        lock(&self.not_read).clone()
    }

    fn events(&self) -> Vec<Event> {
        lock(&self.latest).iter().cloned().collect()
    }

    fn standby(&self) -> Option<Report> {
        self.standby.get().map(|report| report.borrow().clone())
    }

    fn certificates(&self) -> Vec<Certificate> {
        lock(&self.certificates).clone()
    }

    fn stopped(&self) -> Vec<Text> {
        let closed = self.lanes.iter().filter(|lane| lane.writer.is_closed());
        let mut stopped: Vec<Text> =
            closed.map(|lane| Text::plain(format!("the {} lane takes nothing more", lane.name))).collect();
        if let Some(error) = self.reserve().disk_error {
            stopped.push(Text::plain(error.message));
        }
        stopped
    }

    fn metrics(&self) -> Vec<Metric> {
        self.further_metrics()
    }

    fn trend(&self, wanted: &TrendWanted<'_>) -> Trend {
        trend::read(self.lanes.first().map(|telemetry| &telemetry.history), wanted)
    }
}

/// Remaining life in seconds; what is counted in strokes or parts has no place on the page.
fn remaining([least, likely, most]: [f32; 3], unit: &str) -> Option<Remaining> {
    let unit_s = match unit {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = |value: f32| f64::from(value) * unit_s;
    Some(Remaining { least_s: seconds(least), likely_s: seconds(likely), most_s: seconds(most) })
}

fn prediction(prediction: infer::Prediction, diary: &Diary) -> Prediction {
    let state = match prediction.state {
        infer::State::Filling => PredictionState::Filling,
        infer::State::Normal => PredictionState::Normal,
        infer::State::Raised { .. } => PredictionState::Raised,
        infer::State::Suppressed { .. } => PredictionState::Suppressed,
        infer::State::Broken { .. } => PredictionState::Broken,
    };
    Prediction {
        device: prediction.device,
        model: prediction.model,
        title: prediction.title,
        version: prediction.version,
        state,
        words: prediction.words,
        score: prediction.score.map(f64::from),
        threshold: f64::from(prediction.threshold),
        since_us: (prediction.since_us != 0).then_some(prediction.since_us),
        last_us: (prediction.last_us != 0).then_some(prediction.last_us),
        history: prediction.history,
        dropped: prediction.dropped,
        episode: diary.running(clock::now_us()),
    }
}
