//! What a CPU says of itself, and the connection that is left for the engineer.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use forebay_connector::{
    Connector, DeviceMessage, DeviceSpec, OptionValue, Pace, PollError, Protocol, Value,
};
use forebay_s7::S7;
use support::double::{Asked, Double, Mode, SILENCE, word};
use support::{device, good};
use tokio::sync::Notify;
use tokio::time::Instant;

const TAG: [(&str, &str); 1] = [("DB1.DBW0", "UINT")];
const MODULE: u16 = 0x0011;
const COMPONENTS: u16 = 0x001C;
const CONNECTIONS: u16 = 0x0132;
const STATE: u16 = 0x0424;

fn value() -> Vec<Value> {
    vec![Value::Uint(u64::from(word(1, 0)))]
}

fn option(mut device: DeviceSpec, key: &str, text: &str) -> DeviceSpec {
    device.options.insert(key.into(), OptionValue::Text(text.into()));
    device
}

/// Record of SZL 0x0132 index 1: reserved PG and OP, taken PG and OP, free.
fn connections(reserved: [u16; 2], taken: [u16; 2], free: u16) -> Vec<u8> {
    let words = [1, reserved[0], reserved[1], taken[0], taken[1], 0, 0, free];
    let mut record: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    record.resize(40, 0);
    record
}

async fn advance(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_list_in_several_parts_is_joined() {
    let double = Double::start().await;
    let mut list = [0, 0x1C, 0, 0, 0, 34, 0, 3].to_vec();
    for (index, text) in [(1u8, "Presse 3"), (5, "S C-1234"), (7, "CPU 315-2 PN/DP")] {
        list.extend([0, index]);
        list.extend(text.bytes().chain(std::iter::repeat(0)).take(32));
    }
    // Cut within records, one part empty; each is asked for by the number of the one before.
    let parts = [list[..50].to_vec(), vec![], list[50..51].to_vec(), list[51..].to_vec()];
    double.lists(move |asked| match asked {
        Asked { id: COMPONENTS, .. } => asked.part(40, true, &parts[0]),
        Asked { sequence: n @ 40..=42, .. } => asked.part(n + 1, n < 42, &parts[usize::from(n - 39)]),
        _ => asked.unknown(),
    });
    let mut connector = S7.open(double.device(TAG)).unwrap();
    let identity = connector.connect().await.unwrap();
    assert_eq!(identity, "CPU 315-2 PN/DP, station Presse 3, serial S C-1234");
    assert_eq!(good(connector.as_mut(), &[0]).await, value());
}

#[tokio::test]
async fn hostile_lists_cost_their_text_and_nothing_else() {
    type Answer = fn(Asked) -> Vec<u8>;
    let hostile: [(&str, Answer); 9] = [
        ("silence", |_| vec![]),
        ("endless parts", |asked| asked.part(1, true, &[0, 0x11, 0, 0, 0, 28, 0, 1])),
        ("endless bytes", |asked| {
            asked.part(1, true, &[&[0, 0x11, 0, 0, 0, 28, 0, 1], &[0; 180][..]].concat())
        }),
        ("absurd lengths", |asked| {
            asked.part(1, false, &[0, 0x11, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, b'6'])
        }),
        ("no length", |asked| asked.part(1, false, &[0, 0x11, 0, 0, 0, 0, 0xFF, 0xFF, 0, 1, b'6'])),
        ("another list", |asked| asked.part(1, false, &[0x0F, 0x11, 0, 0, 0, 4, 0, 1, 0, 1, b'6', b'7'])),
        ("half a head", |asked| asked.part(1, false, &[0, 0x11, 0])),
        ("another reference", |mut asked| {
            asked.reference[1] ^= 1;
            asked.record(&[0, 1, b'6', b'7'])
        }),
        ("half a frame", |asked| asked.record(&[0; 40])[..20].to_vec()),
    ];
    let double = Double::start().await;
    for (what, answer) in hostile {
        double.lists(answer);
        let mut connector = S7.open(double.impatient(TAG)).unwrap();
        assert_eq!(connector.connect().await.as_deref(), Ok(""), "{what}");
        assert_eq!(good(connector.as_mut(), &[0]).await, value(), "{what}");
    }
}

#[tokio::test]
async fn a_device_that_breaks_off_is_asked_less_and_after_an_hour_again() {
    let double = Double::start().await;
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&questions);
    double.lists(move |asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        if asked.id == MODULE { asked.record(&[0, 1, b'6', b'E', b'S', b'7']) } else { vec![0; 8] }
    });
    let mut connector = S7.open(double.impatient(TAG)).unwrap();
    for (asked, connections) in [(2, 2), (1, 1), (1, 1)] {
        assert_eq!(connector.connect().await.as_deref(), Ok("6ES7"));
        assert_eq!(questions.swap(0, Ordering::Relaxed), asked);
        assert_eq!(double.selectors().len(), connections);
        assert_eq!(good(connector.as_mut(), &[0]).await, value());
    }
    advance(Duration::from_secs(3601)).await;
    connector.connect().await.unwrap();
    assert_eq!(questions.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_device_that_is_busy_after_it_broke_off_is_not_asked_for_ever() {
    let double = Double::start().await;
    let mut connector = S7.open(double.impatient(TAG)).unwrap();
    double.set(Mode::AnonymousBusy);
    for _ in 0..2 {
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(error, PollError::Refused { .. }), "{error}");
    }
    assert_eq!(connector.connect().await.as_deref(), Ok(""), "the question is left out");
    assert_eq!(good(connector.as_mut(), &[0]).await, value());
}

