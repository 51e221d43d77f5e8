//! When the broker has given our place to another producer.
//!
//! The transactional id has no prefix of topics in it (ADR 12), so the other may write to our topics,
//! a second box with our name or somebody who sends a backlog of ours, or to other ones.

use std::time::Duration;

use serde_json::json;

use super::Source;
use super::lane::Lane;
use super::options::Options;
use super::status::State;
use super::transport::Transport;
use crate::clock::rfc3339;
use crate::event::{Kind, What};

/// While it goes on, it is told again this often.
const TELL_AGAIN_US: i64 = 600_000_000;

impl<S: Source, T: Transport> Lane<S, T> {
    /// A second box, somebody who writes elsewhere, or only an outage longer than the transaction
    /// timeout? Looks, and waits as long as a second box writes.
    pub(super) fn fenced(&mut self) -> Duration {
        let Some(by) = self.transport.find_other() else {
            self.is_fenced = false;
            if self.was_heard {
                self.shut_out();
            } else if self.shared.options.guest {
                let edge = &self.shared.options.edge;
                let cause = format!("somebody else has just begun to send under the name of {edge}");
                self.report(State::Waiting { since_us: self.shared.clock.now_us(), cause });
                self.is_over = true;
            }
            return self.back_off();
        };
        let state = State::Fenced { since_us: self.shared.clock.now_us(), by };
        if self.report(state.clone()) {
            self.count_shut_out();
            let Options { site, edge, .. } = &self.shared.options;
            let (box_path, lane) = (format!("{site}/{edge}"), &self.shared.lane);
            let data = json!({"what": What::Fenced, "lane": lane, "importer": state.importer()});
            self.emit(Kind::Box, box_path, state.to_string(), data);
        }
        self.is_over |= self.shared.options.guest;
        self.shared.options.fenced_retry
    }

    /// Kafka was heard all the time, so no timeout has ended our producer: somebody else has
    /// announced himself under our name, and writes nothing to our checkpoints.
    fn shut_out(&mut self) {
        if self.shared.options.guest {
            let Options { edge, prefix, .. } = &self.shared.options;
            let cause = format!(
                "somebody else sends under the name of {edge} to other topics than {prefix}.*: {edge} itself, or another \
                 box that has imported the same"
            );
            self.report(State::Waiting { since_us: self.shared.clock.now_us(), cause });
            self.is_over = true;
            return;
        }
        let (times, tell) = self.count_shut_out();
        if !tell {
            return;
        }
        let (lane, Options { site, edge, prefix, .. }) = (&self.shared.lane, &self.shared.options);
        let id = self.shared.options.transactional_id(lane);
        let text = format!(
            "Somebody else has sent {lane} to Kafka under the name of this box ({id}) and to other topics than {prefix}.*: \
             a box with this name, or one that has imported a backlog of this one. Nothing is lost or doubled, and this \
             box goes on, but each time it stands still for some seconds (times so far: {times}). Look for the other box, \
             or for an import"
        );
        tracing::warn!(lane, "{text}");
        let data = json!({"what": What::ShutOut, "lane": lane, "times": times});
        self.emit(Kind::Box, format!("{site}/{edge}"), text, data);
    }

    /// How often it was so far, and whether that is to be told.
    fn count_shut_out(&mut self) -> (u64, bool) {
        let now_us = self.shared.clock.now_us();
        let tell = self.shut_out_told_us.is_none_or(|us| now_us - us >= TELL_AGAIN_US);
        if tell {
            self.shut_out_told_us = Some(now_us);
        }
        let mut status = self.shared.status.lock();
        status.shut_out += 1;
        status.shut_out_us = now_us;
        (status.shut_out, tell)
    }
}

/// What `forebay journal status` says when somebody else has sent under our name; `None` = nobody has.
pub(crate) fn shut_out_words(times: u64, last_us: i64) -> Option<String> {
    (times > 0).then(|| {
        let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        format!(
            "somebody else has sent under the name of this box, {often} since the start, the last time at {}: a second \
             box with this name, or one that has imported a backlog of this one. Nothing is lost or doubled by it",
            rfc3339(last_us)
        )
    })
}
