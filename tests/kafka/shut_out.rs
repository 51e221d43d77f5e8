//! Somebody sends under the name of a box into other topics of the same Kafka, as a box with another
//! `topic_prefix` does that has imported its backlog.
#![allow(clippy::unwrap_used)] // a panic is how a test reports

use std::time::Duration;

use forebay::clock::now_us;
use forebay::event::Events;
use forebay::replicate::{Onlooker, Options, Replicator, importer_boot};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::lanes::{EPOCH, Memory, assert_exactly_once};
use super::{options, start, wait_state};
use crate::kafka_cluster::{Cluster, consume};
use crate::support::{PATIENCE, wait_for};

#[test]
fn a_box_that_is_shut_out_says_so_and_a_guest_gives_way() {
    let cluster = Cluster::shared();
    cluster.create_topics("own");
    cluster.create_topics("elsewhere");
    let (first, other) = (Memory::new("telemetry", EPOCH), Memory::new("telemetry", EPOCH));
    first.push_numbered(100);
    let (events, mut told) = Events::new();
    let one = Replicator::start(options(&cluster, "own"), first.clone(), "boot-one", Some(events)).unwrap();
    first.wait_committed(100, PATIENCE);

    // The same name, other topics: both send all they have, and the older one notices.
    other.push_numbered(100);
    let guest = Options { guest: true, ..options(&cluster, "elsewhere") };
    let two = start(guest, &other, &importer_boot("werk1", "box-2"));
    other.wait_committed(100, PATIENCE);
    first.push_numbered(100);
    first.wait_committed(200, PATIENCE);
    let status = one.status().snapshot();
    assert_eq!((status.state.code(), status.shut_out), ("up", 1));
    assert!(status.shut_out_us > now_us() - 60_000_000);
    let event = wait_for("event", PATIENCE, || told.try_recv().ok());
    assert_eq!(event.data["what"], "shut-out", "{event:?}");
    assert!(event.text.contains("other topics than own.*") && event.text.contains("imported"), "{event:?}");

    // The guest is shut out in its turn, and does not come back by itself.
    assert!(!two.is_over());
    other.push_numbered(100);
    wait_for("end of the guest", PATIENCE, || two.is_over().then_some(()));
    let state = wait_state(&two, "waiting", PATIENCE).to_string();
    assert!(state.contains("under the name of box-1 to other topics than elsewhere.*"), "{state}");
    first.push_numbered(100);
    first.wait_committed(300, PATIENCE);
    assert_eq!(one.status().snapshot().shut_out, 1, "undisturbed");
    two.join();

    // Whoever imports into the box's own topics is named.
    let two = start(options(&cluster, "own"), &other, &importer_boot("werk1", "box-2"));
    wait_state(&two, "up", PATIENCE);
    first.push_numbered(1);
    let state = wait_state(&one, "fenced", PATIENCE).to_string();
    assert!(state.contains("werk1/box-2 sends a backlog of this box"), "{state}");
    two.join();
    one.join();
    assert_exactly_once(&consume(&cluster.brokers(), &["own.telemetry"], true, Duration::from_secs(3)), 300);
    assert_exactly_once(
        &consume(&cluster.brokers(), &["elsewhere.telemetry"], true, Duration::from_secs(3)),
        100,
    );
}

#[test]
fn looking_on_disturbs_nobody_and_sees_who_sends() {
    let cluster = Cluster::shared();
    cluster.create_topics("seen");
    let options = options(&cluster, "seen");
    let strange = "ffffffffffffffffffffffffffffffff";
    let onlooker = Onlooker::new(&options, "telemetry").unwrap();
    assert!(!onlooker.look(EPOCH).unwrap().is_known());
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(500);
    let box_1 = start(options.clone(), &source, "boot-one");
    source.wait_committed(500, PATIENCE);
    let seen = onlooker.look(EPOCH).unwrap();
    assert_eq!((seen.is_known(), seen.complete_below()), (true, 500));
    assert_eq!(seen.missing_below(700), 500..700);
    assert!(!onlooker.look(strange).unwrap().is_known());
    let silent = onlooker.who_sends(EPOCH, Duration::from_secs(2), || false).unwrap();
    assert_eq!(silent, None, "it has nothing to send");
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            wait_for("records for somebody who looks on", PATIENCE, || {
                source.push_numbered(5);
                source.wait_committed(source.len(), PATIENCE);
                (source.len() >= 1000).then_some(())
            });
        });
        let by = onlooker.who_sends(EPOCH, PATIENCE, || false).unwrap();
        assert_eq!(by.as_deref(), Some("boot-one"));
        sending.join().unwrap();
    });
    assert_eq!(onlooker.look(EPOCH).unwrap().complete_below(), source.len());
    let status = box_1.status().snapshot();
    assert_eq!((status.shut_out, status.announced), (0, 1));
    // A topic that is not there says that there was never anybody.
    let nowhere = Options { prefix: "seen-nowhere".into(), ..options };
    assert!(!Onlooker::new(&nowhere, "telemetry").unwrap().look(EPOCH).unwrap().is_known());
}

#[test]
fn a_box_that_is_shut_out_amid_a_transaction_says_so() {
    let cluster = Cluster::shared();
    cluster.create_topics("amid");
    cluster.create_topics("amid-beside");
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(10_000);
    let one = start(options(&cluster, "amid"), &source, "boot-one");
    source.wait_committed(1, PATIENCE);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // There is always something to send.
        scope.spawn(|| {
            wait_for("end of the guests", Duration::from_secs(300), || {
                if source.len() < source.committed_to() + 20_000 {
                    source.push_numbered(5000);
                }
                done.load(std::sync::atomic::Ordering::SeqCst).then_some(())
            });
        });
        for round in 1..=4 {
            let guest = Options { guest: true, ..options(&cluster, "amid-beside") };
            let two = start(guest, &Memory::new("telemetry", EPOCH), "boot-two");
            wait_state(&two, "up", PATIENCE);
            two.join();
            wait_for("being told", PATIENCE, || (one.status().snapshot().shut_out >= round).then_some(()));
            let next = source.committed_to() + 1;
            source.wait_committed(next, PATIENCE);
            println!("{:?}", one.status().snapshot());
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let total = source.len();
    source.wait_committed(total, PATIENCE);
    one.join();
    assert_exactly_once(
        &consume(&cluster.brokers(), &["amid.telemetry"], true, Duration::from_secs(3)),
        total,
    );
}

/// With one partition for all boxes, as is advised for a few of them, the checkpoint of one that has
/// been silent for a while stands far before the end.
#[test]
fn looking_on_finds_a_checkpoint_far_behind_those_of_others() {
    let cluster = Cluster::shared();
    for (name, partitions) in [("telemetry", 1), ("events", 1), ("checkpoints", 1)] {
        cluster.create_topic(&format!("far.{name}"), partitions);
    }
    let options = options(&cluster, "far");
    let source = Memory::new("telemetry", EPOCH);
    source.push_numbered(100);
    let box_1 = start(options.clone(), &source, "boot-one");
    source.wait_committed(100, PATIENCE);
    box_1.join();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.brokers());
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for number in 0..2500 {
        let key = format!("werk1/box-{number}/telemetry/epoch");
        producer.send(BaseRecord::to("far.checkpoints").key(&key).payload("{}")).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let seen = Onlooker::new(&options, "telemetry").unwrap().look(EPOCH).unwrap();
    assert_eq!((seen.is_known(), seen.complete_below()), (true, 100));
}
