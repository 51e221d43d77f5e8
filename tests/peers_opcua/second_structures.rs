//! Fields of structures as node-opcua describes and encodes them, beside those of asyncua in
//! `structures`: names of types and encodings, optional fields and unions are written by other hands.

use forebay_connector::{DataType, Quality, Value};
use forebay_opcua::browse::{Bounds, browse};

use super::{device, open, poll_for, tag};
use crate::support::{PATIENCE, Peer};

const SCRIPT: &str = "opcua_node_server.js";

/// A press with this speed, and a note where there is one.
fn press(speed: f32, note: &str) -> String {
    format!(
        r#"{{"running": true, "speed": {speed}, "count": 4000000000, "mode": 1, "name": "Größe 3",
        "cycle": 1500.0, "profile": [1.5, -2.5, 0.0], "die": {{"temp": 180.5, "name": "upper"}},
        "zones": [{{"temp": 1.0, "name": "a"}}, {{"temp": 2.0, "name": "b"}}]{note}, "last": -7}}"#
    )
    .replace('\n', "")
}

const NOTE: &str = r#", "note": "oil""#;

fn fields() -> Vec<(&'static str, &'static str, Value)> {
    let reals = |reals: &[f32]| Value::Array(reals.iter().copied().map(Value::Real).collect());
    vec![
        ("Running", "BOOL", Value::Bool(true)),
        ("Speed", "REAL", Value::Real(41.5)),
        ("Count", "UDINT", Value::Uint(4_000_000_000)),
        ("Mode", "DINT", Value::Int(1)),
        ("Name", "STRING", Value::Text("Größe 3".into())),
        ("Cycle", "TIME", Value::Int(1500)),
        ("Profile", "REAL[3]", reals(&[1.5, -2.5, 0.0])),
        ("Profile[1]", "REAL", Value::Real(-2.5)),
        ("Die.Temp", "REAL", Value::Real(180.5)),
        ("Zones[1].Name", "STRING", Value::Text("b".into())),
        ("Note", "STRING", Value::Text("oil".into())),
        ("Last", "INT", Value::Int(-7)),
    ]
}

fn address(path: &str, node: &str) -> String {
    format!("ns=test;field={path};s={node}")
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_the_second_servers_structures_arrive() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    peer.command(&format!("add s=status PRESS {}", press(41.5, NOTE)));
    peer.command(&format!("add s=all PRESS[] [{}, {}]", press(1.25, ""), press(7.25, NOTE)));
    let fields = fields();
    let mut tags: Vec<_> = fields.iter().map(|(path, kind, _)| tag(&address(path, "status"), kind)).collect();
    for path in ["[0].Speed", "[1].Speed", "[2].Speed", "[1].Zones[0].Temp"] {
        tags.push(tag(&address(path, "all"), "REAL"));
    }
    let all = tags.len();
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    let mut sent = poll_for(&mut connector, all).await;
    sent.sort_by_key(|sample| sample.tag);
    let numbers: Vec<u32> = (0u32..).take(all).collect();
    let mut asked = Vec::new();
    connector.read(&numbers, &mut asked).await.expect("read");
    for got in [&sent, &asked] {
        for ((path, _, value), sample) in fields.iter().zip(got) {
            assert_eq!((&sample.value, sample.quality), (value, Quality::Good), "{path}");
        }
        let of_all: Vec<_> = got[fields.len()..].iter().map(|sample| sample.value.clone()).collect();
        assert_eq!(of_all, [Value::Real(1.25), Value::Real(7.25), Value::Null, Value::Real(1.0)]);
    }
    // An optional field is left out; what follows it stands elsewhere in the bytes.
    peer.command(&format!("set s=status {}", press(42.5, "")));
    let mut sent = poll_for(&mut connector, fields.len()).await;
    sent.sort_by_key(|sample| sample.tag);
    assert_eq!(sent[1].value, Value::Real(42.5));
    assert_eq!((&sent[10].value, sent[10].quality), (&Value::Null, Quality::Invalid));
    assert_eq!(sent[11].value, Value::Int(-7));
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_union_of_the_second_server_has_the_one_field_that_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    peer.command(r#"add s=choice CHOICE {"level": 2.5}"#);
    let tags = vec![tag(&address("Level", "choice"), "REAL"), tag(&address("Text", "choice"), "STRING")];
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    for (json, expected) in [
        (None, [Value::Real(2.5), Value::Null]),
        (Some(r#"{"text": "full"}"#), [Value::Null, Value::Text("full".into())]),
    ] {
        if let Some(json) = json {
            peer.command(&format!("set s=choice {json}"));
        }
        let mut asked = Vec::new();
        connector.read(&[0, 1], &mut asked).await.expect("read");
        for (sample, expected) in asked.iter().zip(&expected) {
            let quality = if *expected == Value::Null { Quality::Invalid } else { Quality::Good };
            assert_eq!((&sample.value, sample.quality), (expected, quality));
        }
    }
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browse_shows_the_fields_of_the_second_servers_structures() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start_node(SCRIPT, &[]);
    peer.command(&format!("add s=status PRESS {}", press(41.5, NOTE)));
    let bounds = Bounds { depth: 3, nodes: 1000, time: PATIENCE };
    let walk = browse(&device(&folder, peer.port, Vec::new()), None, bounds).await.expect("walked");
    let found = walk.found.iter().find(|found| found.id == "s=status").expect("found");
    let shown: Vec<(String, DataType)> = found.variable.as_ref().expect("a variable").fields.clone();
    let words: Vec<String> = shown.iter().map(|(path, kind)| format!("{path} {kind}")).collect();
    assert_eq!(
        words.join(", "),
        "Running BOOL, Speed REAL, Count UDINT, Mode DINT, Name STRING, Cycle LREAL, Profile REAL[3], \
         Die.Temp REAL, Die.Name STRING, Zones[0].Temp REAL, Zones[0].Name STRING, Zones[1].Temp REAL, \
         Zones[1].Name STRING, Note STRING, Last INT"
    );
}
