//! Devices that lie, stall and babble. Whatever they do: no wrong value, no panic, an end in
//! bounded time, and when an honest device answers again its values are right.

use std::time::Duration;

use forebay_connector::{Connector, OptionValue, PollError, Quality, RawSample, Value};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::double::{Asked, bit, connect_and_poll, device, listen, ms, open, poll, serve, word};

/// Longest wait of the connector where the device is to be too slow for it.
pub const TIMEOUT_MS: u64 = 400;
/// The same where no answer in time is right, too.
const SHORT_MS: u64 = 100;
/// Nothing takes longer, even on a busy machine.
pub const STUCK: Duration = Duration::from_secs(60);
/// And where it is not, even on a machine that is busy with other tests.
pub const PATIENT_MS: u64 = 20_000;

/// What a hostile device does after a request.
pub enum Step {
    Send(Vec<u8>),
    Wait(u64),
    /// Sends the same for ever.
    Endless(Vec<u8>),
    /// A byte at a time, slower than it takes.
    Trickle(Vec<u8>),
    Close,
    Reset,
}
use Step::{Close, Endless, Reset, Send, Trickle, Wait};

/// Two scan classes of registers and one of coils.
const TAGS: [(&str, &str, usize); 5] = [
    ("hr:10", "UINT", 0),
    ("hr:11", "UINT", 0),
    ("hr:20", "UINT", 1),
    ("hr:21", "UINT", 1),
    ("co:5", "BOOL[11]", 2),
];

fn expected(tag: u32) -> Value {
    match tag {
        0..4 => Value::Uint(word(1, [10, 11, 20, 21][tag as usize]).into()),
        _ => Value::Array((5..16).map(|entry| Value::Bool(bit(entry))).collect()),
    }
}

fn assert_right(what: &str, samples: &[RawSample]) {
    for sample in samples {
        assert_eq!((&sample.value, sample.quality), (&expected(sample.tag), Quality::Good), "{what}");
    }
}

fn connector(endpoint: &str, timeout_ms: u64) -> Box<dyn Connector> {
    let options = [("timeout", ms(timeout_ms)), ("unit_id", OptionValue::Int(1))];
    open(device(endpoint, &options, &TAGS))
}

/// First connection hostile, later ones honest.
async fn hostile_once(listener: TcpListener, hostile: impl Fn(Asked) -> Vec<Step>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let honest = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Asked::honest));
        }
    };
    let attack = async {
        while let Some(asked) = Asked::next(&mut stream).await {
            for step in hostile(asked) {
                if !act(&mut stream, step).await {
                    drop(stream);
                    return;
                }
            }
        }
    };
    tokio::join!(honest, attack);
}

/// False when the connection is over.
pub async fn act(stream: &mut TcpStream, step: Step) -> bool {
    match step {
        Send(bytes) => stream.write_all(&bytes).await.is_ok(),
        Wait(ms) => {
            sleep(Duration::from_millis(ms)).await;
            true
        }
        Endless(bytes) => loop {
            if stream.write_all(&bytes).await.is_err() {
                return false;
            }
        },
        Trickle(bytes) => {
            for byte in bytes {
                sleep(Duration::from_millis(TIMEOUT_MS / 4)).await;
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
            }
            true
        }
        Close => false,
        Reset => {
            stream.set_zero_linger().unwrap();
            false
        }
    }
}

/// Polls until an honest connection has given every value, and judges each on the way.
async fn recovers(what: &str, connector: &mut Box<dyn Connector>) {
    let end = Instant::now() + STUCK;
    loop {
        assert!(Instant::now() < end, "{what}: no honest values");
        if connector.connect().await.is_ok() && all_right(what, connector).await {
            return;
        }
    }
}

/// False at the first error; a wrong value fails the test.
async fn all_right(what: &str, connector: &mut Box<dyn Connector>) -> bool {
    for due in [0, 1, 2, 0, 1] {
        match poll(connector, &[due]).await {
            Ok(samples) => assert_right(what, &samples),
            Err(_) => return false,
        }
    }
    true
}

/// How the first poll must end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Timeout,
    Mismatch,
    Lost,
}

pub fn end_of(outcome: &Result<Vec<RawSample>, PollError>) -> Option<End> {
    match outcome {
        Err(PollError::Timeout { .. }) => Some(End::Timeout),
        Err(PollError::Mismatch { .. }) => Some(End::Mismatch),
        Err(PollError::Lost { .. }) => Some(End::Lost),
        _ => None,
    }
}

