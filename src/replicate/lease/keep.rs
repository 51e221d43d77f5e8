//! The active box writes its lease again and again.

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::super::fault::{self, Fault};
use super::super::options::Options;
use super::super::plain;
use super::super::reports::Reports;
use super::super::stop::Stop;
use super::super::topics::{self, LEASES};
use super::PARTITION;

/// Longest single wait inside librdkafka, so that a stop is heard.
const SLICE: Duration = Duration::from_millis(100);
/// At a stop Kafka is given so long to take the last one.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the active box writes.
pub(crate) trait Lease {
    /// The value of the next record; `is_last` when the box stops in order.
    fn value(&mut self, is_last: bool) -> Vec<u8>;

    /// Whether Kafka has taken the last one, or why not, in words.
    fn told(&mut self, outcome: Result<(), String>);
}

/// Writes `lease` under the id of this box every `every`, until `stop` is set; then once more. Nothing
/// ends it before: what goes wrong is told and tried again.
pub(crate) fn keep(options: &Options, every: Duration, lease: &mut impl Lease, stop: &Stop) {
    let reports = Reports::new(LEASES);
    let mut writer = None;
    while !stop.is_set() {
        let next = Instant::now() + every;
        match write(&mut writer, options, (every, &reports), &lease.value(false), stop) {
            Err(Fault::Stopped) => break,
            Ok(()) => lease.told(Ok(())),
            Err(fault) => {
                writer = None;
                lease.told(Err(fault.to_string()));
            }
        }
        stop.sleep(next.saturating_duration_since(Instant::now()));
    }
    if let Some(writer) = writer {
        let sent = writer.send(options, &lease.value(true));
        // Without it the lease runs out by itself.
        let _taken = sent.and_then(|()| writer.delivered(options, GOODBYE, &Stop::default()));
    }
}

/// Writes one record, with a new producer where there is none or the certificates have changed.
fn write(
    writer: &mut Option<Writer>,
    options: &Options,
    (every, reports): (Duration, &Reports),
    value: &[u8],
    stop: &Stop,
) -> Result<(), Fault> {
    let fingerprint = options.fingerprint();
    if writer.as_ref().is_none_or(|writer| writer.fingerprint != fingerprint) {
        *writer = Some(Writer::open(options, every, reports.fresh(), fingerprint, stop)?);
    }
    let Some(writer) = writer else { return Ok(()) };
    writer.send(options, value)?;
    writer.delivered(options, every.saturating_mul(2), stop)
}

/// A producer with its topic.
struct Writer {
    producer: BaseProducer<Reports>,
    reports: Reports,
    topic: String,
    /// Of the certificates and passwords it uses.
    fingerprint: [u8; 32],
}

impl Writer {
    fn open(
        options: &Options,
        every: Duration,
        reports: Reports,
        fingerprint: [u8; 32],
        stop: &Stop,
    ) -> Result<Self, Fault> {
        options.check_files().map_err(Fault::Settings)?;
        options.check_secrets().map_err(Fault::Settings)?;
        let producer: BaseProducer<Reports> =
            options.lease_producer(every).create_with_context(reports.clone()).map_err(|error| {
                reports.detail("the settings of [kafka] do not work", &error);
                Fault::Settings(plain::settings(&error))
            })?;
        let topic = options.topic(LEASES);
        let poll = |wait: Duration| producer.poll(wait);
        poll(Duration::ZERO);
        let ask = || topics::partitions(producer.client(), options, &topic, &reports, &poll);
        topics::ensure_by(&ask, options, stop, &topic, &mut false)?;
        Ok(Self { producer, reports, topic, fingerprint })
    }

    fn send(&self, options: &Options, value: &[u8]) -> Result<(), Fault> {
        let record =
            BaseRecord::to(&self.topic).partition(PARTITION).key(options.edge.as_str()).payload(value);
        self.producer
            .send(record)
            .map_err(|(error, _)| fault::sort(&error, options, LEASES, &self.topic, "writing the lease"))
    }

    /// Waits until Kafka has taken what was sent.
    fn delivered(&self, options: &Options, patience: Duration, stop: &Stop) -> Result<(), Fault> {
        let end = Instant::now() + patience;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(SLICE);
            if stop.is_set() {
                return Err(Fault::Stopped);
            }
            if Instant::now() >= end {
                return Err(fault::unreachable(&self.reports, options));
            }
        }
        match fault::of_reports(&self.reports, options, LEASES, &self.topic) {
            // It has waited in vain: the network says why.
            Some(Fault::Lost(_)) => Err(fault::unreachable(&self.reports, options)),
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }
}
