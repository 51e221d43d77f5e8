//! Fields of structures, as asyncua describes and encodes them.

use forebay_connector::{Connector, PollError, Protocol, Quality, RawSample, Value};
use forebay_opcua::OpcUa;
use forebay_opcua::browse::{Bounds, browse};

use super::{SCRIPT, device, open, poll_for, tag};
use crate::support::{PATIENCE, Peer, Python};

const PRESS: &str = r#"{"Running": true, "Speed": 41.5, "Count": 4000000000, "Mode": 1, "Name": "Größe 3",
    "Cycle": 1500.0, "Profile": [1.5, -2.5, 0.0], "Die": {"Temp": 180.5, "Name": "upper"},
    "Zones": [{"Temp": 1.0, "Name": "a"}, {"Temp": 2.0, "Name": "b"}], "Note": NOTE, "Last": -7}"#;

fn press(note: &str) -> String {
    PRESS.replace("NOTE", note).replace('\n', "")
}

/// Fields, types and values of [`PRESS`] with the note "oil".
fn fields() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("Running", "BOOL", Value::Bool(true)),
        ("Speed", "REAL", Value::Real(41.5)),
        ("Count", "UDINT", Value::Uint(4_000_000_000)),
        ("Mode", "DINT", Value::Int(1)),
        ("Name", "STRING", Value::Text("Größe 3".into())),
        ("Cycle", "TIME", Value::Int(1500)),
        ("Profile", "REAL[3]", Value::Array([Value::Real(1.5), Value::Real(-2.5), Value::Real(0.0)].into())),
        ("Profile[1]", "REAL", Value::Real(-2.5)),
        ("Die.Temp", "REAL", Value::Real(180.5)),
        ("Zones[1].Name", "STRING", Value::Text("b".into())),
        ("Note", "STRING", Value::Text("oil".into())),
        ("Last", "INT", Value::Int(-7)),
    ]
}

fn address(path: &str) -> String {
    format!("ns=test;field={path};s=status")
}

