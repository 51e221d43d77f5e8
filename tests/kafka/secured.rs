//! Logging in, rights, and their renewal, against a real broker that demands them. One broker for
//! all, because each takes long to start.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay::replicate::{CreateTopics, Located, Mechanism, Mode, Options, Password, Replicator, Sasl, Tls};

use super::lanes::{EPOCH, Memory, assert_exactly_once};
use super::{start, wait_state};
use crate::kafka_cluster::{Cluster, Security, certificate, consume, grant};
use crate::support::{PATIENCE, Port, root, tool, wait_for};

struct Secured {
    cluster: Cluster,
    /// Vouches for the broker.
    ca: PathBuf,
    /// Where the broker wants a certificate.
    certificates: Port,
    folder: tempfile::TempDir,
}

#[test]
fn logging_in_rights_and_their_renewal() {
    // Holds the place of the shared one, so that not two clusters start at once.
    let _quiet = Cluster::shared();
    let folder = tempfile::tempdir().unwrap();
    let (ca, keystore) = certificate(folder.path());
    let authority = authority(folder.path(), "authority");
    let certificates = Port::reserve();
    let security = Security {
        keystore,
        users: vec![("box-1", "s3cret-word"), ("box-2", "s3cret-too")],
        certificates: Some((certificates.number, authority)),
    };
    let cluster = Cluster::start_with(1, Some(&security));
    cluster.create_topics("it");
    cluster.create_topics("cert");
    cluster.create_topics("plain");
    let secured = Secured { cluster, ca, certificates, folder };
    let mut step = Instant::now();
    let mut took =
        |what: &str| println!("{what}: {:?}", std::mem::replace(&mut step, Instant::now()).elapsed());
    secured.names_each_missing_right();
    took("rights");
    secured.creates_topics_only_where_it_may();
    took("topics");
    secured.every_mechanism_works_and_a_wrong_password_is_called_so();
    took("mechanisms");
    secured.without_transactions();
    took("without transactions");
    secured.a_renewed_password_needs_no_restart();
    took("password");
    secured.certificates();
    took("certificates");
}

impl Secured {
    fn options(&self, prefix: &str, user: &str, password: Password) -> Options {
        Options {
            tls: Some(Tls { ca: Some(self.ca.clone()), ..Tls::default() }),
            sasl: Some(Sasl { mechanism: Mechanism::ScramSha512, username: user.to_owned(), password }),
            create_topics: None,
            commit_interval: Duration::from_millis(100),
            ..Options::new(&self.cluster.secure_brokers(), prefix, "werk1", "box-1")
        }
    }

    fn grant(&self, user: &str, permissions: &[&str]) {
        grant(&self.cluster.brokers(), user, permissions);
    }

    fn names_each_missing_right(&self) {
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(10);
        let replicator = start(self.options("it", "box-1", Password::new("s3cret-word")), &source, "boot-a");
        let id = "transactional_id:forebay.werk1.box-1.telemetry";
        let steps: [(&str, &[&str]); 5] = [
            ("grant Write, Read and Describe on Topic it.checkpoints", &["write:topic:it.checkpoints"]),
            ("grant Write and Describe on Topic it.telemetry", &["describe:topic:it.telemetry"]),
            (
                "grant Write and Describe on TransactionalId forebay.werk1.box-1.telemetry",
                &[&format!("write:{id}"), &format!("describe:{id}")],
            ),
            ("grant Read on Topic it.checkpoints", &["read:topic:it.checkpoints"]),
            ("grant Write on Topic it.telemetry", &["write:topic:it.telemetry"]),
        ];
        let status = replicator.status();
        for (words, permissions) in steps {
            let start = Instant::now();
            let state = wait_for(words, PATIENCE, || {
                Some(status.snapshot().state.to_string()).filter(|state| state.contains(words))
            });
            println!("{:?}: {state}", start.elapsed());
            assert!(!state.contains("s3cret"), "{state}");
            self.grant("box-1", permissions);
        }
        source.wait_committed(10, PATIENCE);
        wait_state(&replicator, "up", PATIENCE);
        replicator.join();
        assert_exactly_once(&self.read("it.telemetry"), 10);
    }

