//! Finds the tags of a block that the device does not answer, and asks for them again later.

use std::time::Duration;

use forebay_connector::{PollError, RawSample};
use tokio::time::{Instant, timeout};

use super::{KeptPlan, ModbusConnector};
use crate::frame::Read;
use crate::line::Blame;
use crate::plan::Member;
use crate::refusal::{Failure, Instead, Reason};
use crate::session::Answer;
use crate::suspects::{Asking, alone, of_block};

/// Tags that may go without an answer when those of a block are asked one by one in a poll; each
/// costs two time limits. When nothing else answers either, the device itself is taken for dead.
const NO_ANSWER_MAX: usize = 2;

/// Longest time that a poll may have taken when another tag is asked that may not be answered: the
/// poller gives up a poll after a minute.
const POLL_TIME: Duration = Duration::from_secs(40);
/// A poll that has just begun has time for one request, however long its time limit.
const JUST_BEGUN: Duration = Duration::from_secs(10);

/// True when a poll that began then has time for another request without an answer.
pub(super) fn has_time(began: Instant, limit: Duration) -> bool {
    began.elapsed() <= POLL_TIME.saturating_sub(limit).max(JUST_BEGUN)
}

/// How a poll is going.
pub(super) struct Progress {
    /// The last request that the device answered.
    pub witness: Option<Read>,
    /// Tags that may still go without an answer.
    chances: usize,
    began: Instant,
    /// A tag has gone without an answer.
    has_lost: bool,
}

impl Progress {
    fn has_time(&self, limit: Duration) -> bool {
        !self.has_lost || has_time(self.began, limit)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self { witness: None, chances: NO_ANSWER_MAX, began: Instant::now(), has_lost: false }
    }
}

impl ModbusConnector {
    /// Asks for the tags of a block that failed again and again, each alone, to find those that the
    /// device does not answer.
    pub(super) async fn one_by_one(
        &mut self,
        kept: &mut KeptPlan,
        index: usize,
        turn: u32,
        progress: &mut Progress,
        samples: &mut [RawSample],
    ) -> Result<(), PollError> {
        let (unit, limit) = (self.settings.unit, self.settings.timeout);
        let planned = &kept.plan.blocks[index];
        let (block, places) = (of_block(planned, unit), self.places(kept.plan.members(planned), turn));
        let (mut failed, mut open, mut why) = (Vec::new(), false, None);
        for (read, members) in places {
            if let Some(reason) = self.suspects.muted(&self.items[members[0].tag as usize], unit) {
                self.reasons.extend(members.iter().map(|member| (member.tag, reason)));
            } else if failed.len() >= progress.chances || !progress.has_time(limit) {
                open = true;
                self.reasons.extend(members.iter().map(|member| (member.tag, Reason::NotAskedYet)));
            } else if self.suspects.was_tried(read).is_some() {
                // Its second time comes when the others have answered.
                failed.push((read, members));
            } else if let Err(Failure { error, instead, .. }) =
                self.one(block, read, &members, progress, samples).await
            {
                why = why.or(instead);
                failed.push((read, members));
                let is_enough = failed.len() >= NO_ANSWER_MAX || !progress.has_time(limit);
                let is_dead = progress.witness.is_none() && is_enough;
                if is_dead || instead.is_none() {
                    // Counts what failed before: a unit that is demoted in the middle gets no
                    // further today, and must begin elsewhere the next time.
                    self.suspects.failed(block, why);
                    return Err(error);
                }
            }
        }
        progress.chances -= failed.len();
        // Others have answered meanwhile; a device that is only slow now and then answers these too.
        let mut silent = Vec::new();
        for (read, members) in failed {
            if !progress.has_time(limit) {
                open = true;
                self.reasons.extend(members.iter().map(|member| (member.tag, Reason::NotAskedYet)));
                continue;
            }
            let Err(failure) = self.one(block, read, &members, progress, samples).await else { continue };
            let Some(instead) = failure.instead.filter(|_| progress.witness.is_some()) else {
                self.suspects.failed(block, why.or(failure.instead));
                return Err(failure.error);
            };
            silent.push((read, members, instead));
        }
        if let (Some(witness), Some((first, ..))) = (progress.witness, silent.first()) {
            self.is_still_there(witness, *first).await?;
        }
        let found = !silent.is_empty();
        self.mute(silent);
        if open {
            self.suspects.distrust(block);
            return Ok(());
        }
        self.suspects.cleared(block);
        if found || self.is_bad_as_a_whole(block).await {
            self.plans.clear();
            kept.is_stale = true;
        }
        Ok(())
    }

