//! What takes the place of what, against machines that say how many connections they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, OpenFault, OptionKey, PollError,
    Protocol, RawSample, Simulator,
};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use super::*;
use crate::batch::Batch;
use crate::event::{Event, Events, Kind};
use crate::poll::testing::{Script, real, scripted, tag};
use crate::poll::{Shared, Sink};

/// Connections of one machine: now, and at most at a time.
#[derive(Clone)]
struct Machine(Arc<(AtomicUsize, AtomicUsize)>, Duration);

impl Machine {
    /// A poll of it takes so many seconds.
    fn new(poll_s: u64) -> Self {
        Self(Arc::default(), Duration::from_secs(poll_s))
    }
    fn connected(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }
    fn most_connected(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

/// One connection, and whether it stands.
struct Connection(Machine, bool);

impl Drop for Connection {
    fn drop(&mut self) {
        if self.1 {
            self.0.0.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Connector for Connection {
    async fn connect(&mut self) -> Result<String, PollError> {
        let Self(Machine(counts, _), connected) = self;
        if !std::mem::replace(connected, true) {
            counts.1.fetch_max(counts.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        }
        Ok("a machine".into())
    }
    async fn poll(&mut self, _: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        sleep(self.0.1).await;
        samples.push(real(0, 1.0));
        Ok(())
    }
    async fn read(&mut self, _: &[u32], _: &mut Vec<RawSample>) -> Result<(), PollError> {
        Ok(())
    }
    fn requests(&self) -> u64 {
        0
    }
    async fn close(&mut self) {}
}

#[async_trait]
impl Protocol for Machine {
    fn name(&self) -> &'static str {
        "machine"
    }
    fn options(&self) -> &'static [OptionKey] {
        &[]
    }
    fn check_address(&self, address: &str, _: DataType) -> Result<Address, AddressFault> {
        Ok(Address { canonical: address.into(), place: address.into() })
    }
    fn shift_address(&self, address: &str, _: u32) -> Result<String, AddressFault> {
        Ok(address.into())
    }
    fn check_device(&self, _: &DeviceSpec) -> Vec<DeviceComplaint> {
        Vec::new()
    }
    fn open(&self, _: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        Ok(Box::new(Connection(self.clone(), false)))
    }
    async fn simulate(&self, _: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        Err(OpenFault { message: "not simulated".into() })
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn append(&self, _: Batch) -> Result<(), Batch> {
        Ok(())
    }
}

fn start(devices: &[Arc<Device>]) -> (Devices, Receiver<Event>) {
    let (events, emitted) = Events::new();
    let shared = Shared {
        sink: Arc::new(Nowhere),
        events,
        gate: tokio::sync::watch::channel(false).1,
        reconnect_pause_max: Duration::from_secs(2),
        stop: CancellationToken::new(),
    };
    (Devices::start(&Arc::new(Twin::new(devices)), shared, |_| 0), emitted)
}

/// A device at the endpoint of all test devices.
fn named(machine: &Machine, name: &str) -> Arc<Device> {
    let mut device = Arc::into_inner(scripted(vec![tag("a", 0)], Script::default())).unwrap();
    (device.name, device.path) = (name.into(), format!("Werk1/{name}"));
    device.protocol = Arc::new(machine.clone());
    Arc::new(device)
}

async fn stopped(devices: &Devices) {
    for task in devices.stop() {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_with_another_name_waits_for_the_poll_of_the_same_machine() {
    let machine = Machine::new(3);
    let (devices, _emitted) = start(&[named(&machine, "press-3")]);
    sleep(Duration::from_secs(1)).await;
    devices.replace(&[named(&machine, "press-4")], |_| 0);
    sleep(Duration::from_secs(10)).await;
    let link = devices.twin.devices()[0].state().link.clone();
    assert!(matches!(link, Link::Up { .. }), "{link:?}");
    assert_eq!(machine.most_connected(), 1);
    stopped(&devices).await;
    assert_eq!(machine.connected(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_comes_back_waits_for_the_poll_before_it_went() {
    let machine = Machine::new(3);
    let (devices, mut emitted) = start(&[named(&machine, "press-3")]);
    sleep(Duration::from_secs(4)).await;
    devices.replace(&[], |_| 0);
    sleep(Duration::from_secs(1)).await;
    devices.replace(&[named(&machine, "press-3")], |_| 0);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(machine.most_connected(), 1);
    stopped(&devices).await;
    let gap = gap(&mut emitted);
    assert_eq!(gap["cause_text"], "it was not in the configuration");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end_is_ended_although_nobody_takes_its_place() {
    let machine = Machine::new(30);
    let (devices, _emitted) = start(&[named(&machine, "press-3")]);
    sleep(Duration::from_secs(1)).await;
    devices.replace(&[], |_| 0);
    sleep(END_MAX - Duration::from_secs(1)).await;
    assert_eq!(machine.connected(), 1, "it has its time");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(machine.connected(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_reloads_at_once_keep_the_cause_and_the_beginning_of_an_outage() {
    let waited = Duration::from_secs(3600);
    let steps = vec![
        Ok(vec![]),
        Ok(vec![real(0, 1.0)]),
        Err(PollError::Timeout { waited }),
        // Asked by the third device.
        Ok(vec![]),
        Ok(vec![real(0, 2.0)]),
    ];
    let script = Script::new(steps);
    let device = || scripted(vec![tag("a", 0)], script.clone());
    let (devices, mut emitted) = start(&[device()]);
    sleep(Duration::from_millis(150)).await;
    let link = devices.twin.devices()[0].state().link.clone();
    assert!(matches!(&link, Link::Down { cause, .. } if cause.code == "timeout"), "{link:?}");
    devices.replace(&[device()], |_| 0);
    devices.replace(&[device()], |_| 0);
    sleep(Duration::from_millis(350)).await;
    stopped(&devices).await;
    let gap = gap(&mut emitted);
    assert_eq!(gap["cause"], "timeout");
    let time = |key: &str| gap[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("to").duration_since(time("from")).as_secs() >= 3600, "{gap}");
}

#[test]
fn a_standby_that_has_not_read_yet_in_its_turn_leaves_no_time_of_an_earlier_one() {
    let twin = DeviceTwin::new(scripted(vec![tag("a", 0)], Script::default()));
    twin.state().values[0].edge_us = 5_000_000;
    for link in [Link::StandingBy, Link::Starting] {
        twin.state().link = link;
        assert_eq!(missing_after(&twin, was_changed()), Missing::default());
    }
    twin.state().link = Link::Up { since_us: 4_000_000 };
    twin.state().heard_us = 5_000_000;
    assert_eq!(missing_after(&twin, was_changed()), Missing::since(5_000_000, was_changed()));
    // What a silent subscription has not sent is no proof that it was read.
    twin.state().heard_us = 4_500_000;
    assert_eq!(missing_after(&twin, was_changed()), Missing::since(4_500_000, was_changed()));
}

/// The one gap that was told.
fn gap(emitted: &mut Receiver<Event>) -> serde_json::Value {
    let events = std::iter::from_fn(|| emitted.try_recv().ok());
    let mut gaps: Vec<_> = events.filter(|event| event.kind == Kind::Gap).map(|event| event.data).collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    gaps.remove(0)
}
