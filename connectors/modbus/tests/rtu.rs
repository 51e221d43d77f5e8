//! RTU frames over TCP: a serial server that passes bytes on as they are, and a device behind it
//! that lies, stalls, babbles or answers too late. Nothing on such a line names the request that an
//! answer belongs to.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{Connector, OptionValue, Pace, PollError, Quality, RawSample, Value};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::double::{bit, connect_and_poll, device, listen, ms, open, poll, word};
use crate::hostile::Step::{Close, Endless, Send, Trickle, Wait};
use crate::hostile::{End, PATIENT_MS, STUCK, Step, TIMEOUT_MS, act, end_of};

const UNIT: u8 = 1;

/// Two scan classes of the same shape, one of coils, one of another length.
const TAGS: [(&str, &str, usize); 6] = [
    ("hr:10", "UINT", 0),
    ("hr:11", "UINT", 0),
    ("hr:20", "UINT", 1),
    ("hr:21", "UINT", 1),
    ("co:5", "BOOL[11]", 2),
    ("hr:30", "UINT", 3),
];

fn is_right(sample: &RawSample) -> bool {
    let value = match sample.tag {
        4 => Value::Array((5..16).map(|entry| Value::Bool(bit(entry))).collect()),
        tag => Value::Uint(word(UNIT, [10, 11, 20, 21, 0, 30][tag as usize]).into()),
    };
    sample.value == value && sample.quality == Quality::Good
}

fn assert_right(what: &str, samples: &[RawSample]) {
    for sample in samples {
        assert!(is_right(sample), "{what}: {sample:?}");
    }
}

/// A request as it came.
#[derive(Clone, Copy, Debug)]
struct Asked([u8; 8]);

impl Asked {
    fn unit(self) -> u8 {
        self.0[0]
    }

    fn number(self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    /// A frame of this unit and function with a CRC that is right.
    fn frame(self, body: &[u8]) -> Vec<u8> {
        framed(self.unit(), self.0[1], body)
    }

    fn honest(self) -> Vec<u8> {
        let entries = (0..self.number(4)).map(|n| self.number(2) + n);
        let mut body = vec![0];
        if self.0[1] < 3 {
            let bits: Vec<bool> = entries.map(bit).collect();
            let byte = |bits: &[bool]| (0u8..).zip(bits).fold(0, |byte, (n, bit)| byte | u8::from(*bit) << n);
            body.extend(bits.chunks(8).map(byte));
        } else {
            body.extend(entries.flat_map(|entry| word(self.unit(), entry).to_be_bytes()));
        }
        body[0] = u8::try_from(body.len() - 1).unwrap();
        self.frame(&body)
    }
}

fn framed(unit: u8, function: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![unit, function];
    frame.extend(body);
    let sum = bitwise_crc(&frame).to_le_bytes();
    frame.extend(sum);
    frame
}

/// The CRC as the standard describes it, bit by bit, unlike the connector's.
fn bitwise_crc(bytes: &[u8]) -> u16 {
    let mut crc = 0xFFFF;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc
}

async fn next(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Asked> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).await.ok().map(|_| Asked(bytes))
}

fn connector(endpoint: &str, timeout_ms: u64) -> Box<dyn Connector> {
    let endpoint = endpoint.replace("tcp://", "rtu+tcp://");
    open(device(&endpoint, &[("timeout", ms(timeout_ms)), ("unit_id", OptionValue::Int(UNIT.into()))], &TAGS))
}