/// A budget so small that every request waits longer for its turn than a silent device is waited for.
struct Slow;

#[async_trait::async_trait]
impl Pace for Slow {
    async fn turn(&self) {
        advance(3 * SILENCE).await;
    }
}

#[tokio::test]
async fn waiting_for_a_turn_is_no_silence() {
    let double = Double::start().await;
    double.lists(|asked| match asked.id {
        MODULE => asked.record(&[0, 1, b'6', b'E', b'S', b'7']),
        CONNECTIONS => asked.record(&connections([1, 1], [0, 1], 3)),
        _ => asked.unknown(),
    });
    let mut connector = S7.open(double.impatient(TAG)).unwrap();
    connector.set_pace(Arc::new(Slow));
    assert_eq!(connector.connect().await.as_deref(), Ok("6ES7"));
    advance(Duration::from_secs(31)).await;
    assert_eq!(good(connector.as_mut(), &[0]).await, value(), "the connections are looked at");
    assert_eq!(double.selectors().len(), 1, "no question was lost");
}

#[tokio::test]
async fn a_device_that_breaks_off_has_one_connection_at_a_time() {
    let double = Double::start().await;
    double.lists(|_| vec![]);
    let mut connector = S7.open(double.impatient(TAG)).unwrap();
    assert_eq!(connector.connect().await.as_deref(), Ok(""));
    assert_eq!((double.selectors().len(), double.most_open()), (2, 1));
}