async fn attacked(what: &str, due: usize, end: End, hostile: fn(Asked) -> Vec<Step>) {
    let (listener, endpoint) = listen().await;
    let device = tokio::spawn(hostile_once(listener, hostile));
    let mut connector = connector(&endpoint, if end == End::Timeout { TIMEOUT_MS } else { PATIENT_MS });
    let outcome = timeout(STUCK, connect_and_poll(&mut connector, &[due])).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{what}: stuck"));
    assert_eq!(end_of(&outcome), Some(end), "{what}: {outcome:?}");
    recovers(what, &mut connector).await;
    device.abort();
}

/// The honest answer with byte `at` replaced.
fn with(asked: Asked, at: usize, byte: u8) -> Vec<Step> {
    let mut frame = asked.honest();
    frame[at] = byte;
    vec![Send(frame)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_delay_end_in_time() {
    attacked("silent", 0, End::Timeout, |_| vec![]).await;
    attacked("late", 0, End::Timeout, |asked| vec![Wait(10 * TIMEOUT_MS), Send(asked.honest())]).await;
    attacked("half a header", 0, End::Timeout, |asked| vec![Send(asked.honest()[..5].to_vec())]).await;
    attacked("half an answer", 0, End::Timeout, |asked| vec![Send(asked.honest()[..11].to_vec())]).await;
    attacked("a byte at a time", 0, End::Timeout, |asked| vec![Trickle(asked.honest())]).await;
    attacked("coils half", 2, End::Timeout, |asked| vec![Send(asked.honest()[..10].to_vec())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_do_not_fit_are_not_believed() {
    attacked("wrong transaction", 0, End::Mismatch, |asked| with(asked, 1, asked.0[1] ^ 1)).await;
    attacked("wrong protocol", 0, End::Mismatch, |asked| with(asked, 3, 1)).await;
    attacked("wrong unit", 0, End::Mismatch, |asked| with(asked, 6, 2)).await;
    attacked("wrong function", 0, End::Mismatch, |asked| with(asked, 7, 4)).await;
    attacked("unknown function", 0, End::Mismatch, |asked| with(asked, 7, 0x2B)).await;
    attacked("exception of another function", 0, End::Mismatch, |asked| {
        let mut frame = asked.exception(2);
        frame[7] = 0x84;
        vec![Send(frame)]
    })
    .await;
    attacked("a write's answer", 0, End::Mismatch, |asked| {
        let mut frame = asked.frame(&[0, 10, 0, 2]);
        frame[7] = 16;
        vec![Send(frame)]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_lie_are_not_believed() {
    attacked("one register short", 0, End::Mismatch, |asked| vec![Send(asked.frame(&[2, 0, 7]))]).await;
    attacked("no register", 0, End::Mismatch, |asked| vec![Send(asked.frame(&[0]))]).await;
    attacked("no byte count", 0, End::Mismatch, |asked| vec![Send(asked.frame(&[]))]).await;
    attacked("a register more", 0, End::Mismatch, |asked| vec![Send(asked.frame(&[6, 0, 1, 0, 2, 0, 3]))])
        .await;
    attacked("byte count too high", 0, End::Mismatch, |asked| with(asked, 8, 200)).await;
    attacked("byte count too low", 0, End::Mismatch, |asked| with(asked, 8, 2)).await;
    attacked("byte count odd", 0, End::Mismatch, |asked| with(asked, 8, 3)).await;
    attacked("absurd length, then silence", 0, End::Mismatch, |asked| with(asked, 4, 0xFF)).await;
    attacked("frame of length 0", 0, End::Mismatch, |asked| with(asked, 5, 0)).await;
    attacked("frame of length 1", 0, End::Mismatch, |asked| with(asked, 5, 1)).await;
    attacked("frame too short", 0, End::Mismatch, |asked| with(asked, 5, 4)).await;
    attacked("coils short", 2, End::Mismatch, |asked| vec![Send(asked.frame(&[1, 0xFF]))]).await;
    attacked("coils long", 2, End::Mismatch, |asked| vec![Send(asked.frame(&[3, 1, 2, 3]))]).await;
    attacked("coils byte count too high", 2, End::Mismatch, |asked| with(asked, 8, 255)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_at_once() {
    attacked("endless zeros", 0, End::Mismatch, |_| vec![Endless(vec![0; 4096])]).await;
    attacked("endless ones", 0, End::Mismatch, |_| vec![Endless(vec![0xFF; 4096])]).await;
    attacked("64 KiB in one frame", 0, End::Mismatch, |asked| {
        let mut start = asked.honest();
        start[4..6].copy_from_slice(&[0xFF, 0xFF]);
        vec![Send(start), Endless(vec![1; 4096])]
    })
    .await;
    attacked("endless answers of others", 0, End::Mismatch, |asked| {
        let mut other = asked.honest();
        other[0] = 0x55;
        vec![Endless(other)]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_called_lost() {
    attacked("closes", 0, End::Lost, |_| vec![Close]).await;
    attacked("resets", 0, End::Lost, |_| vec![Reset]).await;
    attacked("closes in an answer", 0, End::Lost, |asked| vec![Send(asked.honest()[..9].to_vec()), Close])
        .await;
}

/// The device answers each request once more, or with a second, false answer: the first is right,
/// and the second must not become the next one's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_too_many_is_nobodys() {
    for (what, pause_ms) in [("at once", 0), ("a little later", 5)] {
        let (listener, endpoint) = listen().await;
        let device = tokio::spawn(hostile_once(listener, move |asked| {
            let mut second = asked.honest();
            second[9] ^= 0x40;
            vec![Send(asked.honest()), Wait(pause_ms), Send(second)]
        }));
        let mut connector = connector(&endpoint, PATIENT_MS);
        connector.connect().await.unwrap();
        for round in 0..20 {
            match poll(&mut connector, &[round % 2]).await {
                Ok(samples) => assert_right(what, &samples),
                Err(error) => assert!(matches!(error, PollError::Mismatch { .. }), "{what}: {error}"),
            }
        }
        recovers(what, &mut connector).await;
        device.abort();
    }
}

/// A poll dropped in the middle leaves nothing behind that a later one could pick up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_poll_poisons_the_connection() {
    let (listener, endpoint) = listen().await;
    let device = tokio::spawn(hostile_once(listener, |asked| vec![Wait(PATIENT_MS), Send(asked.honest())]));
    let mut connector = connector(&endpoint, PATIENT_MS);
    connector.connect().await.unwrap();
    let dropped = timeout(Duration::from_millis(10), poll(&mut connector, &[0])).await;
    assert!(dropped.is_err(), "the double answered before its time");
    recovers("dropped", &mut connector).await;
    device.abort();
}

#[tokio::test]
async fn nobody_there_is_said_with_the_endpoint() {
    let (listener, endpoint) = listen().await;
    drop(listener);
    let outcome = connect_and_poll(&mut connector(&endpoint, PATIENT_MS), &[0]).await;
    assert!(
        matches!(&outcome, Err(PollError::Connect { endpoint: told, .. }) if *told == endpoint),
        "{outcome:?}"
    );
}

/// How an honest answer is spoilt. Data bytes stay: Modbus TCP has no checksum to judge them by.
#[derive(Clone, Debug)]
enum Spoilt {
    Garbage(Vec<u8>),
    Header { at: usize, xor: u8 },
    Cut { at: usize, close: bool },
    Followed(Vec<u8>),
}

fn spoilt() -> impl Strategy<Value = Spoilt> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        // A first byte that no transaction number of these tests has: chance must not make it right.
        bytes().prop_map(|mut bytes| {
            bytes.insert(0, 0xEE);
            Spoilt::Garbage(bytes)
        }),
        // Function 0x83 would be an honest exception.
        (0usize..9, 1u8..)
            .prop_filter("an exception", |(at, xor)| (*at, *xor) != (7, 0x80))
            .prop_map(|(at, xor)| Spoilt::Header { at, xor }),
        (0usize..13, any::<bool>()).prop_map(|(at, close)| Spoilt::Cut { at, close }),
        bytes().prop_map(Spoilt::Followed),
    ]
}

impl Spoilt {
    fn steps(&self, asked: Asked) -> Vec<Step> {
        let mut frame = asked.honest();
        match self.clone() {
            Self::Garbage(bytes) => vec![Send(bytes)],
            Self::Header { at, xor } => {
                frame[at] ^= xor;
                vec![Send(frame)]
            }
            Self::Cut { at, close } => {
                frame.truncate(at % frame.len());
                if close { vec![Send(frame), Close] } else { vec![Send(frame)] }
            }
            Self::Followed(bytes) => {
                frame.extend(bytes);
                vec![Send(frame)]
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_answer_makes_a_wrong_value(spoilt in spoilt(), due in 0usize..3) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (listener, endpoint) = listen().await;
            let what = format!("{spoilt:?}");
            let lie = spoilt.clone();
            let device = tokio::spawn(hostile_once(listener, move |asked| lie.steps(asked)));
            let mut connector = connector(&endpoint, SHORT_MS);
            let outcome = timeout(STUCK, connect_and_poll(&mut connector, &[due])).await;
            match outcome.unwrap_or_else(|_| panic!("{what}: stuck")) {
                Ok(samples) => {
                    assert!(matches!(spoilt, Spoilt::Followed(_)), "{what}: believed");
                    assert_right(&what, &samples);
                }
                // A busy machine may be too slow for so short a limit.
                Err(PollError::Timeout { .. }) => {}
                Err(_) => assert!(!matches!(spoilt, Spoilt::Followed(_)), "{what}: the first answer was right"),
            }
            recovers(&what, &mut connector).await;
            device.abort();
        });
    }
}
