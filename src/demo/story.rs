//! The demo's terminal: what happens, in plain words.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::consumer::DemoConsumer;
use crate::learn::command::learned_words;
use crate::learn::{Learner, Order};
use crate::replicate::mock::Broker;
use crate::status::facts::{Facts, Lane, PredictionState};

/// When things happen.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The box learns its press this long after the start …
    pub learn_after: Duration,
    /// … from what its journal holds since then, microseconds since 1970 UTC.
    pub learn_from_us: i64,
    /// Records that the journal held before the start.
    pub past_records: u64,
    /// The broker goes away this long after the start.
    pub outage_after: Duration,
    /// It stays away this long.
    pub outage: Duration,
    /// The demo ends by itself; `None` = at Ctrl-C.
    pub stop_after: Option<Duration>,
}

/// Longest wait for the backlog to arrive after the broker is back.
const CATCH_UP_MAX: Duration = Duration::from_secs(90);
/// Time between two reports when nothing happens.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks.
const NAP: Duration = Duration::from_millis(200);
/// Longest wait at the end for records that Kafka has and the consumer not yet.
const LAST_RECORDS_MAX: Duration = Duration::from_secs(5);
/// The machine that is learned, and what of it.
pub const PRESS: &str = "press-3";
const LEARNED: [&str; 3] = ["drive.*", "hydraulics.pressure", "hydraulics.oil_temp"];
/// The lane whose records are counted.
const LANE: &str = "telemetry";

/// What the story is about.
pub struct Story {
    pub broker: Broker,
    pub consumer: DemoConsumer,
    pub facts: Arc<dyn Facts>,
    pub learner: Arc<Learner>,
    pub stop: CancellationToken,
    started: Instant,
    told_events: usize,
    last_report: Instant,
}

impl Story {
    /// A story that begins now.
    pub fn new(
        broker: Broker,
        consumer: DemoConsumer,
        facts: Arc<dyn Facts>,
        learner: Arc<Learner>,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self { broker, consumer, facts, learner, stop, started: now, told_events: 0, last_report: now }
    }

    /// Tells the story until it is stopped. True when everything that should have arrived has.
    ///
    /// # Errors
    /// When the embedded broker does not do as it is told.
    pub async fn tell(&mut self, timing: Timing) -> anyhow::Result<bool> {
        let ends = timing.stop_after.map(|after| self.started + after);
        if !self.watch_until(Some(self.started + timing.learn_after), ends).await {
            return Ok(self.conclude().await);
        }
        if let Err(why) = self.learn(timing.learn_from_us).await {
            self.say(&format!("{why:#}. The demo goes on without a model."));
        }
        if !self.watch_until(Some(self.started + timing.outage_after), ends).await {
            return Ok(self.conclude().await);
        }
        let complete = self.outage(&timing, ends).await?;
        self.watch_until(None, ends).await;
        Ok(self.conclude().await && complete)
    }

    /// Has the box learn what is normal for its press, as `forebay learn` does.
    async fn learn(&mut self, from_us: i64) -> anyhow::Result<()> {
        self.say(&format!(
            "Now the box learns what is normal for {PRESS}: `forebay learn {PRESS} --from '1h ago'`."
        ));
        let order = Order {
            device: PRESS.to_owned(),
            tags: LEARNED.map(str::to_owned).to_vec(),
            from_us,
            ..Order::default()
        };
        let learner = Arc::clone(&self.learner);
        let learning = tokio::task::spawn_blocking(move || learner.learn(&order, "demo"));
        let learned = learning.await.context("Learning has failed")?.context("Nothing was learned")?;
        for line in learned_words(&learned).lines() {
            self.say(line);
        }
        Ok(())
    }

    /// Reports now and then until `until`; false when the demo is over before that.
    async fn watch_until(&mut self, until: Option<Instant>, ends: Option<Instant>) -> bool {
        loop {
            let now = Instant::now();
            if self.over(ends) {
                return false;
            }
            if until.is_some_and(|until| now >= until) {
                return true;
            }
            self.tell_events();
            if now.duration_since(self.last_report) >= REPORT_EVERY {
                self.report();
            }
            self.nap().await;
        }
    }

