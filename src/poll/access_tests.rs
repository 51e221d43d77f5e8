//! Budget, pace and backup address against Modbus servers that count what they are asked.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forebay_connector::{DataType, Scalar, TagSpec};
use tokio_util::sync::CancellationToken;

use super::testing::{device, tag};
use super::{Shared, Sink, run};
use crate::batch::Batch;
use crate::device::{Budget, Device, Expected, Text, Transform, Verify};
use crate::event::{Event, Events};
use crate::twin::{DeviceTwin, Twin};

/// A Modbus server that answers every read with zeros and notes when it was asked.
struct Peer {
    endpoint: String,
    asked: Arc<Mutex<Vec<Instant>>>,
    /// Milliseconds before each answer.
    slow_ms: Arc<AtomicU64>,
    /// Ends every connection at once.
    dead: Arc<AtomicBool>,
}

impl Peer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Self {
            endpoint: format!("tcp://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            slow_ms: Arc::default(),
            dead: Arc::default(),
        };
        let (asked, slow_ms, dead) = (peer.asked.clone(), peer.slow_ms.clone(), peer.dead.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, slow_ms, dead) = (asked.clone(), slow_ms.clone(), dead.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &asked, &slow_ms, &dead));
            }
        });
        peer
    }

    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers one connection until it ends (MODBUS Application Protocol V1.1b3, 6.3 and 4.1).
