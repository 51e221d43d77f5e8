//! The task against a scripted connector, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_connector::{DeviceMessage, PollError, Quality, RawSample, Value};
use tokio_util::sync::CancellationToken;

use super::testing::{Script, real, scripted, tag};
use super::{RELOADED, Shared, Sink, box_off, run, run_after};
use crate::batch::Batch;
use crate::device::{Expected, Tag, Text, Transform, Verify};
use crate::event::{Event, Events, Kind};
use crate::twin::{Cause, DeviceState, Link, Missing, Twin};

/// Keeps all batches but the first few.
#[derive(Default)]
struct Collected(Mutex<Vec<Batch>>, AtomicUsize);

impl Sink for Collected {
    fn append(&self, batch: Batch) -> Result<(), Batch> {
        let refuse = |left: usize| left.checked_sub(1);
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
            return Err(batch);
        }
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
) -> (Vec<Batch>, Vec<Event>, DeviceState) {
    play_into(Collected::default(), device, seconds, last_good_us).await
}

async fn play_into(
    sink: Collected,
    device: Arc<crate::device::Device>,
    seconds: u64,
    last_good_us: i64,
) -> (Vec<Batch>, Vec<Event>, DeviceState) {
    let twin = Twin::new(&[Arc::clone(&device)]);
    let sink = Arc::new(sink);
    let (events, mut received) = Events::new();
    let stop = CancellationToken::new();
    let shared = Shared {
        sink: Arc::clone(&sink) as Arc<dyn Sink>,
        events,
        gate: tokio::sync::watch::channel(false).1,
        reconnect_pause_max: Duration::from_secs(2),
        stop: stop.clone(),
    };
    let task = tokio::spawn(run(device, Arc::clone(&twin.devices()[0]), shared, last_good_us));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.cancel();
    task.await.unwrap();
    let mut events = Vec::new();
    while let Ok(event) = received.try_recv() {
        events.push(event);
    }
    let batches = std::mem::take(&mut *sink.0.lock().unwrap());
    let state = twin.devices()[0].state().clone();
    (batches, events, state)
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
    let (batches, events, state) = play(device, 3, 0).await;
    assert_eq!(batches.len(), 2, "the unchanged value stands again after the gap");
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let link = Kind::DeviceState;
    assert_eq!(kinds, [link, link, Kind::Gap, link, link], "up, down, gap, up, down (script at its end)");
    assert_eq!(events[2].data["cause"], "lost");
    let gap = batches[1]
        .gap
        .as_deref()
        .expect("the batch after the gap carries it, so that both are stored or none");
    assert_eq!((gap.from_us, gap.cause.code.as_str()), (batches[0].edge_us, "lost"));
    assert!(matches!(state.link, Link::Down { cause, .. } if cause.code == "timeout"));
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
    let (batches, events, state) = play(Arc::new(device), 1, 0).await;
    assert!(batches.is_empty());
    let Link::Down { cause, .. } = state.link else { panic!("{:?}", state.link) };
    assert_eq!(cause.code, "not-verified");
    assert!(
        cause.message.contains("is 30, must be within 45 and 65. Check the byte order"),
        "{}",
        cause.message
    );
    assert_eq!(events[0].kind, Kind::DeviceState);
}

#[tokio::test(start_paused = true)]
async fn a_gap_over_a_restart_names_what_came_after_it() {
    let steps = vec![Err(lost()), Ok(vec![]), Ok(vec![real(0, 1.0)])];
    let device = scripted(vec![tag("a", 0)], Script::new(steps));
    let (_, events, _) = play(device, 2, 1_000_000).await;
    let gap = events.iter().find(|event| event.kind == Kind::Gap).unwrap();
    assert_eq!(gap.data["cause"], "box-off");
    assert_eq!(gap.data["from"], "1970-01-01T00:00:01.000000Z");
    assert!(gap.text.ends_with("Forebay was not running; then connection lost: reset"), "{}", gap.text);
}

