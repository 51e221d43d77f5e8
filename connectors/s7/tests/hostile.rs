//! CPUs that answer late, short, wrongly, endlessly or not at all. Whatever they do, no wrong value
//! comes out, nothing panics, nothing hangs, and an honest CPU on the same port is read afterwards.

mod support;

use std::time::Duration;

use forebay_connector::{Connector, DeviceSpec, PollError, Protocol, Quality, Value};
use forebay_s7::S7;
use support::double::{Double, Mode, SILENCE, frame, unit, word};
use support::good;

const TAGS: [(&str, &str); 3] = [("DB1.DBW0", "UINT"), ("DB2.DBW10", "UINT"), ("DB1.DBB40", "USINT[5]")];

fn expected() -> Vec<Value> {
    let bytes =
        (40..45u16).map(|n| Value::Uint(u64::from(word(1, n & !1).to_be_bytes()[usize::from(n & 1)])));
    vec![
        Value::Uint(u64::from(word(1, 0))),
        Value::Uint(u64::from(word(2, 10))),
        Value::Array(bytes.collect()),
    ]
}

/// A poll that takes longer hangs: more than two timeouts, also on a busy machine.
const HANGS: Duration = Duration::from_secs(60);

/// What a poll said.
async fn poll(connector: &mut dyn Connector) -> Result<Vec<Value>, PollError> {
    let mut samples = Vec::new();
    let done = tokio::time::timeout(HANGS, connector.poll(&[0], &mut samples)).await.expect("no hang");
    done.map(|()| {
        for sample in &samples {
            let value = &expected()[sample.tag as usize];
            match sample.quality {
                Quality::Good => assert_eq!(&sample.value, value, "tag {}", sample.tag),
                quality => assert_eq!((quality, &sample.value), (Quality::Refused, &Value::Null)),
            }
        }
        samples.into_iter().map(|sample| sample.value).collect()
    })
}

/// After what `mode` does, the connection is given up and an honest CPU is read.
async fn refused_by(double: &Double, mode: Mode) -> PollError {
    given_up(double, double.device(TAGS), mode).await
}

async fn given_up(double: &Double, device: DeviceSpec, mode: Mode) -> PollError {
    let mut connector = S7.open(device).expect("a right device");
    double.set(Mode::Honest);
    connector.connect().await.expect("an honest CPU");
    assert_eq!(good(connector.as_mut(), &[0]).await, expected());
    double.set(mode.clone());
    let error = poll(connector.as_mut()).await.expect_err(&format!("{mode:?}"));
    // The connection is poisoned, even if the CPU were honest again by now.
    double.set(Mode::Honest);
    let again = poll(connector.as_mut()).await;
    assert_eq!(again, Err(PollError::Lost { cause: "not connected".into() }), "{mode:?}");
    connector.connect().await.unwrap_or_else(|error| panic!("{mode:?}: {error}"));
    assert_eq!(good(connector.as_mut(), &[0]).await, expected(), "{mode:?}");
    error
}

async fn mismatch(double: &Double, change: fn(Vec<u8>) -> Vec<u8>, words: &str) {
    let error = refused_by(double, Mode::Answer(change)).await;
    assert!(
        matches!(error, PollError::Mismatch { .. }) && error.to_string().contains(words),
        "{error}: {words}"
    );
}

#[tokio::test]
async fn a_late_answer_never_becomes_another_tags_value() {
    let double = Double::start().await;
    // Nothing the first time: the answer is late, the connection is given up.
    let mut device = double.impatient([("DB1.DBW0", "UINT"), ("DB2.DBW0", "UINT")]);
    std::sync::Arc::make_mut(&mut device.tags)[1].scan = 1;
    let mut connector = S7.open(device).unwrap();
    connector.connect().await.unwrap();
    double.set(Mode::Late);
    let mut samples = Vec::new();
    let error = connector.poll(&[0], &mut samples).await.unwrap_err();
    assert_eq!(error, PollError::Timeout { waited: SILENCE });
    assert!(connector.poll(&[1], &mut samples).await.is_err(), "no reading on the old connection");
    // Even on one and the same connection the answer of the read before is not taken.
    double.set(Mode::Honest);
    connector.connect().await.unwrap();
    connector.poll(&[0], &mut samples).await.unwrap();
    double.set(Mode::Late);
    let error = connector.poll(&[1], &mut samples).await.unwrap_err();
    assert!(matches!(&error, PollError::Mismatch { what } if what.contains("PDU reference")), "{error}");
    // An answer sent twice is the same: the second one meets the next request.
    double.set(Mode::Answer(|right| [right.clone(), right].concat()));
    connector.connect().await.unwrap();
    samples.clear();
    connector.poll(&[0], &mut samples).await.unwrap();
    assert_eq!(samples[0].value, Value::Uint(u64::from(word(1, 0))));
    let error = connector.poll(&[1], &mut samples).await.unwrap_err();
    assert!(matches!(&error, PollError::Mismatch { what } if what.contains("PDU reference")), "{error}");
    double.set(Mode::Honest);
    connector.connect().await.unwrap();
    samples.clear();
    connector.poll(&[1], &mut samples).await.unwrap();
    assert_eq!(samples[0].value, Value::Uint(u64::from(word(2, 0))));
}

