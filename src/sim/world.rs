//! One simulated box with its devices, disks, line and broker, and everything that goes wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::broker::Broker;
use super::context::{Context, Mutant};
use super::coroutine::Coroutine;
use super::disk::{Power, SimDisk};
use super::oracle::{Item, Oracle};
use super::plan::Plan;
use super::poller::Poller;
use super::transport::{Line, Network, SimSource, SimTransport};
use crate::clock::Clock;
use crate::event::{Event, Events};
use crate::journal::memory_disk::Fate;
use crate::lane::{LaneOptions, LaneWriter, Parts, Worker};
use crate::replicate::lane::{Lane, Shared};
use crate::replicate::stop::Stop;
use crate::replicate::{JournalSource, Options, ReplicationStatus, State};

/// The lanes, by their number here.
pub const TELEMETRY: usize = 0;
const EVENTS: usize = 1;
/// File that says which segments were sent.
pub const HANDED: &str = "handed";
const NAMES: [&str; 2] = ["telemetry", "events"];
/// A box that cannot start is started again after this time.
const START_AGAIN: Duration = Duration::from_secs(2);
/// What a replicator waits for so long is not worth doing anything else in between.
const SOON: Duration = Duration::from_millis(3);
/// After the faults have stopped, everything must be through within this many rounds.
const DRAIN_ROUNDS_MAX: u32 = 1000;
const DRAIN_ROUND: Duration = Duration::from_millis(500);

/// See the module.
pub struct World {
    pub context: Context,
    pub fate: Fate,
    pub plan: Plan,
    pub power: Power,
    pub disks: [SimDisk; 2],
    pub broker: Broker,
    pub network: Network,
    pub oracles: [Oracle; 2],
    /// Decides what the disks do not give.
    pub(super) read_fate: Fate,
    /// One of the places of the journal's name has decayed.
    pub name_decays: bool,
    /// The file that says which segments were sent has decayed.
    pub handed_decays: bool,
    pollers: Vec<Poller>,
    run: Option<Run>,
    starts: u32,
    /// What the small state remembers of what Kafka had confirmed of a journal.
    remembered: [Option<(String, u64)>; 2],
}

/// One run of the box's process.
struct Run {
    lanes: [Running; 2],
    emitted: mpsc::Receiver<Event>,
    /// The events lane had no room for it.
    stalled: Option<Event>,
}