#[tokio::test(start_paused = true)]
async fn what_the_journal_had_no_room_for_is_one_gap_and_is_published_again() {
    let mut steps = vec![Ok(vec![])];
    steps.extend((0..30).map(|_| Ok(vec![real(0, 1.0)])));
    let device = scripted(vec![tag("a", 0)], Script::new(steps));
    let sink = Collected(Mutex::default(), AtomicUsize::new(5));
    let (batches, events, _) = play_into(sink, device, 10, 0).await;
    assert_eq!(batches.len(), 1, "the value does not change, but the journal did not have it");
    let gaps: Vec<_> = events.iter().filter(|event| event.kind == Kind::Gap).collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0].data["cause"], &gaps[0].data["samples"]), (&"journal-full".into(), &5.into()));
}

#[tokio::test(start_paused = true)]
async fn silence_of_a_subscription_belongs_to_the_gap() {
    let waited = Duration::from_secs(3600);
    let steps = vec![
        Ok(vec![]),
        Ok(vec![real(0, 1.0)]),
        Ok(vec![]),
        Err(PollError::Timeout { waited }),
        Ok(vec![]),
        Ok(vec![real(0, 1.0)]),
    ];
    let device = scripted(vec![tag("a", 0)], Script::new(steps));
    let (_, events, _) = play(device, 2, 0).await;
    let gap = events.iter().find(|event| event.kind == Kind::Gap).unwrap();
    let time = |key: &str| gap.data[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("to").duration_since(time("from")).as_secs() >= 3600);
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_refusal_stands_in_the_twin_while_it_lasts() {
    let refused = RawSample { value: Value::Null, quality: Quality::Refused, ..real(1, 0.0) };
    let steps = vec![Ok(vec![]), Ok(vec![real(0, 1.0), refused.clone()])];
    let tags = || vec![tag("a", 0), tag("b", 1)];
    let (_, _, state) = play(scripted(tags(), Script::new(steps.clone())), 1, 0).await;
    assert_eq!(state.refusals.into_iter().collect::<Vec<_>>(), [(1, "there is no raw tag 1".to_owned())]);
    let more = vec![Ok(vec![real(0, 1.0), real(1, 1.0)])];
    let (_, _, state) = play(scripted(tags(), Script::new([steps, more].concat())), 1, 0).await;
    assert!(state.refusals.is_empty());
}

#[tokio::test(start_paused = true)]
async fn causes_that_take_turns_are_told_once_each() {
    let silent = || PollError::Timeout { waited: Duration::from_secs(1) };
    let steps = (0..20).map(|turn| Err(if turn % 2 == 0 { lost() } else { silent() })).collect();
    let device = scripted(vec![tag("a", 0)], Script::new(steps));
    let (_, events, state) = play(device, 60, 0).await;
    assert!(state.errors > 20);
    let causes: Vec<_> = events.iter().map(|event| event.data["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["lost", "timeout"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_device_remembers_of_an_outage_is_stored_in_front_of_the_first_new_value() {
    let at = |us: i64| RawSample { source_us: Some(us), ..real(0, 7.5) };
    let steps = vec![Ok(vec![]), Ok(vec![real(0, 8.5)])];
    // Out of order, and one from before the outage and one from the future, which are not of it.
    let history = vec![Ok(vec![at(3_000_000), at(2_000_000), at(900_000), at(i64::MAX - 1)])];
    let device = scripted(vec![tag("a", 0)], Script::new(steps).remembering(history));
    let (batches, events, state) = play(device, 1, 1_000_000).await;
    let times: Vec<_> = batches[0].samples.iter().map(|sample| sample.source_us).collect();
    assert_eq!(times, [Some(2_000_000), Some(3_000_000)]);
    assert_eq!(batches[0].gap.as_deref().map(|gap| gap.from_us), Some(1_000_000), "one record or none");
    assert_eq!(batches[1].samples[0].value, Value::Real(8.5));
    assert!(batches[1].gap.is_none());
    let gaps: Vec<_> = events.iter().filter(|event| event.kind == Kind::Gap).collect();
    assert_eq!((gaps.len(), &gaps[0].data["from_history"]), (1, &2.into()));
    assert_eq!(state.values[0].value, Value::Real(8.5), "the past is not shown as the present");
}

#[tokio::test(start_paused = true)]
async fn what_the_device_has_given_before_does_not_come_again_from_its_memory() {
    let now_us = crate::clock::now_us();
    let at =
        |tag: u32, ago_s: i64| RawSample { source_us: Some(now_us - ago_s * 1_000_000), ..real(tag, 7.5) };
    // Two hours of silence before the connection was given up: the outage begins before these values.
    let waited = Duration::from_secs(7200);
    let steps = vec![
        Ok(vec![]),
        Ok(vec![at(0, 3600), at(1, 5000)]),
        Err(PollError::Timeout { waited }),
        Ok(vec![]),
        Ok(vec![real(0, 8.5)]),
    ];
    let history = vec![Ok(vec![at(0, 3700), at(0, 3600), at(0, 1800), at(1, 3600)])];
    let device = scripted(vec![tag("a", 0), tag("b", 1)], Script::new(steps).remembering(history));
    let (batches, _, _) = play(device, 2, 0).await;
    let times = |batch: &Batch| batch.samples.iter().map(|it| (it.tag, it.source_us)).collect::<Vec<_>>();
    assert_eq!(times(&batches[1]), [(1, at(1, 3600).source_us), (0, at(0, 1800).source_us)]);
    assert_eq!(batches[2].samples[0].value, Value::Real(8.5));
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_read_does_not_keep_the_device_away() {
    let steps = vec![Ok(vec![]), Ok(vec![]), Ok(vec![real(0, 1.0)])];
    // Asked a second time it would give a value.
    let history = vec![Err(lost()), Ok(vec![RawSample { source_us: Some(2_000_000), ..real(0, 7.5) }])];
    let device = scripted(vec![tag("a", 0)], Script::new(steps).remembering(history));
    let (batches, events, _) = play(device, 2, 1_000_000).await;
    assert_eq!(batches[0].samples[0].value, Value::Real(1.0));
    let gap = events.iter().find(|event| event.kind == Kind::Gap).unwrap();
    assert!(gap.data.get("from_history").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_history_under_a_small_budget_takes_its_time() {
    let steps = vec![Ok(vec![]), Ok(vec![real(0, 8.5)])];
    let history = vec![Ok(vec![RawSample { source_us: Some(2_000_000), ..real(0, 7.5) }])];
    // More than a minute at one request a second.
    let script = Script::new(steps).remembering(history).asking_for_history(100);
    let mut device = Arc::into_inner(scripted(vec![tag("a", 0)], script)).unwrap();
    device.access.budget.requests_per_second = Some(1);
    device.access.line = "slow history".into();
    let (batches, events, _) = play(Arc::new(device), 110, 1_000_000).await;
    assert_eq!(batches[0].samples[0].value, Value::Real(7.5), "{events:?}");
    assert_eq!(batches[1].samples[0].value, Value::Real(8.5));
    assert_eq!(events[0].data["from_history"], 1, "the connection was not given up before: {events:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_gap_begins_when_a_silent_subscription_was_last_heard() {
    let script = Script::new(vec![Ok(vec![]), Ok(vec![real(0, 1.0)])]).falling_silent();
    let mut forced = tag("a", 0);
    // It would go out with every scan.
    forced.max_silence = Duration::ZERO;
    let (batches, _, state) = play(scripted(vec![forced], script), 30, 0).await;
    // Time is not real here, the clock is: the silence of half a minute reaches back before the start.
    assert!(state.values[0].edge_us - state.read_us() > 29_000_000, "{state:?}");
    // Those of the scan in which it fell silent and of the one behind it.
    assert!(batches.len() <= 3, "what is only taken for unchanged is not put into the journal");
}

#[tokio::test(start_paused = true)]
async fn alarms_of_the_device_are_events_and_a_flood_of_them_is_counted() {
    let message = |number: usize| DeviceMessage {
        source_us: Some(5_000_000),
        source: "Pump 1".into(),
        kind: "OffNormalAlarmType".into(),
        text: format!("Pressure low {number}"),
        severity: 700,
        active: Some(true),
        acknowledged: Some(false),
        condition: "i=17".into(),
    };
    let mut steps = vec![Ok(vec![])];
    steps.extend((0..700).map(|_| Ok(vec![real(0, 1.0)])));
    let script = Script::new(steps).saying((0..603).map(message).collect());
    let (_, events, _) = play(scripted(vec![tag("a", 0)], script), 65, 0).await;
    let alarms: Vec<_> = events.iter().filter(|event| event.kind == Kind::Alarm).collect();
    assert_eq!(alarms.len(), 601);
    assert_eq!(alarms[0].text, "Pressure low 0");
    assert_eq!(
        alarms[0].data,
        serde_json::json!({
            "time": "1970-01-01T00:00:05.000000Z", "source": "Pump 1", "type": "OffNormalAlarmType",
            "severity": 700, "active": true, "acknowledged": false, "condition": "i=17",
        })
    );
    assert_eq!(alarms[600].data, serde_json::json!({ "left_out": 3 }));
}

#[tokio::test(start_paused = true)]
async fn a_device_of_another_box_is_read_only_while_the_gate_is_open() {
    let connection = || {
        let mut steps = vec![Ok(vec![])];
        steps.extend((0..9).map(|_| Ok(vec![real(0, 1.0)])));
        steps
    };
    // Each connection lasts for nine scans of 100 ms; after that the script is silent.
    let device = scripted(vec![tag("a", 0)], Script::new([connection(), connection()].concat()));
    let mut device = Arc::into_inner(device).unwrap();
    device.standby_for = "box-a".into();
    let device = Arc::new(device);
    let (events, mut received) = Events::new();
    let (sink, twin, stop) =
        (Arc::<Collected>::default(), Twin::new(&[Arc::clone(&device)]), CancellationToken::new());
    let (gate, closed) = tokio::sync::watch::channel(false);
    let shared = Shared {
        sink: sink.clone(),
        events,
        gate: closed,
        reconnect_pause_max: Duration::from_secs(1),
        stop: stop.clone(),
    };
    // The time it was last read by this box, hours ago, is no gap: the other box has read it.
    let task = tokio::spawn(run(device, Arc::clone(&twin.devices()[0]), shared, 1_000_000));
    let link = || twin.devices()[0].state().link.clone();
    let stored = || sink.0.lock().unwrap().len();
    for turn in 1..=2 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert_eq!((link(), stored()), (Link::StandingBy, turn - 1));
        gate.send_replace(true);
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(matches!(link(), Link::Up { .. }), "{:?}", link());
        assert_eq!(stored(), turn, "the first value of each turn, then it is unchanged");
        // The rest of this connection's script.
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.send_replace(false);
    }
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(link(), Link::StandingBy);
    stop.cancel();
    task.await.unwrap();
    let kinds: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).map(|event| event.kind).collect();
    assert!(!kinds.contains(&Kind::Gap), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_swinging_door_holds_is_stored_when_the_connection_ends_with_its_own_quality() {
    let at = |value: f32, second: i64| RawSample {
        quality: Quality::Uncertain,
        source_us: Some(second * 1_000_000),
        ..real(0, value)
    };
    let steps = vec![
        Ok(vec![]),
        Ok(vec![at(1.0, 1)]),
        Ok(vec![at(2.0, 2)]),
        Ok(vec![at(3.0, 3)]),
        Err(lost()),
        Ok(vec![]),
        Ok(vec![real(0, 9.0)]),
    ];
    let device = scripted(vec![Tag { compress: Some(0.1), ..tag("a", 0) }], Script::new(steps));
    let (batches, ..) = play(device, 3, 0).await;
    let samples: Vec<_> = batches.iter().flat_map(|batch| &batch.samples).collect();
    let values: Vec<_> = samples.iter().map(|sample| (&sample.value, sample.quality)).collect();
    let expected = [
        (&Value::Real(1.0), Quality::Uncertain),
        (&Value::Real(3.0), Quality::Uncertain),
        (&Value::Real(9.0), Quality::Good),
    ];
    assert_eq!(values, expected);
    assert!(batches[1].gap.is_none() && batches[2].gap.is_some(), "what was held is from before the gap");
}

#[tokio::test(start_paused = true)]
async fn a_long_history_waits_for_room_in_the_journal_and_is_stored_whole() {
    let at = |us: i64| RawSample { source_us: Some(us), ..real(0, 7.5) };
    let steps = vec![Ok(vec![]), Ok(vec![real(0, 8.5)])];
    let history = vec![Ok((2_000_000..2_002_500).map(at).collect())];
    let device = scripted(vec![tag("a", 0)], Script::new(steps).remembering(history));
    // The queue is full for the first five.
    let sink = Collected(Mutex::default(), AtomicUsize::new(5));
    let (batches, events, _) = play_into(sink, device, 2, 1_000_000).await;
    let lengths: Vec<_> = batches.iter().map(|batch| batch.samples.len()).collect();
    assert_eq!(lengths, [1000, 1000, 500, 1]);
    assert!(batches[0].gap.is_some() && batches[1..].iter().all(|batch| batch.gap.is_none()));
    let causes: Vec<_> =
        events.iter().filter(|it| it.kind == Kind::Gap).map(|it| it.data["cause"].clone()).collect();
    assert_eq!(causes, ["box-off"], "nothing was lost");
}

#[tokio::test(start_paused = true)]
async fn messages_that_came_before_the_connection_broke_are_told() {
    let message = DeviceMessage {
        source_us: None,
        source: "Pump 1".into(),
        kind: "OffNormalAlarmType".into(),
        text: "Pressure low".into(),
        severity: 700,
        active: Some(true),
        acknowledged: None,
        condition: String::new(),
    };
    let script = Script::new(vec![Ok(vec![]), Err(lost())]).saying(vec![message]);
    let (_, events, _) = play(scripted(vec![tag("a", 0)], script), 1, 0).await;
    assert!(events.iter().any(|event| event.kind == Kind::Alarm));
}

/// The gaps that a device of another box tells in one turn of this one, missing values as given. The
/// gate opens before the task begins or after.
async fn gaps_of_a_turn(missing: Missing, is_open: bool) -> Vec<serde_json::Value> {
    let device = scripted(vec![tag("a", 0)], Script::new(vec![Ok(vec![]), Ok(vec![real(0, 1.0)])]));
    let mut device = Arc::into_inner(device).unwrap();
    device.standby_for = "box-a".into();
    let device = Arc::new(device);
    let (events, mut received) = Events::new();
    let (gate, opens) = tokio::sync::watch::channel(is_open);
    let stop = CancellationToken::new();
    let shared = Shared {
        sink: Arc::<Collected>::default(),
        events,
        gate: opens,
        reconnect_pause_max: Duration::from_secs(1),
        stop: stop.clone(),
    };
    let twin = Twin::new(&[Arc::clone(&device)]);
    let task = tokio::spawn(run_after(device, Arc::clone(&twin.devices()[0]), shared, missing));
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.send_replace(true);
    tokio::time::sleep(Duration::from_millis(150)).await;
    stop.cancel();
    task.await.unwrap();
    let left = twin.devices()[0].state().clone();
    assert!(left.link != Link::StandingBy && left.missing.last_good_us > 0, "it was read: {left:?}");
    let mut events: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
    assert!(events.iter().any(|event| event.kind == Kind::DeviceState));
    assert!(events.iter().all(|event| event.data["standby_for"] == "box-a"), "{events:?}");
    events.retain(|event| event.kind == Kind::Gap);
    events.into_iter().map(|event| event.data).collect()
}

#[tokio::test(start_paused = true)]
async fn a_standby_tells_the_gap_of_a_reload_and_of_a_restart_while_it_reads() {
    let ago = |seconds: i64| crate::clock::now_us() - seconds * 1_000_000;
    let reloaded = || Cause { code: RELOADED.into(), message: "its configuration was changed".into() };
    let gaps = gaps_of_a_turn(Missing::since(ago(3600), reloaded()), true).await;
    assert_eq!((gaps.len(), &gaps[0]["cause"]), (1, &"reload".into()));
    let gaps = gaps_of_a_turn(Missing::since(ago(3600), reloaded()), false).await;
    assert!(gaps.is_empty(), "the other box has read: {gaps:?}");
    let gaps = gaps_of_a_turn(Missing::since(ago(60), box_off()), false).await;
    assert_eq!((gaps.len(), &gaps[0]["cause"]), (1, &"box-off".into()));
    let gaps = gaps_of_a_turn(Missing::since(ago(3600), box_off()), false).await;
    assert!(gaps.is_empty(), "the other box may have read: {gaps:?}");
}
