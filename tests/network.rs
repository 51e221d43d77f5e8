//! A network of the test's own: a switch, and each broker with a cable of its own to it.
//!
//! Everything lives in network namespaces but one end of one cable, which is this machine's. The
//! addresses are from 198.18.0.0/15, which RFC 2544 keeps for such use: nothing outside is reached,
//! and nothing outside reaches in.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Peer, Python};

/// Who is at the end of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This machine, where the gateway runs.
    Host,
    /// A broker, from 0.
    Broker(usize),
}

/// A switch with this machine and some brokers. Dropping it removes all of it.
pub struct Network {
    /// Beginning of the names of its namespaces.
    name: String,
    /// Name of this machine's end of its cable.
    cable: String,
    /// First three numbers of the addresses.
    subnet: String,
    /// What stands in for this machine's cable.
    line: Option<Peer>,
}

/// How slow this machine's line to the switch is.
#[derive(Debug, Clone, Copy)]
pub struct Slow {
    pub bits_per_s: u32,
    /// There and back.
    pub round_trip_ms: u32,
}

static NETWORKS: AtomicU32 = AtomicU32::new(0);
/// Two at once must not take the same addresses.
static SETTING_UP: Mutex<()> = Mutex::new(());

impl Network {
    /// Sets up the switch and the cables, and removes what tests that were killed have left.
    pub fn start(brokers: usize) -> Self {
        Self::start_with(brokers, None)
    }

    /// The same with a slow line instead of this machine's cable.
    pub fn start_with(brokers: usize, slow: Option<Slow>) -> Self {
        let _alone = SETTING_UP.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sweep();
        let (pid, number) = (std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let mut network = Self {
            name: format!("forebay-{pid}-{number}"),
            cable: cable(&pid.to_string(), &number.to_string()),
            subnet: free_subnet(),
            line: None,
        };
        let switch = network.switch();
        ip(&format!("netns add {switch}"));
        ip(&format!("-n {switch} link add br0 type bridge"));
        ip(&format!("-n {switch} link set br0 up"));
        network.line = slow.map(|slow| network.slow_line(slow));
        let (cable, subnet) = (&network.cable, &network.subnet);
        if network.line.is_none() {
            ip(&format!("link add {cable} type veth peer name {} netns {switch}", End::Host));
        }
        ip(&format!("address add {subnet}.1/24 dev {cable}"));
        ip(&format!("link set {cable} up"));
        network.plug_in(End::Host);
        for index in 0..brokers {
            let (end, inside) = (End::Broker(index), network.namespace(index));
            ip(&format!("netns add {inside}"));
            ip(&format!("-n {inside} link set lo up"));
            ip(&format!("-n {switch} link add {end} type veth peer name eth0 netns {inside}"));
            ip(&format!("-n {inside} address add {}/24 dev eth0", network.address(index)));
            ip(&format!("-n {inside} link set eth0 up"));
            network.plug_in(end);
        }
        network.nft("add table bridge cut");
        network.nft("add chain bridge cut forward { type filter hook forward priority 0 ; }");
        network
    }

    /// Address of a broker.
    pub fn address(&self, index: usize) -> String {
        format!("{}.{}", self.subnet, 10 + index)
    }

    /// Namespace of a broker, for `ip netns exec`.
    pub fn namespace(&self, index: usize) -> String {
        format!("{}-broker-{}", self.name, index + 1)
    }

    /// Drops all traffic that comes from one and is for the other, in this direction only.
    pub fn cut(&self, from: End, to: End) {
        self.nft(&format!("add rule bridge cut forward iifname \"{from}\" oifname \"{to}\" drop"));
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.nft("flush chain bridge cut forward");
    }

    /// Pulls the cable out of the switch.
    pub fn unplug(&self, end: End) {
        ip(&format!("-n {} link set {end} down", self.switch()));
    }

    /// Puts it back.
    pub fn plug(&self, end: End) {
        ip(&format!("-n {} link set {end} up", self.switch()));
    }

    /// Bytes that the slow line has carried so far: from here to the brokers, and back.
    pub fn carried_bytes(&mut self) -> [u64; 2] {
        let said = self.line.as_mut().expect("a slow line").command("bytes");
        let mut numbers = said.split(' ').map(|number| number.parse().expect("a number"));
        [(); 2].map(|()| numbers.next().expect("two numbers"))
    }

    fn slow_line(&self, slow: Slow) -> Peer {
        let (cable, switch) = (&self.cable, self.switch());
        let far = format!("{cable}far");
        let words = [
            cable,
            &far,
            "--bits-per-s",
            &slow.bits_per_s.to_string(),
            "--delay-ms",
            &(slow.round_trip_ms / 2).to_string(),
        ];
        let line = Peer::start(Python::Current, "slow_line.py", &words);
        ip(&format!("link set {far} netns {switch}"));
        ip(&format!("-n {switch} link set {far} name {}", End::Host));
        line
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn plug_in(&self, end: End) {
        ip(&format!("-n {} link set {end} master br0", self.switch()));
        self.plug(end);
    }

    fn nft(&self, command: &str) {
        let words = ["netns", "exec", &self.switch(), "nft", command];
        run("ip", &words, "nftables");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&self.name, &self.cable);
    }
}

/// Name of the switch's port.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Broker(index) => write!(f, "broker-{}", index + 1),
        }
    }
}

/// `ip` with these words.
fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>(), "iproute2");
}

fn run(program: &str, words: &[&str], package: &str) -> String {
    let done = Command::new(program).args(words).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}: run tests/setup (package {package})"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{program} {}: {said}(root is needed, and package {package}: run tests/setup)",
        words.join(" ")
    );
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Name of this machine's end of its cable; Linux allows 15 letters.
fn cable(pid: &str, number: &str) -> String {
    format!("fb{pid}n{number}")
}

/// Removes all namespaces of a network and with them their cables.
fn remove(name: &str, cable: &str) {
    // The cable goes with the switch, but later.
    let _gone_already = Command::new("ip").args(["link", "delete", cable]).stderr(Stdio::null()).status();
    for namespace in
        run("ip", &["netns", "list"], "iproute2").lines().filter_map(|line| line.split(' ').next())
    {
        if namespace.starts_with(&format!("{name}-")) {
            let _gone_already = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

/// Removes the networks of processes that are no more.
fn sweep() {
    for line in run("ip", &["netns", "list"], "iproute2").lines() {
        let mut parts = line.split([' ', '-']);
        let (Some("forebay"), Some(pid), Some(number)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            remove(&format!("forebay-{pid}-{number}"), &cable(pid, number));
        }
    }
}

/// A network of 256 addresses that nobody on this machine uses.
fn free_subnet() -> String {
    let used = run("ip", &["-4", "-o", "address"], "iproute2");
    let free = (0..=255)
        .map(|third| format!("198.18.{third}"))
        .find(|subnet| !used.contains(&format!(" {subnet}.")));
    free.expect("256 networks of tests are in use")
}
