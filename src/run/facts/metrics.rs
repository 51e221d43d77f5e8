//! Numbers for `/metrics` beyond those of the page.

use super::{BoxFacts, LaneFacts, lock};
use crate::lane::LaneStatus;
use crate::replicate::Replication;
use crate::status::facts::{Metric, MetricKind};

impl BoxFacts {
    /// All of them.
    pub(super) fn further_metrics(&self) -> Vec<Metric> {
        let mut metrics = self.journal_metrics();
        metrics.extend(self.kafka_metrics());
        metrics.push(self.last_commits());
        metrics.extend(self.configuration());
        metrics
    }

    /// How the last reading of the files went.
    #[allow(clippy::cast_precision_loss)] // a time with microseconds fits well
    fn configuration(&self) -> [Metric; 2] {
        let read = *lock(&self.read);
        let metric = |name, help, value| Metric {
            name,
            help,
            kind: MetricKind::Gauge,
            samples: vec![(Vec::new(), value)],
        };
        [
            metric(
                "forebay_configuration_read_successful",
                "1 when the files had no errors as they were read last, else 0.",
                f64::from(u8::from(read.successful)),
            ),
            metric(
                "forebay_configuration_timestamp_seconds",
                "When the configuration that runs was read, seconds since 1970.",
                read.at_us as f64 / 1e6,
            ),
        ]
    }

    /// Absent until there is one: a time of 0 would look like an outage of half a century.
    #[allow(clippy::cast_precision_loss)] // a time with microseconds fits well
    fn last_commits(&self) -> Metric {
        let at = |lane: &LaneFacts| {
            let us = Some(lane.replication.snapshot().last_commit_us).filter(|us| *us != 0)?;
            Some((vec![("lane", lane.name.to_owned())], us as f64 / 1e6))
        };
        Metric {
            name: "forebay_kafka_last_commit_timestamp_seconds",
            help: "Time of the last commit, seconds since 1970; absent before the first.",
            kind: MetricKind::Gauge,
            samples: self.lanes.iter().filter_map(at).collect(),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // counts as metrics have them
impl BoxFacts {
    /// One metric with a value for each lane.
    fn each_lane(
        &self,
        name: &'static str,
        help: &'static str,
        kind: MetricKind,
        value: fn(&LaneStatus, &Replication) -> f64,
    ) -> Metric {
        let sample = |lane: &LaneFacts| {
            let value = value(&lane.status.borrow(), &lane.replication.snapshot());
            (vec![("lane", lane.name.to_owned())], value)
        };
        Metric { name, help, kind, samples: self.lanes.iter().map(sample).collect() }
    }

    fn journal_metrics(&self) -> Vec<Metric> {
        use MetricKind::Counter;
        let metric = |name, help, kind, value| self.each_lane(name, help, kind, value);
        vec![
            metric("forebay_samples_journalled_total", "Samples written and synced.", Counter, |lane, _| {
                lane.samples as f64
            }),
            metric(
                "forebay_journal_written_bytes_total",
                "Bytes written to the disk.",
                Counter,
                |lane, _| lane.written_bytes as f64,
            ),
            metric(
                "forebay_journal_rewritten_bytes_total",
                "Bytes of summed-up segments written.",
                Counter,
                |lane, _| lane.rewritten_bytes as f64,
            ),
            metric(
                "forebay_journal_device_bytes_total",
                "Bytes that the device wrote for the journal, estimated.",
                Counter,
                |lane, _| lane.device_bytes as f64,
            ),
            metric("forebay_journal_syncs_total", "Blocks synced.", Counter, |lane, _| lane.syncs as f64),
            metric(
                "forebay_journal_failed_syncs_total",
                "Writes and syncs that failed.",
                Counter,
                |lane, _| lane.failed_syncs as f64,
            ),
            metric(
                "forebay_journal_lost_records_total",
                "Records damaged or not storable.",
                Counter,
                |lane, _| lane.lost_records as f64,
            ),
            metric(
                "forebay_journal_given_back_batches_total",
                "Batches refused because the queue was full.",
                Counter,
                |lane, _| lane.given_back as f64,
            ),
        ]
    }

    fn kafka_metrics(&self) -> Vec<Metric> {
        use MetricKind::Counter;
        let metric = |name, help, kind, value| self.each_lane(name, help, kind, value);
        vec![
            metric("forebay_kafka_transactions_total", "Transactions committed.", Counter, |_, kafka| {
                kafka.transactions as f64
            }),
            metric(
                "forebay_kafka_aborts_total",
                "Transactions given up and sent again.",
                Counter,
                |_, kafka| kafka.aborts as f64,
            ),
            metric(
                "forebay_kafka_value_bytes_total",
                "Bytes of values committed, before compression.",
                Counter,
                |_, kafka| kafka.bytes as f64,
            ),
            metric(
                "forebay_kafka_wire_bytes_total",
                "Bytes given to the network for Kafka, compressed, without TLS and TCP.",
                Counter,
                |_, kafka| kafka.wire_bytes as f64,
            ),
            metric(
                "forebay_kafka_backfilled_records_total",
                "Records committed after newer ones.",
                Counter,
                |_, kafka| kafka.backfilled_records as f64,
            ),
            metric(
                "forebay_kafka_backfill_waiting_records",
                "Records that wait while newer ones go first.",
                MetricKind::Gauge,
                |_, kafka| kafka.backlog.as_ref().map_or(0, |backlog| backlog.records) as f64,
            ),
            metric(
                "forebay_kafka_dead_letters_total",
                "Records that went to the dead-letter topic.",
                Counter,
                |_, kafka| kafka.dead_letters as f64,
            ),
            metric(
                "forebay_kafka_rejected_records_total",
                "Records that Kafka refused and that are not in it.",
                Counter,
                |_, kafka| kafka.rejected as f64,
            ),
        ]
    }
}
