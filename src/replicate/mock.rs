//! A Kafka inside this process, for `forebay demo`: librdkafka's mock cluster.
//!
//! It speaks the protocol over loopback sockets, so the replicator works against it unchanged.
//! It is no Kafka: it keeps everything in memory and at most 5 MiB per partition, makes records
//! visible before their commit and also after an abort, and does not fence a second producer.
//! Nothing about exactly-once can be shown with it.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey;

use super::Options;

/// The embedded broker. Everything in it is gone when it is dropped.
pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    bootstrap: String,
}

/// Number of the only broker.
const ID: i32 = 1;

impl Broker {
    /// Starts one broker with the topics of `prefix`.
    ///
    /// # Errors
    /// When librdkafka cannot open a loopback socket.
    pub fn start(prefix: &str) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        let bootstrap = cluster.bootstrap_servers();
        let options = Options::new(&bootstrap, prefix, "", "");
        for (topic, partitions) in [("telemetry", 4), ("events", 1), ("checkpoints", 1)] {
            cluster.create_topic(&options.topic(topic), partitions, 1)?;
        }
        Ok(Self { cluster, bootstrap })
    }

    /// `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Cuts all connections and refuses new ones.
    ///
    /// # Errors
    /// Those of librdkafka; none is known.
    pub fn down(&self) -> Result<(), KafkaError> {
        self.cluster.broker_down(ID)
    }

    /// Accepts connections again.
    ///
    /// # Errors
    /// Those of librdkafka; none is known.
    pub fn up(&self) -> Result<(), KafkaError> {
        self.cluster.broker_up(ID)
    }

    /// Behaves as a broker that knows no idempotent producers and no transactions.
    ///
    /// # Errors
    /// Those of librdkafka; none is known.
    pub fn without_idempotence(&self) -> Result<(), KafkaError> {
        self.cluster.apiversion(RDKafkaApiKey::InitProducerId, None, None)
    }

    /// Makes every answer take this long.
    ///
    /// # Errors
    /// Those of librdkafka; none is known.
    pub fn slow(&self, round_trip: Duration) -> Result<(), KafkaError> {
        self.cluster.broker_round_trip_time(ID, round_trip)
    }
}
