//! A look at somebody's checkpoint without taking part: nobody is shut out by it.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::checkpoint::{self, Found, Place};
use super::fault::Fault;
use super::options::Options;
use super::plain;
use super::progress::Progress;
use super::reports::Reports;
use super::topics;

/// One question to Kafka takes at most this long.
const ASK: Duration = Duration::from_secs(5);
/// Reading the checkpoints takes at most this long.
const READ: Duration = Duration::from_secs(30);
/// Records before the end that are read first, see [`super::checkpoint`].
const TAIL_RECORDS: i64 = 2000;

/// Why Kafka does not say what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NotSeen {
    /// It does not answer: it will some time.
    #[error("{0}")]
    Away(String),
    /// It answers and says no, or this box lacks what it needs: somebody must do something.
    #[error("{0}")]
    Refused(String),
}

impl From<Fault> for NotSeen {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(cause) | Fault::NotLetIn(cause) | Fault::Settings(cause) => Self::Refused(cause),
            other => Self::Away(other.to_string()),
        }
    }
}

/// What Kafka knows of one journal of a box.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// How far it has come; `None` = Kafka has never heard of this journal.
    progress: Option<Progress>,
}

impl Seen {
    /// Kafka knows the journal.
    pub fn is_known(&self) -> bool {
        self.progress.is_some()
    }

    /// Everything below is in Kafka, or was told there as lost; 0 when it does not know the journal.
    pub fn complete_below(&self) -> u64 {
        self.progress.as_ref().map_or(0, Progress::complete_below)
    }

    /// The first offsets below `offset` that are not in Kafka; empty = all of them are.
    pub fn missing_below(&self, offset: u64) -> Range<u64> {
        let start = self.complete_below().min(offset);
        let end = match self.progress.as_ref().and_then(Progress::next_range) {
            Some(range) => range.end.min(offset),
            None => offset,
        };
        start..end.max(start)
    }
}

/// Reads the checkpoints of the box that `options` name, under whose name this one is to send.
pub struct Onlooker<'a> {
    options: &'a Options,
    lane: &'a str,
    consumer: BaseConsumer<Reports>,
    reports: Reports,
}

impl<'a> Onlooker<'a> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`NotSeen`].
    pub fn new(options: &'a Options, lane: &'a str) -> Result<Self, NotSeen> {
        options.check_files().and_then(|()| options.check_secrets()).map_err(NotSeen::Refused)?;
        let reports = Reports::new(lane);
        let mut config = options.consumer(lane, true);
        config.set("enable.partition.eof", "true");
        let consumer = config
            .create_with_context(reports.clone())
            .map_err(|error| NotSeen::Refused(format!("[kafka] does not work: {error}")))?;
        Ok(Self { options, lane, consumer, reports })
    }

    /// What Kafka knows of the journal `epoch`. What is found is true; but somebody may be just
    /// about to go further.
    ///
    /// # Errors
    /// [`NotSeen`].
    pub fn look(&self, epoch: &str) -> Result<Seen, NotSeen> {
        let topic = self.options.topic("checkpoints");
        // Log lines and connection errors come with a poll.
        let poll = |wait| drop(self.consumer.poll(wait));
        poll(Duration::ZERO);
        let asked = topics::partitions(self.consumer.client(), self.options, &topic, &self.reports, &poll)?;
        // Without a topic there was never anybody.
        let Some(partitions) = asked else { return Ok(Seen::default()) };
        let own = Place::new(self.options, self.lane, partitions);
        let mut found = Found::default();
        self.read(&own, epoch, Some(TAIL_RECORDS), &mut found)?;
        // With one partition nothing is newer than what is not there.
        if found.checkpoint.is_none() || !found.is_newest(partitions) {
            for partition in 0..partitions {
                self.read(&Place { partition, ..own.clone() }, epoch, None, &mut found)?;
            }
        }
        Ok(Seen { progress: found.checkpoint.as_ref().map(Progress::of) })
    }

    /// Reads a partition to its end, or only so many records before it.
    fn read(&self, place: &Place, epoch: &str, tail: Option<i64>, found: &mut Found) -> Result<(), NotSeen> {
        let (topic, partition) = (&place.topic, place.partition);
        let away =
            |error: &dyn std::fmt::Display| NotSeen::Away(format!("topic {topic} cannot be read: {error}"));
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition, ASK)
            .map_err(|error| away(&plain::error(&error)))?;
        checkpoint::assign(&self.consumer, place, tail.map_or(low, |tail| low.max(high - tail)))?;
        let end = Instant::now() + READ;
        while Instant::now() < end {
            match self.consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => {
                    checkpoint::take(&message, place, epoch, None, found);
                    // Nobody writes as fast as this reads, but it must end.
                    if message.offset() + 1 >= high {
                        return Ok(());
                    }
                }
                // What stands behind an open transaction is not seen.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => checkpoint::reading_refused(&error, place, self.options)?,
            }
        }
        Err(away(&format_args!("not to its end within {} s", READ.as_secs())))
    }

    /// Whether somebody writes checkpoints of this journal within `patience`: whoever sends the same
    /// is not to be disturbed. Boot id of whoever does; `is_over` ends the wait.
    ///
    /// # Errors
    /// [`NotSeen`].
    pub fn who_sends(
        &self,
        epoch: &str,
        patience: Duration,
        is_over: impl Fn() -> bool,
    ) -> Result<Option<String>, NotSeen> {
        let topic = self.options.topic("checkpoints");
        let asked =
            topics::partitions(self.consumer.client(), self.options, &topic, &self.reports, &|wait| {
                drop(self.consumer.poll(wait));
            })?;
        let Some(partitions) = asked else { return Ok(None) };
        let place = Place::new(self.options, self.lane, partitions);
        let (_, high) =
            self.consumer.fetch_watermarks(&place.topic, place.partition, ASK).map_err(|error| {
                NotSeen::Away(format!("topic {} cannot be read: {}", place.topic, plain::error(&error)))
            })?;
        checkpoint::assign(&self.consumer, &place, high)?;
        let end = Instant::now() + patience;
        while Instant::now() < end && !is_over() {
            if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100))
                && let Some(boot) = checkpoint::writer(&message, &place, epoch)
            {
                return Ok(Some(boot));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::Checkpoint;
    use super::*;

    #[test]
    fn what_is_missing_is_the_first_hole() {
        let seen = |next_offset, backlog: &[(u64, u64)]| Seen {
            progress: Some(Progress::of(&Checkpoint {
                next_offset,
                backlog: backlog.to_vec(),
                ..Checkpoint::default()
            })),
        };
        assert_eq!(Seen::default().missing_below(7), 0..7);
        assert_eq!(seen(5, &[]).missing_below(7), 5..7);
        assert!(seen(7, &[]).missing_below(7).is_empty());
        assert!(seen(900, &[]).missing_below(7).is_empty());
        assert_eq!(seen(900, &[(2, 4), (100, 200)]).missing_below(7), 2..4);
        assert_eq!(seen(900, &[(2, 400)]).missing_below(7), 2..7);
        assert!(seen(900, &[(100, 200)]).missing_below(7).is_empty());
        assert_eq!(seen(900, &[(100, 200)]).complete_below(), 100);
    }
}