async fn read(connector: &mut Box<dyn Connector>, tags: usize) -> Vec<RawSample> {
    let numbers: Vec<u32> = (0u32..).take(tags).collect();
    let mut read = Vec::new();
    connector.read(&numbers, &mut read).await.unwrap_or_else(|error| panic!("{error}"));
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_structure_arrive_as_one_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command(&format!("add s=status PRESS {}", press("\"oil\"")));
    peer.command("add s=plain DINT 5");
    let fields = fields();
    let mut tags: Vec<_> = fields.iter().map(|(path, kind, _)| tag(&address(path), kind)).collect();
    tags.push(tag("ns=test;s=plain", "DINT"));
    let all = tags.len();
    let spec = device(&folder, peer.port, tags);
    assert_eq!(
        OpcUa.plan(&spec).expect("a plan").scans[0].pushed.as_deref(),
        Some("subscription of 2 items: the server sends changes every 100 ms")
    );
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    let mut sent = poll_for(&mut connector, all).await;
    sent.sort_by_key(|sample| sample.tag);
    let before = connector.requests();
    let asked = read(&mut connector, all).await;
    assert!(connector.requests() - before <= 3, "one read, and what the session does by itself");
    for got in [&sent, &asked] {
        assert_eq!(got.len(), all);
        for ((path, _, value), sample) in fields.iter().zip(got) {
            assert_eq!((&sample.value, sample.quality), (value, Quality::Good), "{path}");
        }
        assert_eq!(got[all - 1].value, Value::Int(5));
    }

    // One change of one field brings all with the one time of the whole.
    peer.command(&format!("set s=status {}", press("null").replace("41.5", "42.5")));
    let time = peer.command("time s=status").parse::<i64>().expect("a time");
    let mut sent = poll_for(&mut connector, fields.len()).await;
    sent.sort_by_key(|sample| sample.tag);
    assert!(sent.iter().all(|sample| sample.source_us == Some(time)), "{sent:?}");
    assert_eq!(sent[1].value, Value::Real(42.5));
    assert_eq!((&sent[10].value, sent[10].quality), (&Value::Null, Quality::Invalid), "left out");
    assert_eq!(sent[11].value, Value::Int(-7), "what follows the field that was left out");

    peer.command("bad s=status");
    let sent = poll_for(&mut connector, fields.len()).await;
    assert!(sent.iter().all(|sample| sample.quality == Quality::Bad && sample.value == Value::Null));
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_of_structures_has_its_elements() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    let (first, second) = (press("null"), press("\"x\"").replace("41.5", "7.25"));
    peer.command(&format!("add s=status PRESS [{first}, {second}]"));
    let tags = ["[0].Speed", "[1].Speed", "[2].Speed", "[1].Zones[0].Temp"];
    let tags: Vec<_> = tags.iter().map(|path| tag(&address(path), "REAL")).collect();
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    let got = read(&mut connector, 4).await;
    let values: Vec<_> = got.iter().map(|sample| sample.value.clone()).collect();
    assert_eq!(values, [Value::Real(41.5), Value::Real(7.25), Value::Null, Value::Real(1.0)]);
    assert_eq!(got[2].quality, Quality::Invalid);
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_and_costs_only_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command(&format!("add s=status PRESS {}", press("null")));
    peer.command("add s=plain DINT 5");
    let tags = vec![
        tag(&address("Sped"), "REAL"),
        tag(&address("Speed"), "REAL"),
        tag(&address("Die"), "REAL"),
        tag("ns=test;field=Speed;s=plain", "REAL"),
        tag("ns=test;field=Speed;s=nowhere", "REAL"),
        tag(&address("Speed"), "BOOL"),
    ];
    let spec = device(&folder, peer.port, tags);
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    let got = read(&mut connector, 6).await;
    let qualities: Vec<_> = got.iter().map(|sample| sample.quality).collect();
    use Quality::{Good, Invalid, Refused};
    assert_eq!(qualities, [Refused, Good, Refused, Refused, Refused, Invalid]);
    let words = |tag| connector.refusal(tag).unwrap_or_default();
    assert!(
        words(0).starts_with("there is no field `Sped`; there are: Running, Speed, Count"),
        "{}",
        words(0)
    );
    assert!(words(2).contains("Die.Temp, Die.Name"), "{}", words(2));
    assert!(words(3).contains("no structure but a Int32"), "{}", words(3));
    assert!(words(4).contains("BadNodeIdUnknown"), "{}", words(4));
    assert_eq!((words(1), words(5)), (String::new(), String::new()));
    connector.close().await;

    // A server of before 1.04 says nothing of its structures.
    peer.command("forget PRESS");
    let connected: Result<String, PollError> = connector.connect().await;
    connected.expect("connected again");
    let got = read(&mut connector, 6).await;
    assert_eq!(got[1].quality, Refused);
    let words = connector.refusal(1).unwrap_or_default();
    assert!(words.contains("no DataTypeDefinition, which came with OPC UA 1.04"), "{words}");
    connector.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browse_shows_the_fields_that_a_profile_can_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &[]);
    peer.command(&format!("add s=status PRESS {}", press("\"oil\"")));
    let bounds = Bounds { depth: 3, nodes: 1000, time: PATIENCE };
    let walk = browse(&device(&folder, peer.port, Vec::new()), None, bounds).await.expect("walked");
    let found = walk.found.iter().find(|found| found.id == "s=status").expect("found");
    let shown = &found.variable.as_ref().expect("a variable").fields;
    let shown: Vec<String> = shown.iter().map(|(path, kind)| format!("{path} {kind}")).collect();
    assert_eq!(
        shown.join(", "),
        "Running BOOL, Speed REAL, Count UDINT, Mode DINT, Name STRING, Cycle LREAL, Profile REAL[3], \
         Die.Temp REAL, Die.Name STRING, Zones[0].Temp REAL, Zones[0].Name STRING, Zones[1].Temp REAL, \
         Zones[1].Name STRING, Note STRING, Last INT"
    );
    let tags: Vec<_> = found.variable.iter().flat_map(|it| &it.fields).collect();
    let tags = tags.iter().map(|(path, kind)| tag(&address(path), &kind.to_string())).collect();
    let mut connector = open(&device(&folder, peer.port, tags));
    connector.connect().await.expect("connected");
    let got = read(&mut connector, shown.len()).await;
    assert!(got.iter().all(|sample| sample.quality == Quality::Good), "{got:?}");
    connector.close().await;
}
