//! What goes wrong with the brokers and the network while the gateway is killed.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::kafka_cluster::Cluster;
use crate::network::{End, Network};

/// A broker that was restarted is waited for at most this long; after that the next trouble comes.
const RESTART_MAX: Duration = Duration::from_secs(30);

/// How often what happened.
#[derive(Default)]
pub struct Tally {
    pub broker_kills: AtomicU32,
    pub pauses: AtomicU32,
    pub partitions: AtomicU32,
    pub leader_moves: AtomicU32,
}

/// Brokers, network, and whether it is over.
pub struct Scene<'a> {
    pub cluster: Mutex<Cluster>,
    pub network: Mutex<&'a Network>,
    pub tally: Tally,
    /// Set when the test has seen enough, or has failed.
    pub over: AtomicBool,
}

/// Sets `over` when the test leaves, however it does.
pub struct Curtain<'a>(pub &'a AtomicBool);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Something with brokers.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// kill -9 of so many at once: one is borne, two end the quorum, three are an outage.
    Kill(usize),
    Pause,
}

/// Something with cables.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Between gateway and one broker, which the other brokers still see.
    Both,
    /// What the broker answers is lost: it has done what it was told and nobody knows.
    Answers,
    /// What the gateway asks is lost.
    Requests,
    /// Between one broker and the others: who still reaches it talks to a leader that is none.
    FromBrokers,
    /// The broker's cable is out.
    Unplugged,
    /// Between gateway and all brokers.
    All,
}

const CUTS: [Cut; 6] = [Cut::Both, Cut::Answers, Cut::Requests, Cut::FromBrokers, Cut::Unplugged, Cut::All];

impl<'a> Scene<'a> {
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn network(&self) -> MutexGuard<'_, &'a Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Waits, at most until it is over.
    fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills and pauses brokers until `kills` were killed.
    pub fn trouble_brokers(&self, random: &mut fastrand::Rng, kills: u32) {
        while !self.is_over() && self.tally.broker_kills.load(Ordering::SeqCst) < kills {
            let trouble = match random.u8(0..10) {
                0..5 => Trouble::Kill(1),
                5 | 6 => Trouble::Kill(2),
                7 => Trouble::Kill(3),
                _ => Trouble::Pause,
            };
            self.suffer(trouble, random);
            self.rest(Duration::from_millis(random.u64(0..1000)));
        }
    }

    fn suffer(&self, trouble: Trouble, random: &mut fastrand::Rng) {
        let mut cluster = self.cluster();
        let first = random.usize(0..3);
        match trouble {
            Trouble::Kill(count) => {
                let victims: Vec<usize> = (0..count).map(|index| (first + index) % 3).collect();
                victims.iter().for_each(|victim| cluster.kill(*victim));
                self.tally.broker_kills.fetch_add(u32::try_from(count).expect("three"), Ordering::SeqCst);
                self.rest(Duration::from_millis(random.u64(0..4000)));
                victims.iter().for_each(|victim| cluster.restart(*victim));
                victims.iter().for_each(|victim| self.wait_for_port(&cluster.broker(*victim)));
            }
            Trouble::Pause => {
                cluster.pause(first);
                self.tally.pauses.fetch_add(1, Ordering::SeqCst);
                self.rest(Duration::from_millis(random.u64(500..6000)));
                cluster.resume(first);
            }
        }
    }

    fn wait_for_port(&self, broker: &str) {
        let end = Instant::now() + RESTART_MAX;
        let address = broker.to_socket_addrs().expect("numbers").next().expect("one");
        while Instant::now() < end
            && !self.is_over()
            && TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_err()
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Cuts and heals lines until it is over.
    pub fn trouble_network(&self, random: &mut fastrand::Rng) {
        while !self.is_over() {
            self.rest(Duration::from_millis(random.u64(1000..6000)));
            let network = self.network();
            let broker = End::Broker(random.usize(0..3));
            let others = || (0..3).map(End::Broker).filter(move |other| *other != broker);
            let both = |one, other| {
                network.cut(one, other);
                network.cut(other, one);
            };
            let cut = CUTS[random.usize(0..CUTS.len())];
            match cut {
                Cut::Both => both(End::Host, broker),
                Cut::Answers => network.cut(broker, End::Host),
                Cut::Requests => network.cut(End::Host, broker),
                Cut::FromBrokers => others().for_each(|other| both(broker, other)),
                Cut::Unplugged => network.unplug(broker),
                Cut::All => (0..3).map(End::Broker).for_each(|broker| both(End::Host, broker)),
            }
            self.tally.partitions.fetch_add(1, Ordering::SeqCst);
            self.rest(Duration::from_millis(random.u64(300..7000)));
            network.heal();
            network.plug(broker);
        }
    }

    /// Counts how often a partition of `prefix` is led by another broker than before.
    pub fn count_leader_moves(&self, brokers: &str, prefix: &str) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let consumer: BaseConsumer = config.create().expect("a client");
        let mut leaders = std::collections::HashMap::new();
        while !self.is_over() {
            self.rest(Duration::from_millis(300));
            let Ok(metadata) = consumer.fetch_metadata(None, Duration::from_secs(2)) else { continue };
            for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)) {
                for partition in topic.partitions().iter().filter(|partition| partition.leader() > 0) {
                    let place = (topic.name().to_owned(), partition.id());
                    let before = leaders.insert(place, partition.leader());
                    if before.is_some_and(|before| before != partition.leader()) {
                        self.tally.leader_moves.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        }
    }

    /// Heals everything and waits until all brokers serve.
    pub fn end(&self) {
        self.network().heal();
        let cluster = self.cluster();
        (0..3).for_each(|index| cluster.resume(index));
        cluster.wait_complete();
    }
}
