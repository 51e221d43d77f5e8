//! The task against a scripted connector, in paused time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_connector::PollError;
use tokio_util::sync::CancellationToken;

use super::testing::{Script, real, scripted, tag};
use super::{Shared, Sink, run};
use crate::batch::Batch;
use crate::device::{Expected, Text, Transform, Verify};
use crate::event::{Event, Events, Kind};
use crate::twin::{Link, Twin};

#[derive(Default)]
struct Collected(Mutex<Vec<Batch>>);

impl Sink for Collected {
    fn append(&self, batch: Batch) -> Result<(), Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        Ok(())
    }
}

fn lost() -> PollError {
    PollError::Lost { cause: "reset".into() }
}

/// Runs a scripted device for `seconds` of paused time and returns what came out of it.
async fn play(
    device: Arc<crate::device::Device>,
    seconds: u64,
    last_good_us: i64,
) -> (Vec<Batch>, Vec<Event>, Link) {
    let twin = Twin::new(&[Arc::clone(&device)]);
    let sink = Arc::new(Collected::default());
    let (events, mut received) = Events::new();
    let stop = CancellationToken::new();
    let shared = Shared {
        sink: Arc::clone(&sink) as Arc<dyn Sink>,
        events,
        reconnect_pause_max: Duration::from_secs(2),
        stop: stop.clone(),
    };
    let task = tokio::spawn(run(device, Arc::clone(&twin.devices[0]), shared, last_good_us));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.cancel();
    task.await.unwrap();
    let mut events = Vec::new();
    while let Ok(event) = received.try_recv() {
        events.push(event);
    }
    let batches = std::mem::take(&mut *sink.0.lock().unwrap());
    let link = twin.devices[0].state().link.clone();
    (batches, events, link)
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_gap_and_the_first_value_after_it_is_published_again() {
    let steps = vec![
        Ok(vec![]),
        Ok(vec![real(0, 1.0)]),
        Err(lost()),
        Err(lost()),
        Ok(vec![]),
        Ok(vec![real(0, 1.0)]),
    ];
    let device = scripted(vec![tag("a", 0)], Script::new(steps));
    let (batches, events, link) = play(device, 3, 0).await;
    assert_eq!(batches.len(), 2, "the unchanged value stands again after the gap");
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let state = Kind::DeviceState;
    assert_eq!(kinds, [state, state, Kind::Gap, state, state], "up, down, gap, up, down (script at its end)");
    assert_eq!(events[2].data["cause"], "lost");
    let gap = batches[1]
        .gap
        .as_deref()
        .expect("the batch after the gap carries it, so that both are stored or none");
    assert_eq!((gap.from_us, gap.cause.code.as_str()), (batches[0].edge_us, "lost"));
    assert!(matches!(link, Link::Down { cause, .. } if cause.code == "timeout"));
}

#[tokio::test(start_paused = true)]
async fn time_without_the_box_is_a_gap_too() {
    let device = scripted(vec![tag("a", 0)], Script::new(vec![Ok(vec![]), Ok(vec![real(0, 1.0)])]));
    let (_, events, _) = play(device, 1, 1_000_000).await;
    assert_eq!(events[0].kind, Kind::Gap);
    assert_eq!(events[0].data["cause"], "box-off");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_when_verify_fails() {
    let steps = vec![Ok(vec![]), Ok(vec![real(0, 30.0)]), Ok(vec![real(0, 30.0)])];
    let device = scripted(vec![tag("frequency", 0)], Script::new(steps));
    let mut device = Arc::into_inner(device).unwrap();
    device.verify.push(Verify {
        raw: 0,
        transform: Transform::None,
        expected: Expected::Between(45.0, 65.0),
        why: Text::plain("Check the byte order"),
    });
    let (batches, events, link) = play(Arc::new(device), 1, 0).await;
    assert!(batches.is_empty());
    let Link::Down { cause, .. } = link else { panic!("{link:?}") };
    assert_eq!(cause.code, "not-verified");
    assert!(
        cause.message.contains("is 30, must be within 45 and 65. Check the byte order"),
        "{}",
        cause.message
    );
    assert_eq!(events[0].kind, Kind::DeviceState);
}
