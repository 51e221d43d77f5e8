//! What the server remembers of the time the box was away.

use forebay_connector::{Connector, OptionValue, Quality, RawSample, Value};

use super::{SCRIPT, device, open, tag};
use crate::support::{Peer, Python};

/// 2026-03-02 10:00 UTC.
const START_US: i64 = 1_772_445_600_000_000;
const TAGS: i64 = 3;
const VALUES: i64 = 40;

/// Three recorded tags with forty values each, and one that nobody records.
fn recorded(arguments: &[&str]) -> Peer {
    let mut peer = Peer::start(Python::Current, SCRIPT, arguments);
    for tag in 0..TAGS {
        peer.command(&format!("add s=t{tag} DINT 0"));
        peer.command(&format!("record s=t{tag}"));
    }
    peer.command("add s=fresh DINT 7");
    for value in 0..VALUES {
        for tag in 0..TAGS {
            peer.command(&format!("put s=t{tag} {} {value}", START_US + value * 1_000_000 + tag * 1000));
        }
    }
    peer
}

async fn connect(folder: &tempfile::TempDir, peer: &Peer, tags: &[&str]) -> Box<dyn Connector> {
    let tags = tags.iter().map(|node| tag(&format!("ns=test;{node}"), "DINT")).collect();
    let mut connector = open(&device(folder, peer.port, tags));
    connector.connect().await.expect("connected");
    connector
}

fn expected(from: i64, to: i64) -> Vec<(u32, Value, i64)> {
    let mut all = Vec::new();
    for value in from..=to {
        for tag in 0..TAGS {
            let time = START_US + value * 1_000_000 + tag * 1000;
            all.push((u32::try_from(tag).expect("small"), Value::Int(value), time));
        }
    }
    all
}

fn plain(samples: &[RawSample]) -> Vec<(u32, Value, i64)> {
    assert!(samples.iter().all(|sample| sample.quality == Quality::Good));
    samples.iter().map(|s| (s.tag, s.value.clone(), s.source_us.expect("a time"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn history_of_the_time_away_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    // Whole pages, and pages so small that only continuation points lead on.
    for arguments in [&[][..], &["--history-page", "7"]] {
        let peer = recorded(arguments);
        let mut connector = connect(&folder, &peer, &["s=t0", "s=t1", "s=t2", "s=fresh"]).await;
        let (from, to) = (START_US + 5_000_000, START_US + 34_000_000 + 2000);
        let mut samples = Vec::new();
        assert_eq!(connector.history(from, to, 10_000, &mut samples).await, Ok(true));
        assert_eq!(plain(&samples), expected(5, 34));

        // The same a few at a time, each time from behind the last.
        let (mut parts, mut next) = (Vec::new(), from);
        loop {
            let mut part = Vec::new();
            assert_eq!(connector.history(next, to, 10, &mut part).await, Ok(true));
            assert!(part.len() <= 10, "{}", part.len());
            let Some(last) = part.last().and_then(|sample| sample.source_us) else { break };
            next = last + 1;
            parts.extend(part);
        }
        assert_eq!(plain(&parts), expected(5, 34));
        let mut nothing = Vec::new();
        assert_eq!(connector.history(0, START_US - 1, 10, &mut nothing).await, Ok(true));
        assert!(nothing.is_empty(), "{nothing:?}");
        connector.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_without_history_are_not_asked_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = recorded(&[]);
    let mut connector = connect(&folder, &peer, &["s=fresh"]).await;
    let mut samples = Vec::new();
    assert_eq!(connector.history(0, START_US * 2, 100, &mut samples).await, Ok(false));
    connector.close().await;

    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=t0", "DINT")]);
    spec.options.insert("history".into(), OptionValue::Bool(false));
    let mut connector = open(&spec);
    connector.connect().await.expect("connected");
    assert_eq!(connector.history(0, START_US * 2, 100, &mut samples).await, Ok(false));
    assert!(samples.is_empty());
}
