//! The limit of connections against a simulated CPU, by a protocol that counts what it has open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, OpenFault, OptionKey, PollError,
    Protocol, RawSample, Simulator,
};
use forebay_s7::S7;

use super::access_tests::{poll, until};
use super::testing::{device, tag};
use crate::device::Device;
use crate::twin::{DeviceTwin, Link};

/// S7, and how many connections there are, and were at the most.
#[derive(Clone, Default)]
struct Counted {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// Its connector.
struct Connection {
    inner: Box<dyn Connector>,
    counted: Counted,
    /// From the beginning of a connect until it fails or is closed.
    is_open: bool,
}

impl Connection {
    fn set(&mut self, open: bool) {
        match (self.is_open, open) {
            (false, true) => {
                let now = self.counted.open.fetch_add(1, Ordering::SeqCst) + 1;
                self.counted.most.fetch_max(now, Ordering::SeqCst);
            }
            (true, false) => {
                self.counted.open.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
        self.is_open = open;
    }
}

#[async_trait]
impl Connector for Connection {
    async fn connect(&mut self) -> Result<String, PollError> {
        self.set(true);
        self.inner.connect().await.inspect_err(|_| self.set(false))
    }
    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        self.inner.poll(due, samples).await
    }
    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        self.inner.read(tags, samples).await
    }
    fn requests(&self) -> u64 {
        self.inner.requests()
    }
    async fn close(&mut self) {
        self.inner.close().await;
        self.set(false);
    }
}

#[async_trait]
impl Protocol for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }
    fn options(&self) -> &'static [OptionKey] {
        S7.options()
    }
    fn check_address(&self, address: &str, data_type: DataType) -> Result<Address, AddressFault> {
        S7.check_address(address, data_type)
    }
    fn shift_address(&self, address: &str, by: u32) -> Result<String, AddressFault> {
        S7.shift_address(address, by)
    }
    fn check_device(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        S7.check_device(device)
    }
    fn address(&self, device: &DeviceSpec) -> String {
        S7.address(device)
    }
    fn open(&self, device: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        let inner = S7.open(device)?;
        Ok(Box::new(Connection { inner, counted: self.clone(), is_open: false }))
    }
    async fn simulate(&self, device: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        S7.simulate(device).await
    }
}

fn press(name: &str, protocol: &Counted, endpoint: &str, permitted: u32) -> Device {
    let mut device = Arc::into_inner(device(vec![tag("pressure", 0)])).unwrap();
    device.name = name.to_owned();
    device.protocol = Arc::new(protocol.clone());
    device.spec.endpoint = endpoint.to_owned();
    device.access.budget.connections = Some(permitted);
    device
}

fn is_up(twin: &DeviceTwin) -> bool {
    matches!(twin.state().link, Link::Up { .. })
}

/// The words of a device that waits for a connection.
fn waits(twin: &DeviceTwin) -> Option<String> {
    match &twin.state().link {
        Link::Down { cause, .. } if cause.code == "no-connection-left" => Some(cause.message.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_connections_to_an_address_than_its_budget_permits() {
    let protocol = Counted::default();
    let names = ["press-1", "press-2", "press-3"];
    let simulator = S7.simulate(&press("any", &protocol, "127.0.0.1", 2).spec).await.unwrap();
    let endpoint = simulator.endpoint();
    let mut polled: Vec<_> = names.iter().map(|name| poll(press(name, &protocol, &endpoint, 2))).collect();
    let two_and_one = |polled: &[super::access_tests::Polled]| {
        let up = polled.iter().filter(|polled| is_up(&polled.twin)).count();
        (up, polled.iter().filter(|polled| waits(&polled.twin).is_some()).count()) == (2, 1)
    };
    until("two are read and one waits", || two_and_one(&polled)).await;
    let words = polled.iter().find_map(|polled| waits(&polled.twin)).unwrap();
    assert!(words.contains(&format!("the budget permits 2 connections to {endpoint}")), "{words}");
    assert!(words.contains("are taken by press-"), "{words}");

    // The controller starts again under all of them.
    simulator.unplug(true).await;
    until("the break is noticed", || polled.iter().all(|polled| !is_up(&polled.twin))).await;
    simulator.unplug(false).await;
    until("two are read again and one waits", || two_and_one(&polled)).await;

    // One is stopped: the third has its place.
    let first = polled.iter().position(|polled| is_up(&polled.twin)).unwrap();
    polled.remove(first).stop.cancel();
    until("both others are read", || polled.iter().all(|polled| is_up(&polled.twin))).await;
    assert_eq!(protocol.most.load(Ordering::SeqCst), 2, "never more");
    let mut told = Vec::new();
    for polled in &mut polled {
        while let Ok(event) = polled.events.try_recv() {
            told.extend(event.data["cause"].as_str().map(str::to_owned));
        }
        polled.stop.cancel();
    }
    assert!(told.iter().any(|cause| cause == "no-connection-left"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_goes_to_its_backup_address() {
    let protocol = Counted::default();
    let any = press("any", &protocol, "127.0.0.1", 1).spec;
    let [first, second] = [S7.simulate(&any).await.unwrap(), S7.simulate(&any).await.unwrap()];
    let holder = poll(press("press-1", &protocol, &first.endpoint(), 1));
    until("the first place is taken", || is_up(&holder.twin)).await;
    let mut other = press("press-2", &protocol, &first.endpoint(), 1);
    other.access.backup = vec![second.endpoint()];
    let other = poll(other);
    until("it waits for a place", || waits(&other.twin).is_some()).await;
    // It waits three times 10 s, as long as the holder may take to give the place back.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!is_up(&other.twin), "it is patient");
    until("the backup is read", || is_up(&other.twin)).await;
    assert_eq!(other.twin.state().access.backup, Some(second.endpoint()));
    assert!(is_up(&holder.twin), "nobody lost a place for it");
    holder.stop.cancel();
    other.stop.cancel();
}