/// First connection hostile, later ones honest.
async fn hostile_once(listener: TcpListener, hostile: impl Fn(Asked) -> Vec<Step>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let honest = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    };
    let attack = async {
        while let Some(asked) = next(&mut stream).await {
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

async fn serve(mut stream: TcpStream) {
    while let Some(asked) = next(&mut stream).await {
        if stream.write_all(&asked.honest()).await.is_err() {
            break;
        }
    }
}

async fn recovers(what: &str, connector: &mut Box<dyn Connector>) {
    let end = Instant::now() + STUCK;
    'again: loop {
        assert!(Instant::now() < end, "{what}: no honest values");
        if connector.connect().await.is_err() {
            continue;
        }
        for due in [0, 1, 2, 3, 0] {
            match poll(connector, &[due]).await {
                Ok(samples) => assert_right(what, &samples),
                Err(_) => continue 'again,
            }
        }
        return;
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

fn with(asked: Asked, at: usize, xor: u8) -> Vec<Step> {
    let mut frame = asked.honest();
    frame[at] ^= xor;
    vec![Send(frame)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtu_answers_that_do_not_fit_are_not_believed() {
    for at in 0..9 {
        let what = format!("byte {at} spoilt");
        let spoil: fn(Asked) -> Vec<Step> = match at {
            0 => |asked| with(asked, 0, 2),
            1 => |asked| with(asked, 1, 7),
            2 => |asked| with(asked, 2, 1),
            3 => |asked| with(asked, 3, 0x10),
            4 => |asked| with(asked, 4, 1),
            5 => |asked| with(asked, 5, 0x80),
            6 => |asked| with(asked, 6, 4),
            7 => |asked| with(asked, 7, 1),
            _ => |asked| with(asked, 8, 1),
        };
        attacked(&what, 0, End::Mismatch, spoil).await;
    }
    attacked("another unit", 0, End::Mismatch, |asked| {
        vec![Send(framed(9, 3, &[4, 0, 1, 0, 2]))].into_iter().chain([Send(asked.honest())]).collect()
    })
    .await;
    attacked("exception of another function", 0, End::Mismatch, |_| vec![Send(framed(UNIT, 0x84, &[2]))])
        .await;
    attacked("exception with a wrong checksum", 0, End::Mismatch, |_| vec![Send(vec![UNIT, 0x83, 2, 0, 0])])
        .await;
    attacked("coils short", 2, End::Mismatch, |asked| vec![Send(asked.frame(&[1, 0xFF]))]).await;
    attacked("one register short", 0, End::Mismatch, |asked| vec![Send(asked.frame(&[2, 0, 7]))]).await;
    attacked("a register more", 0, End::Mismatch, |asked| vec![Send(asked.frame(&[6, 0, 1, 0, 2, 0, 3]))])
        .await;
    attacked("our own request", 0, End::Mismatch, |asked| vec![Send(asked.0.to_vec())]).await;
    attacked("our own request, then an answer", 0, End::Mismatch, |asked| {
        vec![Send(asked.0.to_vec()), Wait(5), Send(asked.honest())]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtu_silence_trickle_and_floods_end_in_time() {
    attacked("silent", 0, End::Timeout, |_| vec![]).await;
    attacked("half an answer", 0, End::Timeout, |asked| vec![Send(asked.honest()[..6].to_vec())]).await;
    attacked("no checksum", 0, End::Timeout, |asked| vec![Send(asked.honest()[..7].to_vec())]).await;
    attacked("a byte at a time", 0, End::Timeout, |asked| vec![Trickle(asked.honest())]).await;
    attacked("endless garbage", 0, End::Mismatch, |_| vec![Endless(vec![0xA5; 4096])]).await;
    attacked("endless zeros", 0, End::Mismatch, |_| vec![Endless(vec![0; 4096])]).await;
    attacked("endless answers of others", 0, End::Mismatch, |_| {
        vec![Endless(framed(9, 3, &[4, 0, 1, 0, 2]))]
    })
    .await;
    attacked("closes", 0, End::Lost, |_| vec![Close]).await;
}

/// A frame that comes in pieces is an answer all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtu_answers_may_come_in_pieces() {
    let (listener, endpoint) = listen().await;
    let device = tokio::spawn(hostile_once(listener, |asked| {
        asked.honest().into_iter().flat_map(|byte| [Send(vec![byte]), Wait(2)]).collect()
    }));
    let mut connector = connector(&endpoint, PATIENT_MS);
    connector.connect().await.unwrap();
    for due in [0, 1, 2, 3] {
        assert_right("pieces", &poll(&mut connector, &[due]).await.unwrap());
    }
    device.abort();
}

/// Babble that began before the request, and never ends, is not an answer but has an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_never_silent_is_told_so() {
    let (listener, endpoint) = listen().await;
    let device = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { act(&mut stream, Endless(vec![0x55; 64])).await });
        }
    });
    let mut connector = connector(&endpoint, TIMEOUT_MS);
    for _ in 0..3 {
        let outcome = timeout(STUCK, connect_and_poll(&mut connector, &[0])).await.expect("an end");
        assert_eq!(end_of(&outcome), Some(End::Mismatch), "{outcome:?}");
    }
    device.abort();
}

/// One device on one wire, which answers the requests of all connections in order, each after its
/// own delay, to whichever connection is open by then.
async fn slow_device(listener: TcpListener, delays: Vec<Duration>) {
    let current: Arc<Mutex<Option<OwnedWriteHalf>>> = Arc::default();
    let (to_device, mut requests) = unbounded_channel::<Asked>();
    let wire = Arc::clone(&current);
    let answering = async move {
        let mut delays = delays.into_iter();
        while let Some(asked) = requests.recv().await {
            sleep(delays.next().unwrap_or_default()).await;
            if let Some(stream) = &*wire.lock().unwrap() {
                // Few bytes: the socket takes them at once, or the client has gone.
                let _taken = stream.try_write(&asked.honest()).unwrap_or(0);
            }
        }
    };
    let accepting = async move {
        let mut readers: Vec<JoinHandle<()>> = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut read, write) = stream.into_split();
            *current.lock().unwrap() = Some(write);
            let to_device: UnboundedSender<Asked> = to_device.clone();
            readers.push(tokio::spawn(async move {
                while let Some(asked) = next(&mut read).await {
                    if to_device.send(asked).is_err() {
                        break;
                    }
                }
            }));
        }
    };
    tokio::join!(answering, accepting);
}