    /// Topics that do not exist: without the right to create them the box says which, with it it does.
    fn creates_topics_only_where_it_may(&self) {
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(10);
        let create_topics = Some(CreateTopics { partitions: 1, replication: 1 });
        let options = Options { create_topics, ..self.options("new", "box-1", Password::new("s3cret-word")) };
        self.grant(
            "box-1",
            &["write:topic:new.checkpoints", "read:topic:new.checkpoints", "write:topic:new.telemetry"],
        );
        let replicator = start(options, &source, "boot-n");
        let status = replicator.status();
        for topic in ["new.checkpoints", "new.telemetry"] {
            let words = format!("topic {topic} does not exist and user box-1 may not create it");
            let state = wait_for(&words, PATIENCE, || {
                Some(status.snapshot().state.to_string()).filter(|state| state.contains(&words))
            });
            assert!(state.contains(&format!("or grant Create on Topic {topic}")), "{state}");
            self.grant("box-1", &[&format!("create:topic:{topic}")]);
        }
        source.wait_committed(10, PATIENCE);
    }

    fn read(&self, topic: &str) -> Vec<crate::kafka_cluster::Consumed> {
        consume(&self.cluster.brokers(), &[topic], true, Duration::from_secs(2))
    }

    fn every_mechanism_works_and_a_wrong_password_is_called_so(&self) {
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(10);
        for (index, mechanism) in Mechanism::ALL.into_iter().enumerate() {
            let with = |password: &str| {
                let mut options = self.options("it", "box-1", Password::new(password));
                options.sasl.as_mut().unwrap().mechanism = mechanism;
                options
            };
            let intruder = start(with("wrong"), &source, "boot-x");
            let state = wait_state(&intruder, "not-let-in", PATIENCE).to_string();
            println!("{}: {state}", mechanism.as_str());
            assert!(state.contains("does not accept the password of user box-1"), "{state}");
            intruder.join();
            source.push_numbered(5);
            let replicator = start(with("s3cret-word"), &source, &format!("boot-{index}"));
            source.wait_committed(15 + 5 * index as u64, PATIENCE);
            replicator.join();
        }
        assert_exactly_once(&self.read("it.telemetry"), 25);
    }

    /// box-2 may write, but not use transactions.
    fn without_transactions(&self) {
        let topics = ["plain.telemetry", "plain.checkpoints"];
        let rights = topics.map(|topic| [format!("write:topic:{topic}"), format!("describe:topic:{topic}")]);
        let mut rights: Vec<&str> = rights.iter().flatten().map(String::as_str).collect();
        rights.push("read:topic:plain.checkpoints");
        self.grant("box-2", &rights);
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(300);
        let options = |mode| Options { mode, ..self.options("plain", "box-2", Password::new("s3cret-too")) };
        let refused = start(options(Mode::ExactlyOnce), &source, "boot-a");
        let state = wait_state(&refused, "refused", PATIENCE).to_string();
        assert!(state.contains("grant Write and Describe on TransactionalId"), "{state}");
        assert!(state.contains("at-least-once"), "{state}");
        refused.join();
        for (run, next) in [(0, 300), (1, 600)] {
            let replicator = start(options(Mode::AtLeastOnce), &source, &format!("boot-b{run}"));
            source.wait_committed(next, PATIENCE);
            replicator.join();
            source.push_numbered(300);
        }
        // Without a fault nothing is there twice, because the checkpoint is the same.
        assert_exactly_once(&self.read("plain.telemetry"), 600);
    }

    fn a_renewed_password_needs_no_restart(&self) {
        let file = self.folder.path().join("password");
        std::fs::write(&file, "s3cret-word").unwrap();
        let read = file.clone();
        let password =
            Password::read_by(move || std::fs::read_to_string(&read).map_err(|error| error.to_string()));
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(30);
        let replicator = start(self.options("it", "box-1", password), &source, "boot-r");
        source.wait_committed(30, PATIENCE);
        // As IT does it: the broker first, then the box.
        let changed = Command::new(tool("python/bin/python"))
            .arg(root().join("tests/peers/kafka_password.py"))
            .args([&self.cluster.brokers(), "box-1", "s3cret-new"])
            .status();
        assert!(changed.unwrap().success());
        std::fs::write(&file, "s3cret-new").unwrap();
        wait_renewals(&replicator, 1);
        source.push_numbered(10);
        source.wait_committed(40, PATIENCE);
        assert_eq!(replicator.status().snapshot().aborts, 0, "between transactions");
        replicator.join();
        assert_exactly_once(&self.read("it.telemetry"), 40);
    }

