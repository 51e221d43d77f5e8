//! The line to IT in the list of what happened: when it went, and when it came back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::event::{Event, Events, Kind, What};
use crate::replicate::{Replication, ReplicationStatus, State};

/// Shorter outages are no news: a broker that restarts is away for a moment.
const NEWS_US: i64 = 5_000_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was last said.
#[derive(Debug, Default)]
struct Line {
    /// Since when it has been said to be away, microseconds since 1970 UTC.
    away_us: Option<i64>,
    /// Records that the second cluster had taken when it was said that it takes data.
    second_from: Option<u64>,
}

impl Line {
    /// The event that `now_us` is due: its `what`, its text, and seconds away.
    fn look(&mut self, seen: &Replication, now_us: i64) -> Option<(What, String, i64)> {
        match (self.away_us, seen.state.since_us()) {
            (None, Some(since_us)) if now_us - since_us >= NEWS_US && seen.state.code() != "paused" => {
                self.away_us = Some(since_us);
                Some((What::KafkaAway, seen.state.to_string(), (now_us - since_us) / 1_000_000))
            }
            // Only a commit shows that it is back; a connection alone may be gone in a moment.
            (Some(away_us), None) if seen.last_commit_us > away_us => {
                self.away_us = None;
                let seconds = (seen.last_commit_us - away_us) / 1_000_000;
                Some((What::KafkaBack, format!("Kafka takes data again after {seconds} s"), seconds))
            }
            _ => None,
        }
    }

    /// The same of the second cluster: its `what`, its text, and the records it has taken since.
    fn look_at_second(&mut self, seen: &Replication) -> Option<(What, String, u64)> {
        match self.second_from {
            // Only a commit shows that it takes data.
            None if seen.state == State::Up && seen.last_commit_us > self.away_us? => {
                self.second_from = Some(seen.records);
                let text = "The second Kafka takes the data while the first is away".to_owned();
                Some((What::SecondKafkaBegins, text, 0))
            }
            Some(from) if seen.state == State::Standby => {
                self.second_from = None;
                let records = seen.records - from;
                let text = format!(
                    "The second Kafka gets no more data, the first is back; it has taken {records} records since it was told"
                );
                Some((What::SecondKafkaEnds, text, records))
            }
            _ => None,
        }
    }
}

/// Watches one lane's replication until `stop`.
pub async fn watch(
    status: Arc<ReplicationStatus>,
    second: Option<Arc<ReplicationStatus>>,
    box_path: String,
    events: Events,
    stop: CancellationToken,
) {
    let mut line = Line::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let now_us = clock::now_us();
        let tell = |text: String, data| {
            events.emit(Event { kind: Kind::Box, edge_time: now_us, device: box_path.clone(), text, data });
        };
        if let Some((what, text, seconds)) = line.look(&status.snapshot(), now_us) {
            tell(text, json!({ "what": what, "seconds": seconds }));
        }
        let second = second.as_ref().and_then(|second| line.look_at_second(&second.snapshot()));
        if let Some((what, text, records)) = second {
            tell(text, json!({ "what": what, "records": records }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_when_it_lasts_and_once_when_it_is_over() {
        const S: i64 = 1_000_000;
        let mut line = Line::default();
        let waiting = |since_us| Replication {
            state: State::Waiting { since_us, cause: "no answer".to_owned() },
            ..Replication::default()
        };
        let up = |last_commit_us| Replication { state: State::Up, last_commit_us, ..Replication::default() };
        assert_eq!(line.look(&up(9 * S), 10 * S), None);
        assert_eq!(line.look(&waiting(10 * S), 14 * S), None, "not yet news");
        let (what, text, _) = line.look(&waiting(10 * S), 15 * S).expect("news");
        assert_eq!(what, What::KafkaAway);
        assert!(text.contains("no answer"), "{text}");
        assert_eq!(line.look(&waiting(10 * S), 16 * S), None, "said once");
        assert_eq!(line.look(&up(9 * S), 17 * S), None, "connected, nothing committed yet");
        assert_eq!(line.look(&waiting(17 * S), 18 * S), None, "the same outage");
        let (what, text, seconds) = line.look(&up(25 * S), 26 * S).expect("it is over");
        assert_eq!(
            (what, text.as_str(), seconds),
            (What::KafkaBack, "Kafka takes data again after 15 s", 15)
        );
        assert_eq!(line.look(&up(26 * S), 27 * S), None);
    }

    #[test]
    fn a_second_cluster_that_takes_over_is_told_and_its_end_too() {
        let mut line = Line { away_us: Some(10), second_from: None };
        let seen = |state, last_commit_us, records| Replication {
            state,
            last_commit_us,
            records,
            ..Replication::default()
        };
        assert_eq!(line.look_at_second(&seen(State::Standby, 0, 0)), None);
        assert_eq!(line.look_at_second(&seen(State::Up, 0, 0)), None, "connected, nothing committed yet");
        assert_eq!(line.look_at_second(&seen(State::Up, 5, 7)), None, "of an outage before");
        assert!(
            line.look_at_second(&seen(State::Up, 11, 7)).is_some_and(|it| it.0 == What::SecondKafkaBegins)
        );
        assert_eq!(line.look_at_second(&seen(State::Up, 12, 9)), None, "said once");
        let (what, _, records) = line.look_at_second(&seen(State::Standby, 12, 30)).expect("it is over");
        assert_eq!((what, records), (What::SecondKafkaEnds, 23));
        assert_eq!(line.look_at_second(&seen(State::Standby, 12, 30)), None);
    }
}