struct Running {
    worker: Worker,
    writer: LaneWriter,
    replicator: Coroutine,
    status: Arc<ReplicationStatus>,
    /// Records that the worker has synced since its start.
    records: u64,
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>, is_logged: bool) -> Self {
        let context = Context::new(seed, mutant, is_logged);
        let mut fate = Fate::new(seed);
        let plan = Plan::new(&mut fate);
        let power = Power::default();
        let disks = NAMES.map(|name| SimDisk::new(name, &context, &power));
        let oracles = NAMES.map(|name| Oracle::new(name, &context));
        let broker = Broker::new(&context, plan.transaction_timeout, plan.producer_expiry);
        let pollers = (0..plan.devices).map(Poller::new).collect();
        let network = Network::default();
        context.say(|| format!("seed {seed}: {plan:?}"));
        Self {
            context,
            fate,
            plan,
            power,
            disks,
            broker,
            network,
            oracles,
            read_fate: Fate::new(seed ^ 0xe10),
            name_decays: false,
            handed_decays: false,
            pollers,
            run: None,
            starts: 0,
            remembered: [None, None],
        }
    }

    /// The whole life of the box.
    pub fn live(&mut self) {
        self.start();
        for _ in 0..self.plan.steps {
            if self.context.has_failed() {
                break;
            }
            if self.plan.reads_fail {
                self.hurt_reads();
            }
            self.step();
            self.survive();
        }
        if !self.context.has_failed() {
            self.drain();
        }
        self.stop();
    }

    /// One component does something, or time passes, or something breaks.
    fn step(&mut self) {
        match self.fate.below(100) {
            0..30 => self.pass(),
            30..48 => self.scan(),
            48..60 => self.work(TELEMETRY),
            60..66 => self.work(EVENTS),
            66..84 => self.replicate(TELEMETRY),
            84..90 => self.replicate(EVENTS),
            90..95 => self.pump(),
            _ => self.hurt(),
        }
    }

    fn pass(&mut self) {
        let most_ms = [5, 50, 300, 2000][self.fate.below(4)];
        self.context.pass(Duration::from_millis(self.fate.below(most_ms) as u64));
    }

    fn scan(&mut self) {
        let Some(run) = &self.run else { return };
        let number = self.fate.below(self.pollers.len());
        for poller in [number, 0] {
            let writer = &run.lanes[TELEMETRY].writer;
            if let Some(item) = self.pollers[poller].scan(&self.context, &mut self.fate, writer) {
                self.oracles[TELEMETRY].accepted(item);
            }
        }
    }

    /// A lane's worker does what its thread would do.
    fn work(&mut self, lane: usize) {
        let Some(run) = &mut self.run else { return };
        let running = &mut run.lanes[lane];
        running.worker.step();
        self.oracles[lane].moved(running.worker.moved());
        let next = *running.writer.synced().borrow();
        let status = running.writer.status().borrow().clone();
        let records = status.records;
        if let Some(committed) = status.committed {
            self.remembered[lane] = Some((status.epoch, committed));
        }
        let new = records - std::mem::replace(&mut running.records, records);
        let written = if new > 0 { self.disks[lane].take_tried() } else { None };
        for name in self.disks[lane].take_replaced() {
            self.oracles[lane].thinned(&name);
        }
        if new > 0 {
            self.context.say(|| format!("{}: {new} records synced up to {next}", NAMES[lane]));
        }
        self.oracles[lane].synced(next, new, written);
        for name in self.disks[lane].take_removed() {
            self.oracles[lane].removed(&name, self.plan.is_short_of_room(lane));
        }
    }

    fn replicate(&mut self, lane: usize) {
        let Some(run) = &mut self.run else { return };
        let running = &mut run.lanes[lane];
        let due = running.replicator.due(self.context.now());
        if let Some(time) = due.filter(|time| *time < SOON) {
            self.context.pass(time);
            running.replicator.turn();
        }
        if let State::Waiting { cause, .. } = running.status.snapshot().state {
            self.context.demand(!cause.contains("please report it"), || cause.clone());
        }
        let has_ended = running.replicator.due(self.context.now()).is_none();
        self.context.demand(!has_ended, || format!("{}: the replicator panicked", NAMES[lane]));
        self.read();
    }

    /// The reader with `read_committed` looks at what is new.
    fn read(&mut self) {
        for seen in self.broker.take_visible() {
            let lane = NAMES.iter().position(|name| *name == seen.lane).unwrap();
            self.context.say(|| format!("reader: {} {}", seen.lane, seen.offset));
            self.oracles[lane].seen(&seen);
            if lane == EVENTS {
                self.learn(&seen.value);
            }
        }
    }

    /// What an event says of the telemetry lane must be true.
    fn learn(&mut self, json: &[u8]) {
        let event: serde_json::Value = serde_json::from_slice(json).unwrap();
        let data = &event["data"];
        let (from, to) = (data["from_offset"].as_u64(), data["to_offset"].as_u64());
        if data["lane"] == NAMES[TELEMETRY]
            && let Some((from, to)) = from.zip(to)
        {
            self.context.say(|| format!("reader: told of {from} to {to}: {}", event["text"]));
            if data["cause"] == "offsets-taken" {
                self.oracles[TELEMETRY].taken(from..to);
            } else if data["perhaps_sent"] == true || data["what"] == "new-offsets" {
                // Nothing is said to be lost.
            } else if event["kind"] == "thinned" {
                self.oracles[TELEMETRY].announced_sums(from..to);
            } else {
                self.oracles[TELEMETRY].announced(from..to);
            }
        }
    }

    /// Events go into their lane.
    fn pump(&mut self) {
        let Some(run) = &mut self.run else { return };
        while let Some(event) = run.stalled.take().or_else(|| run.emitted.try_recv().ok()) {
            let value = serde_json::to_vec(&event).unwrap();
            let item = Item { key: event.device.clone(), value, numbers: None };
            let device = event.clone();
            match run.lanes[EVENTS].writer.try_append_event(event) {
                Ok(()) => {
                    self.context.say(|| format!("event: {}", device.text));
                    self.pollers.iter_mut().for_each(|poller| poller.check(&self.context, &device));
                    self.oracles[EVENTS].accepted(item);
                }
                Err(event) => {
                    run.stalled = Some(event);
                    return;
                }
            }
        }
    }

    /// When the process has died, the next one starts.
    fn survive(&mut self) {
        if !self.power.is_off() {
            return;
        }
        let is_power_cut = self.fate.below(2) == 0;
        self.context.say(|| if is_power_cut { "POWER CUT".to_owned() } else { "KILL".to_owned() });
        self.stop();
        self.disks.iter().for_each(|disk| disk.restart(is_power_cut));
        self.power.on();
        self.age();
        self.start();
    }

    /// The process ends; nobody is asked.
    fn stop(&mut self) {
        self.power.off();
        if let Some(run) = self.run.take() {
            run.lanes.into_iter().for_each(|lane| lane.replicator.kill());
        }
    }

    /// Starts the process, again and again until its disks let it.
    fn start(&mut self) {
        while !self.context.has_failed() {
            self.starts += 1;
            let (events, emitted) = Events::new();
            if self.starts == 1 {
                // A box that is set up has time for it.
                self.power.on();
            }
            match [TELEMETRY, EVENTS].map(|lane| self.open(lane, &events)) {
                [Some(telemetry), Some(of_events)] => {
                    self.pollers.iter_mut().for_each(|poller| poller.start(&events));
                    self.run = Some(Run { lanes: [telemetry, of_events], emitted, stalled: None });
                    return;
                }
                lanes => lanes.into_iter().flatten().for_each(|lane| lane.replicator.kill()),
            }
            self.context.pass(START_AGAIN);
            if self.fate.below(3) == 0 {
                self.disks.iter().for_each(SimDisk::mend);
            }
            if self.power.is_off() {
                self.disks.iter().for_each(|disk| disk.restart(false));
                self.power.on();
            }
        }
    }

    fn open(&mut self, lane: usize, events: &Events) -> Option<Running> {
        let disk = &self.disks[lane];
        let was_sound = disk.is_sound() && self.plan.is_calm;
        if self.handed_decays || !disk.names().iter().any(|name| name == HANDED) {
            self.oracles[lane].doubt();
        }
        let clock = Arc::new(self.context.clone());
        let options = self.plan.lane(lane, LaneOptions::new(NAMES[lane], "/simulated", "Werk1/box"));
        let opened = Parts::open(Arc::new(disk.clone()), clock, options, events.clone());
        let Parts { worker, writer, reader, .. } = match opened {
            Ok(parts) => parts,
            Err(error) => {
                self.context.demand(!was_sound, || format!("{} does not open: {error}", NAMES[lane]));
                self.context.say(|| format!("{} does not open: {error}: {}", NAMES[lane], error.source));
                return None;
            }
        };
        if self.power.is_off() {
            return None;
        }
        let epoch = reader.epoch().to_string();
        let next = *writer.synced().borrow();
        self.context.say(|| format!("{}: opened, next offset {next}", NAMES[lane]));
        let tried = self.disks[lane].take_tried();
        for name in disk.take_replaced() {
            self.oracles[lane].thinned(&name);
        }
        // Whether the last run had read of a commit only it knows.
        disk.take_removed();
        self.oracles[lane].restarted(&epoch, next, tried);
        if let Some((_, confirmed)) = self.remembered[lane].as_mut().filter(|(of, _)| *of == epoch) {
            *confirmed = next.min(*confirmed);
            writer.remember_confirmed(*confirmed);
        }
        let status = Arc::new(ReplicationStatus::default());
        let replicator = self.replicator(lane, reader, Arc::clone(&status), events.clone());
        Some(Running { worker, writer, replicator, status, records: 0 })
    }

    fn replicator(
        &mut self,
        lane: usize,
        reader: crate::lane::LaneReader,
        status: Arc<ReplicationStatus>,
        events: Events,
    ) -> Coroutine {
        let boot = format!("boot-{}", self.starts);
        let options = self.plan.kafka(Options::new("simulated", "forebay", "Werk1", "box"));
        let (context, broker, network) = (self.context.clone(), self.broker.clone(), self.network.clone());
        let fate = Arc::new(Mutex::new(Fate::new(self.fate.next())));
        Coroutine::new(&self.context, move |turn| {
            let clock = Arc::new(context.clone());
            let line = Line { lane: NAMES[lane], context, broker, network, turn: turn.clone(), fate };
            let shared = Shared {
                options,
                lane: NAMES[lane].to_owned(),
                boot: boot.clone(),
                status,
                stop: Arc::new(Stop::default()),
                events: Some(events),
                clock,
            };
            let inner = JournalSource::new(NAMES[lane], reader);
            let source = SimSource { inner, line: line.clone(), read: None };
            let transport = SimTransport { line, boot, seen: None };
            let mut lane = Lane::new(Arc::new(shared), source, transport);
            while turn.give(lane.step()) {}
        })
    }

    /// The faults are over: everything must come through.
    fn drain(&mut self) {
        self.context.say(|| "the faults are over".to_owned());
        self.calm();
        for _ in 0..DRAIN_ROUNDS_MAX {
            self.context.pass(DRAIN_ROUND);
            for lane in [TELEMETRY, EVENTS] {
                self.work(lane);
                for _ in 0..200 {
                    self.replicate(lane);
                }
                self.pump();
            }
            let is_done = self.oracles.iter().all(|oracle| oracle.owed() == 0 && !oracle.is_waiting());
            if is_done || self.context.has_failed() {
                break;
            }
        }
        self.oracles.iter().for_each(Oracle::settle);
    }
}