fn serve(mut stream: TcpStream, asked: &Mutex<Vec<Instant>>, slow_ms: &AtomicU64, dead: &AtomicBool) {
    let mut request = [0; 12];
    while !dead.load(Ordering::SeqCst) && stream.read_exact(&mut request).is_ok() {
        if dead.load(Ordering::SeqCst) {
            return;
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        std::thread::sleep(Duration::from_millis(slow_ms.load(Ordering::SeqCst)));
        let bytes = 2 * request[11];
        let mut answer = request[..8].to_vec();
        answer[5] = 3 + bytes;
        answer.push(bytes);
        answer.resize(9 + usize::from(bytes), 0);
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn append(&self, _: Batch) -> Result<(), Batch> {
        Ok(())
    }
}

/// A meter with `requests` registers far apart, each a request of its own.
fn meter(endpoint: &str, requests: u32, interval: Duration) -> Device {
    let tags = (0..requests).map(|raw| tag(&format!("t{raw}"), raw)).collect();
    let mut device = Arc::into_inner(device(tags)).unwrap();
    device.protocol = Arc::new(forebay_modbus::Modbus);
    device.spec.endpoint = endpoint.to_owned();
    device.spec.options = BTreeMap::new();
    device.spec.scans[0].interval = interval;
    device.spec.tags = (0..requests)
        .map(|raw| TagSpec {
            path: format!("t{raw}"),
            address: format!("hr:{}", raw * 100),
            data_type: DataType::single(Scalar::Word),
            order: None,
            scan: 0,
            deadband: None,
        })
        .collect();
    device.access.line = endpoint.to_owned();
    device
}

/// A device being polled.
pub struct Polled {
    pub twin: Arc<DeviceTwin>,
    pub events: tokio::sync::mpsc::Receiver<Event>,
    pub stop: CancellationToken,
}

pub fn poll(device: Device) -> Polled {
    let device = Arc::new(device);
    let twin = Twin::new(&[Arc::clone(&device)]);
    let (emitter, events) = Events::new();
    let stop = CancellationToken::new();
    let shared = Shared {
        gate: tokio::sync::watch::channel(false).1,
        sink: Arc::new(Nowhere),
        events: emitter,
        reconnect_pause_max: Duration::from_millis(20),
        stop: stop.clone(),
    };
    let twin = Arc::clone(&twin.devices()[0]);
    tokio::spawn(run(device, Arc::clone(&twin), shared, 0));
    Polled { twin, events, stop }
}

/// Waits for something to become true.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_gets_no_more_requests_than_its_budget_also_after_a_reconnect() {
    const PERMITTED: usize = 12;
    let peer = Peer::start();
    let mut device = meter(&peer.endpoint, 5, Duration::from_millis(10));
    device.access.budget = Budget { requests_per_second: Some(12), ..Budget::default() };
    device.verify.push(Verify {
        raw: 0,
        transform: Transform::None,
        expected: Expected::Between(0.0, 1.0),
        why: Text::default(),
    });
    let polled = poll(device);
    until("20 requests", || peer.asked().len() >= 20).await;
    // The connection breaks in the middle of a burst, and again.
    let is_up = || matches!(polled.twin.state().link, crate::twin::Link::Up { .. });
    for more in [25, 30] {
        until("values come in", is_up).await;
        peer.dead.store(true, Ordering::SeqCst);
        until("the break is noticed", || !is_up()).await;
        peer.dead.store(false, Ordering::SeqCst);
        until("requests after a break", || peer.asked().len() >= more).await;
    }
    until("50 requests", || peer.asked().len() >= 50).await;
    polled.stop.cancel();
    let asked = peer.asked();
    for (index, at) in asked.iter().enumerate() {
        // What is released a second apart may arrive closer together where the machine is busy.
        let in_second = asked[index..].iter().filter(|it| **it - *at < Duration::from_millis(600)).count();
        assert!(in_second <= PERMITTED, "{in_second} requests arrived in a second");
    }
    let seconds = (asked[asked.len() - 1] - asked[0]).as_secs_f64() + 1.0;
    assert!(asked.len() as f64 <= PERMITTED as f64 * seconds, "{} requests in {seconds} s", asked.len());
    assert!(polled.twin.state().connects >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_controller_is_asked_less_often_and_the_reason_is_told() {
    let peer = Peer::start();
    peer.slow_ms.store(60, Ordering::SeqCst);
    let mut polled = poll(meter(&peer.endpoint, 1, Duration::from_millis(20)));
    until("two steps", || polled.twin.state().access.slowed.iter().any(|slowed| slowed.stretch == 4)).await;
    let slowed = polled.twin.state().access.slowed.clone();
    assert_eq!((slowed.len(), slowed[0].scan.as_str(), slowed[0].interval_ms), (1, "fast", 20));
    assert!(slowed[0].took_ms >= 60);
    polled.stop.cancel();
    let mut told = Vec::new();
    while let Ok(event) = polled.events.try_recv() {
        told.push(event);
    }
    let slowed: Vec<_> = told.iter().filter(|event| event.data["state"] == "slowed").collect();
    assert_eq!(slowed.len(), 2);
    assert!(slowed[0].text.contains("20 ms were asked: it is read every 40 ms"), "{}", slowed[0].text);
    assert_eq!((&slowed[1].data["every_ms"], &slowed[1].data["scan"]), (&80.into(), &"fast".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_address_takes_over_is_kept_and_gives_back_when_it_fails() {
    let (first, second) = (Peer::start(), Peer::start());
    first.dead.store(true, Ordering::SeqCst);
    let mut device = meter(&first.endpoint, 1, Duration::from_millis(10));
    device.access.backup = vec![second.endpoint.clone()];
    let mut polled = poll(device);
    until("the backup is read", || second.asked().len() > 3).await;
    assert_eq!(polled.twin.state().access.backup.as_deref(), Some(second.endpoint.as_str()));
    first.dead.store(false, Ordering::SeqCst);
    until("the backup is read on", || second.asked().len() > 20).await;
    assert!(first.asked().is_empty(), "what works is kept");
    second.dead.store(true, Ordering::SeqCst);
    until("the first is read again", || first.asked().len() > 3).await;
    assert_eq!(polled.twin.state().access.backup, None);
    polled.stop.cancel();
    let mut told = Vec::new();
    while let Ok(event) = polled.events.try_recv() {
        if event.data["state"] == "address" {
            told.push(event.data["address"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(told, [second.endpoint.clone(), first.endpoint.clone()]);
}
