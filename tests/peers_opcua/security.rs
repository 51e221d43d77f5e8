//! Policies, modes, users, and who is trusted.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use forebay_connector::{OptionValue, PollError, Protocol, Quality, Value};
use forebay_opcua::{Fingerprint, OpcUa, TrustList};

use super::{Known, SCRIPT, device, open, poll_for, tag};
use crate::support::{Peer, Python};

const POLICIES: [(&str, &str); 3] = [
    ("Basic256Sha256", "Basic256Sha256"),
    ("Aes128_Sha256_RsaOaep", "Aes128Sha256RsaOaep"),
    ("Aes256_Sha256_RsaPss", "Aes256Sha256RsaPss"),
];
const MODES: [&str; 2] = ["Sign", "SignAndEncrypt"];

fn security(result: Result<String, PollError>) -> String {
    match result {
        Err(PollError::Security { what }) => what,
        other => panic!("{other:?} is no security error"),
    }
}

fn password() -> OptionValue {
    table(&[("user", "forebay"), ("password", "credential:opcua-filler")])
}

fn table(pairs: &[(&str, &str)]) -> OptionValue {
    OptionValue::Texts(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_pinned_server_and_the_right_password_will_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer =
        Peer::start(Python::Current, SCRIPT, &["--secure", "--user", "forebay", "--password", "s3cret"]);
    peer.command("add s=level REAL 41.5");
    let fingerprint = peer.command("fingerprint");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    let auth = BTreeMap::from([
        ("user".to_owned(), "forebay".to_owned()),
        ("password".to_owned(), "credential:opcua-filler".to_owned()),
    ]);
    spec.options.remove("security");
    spec.options.insert("auth".into(), OptionValue::Texts(auth));
    spec.allow_insecure = false;

    let asked = security(open(&spec).connect().await);
    assert!(asked.contains(&format!("trust = \"{fingerprint}\"")), "{asked}");
    spec.trust = Some(format!("sha256:{}", "00".repeat(32)));
    let wrong = security(open(&spec).connect().await);
    assert!(wrong.contains(&fingerprint), "{wrong}");

    spec.trust = Some(fingerprint);
    spec.secrets = Known::password("guessed");
    let denied = security(open(&spec).connect().await);
    assert!(denied.contains("user `forebay`") && !denied.contains("guessed"), "{denied}");

    spec.secrets = Known::password("s3cret");
    let mut connector = open(&spec);
    connector.connect().await.expect("trusted");
    assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Real(41.5));
    peer.command("set s=level 42.5");
    assert_eq!(poll_for(&mut connector, 1).await[0].value, Value::Real(42.5));
    connector.close().await;
}