/// Byte positions in the answers: 7 the S7 head, 19 the function, 20 the item count, 21 the first
/// item, 25 its data.
#[tokio::test]
async fn answers_that_do_not_fit_are_not_believed() {
    let double = Double::start().await;
    for (change, words) in [
        (
            (|mut a| {
                a[12] ^= 1;
                a
            }) as fn(Vec<u8>) -> Vec<u8>,
            "PDU reference",
        ),
        (
            |mut a| {
                a[7] = 0x72;
                a
            },
            "no S7 message",
        ),
        (
            |mut a| {
                a[8] = 1;
                a
            },
            "announces",
        ),
        (
            |mut a| {
                a[8] = 9;
                a
            },
            "kind 9",
        ),
        (
            |mut a| {
                a[19] = 5;
                a
            },
            "another function",
        ),
        (
            |mut a| {
                a[20] = 2;
                a
            },
            "2 items answered, 3 asked",
        ),
        (
            |mut a| {
                a[20] = 4;
                a
            },
            "4 items answered, 3 asked",
        ),
        (
            |mut a| {
                a[22] = 0;
                a
            },
            "transport size 0",
        ),
        (
            |mut a| {
                a[22] = 9;
                a
            },
            "16 bytes answered, 2 asked",
        ),
        (
            |mut a| {
                a[24] = 8;
                a
            },
            "1 bytes answered, 2 asked",
        ),
        (
            |mut a| {
                a[24] = 24;
                a
            },
            "3 bytes answered, 2 asked",
        ),
        (
            |mut a| {
                (a[23], a[24]) = (0xFF, 0xFF);
                a
            },
            "item of 8192 bytes",
        ),
        (
            |mut a| {
                a[16] += 2;
                a
            },
            "announces",
        ),
        (
            |mut a| {
                a[15] = 0xFF;
                a
            },
            "announces",
        ),
        (
            |mut a| {
                a[3] -= 2;
                a
            },
            "announces",
        ),
        (
            |mut a| {
                a[3] = 6;
                a
            },
            "frame of 6 bytes",
        ),
        (
            |mut a| {
                (a[2], a[3]) = (0xFF, 0xFF);
                a
            },
            "frame of 65535 bytes",
        ),
        (
            |mut a| {
                a[0] = 4;
                a
            },
            "not ISO on TCP",
        ),
        (
            |mut a| {
                a[4] = 200;
                a
            },
            "COTP head",
        ),
        (
            |mut a| {
                a[5] = 0xD0;
                a
            },
            "COTP unit of kind 0xd0",
        ),
        (|_| frame(b"2"), "no S7 message"),
        (|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not ISO on TCP"),
        // A whole item too few or too many, with lengths and counts that agree with each other.
        (
            |a| {
                let mut m = a[7..31].to_vec();
                (m[9], m[13]) = (10, 2);
                frame(&m)
            },
            "2 items answered",
        ),
        (
            |a| {
                let mut m = a[7..].to_vec();
                m.extend([0, 0xFF, 4, 0, 16, 1, 2]);
                m[9] += 7;
                frame(&m)
            },
            "bytes behind the last item",
        ),
    ] {
        mismatch(&double, change, words).await;
    }
}

#[tokio::test]
async fn silence_half_frames_and_lost_connections_end_the_wait() {
    let double = Double::start().await;
    for mode in [
        Mode::Bytes(vec![]),
        Mode::Bytes(vec![3, 0]),
        Mode::Answer(|mut a| {
            a[3] += 10;
            a
        }),
        Mode::Answer(|mut a| {
            a.truncate(a.len() - 1);
            a
        }),
        Mode::Answer(|mut a| {
            a[6] = 0;
            a
        }), // a fragment whose rest never comes
    ] {
        let error = given_up(&double, double.impatient(TAGS), mode).await;
        assert!(matches!(error, PollError::Timeout { .. }), "{error}");
    }
    for len in [0, 3, 4, 7, 20, 30] {
        let error = refused_by(&double, Mode::CloseAfter(len)).await;
        assert_eq!(error, PollError::Lost { cause: "the device closed the connection".into() });
    }
    let goodbye = Mode::Bytes(vec![3, 0, 0, 11, 6, 0x80, 0, 1, 0, 7, 0x01]);
    assert!(matches!(refused_by(&double, goodbye).await, PollError::Lost { .. }));
}

#[tokio::test]
async fn endless_answers_are_cut_off() {
    let double = Double::start().await;
    for mode in [
        Mode::Endless(unit(false, &[0x32; 100])),
        Mode::Endless(unit(false, &[])),
        Mode::Endless(vec![0xFF; 4096]),
        Mode::Endless(frame(&[0; 1000])),
    ] {
        let error = refused_by(&double, mode.clone()).await;
        assert!(matches!(error, PollError::Mismatch { .. }), "{mode:?}: {error}");
    }
}

#[tokio::test]
async fn legal_fragments_and_single_bytes_are_put_together() {
    let double = Double::start().await;
    let mut connector = S7.open(double.device(TAGS)).unwrap();
    connector.connect().await.unwrap();
    for mode in [
        Mode::Trickle,
        // Cut into units of 9 bytes, an empty one in between.
        Mode::Answer(|right| {
            let message = right[7..].to_vec();
            let (parts, rest) = message.split_at(message.len() / 9 * 9);
            let mut bytes: Vec<u8> = parts.chunks(9).flat_map(|part| unit(false, part)).collect();
            bytes.extend(unit(false, &[]));
            bytes.extend(unit(true, rest));
            bytes
        }),
        Mode::Answer(|right| [unit(false, &right[7..]), unit(true, &[])].concat()),
        Mode::Honest,
    ] {
        double.set(mode);
        assert_eq!(poll(connector.as_mut()).await.unwrap(), expected());
    }
}

#[tokio::test]
async fn errors_of_the_cpu_are_told_with_their_fix() {
    let double = Double::start().await;
    let put_get = Mode::Answer(|a| frame(&[0x32, 2, 0, 0, a[11], a[12], 0, 0, 0, 0, 0x81, 0x04]));
    let error = refused_by(&double, put_get).await;
    assert!(
        matches!(&error, PollError::Refused { what } if what.contains("Permit access with PUT/GET")),
        "{error}"
    );
    for (change, words) in [
        (
            (|a| frame(&[0x32, 2, 0, 0, a[11], a[12], 0, 0, 0, 0, 0xD2, 0x41])) as fn(Vec<u8>) -> Vec<u8>,
            "protected by a password (error 0xd241): give the CPU an access level with read access",
        ),
        (
            |a| frame(&[0x32, 2, 0, 0, a[11], a[12], 0, 0, 0, 0, 0xD4, 0x01]),
            "does not know the service (error 0xd401)",
        ),
        (|a| frame(&[0x32, 2, 0, 0, a[11], a[12], 0, 0, 0, 0, 0x12, 0x34]), "answers with error 0x1234"),
    ] {
        let error = refused_by(&double, Mode::Answer(change)).await;
        assert!(matches!(&error, PollError::Refused { what } if what.contains(words)), "{error}");
    }
    let size = Mode::Answer(|a| frame(&[0x32, 3, 0, 0, a[11], a[12], 0, 0, 0, 0, 0x85, 0x00]));
    assert!(refused_by(&double, size).await.to_string().contains("agreed PDU"));

    // One item refused is no error: its tag alone is refused.
    let mut connector = S7.open(double.device(TAGS)).unwrap();
    connector.connect().await.unwrap();
    double.set(Mode::Answer(|mut a| {
        if a[20] == 3 {
            a[21] = 0x03;
            // A refused item has no data, but may have a length.
            a.drain(25..27);
            (a[3], a[16]) = (a[3] - 2, a[16] - 2);
        } else {
            a = frame(&[0x32, 3, 0, 0, a[11], a[12], 0, 2, 0, 4, 0, 0, 4, 1, 0x03, 0, 0, 0]);
        }
        a
    }));
    let values = poll(connector.as_mut()).await.unwrap();
    assert_eq!(values[1..], expected()[1..]);
    assert_eq!(values[0], Value::Null);
    assert!(connector.refusal(0).unwrap().contains("access to DB1.DBW0 is denied"));
}

#[tokio::test]
async fn a_set_up_that_goes_wrong_is_an_error_and_not_the_end() {
    let double = Double::start().await;
    let mut connector = S7.open(double.impatient(TAGS)).unwrap();
    let disconnect = vec![3, 0, 0, 11, 6, 0x80, 0, 1, 0, 0, 0x01];
    for (mode, words) in [
        (
            Mode::Confirm(vec![]),
            "device refuses: the device closes the connection before it is set up: no free connection",
        ),
        (
            Mode::Confirm(disconnect),
            "(reason 0x01): no free connection: all its communication resources are taken",
        ),
        (Mode::Confirm(b"SSH-2.0-OpenSSH\r\n".to_vec()), "not ISO on TCP"),
        (Mode::Confirm(vec![3, 0]), "no answer within 1000 ms"),
        (Mode::Confirm(frame(&[0x32, 1])), "not answered by a confirm"),
        (Mode::Confirm(vec![3, 0, 0, 14, 9, 0xD0, 0, 1, 0, 7, 0, 0xC0, 1, 200]), "unit size"),
        (Mode::Setup(|setup| setup[5] ^= 1), "PDU reference"),
        (Mode::Setup(|setup| (setup[18], setup[19]) = (0, 0)), "PDU of 0 bytes"),
        (Mode::Setup(|setup| setup[12] = 4), "another form"),
        (Mode::Setup(|setup| (setup[10], setup[11]) = (0x81, 0x04)), "PUT/GET"),
        (Mode::Setup(|setup| setup[1] = 1), "announces"),
    ] {
        double.set(mode.clone());
        let error = connector.connect().await.expect_err(&format!("{mode:?}")).to_string();
        assert!(error.contains(words), "{mode:?}: {error}");
        double.set(Mode::Honest);
        connector.connect().await.unwrap();
        assert_eq!(poll(connector.as_mut()).await.unwrap(), expected());
    }
    // A boundless PDU is not more than was asked for; small transport units mean small requests.
    for mode in [Mode::Setup(|setup| (setup[18], setup[19]) = (0xFF, 0xFF)), Mode::Units(7)] {
        double.set(mode);
        connector.connect().await.unwrap();
        assert_eq!(poll(connector.as_mut()).await.unwrap(), expected());
    }
}

#[tokio::test]
async fn a_cpu_that_does_not_say_who_it_is_is_read_all_the_same() {
    let double = Double::start().await;
    for mode in [Mode::AnonymousSilence, Mode::AnonymousClose, Mode::Honest] {
        let mut connector = S7.open(double.impatient(TAGS)).unwrap();
        double.set(mode);
        assert_eq!(connector.connect().await.unwrap(), "");
        assert_eq!(poll(connector.as_mut()).await.unwrap(), expected());
    }
}

/// Random damage in front of the data: S7 has no checksum, so damaged data itself cannot be seen.
#[tokio::test]
async fn random_damage_of_the_heads_never_gives_a_wrong_value() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let double = Double::start().await;
    let mut connector = S7.open(double.device(TAGS)).unwrap();
    connector.connect().await.unwrap();
    let head = right_answer_head();
    let mut right = 0;
    for _ in 0..300 {
        let mut bytes = head.clone();
        for _ in 0..random.usize(0..3) {
            let at = random.usize(0..25);
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(bytes.len() / 2..bytes.len() * 2).min(bytes.len()));
        double.set(Mode::Last(bytes));
        // The sixth message of each new connection carries the reference 6.
        connector.connect().await.unwrap();
        match poll(connector.as_mut()).await {
            Ok(_) => right += 1,
            Err(error) => drop(error.to_string()),
        }
    }
    assert!(right > 0, "undamaged answers among them are taken");
    double.set(Mode::Honest);
    connector.connect().await.unwrap();
    assert_eq!(poll(connector.as_mut()).await.unwrap(), expected());
}

/// The right answer to the first read of a connection: the setup and four questions come before it.
fn right_answer_head() -> Vec<u8> {
    let mut data = vec![0xFF, 4, 0, 16];
    data.extend(word(1, 0).to_be_bytes());
    data.extend([0xFF, 4, 0, 40]);
    data.extend((40..45u16).map(|n| word(1, n & !1).to_be_bytes()[usize::from(n & 1)]));
    data.extend([0, 0xFF, 4, 0, 16]);
    data.extend(word(2, 10).to_be_bytes());
    let length = u8::try_from(data.len()).expect("short");
    frame(&[&[0x32, 3, 0, 0, 0, 6, 0, 2, 0, length, 0, 0, 4, 3], &data[..]].concat())
}
