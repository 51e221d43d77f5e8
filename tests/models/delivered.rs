//! Central IT delivers models by a Kafka topic.

use std::time::Duration;

use forebay::infer::package::Package;
use forebay::infer::signature::SecretKey;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value as Json;

use super::{MODEL, Plant, package};
use crate::kafka_cluster::Cluster;
use crate::support::{PATIENCE, wait_for};

const TOPIC: &str = "delivery.models";

struct It {
    producer: BaseProducer,
}

impl It {
    fn new(cluster: &Cluster) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.brokers());
        cluster.create_topic_with(TOPIC, 2, &[("cleanup.policy", "compact")]);
        Self { producer: config.create().unwrap() }
    }

    fn send(&self, package: &Package, version: &str, activate: Option<&str>) {
        let tar = package.to_tar().unwrap();
        let mut headers = OwnedHeaders::new().insert(Header { key: "version", value: Some(version) });
        if activate.is_some() {
            headers = headers.insert(Header { key: "activate", value: activate });
        }
        let record = BaseRecord::to(TOPIC).key(MODEL).payload(&tar).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(PATIENCE).unwrap();
    }
}

fn wait(plant: &Plant, what: &str, is: impl Fn(&Json) -> bool) -> Json {
    // Kafka, and a box that has just been started.
    wait_for(what, 2 * PATIENCE, || plant.listed().filter(|listed| is(listed)))
}

#[test]
fn a_signed_model_comes_into_shadow_or_at_once_and_any_other_not_at_all() {
    let cluster = Cluster::start(1);
    let it = It::new(&cluster);
    let mut plant = Plant::new(Some(&cluster.brokers()), "delivery");
    let signed = |plant: &Plant, version: &str| {
        let mut package = package(version);
        plant.key.sign(&mut package).unwrap();
        package
    };
    // Of what lies there already only the newest of each name counts.
    it.send(&signed(&plant, "k0"), "k0", Some("now"));
    it.send(&signed(&plant, "k1"), "k1", None);
    plant.daemon.start();
    let listed = wait(&plant, "shadow", |it| it["shadow"]["version"] == "k1");
    assert_eq!(listed["active"], Json::Null);
    assert_eq!(listed["versions"].as_array().unwrap().len(), 1, "{listed}");
    it.send(&signed(&plant, "k2"), "k2", Some("now"));
    wait(&plant, "activation", |it| it["active"] == "k2");
    plant.wait_scores();

    it.send(&package("k3"), "k3", Some("now"));
    let mut foreign = package("k4");
    SecretKey::new().unwrap().sign(&mut foreign).unwrap();
    it.send(&foreign, "k4", Some("now"));
    it.send(&signed(&plant, "k5"), "k6", Some("now"));
    it.send(&signed(&plant, "k7"), "k7", None);
    let listed = wait(&plant, "the one behind them", |it| it["shadow"]["version"] == "k7");
    assert_eq!(listed["active"], "k2");

    // What people have done since is not undone by a start.
    plant.order(&["shadow", MODEL, "--end"]);
    plant.order(&["rollback", MODEL]);
    plant.daemon.stop();
    plant.daemon.start();
    it.send(&signed(&plant, "k8"), "k8", None);
    let listed = wait(&plant, "what came next", |it| it["shadow"]["version"] == "k8");
    assert_eq!(listed["active"], Json::Null);
    plant.daemon.stop();
    let changes = plant.changes();
    let refused: Vec<(&str, &str)> = changes
        .iter()
        .filter(|data| data["change"] == "refused")
        .map(|data| (data["to"].as_str().unwrap(), data["why"]["en"].as_str().unwrap()))
        .collect();
    assert_eq!(refused.iter().map(|it| it.0).collect::<Vec<_>>(), ["k3", "k4", "k6"], "{refused:?}");
    for ((_, why), part) in
        refused.iter().zip(["not signed", "not trusted", "the model in it counter-watch k5"])
    {
        assert!(why.contains(part), "{why}");
    }
    let installed = changes.iter().filter(|data| data["change"] == "installed");
    assert!(installed.clone().all(|data| data["by"] == "kafka"), "{changes:?}");
    assert_eq!(installed.count(), 4);
    // Without a Kafka nothing else is another.
    drop(cluster);
    plant.daemon.start();
    plant.wait_scores();
    wait_for("reads", Duration::from_secs(60), || (plant.counter.count() > 3).then_some(()));
    plant.daemon.stop();
}