    /// A certificate instead of a password: wrong ones are called so, the key may come later, and
    /// a new pair is used without a restart, but not half of it.
    fn certificates(&self) {
        let folder = self.folder.path();
        let pair = |name: &str| (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        identity(folder, "authority", "cert-1");
        identity(folder, "authority", "cert-2");
        authority(folder, "stranger");
        identity(folder, "stranger", "cert-x");
        let key_comes_later = folder.join("credentials-key");
        let certificate = folder.join("in-use.pem");
        let options = |certificate: &Path, key: Located| Options {
            tls: Some(Tls {
                ca: Some(self.ca.clone()),
                certificate: Some(certificate.to_owned()),
                key: Some(key),
                key_password: None,
            }),
            create_topics: None,
            commit_interval: Duration::from_millis(100),
            ..Options::new(&format!("127.0.0.1:{}", self.certificates.number), "cert", "werk1", "box-1")
        };
        let source = Memory::new("telemetry", EPOCH);
        source.push_numbered(10);

        let (foreign, foreign_key) = pair("cert-x");
        let stranger = start(options(&foreign, Located::at(foreign_key)), &source, "boot-x");
        let state = wait_state(&stranger, "not-let-in", PATIENCE).to_string();
        assert!(state.contains("does not accept the certificate of this box"), "{state}");
        stranger.join();

        std::fs::copy(pair("cert-1").0, &certificate).unwrap();
        let found = key_comes_later.clone();
        let key = Located::found_by(move || {
            found.exists().then(|| found.clone()).ok_or("credential edge-key is not there".to_owned())
        });
        let replicator = start(options(&certificate, key), &source, "boot-a");
        let state = wait_state(&replicator, "settings", PATIENCE).to_string();
        assert!(state.contains("credential edge-key is not there"), "{state}");
        std::fs::copy(pair("cert-1").1, &key_comes_later).unwrap();
        let state = wait_state(&replicator, "refused", PATIENCE).to_string();
        assert!(state.contains("the certificate's user may not see topic cert.checkpoints"), "{state}");
        for name in ["CN=cert-1", "CN=cert-2"] {
            let id = "transactional_id:forebay.werk1.box-1.telemetry";
            self.grant(
                name,
                &[
                    "write:topic:cert.checkpoints",
                    "read:topic:cert.checkpoints",
                    "write:topic:cert.telemetry",
                    &format!("write:{id}"),
                    &format!("describe:{id}"),
                ],
            );
        }
        source.wait_committed(10, PATIENCE);

        // The new certificate without its key, then with it.
        std::fs::copy(pair("cert-2").0, &certificate).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(12) {
            source.push_numbered(5);
            source.wait_committed(source.len(), PATIENCE);
        }
        assert_eq!(replicator.status().snapshot().renewals, 0, "half a pair is of no use");
        std::fs::copy(pair("cert-2").1, &key_comes_later).unwrap();
        wait_renewals(&replicator, 1);
        source.push_numbered(10);
        source.wait_committed(source.len(), PATIENCE);
        assert_eq!(replicator.status().snapshot().aborts, 0, "between transactions");
        replicator.join();
        assert_exactly_once(&self.read("cert.telemetry"), source.len());
    }
}

fn wait_renewals(replicator: &Replicator, renewals: u64) {
    let status = replicator.status();
    wait_for("renewal", PATIENCE, || (status.snapshot().renewals >= renewals).then_some(()));
}

fn openssl(words: &[&str]) {
    let done = Command::new("openssl").args(words).stderr(Stdio::null()).status();
    assert!(done.expect("openssl is installed, see tests/setup").success(), "{words:?}");
}

/// An authority: `<name>.pem`, `<name>.key`.
fn authority(folder: &Path, name: &str) -> PathBuf {
    let file = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    let subject = format!("/CN={name}");
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        &subject,
        "-keyout",
        &file("key"),
        "-out",
        &file("pem"),
    ]);
    file("pem").into()
}

/// A certificate for `name` that the authority vouches for: `<name>.pem`, `<name>.key`.
fn identity(folder: &Path, authority: &str, name: &str) {
    let file = |name: &str, end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    let subject = format!("/CN={name}");
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        &subject,
        "-keyout",
        &file(name, "key"),
        "-out",
        &file(name, "csr"),
    ]);
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &file(name, "csr"),
        "-CA",
        &file(authority, "pem"),
        "-CAkey",
        &file(authority, "key"),
        "-CAcreateserial",
        "-out",
        &file(name, "pem"),
    ]);
}