/// Polls `due` after `due`, connecting after errors without any pause; every value read must be
/// that of its own address. Gives how many polls were answered.
async fn read_on(what: &str, connector: &mut Box<dyn Connector>, dues: &[usize]) -> usize {
    let (mut connected, mut answered) = (false, 0);
    for due in dues {
        let outcome = if connected {
            poll(connector, &[*due]).await
        } else {
            connect_and_poll(connector, &[*due]).await
        };
        connected = outcome.is_ok();
        match outcome {
            Ok(samples) => {
                // A tag that was too late alone, twice, may have no value; never a wrong one.
                let no_value =
                    |sample: &RawSample| sample.value == Value::Null && sample.quality == Quality::Refused;
                for sample in &samples {
                    assert!(is_right(sample) || no_value(sample), "{what}: {sample:?}");
                }
                answered += 1;
            }
            Err(PollError::Timeout { .. } | PollError::Mismatch { .. } | PollError::Lost { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    }
    answered
}

/// The answer to the first request comes when another one of the same shape is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_rtu_answer_is_nobodys() {
    for late_ms in [150, 220, 320, 450, 700, 1000] {
        let (listener, endpoint) = listen().await;
        let device = tokio::spawn(slow_device(listener, vec![Duration::from_millis(late_ms)]));
        let mut connector = connector(&endpoint, 100);
        let dues = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
        let answered = read_on(&format!("{late_ms} ms late"), &mut connector, &dues).await;
        assert!(answered >= 4, "{late_ms} ms late: only {answered} answers");
        device.abort();
    }
}

/// On the test's own clock: where only time tells, it does so before the poller loses patience,
/// which would begin anew each time.
#[tokio::test(start_paused = true)]
async fn the_wait_for_late_answers_fits_into_a_poll() {
    let (listener, endpoint) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        next(&mut stream).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    let endpoint = endpoint.replace("tcp://", "rtu+tcp://");
    let options = [("timeout", ms(15_000)), ("max_registers", OptionValue::Int(1))];
    let mut connector = open(device(&endpoint, &options, &[("hr:30", "UINT", 0)]));
    connect_and_poll(&mut connector, &[0]).await.unwrap_err();
    let polled = timeout(Duration::from_secs(60), connect_and_poll(&mut connector, &[0])).await;
    let samples = polled.expect("a poll has an end").unwrap();
    assert_eq!(samples[0].value, Value::Uint(word(UNIT, 30).into()));
    server.abort();
}

/// Counts the turns that were taken.
#[derive(Default)]
struct Counted(AtomicU64);

#[async_trait]
impl Pace for Counted {
    async fn turn(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The fence after a silence, and the repetition after a neighbour's late answer, are requests like
/// all others: the device's budget counts them, and so does what is told of the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_takes_a_turn() {
    let (listener, endpoint) = listen().await;
    let asked = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&asked);
    let server = tokio::spawn(async move {
        let mut ours = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(asked) = next(&mut stream).await {
                if asked.unit() != UNIT {
                    continue;
                }
                seen.fetch_add(1, SeqCst);
                ours += 1;
                let answer = match ours {
                    1 => continue,
                    // The neighbour's late answer.
                    4 => framed(UNIT + 1, 3, &[4, 0, 1, 0, 2]),
                    _ => asked.honest(),
                };
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    let mut connector = connector(&endpoint, 300);
    let counted = Arc::new(Counted::default());
    connector.set_pace(Arc::clone(&counted) as Arc<dyn Pace>);
    let options = [("timeout", ms(300)), ("unit_id", OptionValue::Int(i64::from(UNIT) + 1))];
    let mut neighbour = open(device(&endpoint.replace("tcp://", "rtu+tcp://"), &options, &TAGS));
    connect_and_poll(&mut connector, &[0]).await.unwrap_err();
    // Silence, fence, request; then the request, and after the mix-up a fence and the repetition.
    for wanted in [3, 6] {
        assert_right("after a silence", &connect_and_poll(&mut connector, &[1]).await.unwrap());
        let counts = [asked.load(SeqCst), counted.0.load(SeqCst), connector.requests()];
        assert_eq!(counts, [wanted; 3], "on the wire, turns, told");
        connect_and_poll(&mut neighbour, &[0]).await.unwrap_err();
    }
    server.abort();
}

/// A device that is slow twice: its first answer, an exception, comes during the second request and
/// must not pass for the answer to that, or else the second answer would pass for the third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_rtu_exception_is_nobodys() {
    let (listener, endpoint) = listen().await;
    let device = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let first = next(&mut stream).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let second = next(&mut stream).await.unwrap();
        stream.write_all(&framed(UNIT, 0x80 | first.0[1], &[1])).await.unwrap();
        // The third request, if the exception was believed; else the client has gone.
        let third = next(&mut stream).await;
        stream.write_all(&second.honest()).await.ok();
        assert!(third.is_none(), "the exception was believed");
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream).await;
        }
    });
    let mut connector = connector(&endpoint, 300);
    let answered = read_on("late exception", &mut connector, &[3, 0, 1, 0, 1, 3, 0]).await;
    assert_eq!(answered, 5);
    assert!(!device.is_finished(), "the double found fault");
    device.abort();
}