    /// Registers without an answer are left alone from now on.
    fn mute(&mut self, silent: Vec<(Read, Vec<Member>, Instead)>) {
        for (read, members, instead) in silent {
            self.suspects.mute(read, instead, Instant::now());
            self.reasons.extend(members.iter().map(|member| (member.tag, Reason::NoAnswer(instead, read))));
        }
    }

    /// Asks once more for what was answered: a device that was switched off in the meantime is not to
    /// blame its registers for.
    async fn is_still_there(&mut self, witness: Read, suspect: Read) -> Result<(), PollError> {
        self.suspects.asking(Some(Asking::Alone(suspect)));
        let answer = self.ask(witness, Blame::Unit).await;
        self.suspects.asking(None);
        answer?;
        Ok(())
    }

    /// The requests for these tags, each alone.
    fn places(&self, members: &[Member], turn: u32) -> Vec<(Read, Vec<Member>)> {
        let mut places: Vec<(Read, Vec<Member>)> = Vec::new();
        for member in members {
            let read = alone(&self.items[member.tag as usize], self.settings.unit);
            match places.iter_mut().find(|(place, _)| *place == read) {
                Some((_, members)) => members.push(*member),
                None => places.push((read, vec![*member])),
            }
        }
        // Begins elsewhere each time: as long as nothing answers, few are tried.
        let first = turn as usize % places.len().max(1);
        places.rotate_left(first);
        places
    }

    /// Asks once more for a block whose tags all answer for themselves.
    async fn is_bad_as_a_whole(&mut self, block: Read) -> bool {
        // Some were muted before, perhaps: either the block as such is no good, or
        // the device was only away for a while.
        self.suspects.asking(Some(Asking::Whole(block)));
        let answer = self.ask(block, Blame::None).await;
        self.suspects.asking(None);
        if answer.is_err() {
            self.suspects.divide(block);
        }
        answer.is_err()
    }

    /// One request for tags of one place, whose failure is nobody's fault but their own.
    async fn one(
        &mut self,
        block: Read,
        read: Read,
        members: &[Member],
        progress: &mut Progress,
        samples: &mut [RawSample],
    ) -> Result<(), Failure> {
        // As long as nothing was answered, it may be the unit that is off.
        let is_there = progress.witness.is_some();
        let blame = if is_there { Blame::None } else { Blame::Unit };
        self.suspects.asking(Some(if is_there { Asking::Alone(read) } else { Asking::Block(block) }));
        let answer = self.ask(read, blame).await;
        self.suspects.asking(None);
        let answer = answer.inspect_err(|failure| {
            progress.has_lost = true;
            if let Some(instead) = failure.instead.filter(|_| is_there) {
                self.suspects.tried(read, instead);
            }
        })?;
        self.suspects.settled(read);
        progress.witness = Some(read);
        match answer {
            Answer::Data => self.store(read, members, samples),
            Answer::Exception(code) => {
                self.reasons.extend(members.iter().map(|member| (member.tag, Reason::Exception(code, read))));
            }
        }
        Ok(())
    }

    /// Asks once more for registers that got no answer so far. True when they have one now.
    pub(super) async fn ask_muted(&mut self) -> bool {
        let Some(read) = self.suspects.next_muted(Instant::now()) else { return false };
        // Before, in case that this poll is given up meanwhile.
        self.suspects.still_muted(read, Instant::now());
        // What was read is good, and not to be lost for this; what else is wrong shows in the next
        // poll.
        let is_long = self.settings.timeout >= POLL_TIME;
        let asked = self.ask(read, Blame::None);
        let answer = if is_long { timeout(POLL_TIME, asked).await.ok() } else { Some(asked.await) };
        if answer.is_none_or(|answer| answer.is_err()) {
            return false;
        }
        self.suspects.unmute(read);
        self.plans.clear();
        true
    }
}