/// A user's certificate and key in PEM, and the certificate in DER at `der`.
fn user_certificate(folder: &Path, der: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (path("user.pem"), path("user-key.pem"));
    let run = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().expect("openssl runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    run(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-sha256",
        "-days",
        "30",
        "-subj",
        "/CN=Forebay user",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]);
    run(&["x509", "-in", &certificate, "-outform", "DER", "-out", &der.display().to_string()]);
    let read = |path: &str| std::fs::read_to_string(path).expect("written");
    (read(&certificate), read(&key))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_mode_and_kind_of_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let der = folder.path().join("user.der");
    let (certificate, key) = user_certificate(folder.path(), &der);
    let (stranger, stranger_key) = user_certificate(folder.path(), &folder.path().join("stranger.der"));
    let names: Vec<_> =
        POLICIES.iter().flat_map(|(_, name)| MODES.map(|mode| format!("{name}_{mode}"))).collect();
    let start = |user: &[&str]| {
        let der = der.display().to_string();
        let all = ["--secure", &names.join(","), "--user-certificate", &der];
        let mut peer = Peer::start(Python::Current, SCRIPT, &[&all[..], user].concat());
        peer.command("add s=level REAL 41.5");
        peer
    };
    // Guests are let in where no user has a name.
    let mut open_to_guests = start(&[]);
    let mut closed = start(&["--user", "forebay", "--password", "s3cret"]);
    let secrets = [
        ("opcua-filler", "s3cret"),
        ("user.pem", &certificate),
        ("user-key.pem", &key),
        ("stranger.pem", &stranger),
        ("stranger-key.pem", &stranger_key),
    ];
    let secrets = secrets.map(|(name, secret)| (name.to_owned(), secret.to_owned()));
    let secrets = Arc::new(Known(BTreeMap::from(secrets)));
    let by = |name: &str| {
        let (certificate, key) = (format!("credential:{name}.pem"), format!("credential:{name}-key.pem"));
        table(&[("certificate", &certificate), ("key", &key)])
    };
    for (policy, _) in POLICIES {
        for mode in MODES {
            let users = [
                ("guest", None),
                ("password", Some(password())),
                ("certificate", Some(by("user"))),
                ("stranger", Some(by("stranger"))),
            ];
            for (who, auth) in users {
                let peer = if auth.is_none() { &mut open_to_guests } else { &mut closed };
                let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
                spec.allow_insecure = false;
                spec.secrets = secrets.clone();
                spec.trust = Some(peer.command("fingerprint"));
                spec.options.insert("security".into(), OptionValue::Text(policy.into()));
                spec.options.insert("mode".into(), OptionValue::Text(mode.into()));
                if let Some(auth) = auth {
                    spec.options.insert("auth".into(), auth);
                }
                let mut connector = open(&spec);
                let connected = connector.connect().await;
                if who == "stranger" {
                    let said = security(connected);
                    assert!(said.contains("credential:stranger.pem"), "{policy} {mode}: {said}");
                    continue;
                }
                connected.unwrap_or_else(|error| panic!("{policy} {mode} {who}: {error}"));
                let samples = poll_for(&mut connector, 1).await;
                assert_eq!(samples[0].value, Value::Real(41.5), "{policy} {mode} {who}");
                connector.close().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_waits_for_a_decision_beside_the_running_box() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer = Peer::start(Python::Current, SCRIPT, &["--secure"]);
    peer.command("add s=level REAL 41.5");
    let seen = Fingerprint::parse(&peer.command("fingerprint")).expect("a fingerprint");
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.options.remove("security");
    spec.allow_insecure = false;
    let list = TrustList::new(&spec.state_directory);
    let mut connector = open(&spec);
    let asked = security(connector.connect().await);
    assert!(asked.contains("`forebay opcua trust filler-1`"), "{asked}");
    let waiting = list.waiting().expect("read");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].fingerprint, seen);
    assert!(waiting[0].names_host("127.0.0.1") && waiting[0].subject.contains("Forebay test server"));
    let (own, facts) = list.own().expect("read").expect("made before the server is asked");
    assert!(own.exists() && facts.names.iter().any(|name| name == "urn:forebay:gateway"), "{facts:?}");

    list.trust(seen).expect("trusted");
    connector.connect().await.expect("the same connector sees it");
    assert_eq!(poll_for(&mut connector, 1).await[0].quality, Quality::Good);
    list.reject(seen).expect("taken back");
    let ended = security(Err(super::poll_error(&mut connector).await));
    assert!(ended.contains("trusted no longer"), "{ended}");
    let asked = security(connector.connect().await);
    assert!(asked.contains("waits for a decision"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_not_retried_fast() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut peer =
        Peer::start(Python::Current, SCRIPT, &["--secure", "--user", "forebay", "--password", "s3cret"]);
    let mut spec = device(&folder, peer.port, vec![tag("ns=test;s=level", "REAL")]);
    spec.options.remove("security");
    spec.options.insert("auth".into(), password());
    spec.allow_insecure = false;
    spec.trust = Some(peer.command("fingerprint"));
    spec.secrets = Known::password("guessed");
    let mut connector = open(&spec);
    for _ in 0..10 {
        let denied = security(connector.connect().await);
        assert!(denied.contains("user `forebay`") && !denied.contains("guessed"), "{denied}");
    }
    assert_eq!(peer.command("logins"), "1");
    assert_eq!(OpcUa.check_device(&spec), []);
}