/// An exception that is doubted once is believed after a while: a device that refuses everything
/// after it was silent once is no riddle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_is_believed_when_nothing_can_be_late() {
    let (listener, endpoint) = listen().await;
    let device = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        next(&mut stream).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(asked) = next(&mut stream).await {
                if stream.write_all(&framed(UNIT, 0x80 | asked.0[1], &[1])).await.is_err() {
                    break;
                }
            }
        }
    });
    let mut connector = connector(&endpoint, 300);
    for end in [Some(End::Timeout), Some(End::Mismatch)] {
        let outcome = connect_and_poll(&mut connector, &[3]).await;
        assert_eq!(end_of(&outcome), end, "{outcome:?}");
    }
    let samples = connect_and_poll(&mut connector, &[3]).await.unwrap();
    assert_eq!(samples[0].quality, Quality::Refused);
    assert!(connector.refusal(5).unwrap().contains("exception 01"));
    device.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever the delays: a value is that of its own address, or there is none.
    #[test]
    fn no_delay_makes_a_wrong_value(
        delays in proptest::collection::vec(prop_oneof![Just(0u64), 0u64..400], 0..24),
        dues in proptest::collection::vec(0usize..4, 8..16),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (listener, endpoint) = listen().await;
            let what = format!("{delays:?} {dues:?}");
            let delays = delays.iter().map(|ms| Duration::from_millis(*ms)).collect();
            let device = tokio::spawn(slow_device(listener, delays));
            let mut connector = connector(&endpoint, 60);
            timeout(STUCK, read_on(&what, &mut connector, &dues)).await.expect("an end");
            device.abort();
        });
    }
}
