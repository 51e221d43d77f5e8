//! Numbers for `/metrics` beyond those of the page.

use super::{BoxFacts, LaneFacts, lock};
use crate::lane::LaneStatus;
use crate::replicate::Replication;
use crate::standby::{Report, Says};
use crate::status::facts::{Facts, Metric, MetricKind};

impl BoxFacts {
    /// All of them.
    pub(super) fn further_metrics(&self) -> Vec<Metric> {
        let mut metrics = self.journal_metrics();
        metrics.extend(self.kafka_metrics());
        metrics.push(self.last_commits());
        metrics.extend(self.configuration());
        metrics.extend(self.two_boxes());
        metrics.extend(self.windows());
        metrics
    }

    /// How two boxes share the plant; nothing where there is only one.
    fn two_boxes(&self) -> Vec<Metric> {
        let metric = |name, help, samples| Metric { name, help, kind: MetricKind::Gauge, samples };
        let one_or_none = |is: bool| f64::from(u8::from(is));
        match self.standby() {
            None | Some(Report::Active { lease: None }) => Vec::new(),
            Some(Report::Active { lease: Some(lease) }) => vec![metric(
                "forebay_lease_taken",
                "1 when Kafka has taken the last lease of this active box, else 0.",
                vec![(Vec::new(), one_or_none(lease.is_ok()))],
            )],
            Some(Report::Standby { reads, heartbeat, lease, .. }) => {
                let witness = |by: &str, says: Option<Says>| {
                    let lives = match says? {
                        Says::Lives | Says::IsBack => true,
                        Says::Gone => false,
                        Says::NotYet | Says::Nothing => return None,
                    };
                    Some((vec![("by", by.to_owned())], one_or_none(lives)))
                };
                let witnesses = [witness("heartbeat", heartbeat), witness("lease", lease)];
                vec![
                    metric(
                        "forebay_standby_reads",
                        "1 while this standby reads the machines of the active box, else 0.",
                        vec![(Vec::new(), one_or_none(reads))],
                    ),
                    metric(
                        "forebay_standby_active_lives",
                        "1 when the active box lives, 0 when it is gone, as heartbeat and lease say; absent when unknown.",
                        witnesses.into_iter().flatten().collect(),
                    ),
                ]
            }
        }
    }

    /// What the models score, and what they leave out.
    #[allow(clippy::cast_precision_loss)] // Prometheus counts in doubles
    fn windows(&self) -> [Metric; 2] {
        let (mut scored, mut dropped) = (Vec::new(), Vec::new());
        for windows in self.models.predictions().windows() {
            let labels = vec![("model", windows.model), ("device", windows.device)];
            for (why, count) in [("late", windows.late), ("cpu-share", windows.over_share)] {
                let labels = [labels.clone(), vec![("why", why.to_owned())]].concat();
                dropped.push((labels, count as f64));
            }
            scored.push((labels, windows.scored as f64));
        }
        let metric = |name, help, samples| Metric { name, help, kind: MetricKind::Counter, samples };
        [
            metric("forebay_model_scores_total", "Windows that a model has scored.", scored),
            metric(
                "forebay_model_windows_dropped_total",
                "Windows that a model has not scored: inference was late, or its share of the processor used up.",
                dropped,
            ),
        ]
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