    /// True when all that was on disk when the line came back has arrived, or the demo ended first.
    async fn outage(&mut self, timing: &Timing, ends: Option<Instant>) -> anyhow::Result<bool> {
        let outage = timing.outage;
        self.say(&format!(
            "The line to Kafka is cut now, for {} s. Polling goes on; everything goes to disk.",
            outage.as_secs()
        ));
        self.broker.down()?;
        let back = Instant::now() + outage;
        while Instant::now() < back {
            if self.over(ends) {
                self.say(&format!(
                    "The demo ends while the line is cut; {} records were still waiting on disk.",
                    self.waiting()
                ));
                return Ok(true);
            }
            self.nap().await;
        }
        let (waiting, on_disk) = (self.waiting(), timing.past_records + self.lane().appended_records);
        self.broker.up()?;
        let since = Instant::now();
        self.say(&format!("The line is back. {waiting} records wait on disk and are sent by themselves."));
        while since.elapsed() < CATCH_UP_MAX {
            if self.consumer.arrived().complete_to(LANE) >= on_disk {
                self.say(&format!(
                    "Caught up after {:.1} s: all {on_disk} records of before have arrived, nothing is missing.",
                    since.elapsed().as_secs_f64(),
                ));
                return Ok(true);
            }
            if self.over(ends) {
                return Ok(true);
            }
            self.nap().await;
        }
        let arrived = self.consumer.arrived().complete_to(LANE);
        self.say(&format!("Not caught up: {arrived} of {on_disk} records have arrived."));
        Ok(false)
    }

    fn over(&self, ends: Option<Instant>) -> bool {
        self.stop.is_cancelled() || ends.is_some_and(|ends| Instant::now() >= ends)
    }

    /// Telemetry records on disk that Kafka has not confirmed.
    fn waiting(&self) -> u64 {
        self.lane().backlog_records
    }

    /// Figures of the telemetry lane. The journal begins with the press's past, so a number of all its records
    /// is an offset, too.
    fn lane(&self) -> Lane {
        self.facts.reserve().lanes.into_iter().find(|lane| lane.name == LANE).unwrap_or_default()
    }

    fn report(&mut self) {
        self.last_report = Instant::now();
        let arrived = self.consumer.arrived().clone();
        let last = arrived.last.map_or_else(String::new, |(device, tag, value)| {
            let machine = device.rsplit('/').next().unwrap_or_default().to_owned();
            format!(" Last: {machine} {tag} = {value}.")
        });
        let mut text = format!(
            "Kafka has {} records with {} values of {} machines.{last}",
            arrived.records,
            arrived.samples,
            arrived.devices.len()
        );
        for prediction in self.facts.predictions() {
            let score =
                prediction.score.map_or_else(|| "no score yet".to_owned(), |score| format!("{score:.2}"));
            let state = match prediction.state {
                PredictionState::Raised => "UNUSUAL",
                PredictionState::Normal => "normal",
                PredictionState::Suppressed => "no statement",
                PredictionState::Filling => "collecting",
                PredictionState::Broken => "cannot run",
            };
            text += &format!(
                " Model {} on {}: {state}, score {score} (unusual when it stays over {:.2}).",
                prediction.model, prediction.device, prediction.threshold
            );
        }
        self.say(&text);
    }

    /// Tells what came through the events topic since the last time.
    fn tell_events(&mut self) {
        let new = self.consumer.arrived().events[self.told_events..].to_vec();
        for (kind, text) in &new {
            self.say(&format!("Event in Kafka ({kind}): {text}"));
        }
        self.told_events += new.len();
    }

    /// Records that Kafka has confirmed and that have not arrived.
    fn missing(&self) -> u64 {
        let confirmed = self.lane().committed_records;
        let arrived = self.consumer.arrived();
        arrived.missing().max(confirmed.saturating_sub(arrived.complete_to(LANE)))
    }

    async fn conclude(&mut self) -> bool {
        let limit = Instant::now() + LAST_RECORDS_MAX;
        while self.missing() > 0 && Instant::now() < limit {
            tokio::time::sleep(NAP).await;
        }
        self.tell_events();
        let missing = self.missing();
        let arrived = self.consumer.arrived().clone();
        let verdict =
            if missing == 0 { "nothing is missing".to_owned() } else { format!("{missing} are missing") };
        let repeated = if arrived.repeated == 0 {
            String::new()
        } else {
            format!(
                " {} came twice and were dropped by their offset (the embedded broker shows aborted transactions; a real one hides them).",
                arrived.repeated
            )
        };
        self.say(&format!("End: {} records, {verdict}.{repeated}", arrived.complete_to(LANE)));
        missing == 0
    }

    async fn nap(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(NAP) => {}
        }
    }

    fn say(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        let line = writeln!(std::io::stdout(), "{:>3}:{:02}  {text}", seconds / 60, seconds % 60);
        // Nobody reads any more, as after `forebay demo | head`.
        if line.is_err() {
            self.stop.cancel();
        }
    }
}