#[tokio::test]
async fn a_silent_device_is_given_up_before_the_poller_gives_up_the_connection() {
    let double = Double::start().await;
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    double.lists(move |_| {
        heard.notify_one();
        vec![]
    });
    // The device of the tests waits long for an answer.
    let mut connector = S7.open(double.device(TAG)).unwrap();
    let begun = Instant::now();
    let wait = async {
        asked.notified().await;
        advance(Duration::from_secs(6)).await;
    };
    let (connected, ()) = tokio::join!(connector.connect(), wait);
    assert_eq!(connected.as_deref(), Ok(""));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_question_over_which_the_call_is_dropped_is_left_out_the_third_time() {
    let double = Double::start().await;
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    double.lists(move |_| {
        heard.notify_one();
        vec![]
    });
    let mut connector = S7.open(double.device(TAG)).unwrap();
    for _ in 0..2 {
        tokio::select! {
            connected = connector.connect() => panic!("{connected:?} without an answer"),
            () = asked.notified() => {}
        }
    }
    tokio::select! {
        connected = connector.connect() => assert_eq!(connected.as_deref(), Ok("")),
        () = asked.notified() => panic!("asked once more"),
    }
    assert_eq!(good(connector.as_mut(), &[0]).await, value());
}

/// Pain 16: a collector took the programming device's place and TIA was locked out.
#[tokio::test]
async fn the_engineers_place_is_left_free() {
    let double = Double::start().await;
    let connect = async |device: DeviceSpec| {
        let mut connector = S7.open(device).unwrap();
        let connected = connector.connect().await.map(|_| ());
        if connected.is_ok() {
            assert_eq!(good(connector.as_mut(), &[0]).await, value());
        } else {
            let nothing = connector.poll(&[0], &mut Vec::new()).await;
            assert_eq!(nothing, Err(PollError::Lost { cause: "not connected".into() }));
        }
        (connected, double.selectors())
    };
    // By itself an operator panel's connection is taken, whatever the CPU says.
    let (connected, selectors) = connect(double.device(TAG)).await;
    assert_eq!((connected, selectors), (Ok(()), vec![(0x0100, 0x0201)]));

    // The programming device's is given back when there is no other for the engineer.
    let pg = option(double.device(TAG), "connection_type", "pg");
    double.lists(|asked| match (asked.id, asked.tsap >> 8) {
        (CONNECTIONS, 1) => asked.record(&connections([1, 1], [1, 0], 0)),
        (CONNECTIONS, _) => asked.record(&connections([1, 1], [0, 1], 0)),
        _ => asked.unknown(),
    });
    let (connected, selectors) = connect(pg.clone()).await;
    assert_eq!((connected, selectors), (Ok(()), vec![(0x0100, 0x0101), (0x0100, 0x0201)]));

    // Nothing left by any kind: ours is given up, and said so.
    double.lists(|asked| match asked.id {
        CONNECTIONS => asked.record(&connections([1, 1], [1, 2], 0)),
        _ => asked.unknown(),
    });
    let (connected, selectors) = connect(pg).await;
    let error = connected.unwrap_err();
    assert!(
        matches!(&error, PollError::Refused { what } if what.starts_with(
        "the last free connection is left for the engineer")),
        "{error}"
    );
    assert_eq!(selectors, [(0x0100, 0x0101), (0x0100, 0x0201), (0x0100, 0x0301)]);

    // A selector that the engineer has written is kept to.
    let (connected, selectors) = connect(option(double.device(TAG), "remote_tsap", "02.03")).await;
    assert!(matches!(connected, Err(PollError::Refused { .. })));
    assert_eq!(selectors, [(0x0100, 0x0203)]);

    // Unless the option says to read on.
    let mut take = double.device(TAG);
    take.options.insert("take_last_connection".into(), OptionValue::Bool(true));
    let (connected, selectors) = connect(take).await;
    assert_eq!((connected, selectors), (Ok(()), vec![(0x0100, 0x0201)]));
}

#[tokio::test]
async fn a_place_that_others_take_later_is_given_up_for_the_engineer() {
    let double = Double::start().await;
    let free = Arc::new(AtomicU16::new(3));
    let engineers = Arc::new(AtomicU16::new(0));
    let (now_free, now_in) = (Arc::clone(&free), Arc::clone(&engineers));
    double.lists(move |asked| match asked.id {
        CONNECTIONS => {
            let (free, engineers) = (now_free.load(Ordering::Relaxed), now_in.load(Ordering::Relaxed));
            asked.record(&connections([0, 1], [engineers, 3], free))
        }
        _ => asked.unknown(),
    });
    let mut connector = S7.open(double.device(TAG)).unwrap();
    connector.connect().await.unwrap();
    // The engineer comes and takes the last one: he has his place, nothing is given up.
    free.store(0, Ordering::Relaxed);
    engineers.store(1, Ordering::Relaxed);
    advance(Duration::from_secs(31)).await;
    assert_eq!(good(connector.as_mut(), &[0]).await, value());
    // He is gone and another panel has come instead.
    engineers.store(0, Ordering::Relaxed);
    assert_eq!(good(connector.as_mut(), &[0]).await, value(), "not looked at with each scan");
    advance(Duration::from_secs(31)).await;
    let error = connector.poll(&[0], &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("left for the engineer"), "{error}");
    free.store(1, Ordering::Relaxed);
    connector.connect().await.unwrap();
    assert_eq!(good(connector.as_mut(), &[0]).await, value());
}

#[tokio::test]
async fn a_cpu_in_stop_is_told_once() {
    let double = Double::start().await;
    let state = Arc::new(AtomicU16::new(8));
    let now = Arc::clone(&state);
    double.lists(move |asked| match asked.id {
        STATE => {
            let state = u8::try_from(now.load(Ordering::Relaxed)).unwrap();
            asked.record(&[&[0x51, 0x44, 0xFF, state][..], &[0; 16]].concat())
        }
        _ => asked.unknown(),
    });
    let mut connector = S7.open(double.device(TAG)).unwrap();
    connector.connect().await.unwrap();
    let told = |connector: &mut dyn Connector| {
        let mut messages: Vec<DeviceMessage> = Vec::new();
        connector.take_messages(&mut messages);
        messages.iter().map(|one| (one.active, one.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(connector.as_mut()), [], "it runs, as it should");
    for (number, active, words) in [(4, true, "in STOP"), (8, false, "in RUN")] {
        state.store(number, Ordering::Relaxed);
        advance(Duration::from_secs(31)).await;
        good(connector.as_mut(), &[0]).await;
        let messages = told(connector.as_mut());
        assert!(
            matches!(&messages[..], [(Some(on), text)] if *on == active && text.contains(words)),
            "{messages:?}"
        );
        advance(Duration::from_secs(31)).await;
        good(connector.as_mut(), &[0]).await;
        assert_eq!(told(connector.as_mut()), [], "once");
    }
}

#[tokio::test]
async fn transport_selectors_are_those_that_are_written() {
    let double = Double::start().await;
    let with = |options: &[(&str, &str)]| {
        options.iter().fold(double.device(TAG), |device, (key, text)| option(device, key, text))
    };
    for (device, selectors) in [
        (with(&[("cpu", "s7-300")]), (0x0100, 0x0202)),
        (with(&[("cpu", "s7-400"), ("connection_type", "basic")]), (0x0100, 0x0303)),
        (with(&[("cpu", "logo")]), (0x0100, 0x0200)),
        (with(&[("cpu", "logo"), ("local_tsap", "10.00"), ("remote_tsap", "20.00")]), (0x1000, 0x2000)),
        (with(&[("remote_tsap", "0x4D57")]), (0x0100, 0x4D57)),
    ] {
        assert_eq!(S7.check_device(&device), []);
        S7.open(device).unwrap().connect().await.unwrap();
        assert_eq!(double.selectors(), [selectors]);
    }
    let mut slot = with(&[("remote_tsap", "200")]);
    let complaints = S7.check_device(&slot);
    assert!(
        matches!(&complaints[..], [one] if one.code == "S0214" && one.key == "remote_tsap"),
        "{complaints:?}"
    );
    slot = with(&[("remote_tsap", "02.00")]);
    slot.options.insert("slot".into(), OptionValue::Int(2));
    let complaints = S7.check_device(&slot);
    assert!(matches!(&complaints[..], [one] if one.code == "S0214" && one.key == "slot"), "{complaints:?}");
}

#[tokio::test]
async fn a_simulated_cpu_has_timers_counters_and_the_memory_of_a_logo() {
    let tags = [
        ("T5", "S5TIME"),
        ("T6", "WORD"),
        ("C0", "BCD[3]"),
        ("DB1.DBB0", "DATE_AND_TIME"),
        ("DB1.DBW8", "DATE"),
        ("DB1.DBD10", "TOD"),
        ("DB1.DBW14", "BCD"),
        ("DB1.DBD16", "LBCD"),
        ("DB1.DBW20", "S5TIME[2]"),
        ("VW100", "INT"),
        ("V102.3", "BOOL"),
    ];
    let values = [
        Value::Int(127_000),
        Value::Uint(0x2127),
        Value::Array([7, 999, 0].map(Value::Uint).into()),
        Value::DateTime(1_770_798_615_123_000),
        support::text("2026-02-11"),
        Value::Int(86_399_999),
        Value::Uint(9_999),
        Value::Uint(12_345_678),
        Value::Array([10, 9_990_000].map(Value::Int).into()),
        Value::Int(-5),
        Value::Bool(true),
    ];
    let mut device = device(tags);
    let simulator = S7.simulate(&device).await.unwrap();
    (0..).zip(&values).for_each(|(tag, value)| simulator.set(tag, value));
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    connector.connect().await.unwrap();
    assert_eq!(good(connector.as_mut(), &[0]).await, values);
    assert_eq!(connector.requests(), 1);
    for (tag, bytes) in [(0, &[0x21u8, 0x27][..]), (2, &[0, 7, 9, 0x99, 0, 0]), (8, &[0, 1, 0x39, 0x99])] {
        let look = connector.look(tag).await.unwrap();
        assert_eq!((look.bytes.as_deref(), &look.sample.value), (Some(bytes), &values[tag as usize]));
    }
    assert!(connector.look(99).await.is_err());
    assert_eq!(good(connector.as_mut(), &[0]).await, values, "looking changes nothing");
}
