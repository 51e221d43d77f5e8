//! Every type, scalar and array, with the values at its edges; times; qualities.

use forebay_connector::{Connector, Quality, RawSample, Value};

use super::{SCRIPT, device, open, poll_for, tag};
use crate::support::{Peer, Python};

/// Type, values as JSON, and what they are.
fn edges() -> Vec<(&'static str, Vec<(String, Value)>)> {
    let signed = |name, min: i64, max: i64| {
        let values = [min, -1, 0, 1, max].map(|number| (number.to_string(), Value::Int(number)));
        (name, values.to_vec())
    };
    let unsigned = |name, max: u64| {
        let values =
            [0, 1, max / 2, max / 2 + 1, max].map(|number| (number.to_string(), Value::Uint(number)));
        (name, values.to_vec())
    };
    let texts = |name| {
        let values = ["", " ", "Größe ≥ 3 µm", "日本語 😀", "a\"b\\c\n"];
        let json = |text: &str| format!("{:?}", text).replace("\\u{", "\\u");
        (name, values.map(|text| (json(text), Value::Text(text.into()))).to_vec())
    };
    let real = [0.0f32, -0.0, 1.5, f32::MIN_POSITIVE, f32::MAX, f32::MIN, 1e-45, 16_777_217.0];
    let lreal = [0.0f64, -0.0, 0.1, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 5e-324, 9_007_199_254_740_993.0];
    let times = [0i64, 1, -1, 1_772_413_323_123_456, -11_644_473_599_999_999, 4_102_444_800_000_000];
    vec![
        ("BOOL", vec![("true".into(), Value::Bool(true)), ("false".into(), Value::Bool(false))]),
        signed("SINT", i8::MIN.into(), i8::MAX.into()),
        signed("INT", i16::MIN.into(), i16::MAX.into()),
        signed("DINT", i32::MIN.into(), i32::MAX.into()),
        signed("TIME", i32::MIN.into(), i32::MAX.into()),
        signed("LINT", i64::MIN, i64::MAX),
        unsigned("BYTE", u8::MAX.into()),
        unsigned("USINT", u8::MAX.into()),
        unsigned("WORD", u16::MAX.into()),
        unsigned("UINT", u16::MAX.into()),
        unsigned("DWORD", u32::MAX.into()),
        unsigned("UDINT", u32::MAX.into()),
        unsigned("LWORD", u64::MAX),
        unsigned("ULINT", u64::MAX),
        ("REAL", real.map(|number| (format!("{number:e}"), Value::Real(number))).to_vec()),
        ("LREAL", lreal.map(|number| (format!("{number:e}"), Value::Lreal(number))).to_vec()),
        texts("STRING"),
        texts("WSTRING"),
        ("CHAR", ["x", "ß", " "].map(|text| (format!("\"{text}\""), Value::Text(text.into()))).to_vec()),
        ("DATETIME", times.map(|us| (us.to_string(), Value::DateTime(us))).to_vec()),
    ]
}

/// By subscription and by reading, in the order of the tags.
async fn both(connector: &mut Box<dyn Connector>, tags: usize) -> [Vec<RawSample>; 2] {
    let mut sent = poll_for(connector, tags).await;
    sent.sort_by_key(|sample| sample.tag);
    let numbers: Vec<u32> = (0u32..).take(tags).collect();
    let mut read = Vec::new();
    connector.read(&numbers, &mut read).await.expect("read");
    [sent, read]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_scalar_and_array_with_the_values_at_its_edges() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    let (mut tags, mut expected) = (Vec::new(), Vec::new());
    let mut add = |data_type: &str, json: &str, value: Value| {
        let node = format!("s=n{}", tags.len());
        peer.command(&format!("add {node} {data_type} {json}"));
        tags.push(tag(&format!("ns=test;{node}"), data_type));
        expected.push((data_type.to_owned(), value));
    };
    for (name, values) in edges() {
        for (json, value) in &values {
            add(name, json, value.clone());
        }
        // `STRING[5]` is one text of five bytes: there is no way to write an array of texts.
        if name.ends_with("STRING") {
            continue;
        }
        let json: Vec<_> = values.iter().map(|(json, _)| json.as_str()).collect();
        let all: Box<[Value]> = values.iter().map(|(_, value)| value.clone()).collect();
        add(&format!("{name}[{}]", all.len()), &format!("[{}]", json.join(",")), Value::Array(all));
        let (json, value) = &values[0];
        add(&format!("{name}[1]"), &format!("[{json}]"), Value::Array([value.clone()].into()));
    }
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    for samples in both(&mut connector, expected.len()).await {
        assert_eq!(samples.len(), expected.len());
        for ((data_type, value), sample) in expected.iter().zip(&samples) {
            // Text, so that -0.0 is not 0.0.
            assert_eq!(format!("{:?}", sample.value), format!("{value:?}"), "{data_type}");
            assert_eq!(sample.quality, Quality::Good, "{data_type} {value:?}");
        }
    }
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_value_of_the_declared_type_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    let cases = [
        ("REAL", "NaN", "REAL"),
        ("LREAL", "Infinity", "LREAL"),
        ("REAL[2]", "[1.5, NaN]", "REAL[2]"),
        ("REAL[2]", "[1.5, 2.5]", "REAL[3]"),
        ("REAL[2]", "[1.5, 2.5]", "REAL"),
        ("REAL", "1.5", "REAL[1]"),
        ("LREAL", "0.1", "REAL"),
        ("DINT", "70000", "INT"),
        ("DINT", "-1", "UDINT"),
        ("STRING", "\"four\"", "STRING[3]"),
        ("STRING", "\"1\"", "DINT"),
        ("BOOL", "true", "BYTE"),
    ];
    let mut tags = Vec::new();
    for (number, (sent, json, declared)) in cases.iter().enumerate() {
        peer.command(&format!("add s=n{number} {sent} {json}"));
        tags.push(tag(&format!("ns=test;s=n{number}"), declared));
    }
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    for samples in both(&mut connector, cases.len()).await {
        for (case, sample) in cases.iter().zip(&samples) {
            assert_eq!((&sample.value, sample.quality), (&Value::Null, Quality::Invalid), "{case:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_that_of_the_source_or_else_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command("add s=level REAL 0");
    let mut connector = open(&device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]));
    connector.connect().await.expect("connected");
    poll_for(&mut connector, 1).await;
    // A source whose clock is wrong by days is the source nevertheless.
    for (number, us) in [(1, 1_772_413_323_123_456i64), (2, 946_684_800_000_001), (3, 4_102_444_800_000_000)]
    {
        peer.command(&format!("put s=level {us} {number}"));
        let samples = poll_for(&mut connector, 1).await;
        assert_eq!((samples.len(), samples[0].source_us), (1, Some(us)));
        let look = connector.look(0).await.expect("read");
        assert_eq!((look.sample.source_us, look.bytes), (Some(us), None));
    }
    let now =
        || i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros()).expect("fits");
    let before = now();
    peer.command("put s=level - 4");
    let samples = poll_for(&mut connector, 1).await;
    let time = samples[0].source_us.expect("the server's");
    assert!((before..=now()).contains(&time), "{time} is not within {before} and now");
}
