//! Everything that goes wrong.

use std::time::Duration;

use super::plan::Kind;
use super::world::{HANDED, TELEMETRY, World};

const EPOCH: &str = "epoch";
/// Bytes in front of a segment.
const HEADER_BYTES: usize = 64;
/// Microseconds of a year.
const YEAR_US: i64 = 31_556_952_000_000;

impl World {
    /// Something breaks, or is mended.
    pub(super) fn hurt(&mut self) {
        if self.plan.kinds.is_empty() {
            return;
        }
        let kind = self.plan.kinds[self.fate.below(self.plan.kinds.len())];
        match kind {
            Kind::Death => self.die(),
            Kind::BadDisk | Kind::FullDisk | Kind::SlowDisk => self.hurt_disk(kind),
            Kind::Rot => self.rot(),
            // Only when the power is cut.
            Kind::LostFile => {}
            Kind::Loss => {
                let loss = [0, 0, 2, 10, 40][self.fate.below(5)];
                let slow = Duration::from_millis([0, 20, 1_000][self.fate.below(3)]);
                let mut weather = self.network.weather();
                (weather.loss, weather.slow) = (loss, slow);
                self.context.say(|| format!("network: {loss} of 100 lost, up to {} ms", slow.as_millis()));
            }
            Kind::Outage => self.outage(),
            Kind::Intruder => {
                let lane = ["telemetry", "events"][self.fate.below(2)];
                self.context.say(|| format!("a second box writes as ours into {lane}"));
                self.broker.intrude(lane, "intruder");
            }
            Kind::Broker => {
                if self.fate.below(2) == 0 {
                    self.context.say(|| "the broker forgets its producers".to_owned());
                    self.broker.forget_producers();
                } else {
                    self.context.say(|| "the topics are made again".to_owned());
                    self.broker.recreate_topic(u32::try_from(self.fate.below(8)).unwrap());
                }
            }
            Kind::Clock => {
                let years = [-60, -3, 0, 3, 60][self.fate.below(5)];
                let jump =
                    years * YEAR_US + i64::try_from(self.fate.below(7_200_000_000)).unwrap() - 3_600_000_000;
                self.context.say(|| format!("the clock jumps by {} s", jump / 1_000_000));
                self.context.jump(jump);
            }
        }
    }

    fn die(&mut self) {
        match self.fate.below(6) {
            0 => self.power.off(),
            1..4 => self.power.off_after(self.fate.below(12) as u64),
            _ => {}
        }
    }

    fn hurt_disk(&mut self, kind: Kind) {
        let lane = self.fate.below(2);
        let (draw, count) = (self.fate.below(5), self.fate.below(3));
        let disk = &self.disks[lane];
        match (kind, draw) {
            (Kind::BadDisk, 0) => disk.fail_syncs(count, 0),
            (Kind::BadDisk, 1) => disk.fail_syncs(0, count),
            (Kind::BadDisk, 2) => disk.set(|faults| faults.writes = u32::try_from(count).unwrap()),
            (Kind::BadDisk, 3) => disk.set(|faults| faults.removals = u32::try_from(count).unwrap()),
            (Kind::FullDisk, 0) => disk.set(|faults| faults.room = Some(count * 300)),
            (Kind::FullDisk, 1) => disk.set(|faults| faults.read_only = true),
            (Kind::SlowDisk, 0) => disk.set(|faults| faults.slow = Duration::from_millis(300)),
            _ => disk.mend(),
        }
        self.context.say(|| format!("disk {lane}: {kind:?} {draw} {count}"));
    }

    /// A disk begins to give errors in the place of bytes, or stops it. Decided apart from all else, so
    /// that a seed without it stays what it is.
    pub(super) fn hurt_reads(&mut self) {
        let fate = &mut self.read_fate;
        if fate.below(25) > 0 {
            return;
        }
        let lane = fate.below(2);
        let disk = &self.disks[lane];
        let segments = || disk.names().into_iter().filter(|name| name.ends_with(".segment"));
        match (fate.below(3), segments().nth(fate.below(segments().count().max(1)))) {
            (0, Some(name)) => {
                let start = fate.below(disk.length(&name).max(1));
                let end = start + 1 + fate.below(400);
                self.context.say(|| format!("disk {lane}: bytes {start} to {end} of {name} are not given"));
                disk.fail_reads(&name, Some(start..end));
            }
            (1, Some(name)) => {
                self.context.say(|| format!("disk {lane}: {name} is not opened"));
                disk.fail_reads(&name, None);
            }
            _ => {
                self.context.say(|| format!("disk {lane}: everything is given"));
                disk.mend_reads();
            }
        }
    }

    fn outage(&mut self) {
        let is_down = self.fate.below(2) == 0;
        self.network.weather().is_down = is_down;
        self.context.say(|| format!("network: down {is_down}"));
        // Sometimes longer than the broker remembers a producer.
        if is_down && self.fate.below(4) == 0 {
            self.context.pass(Duration::from_secs(3_600));
        }
    }

    /// A byte of the telemetry decays while the box runs.
    fn rot(&mut self) {
        let disk = &self.disks[TELEMETRY];
        let names = disk.names();
        if names.is_empty() {
            return;
        }
        let name = &names[self.fate.below(names.len())];
        let length = disk.length(name);
        if length == 0 {
            return;
        }
        let at = self.fate.below(length);
        // The journal's name stands in its own file and in each segment; of two at once the second
        // is spared, because nothing could give the name back when all are gone.
        let holds_name = name == EPOCH || at < HEADER_BYTES;
        if holds_name && std::mem::replace(&mut self.name_decays, true) {
            return;
        }
        let bits = 1 << self.fate.below(8);
        if disk.rot(name, at, bits) {
            self.context.say(|| format!("byte {at} of {name} decays"));
            self.oracles[TELEMETRY].rotten(name, at);
            self.handed_decays |= name == HANDED;
        }
    }

    /// What happens to a disk while the box is off.
    pub(super) fn age(&mut self) {
        if self.plan.has(Kind::Rot) && self.fate.below(3) == 0 {
            self.rot();
        }
        if self.plan.has(Kind::LostFile) && self.fate.below(3) == 0 {
            self.lose_file();
        }
        if self.plan.has(Kind::FullDisk) && self.fate.below(4) == 0 {
            self.hurt_disk(Kind::FullDisk);
        }
    }

    /// A file has no name any more. The newest segment is spared: how far it went only it knows.
    fn lose_file(&mut self) {
        let disk = &self.disks[TELEMETRY];
        let mut names = disk.names();
        if let Some(newest) = names.iter().rposition(|name| name.ends_with(".segment")) {
            names.remove(newest);
        }
        // The newest may be torn, and then only another one could give the journal's name back.
        let is_nameless = self.name_decays || !names.iter().any(|name| name.ends_with(".segment"));
        let name = (!names.is_empty()).then(|| &names[self.fate.below(names.len())]);
        if let Some(name) = name.filter(|name| *name != EPOCH || !is_nameless) {
            self.name_decays |= name == EPOCH;
            self.context.say(|| format!("{name} is lost"));
            disk.forget(name);
            self.oracles[TELEMETRY].lost(name);
        }
    }

    /// The faults are over.
    pub(super) fn calm(&mut self) {
        self.plan.is_calm = true;
        self.power.on();
        self.disks.iter().for_each(super::disk::SimDisk::mend);
        let mut weather = self.network.weather();
        *weather = Default::default();
    }
}
