//! A reading shared out to two threads.
//!
//! What is wanted is cut where reading can begin anew; the threads take turns with the pieces, and
//! what they find is put together in order. Each waits when it is far ahead, so memory is bounded.

use std::cell::RefCell;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use super::{Past, Reading, Wanted};
use crate::journal::{Damage, Reader};
use crate::lane::reader::Record;

/// Small boxes have two processors or four, and others want them too.
const THREADS: usize = 2;
/// So many records are handed on together, and so many of those wait for their turn.
const TOGETHER: usize = 256;
const WAITING: usize = 32;

/// What a thread found.
enum Found {
    Record(Record),
    Lost(Damage),
    /// The piece is done.
    End,
}

/// Gives what is wanted to `each`, in the order of offsets, until it breaks; `false` when nothing
/// was given because this is not worth while, or the system has no thread or no memory for it.
pub(super) fn read(
    reader: &Reader,
    wanted: &Wanted<'_>,
    each: &mut dyn FnMut(Past<'_>) -> ControlFlow<()>,
) -> bool {
    let pieces = reader.pieces(wanted.from_us, wanted.to_us);
    if pieces.len() < THREADS {
        return false;
    }
    thread::scope(|scope| {
        let begun: io::Result<Vec<_>> =
            (0..THREADS).map(|turn| begin(scope, reader, wanted, (&pieces, turn))).collect();
        let Ok(threads) = begun else { return false };
        let mut order = Order { told_to: 0, each };
        let mut turns = threads.iter().cycle().take(pieces.len());
        // A thread ends when nobody takes what it finds.
        let _given_or_told_to_stop = turns.try_for_each(|found| order.give_piece(found));
        true
    })
}

/// Starts the thread that reads every piece whose turn is its own.
fn begin<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    reader: &Reader,
    wanted: &'env Wanted<'env>,
    (pieces, turn): (&'scope [Range<u64>], usize),
) -> io::Result<Receiver<Vec<Found>>> {
    let (sender, found) = sync_channel(WAITING);
    let mut reader = reader.another(0)?;
    let pieces = pieces.iter().skip(turn).step_by(THREADS);
    let read = move || {
        let finding = RefCell::new(Finding { waiting: Vec::new(), sender });
        let take = &mut |past: Past<'_>| finding.borrow_mut().take(&past);
        let mut reading = Reading::new(wanted, take);
        for piece in pieces {
            // Where less is there than it seemed, the other pieces say so themselves.
            let _ends_early = reading.range(&mut reader, piece.clone());
            if finding.borrow_mut().end().is_break() {
                return;
            }
        }
    };
    thread::Builder::new().name("history".to_owned()).spawn_scoped(scope, read)?;
    Ok(found)
}

/// What one thread finds, on its way.
struct Finding {
    waiting: Vec<Found>,
    sender: SyncSender<Vec<Found>>,
}

impl Finding {
    fn take(&mut self, past: &Past<'_>) -> ControlFlow<()> {
        self.waiting.push(match past {
            Past::Record(record) => Found::Record((*record).clone()),
            Past::Lost(damage) => Found::Lost((*damage).clone()),
        });
        if self.waiting.len() < TOGETHER { ControlFlow::Continue(()) } else { self.send() }
    }

    fn end(&mut self) -> ControlFlow<()> {
        self.waiting.push(Found::End);
        self.send()
    }

    fn send(&mut self) -> ControlFlow<()> {
        match self.sender.send(std::mem::take(&mut self.waiting)) {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody wants more.
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Puts together what the threads find.
struct Order<'a> {
    /// What is lost was told up to here.
    told_to: u64,
    each: &'a mut dyn FnMut(Past<'_>) -> ControlFlow<()>,
}

impl Order<'_> {
    fn give_piece(&mut self, found: &Receiver<Vec<Found>>) -> ControlFlow<()> {
        // A thread that is gone has panicked, and the scope says so.
        while let Ok(together) = found.recv() {
            for one in together {
                match one {
                    Found::Record(record) if record.offset >= self.told_to => {
                        (self.each)(Past::Record(&record))?;
                    }
                    Found::Record(_) => {}
                    Found::Lost(damage) => self.lost(damage)?,
                    Found::End => return ControlFlow::Continue(()),
                }
            }
        }
        ControlFlow::Break(())
    }

    /// What is lost may reach into the next piece, which finds it once more.
    fn lost(&mut self, mut damage: Damage) -> ControlFlow<()> {
        damage.from_offset = damage.from_offset.max(self.told_to);
        if damage.from_offset >= damage.to_offset {
            return ControlFlow::Continue(());
        }
        self.told_to = damage.to_offset;
        (self.each)(Past::Lost(&damage))
    }
}
