//! A reading shared out to two threads.
//!
//! What is wanted is cut where reading can begin anew; the threads take turns with the pieces, and
//! what they find is put together in order. Each waits when it is far ahead, so memory is bounded.

use std::cell::RefCell;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use forebay_connector::Value;

use super::{Past, Reading, Wanted};
use crate::journal::{Damage, Reader};
use crate::lane::reader::{Body, Record};

/// Small boxes have two processors or four, and others want them too.
const THREADS: usize = 2;
/// So many bytes are handed on together, and so many of those wait for their turn.
const TOGETHER_BYTES: usize = 32 << 10;
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
        let finding = RefCell::new(Finding { waiting: Vec::new(), waiting_bytes: 0, sender });
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
    waiting_bytes: usize,
    sender: SyncSender<Vec<Found>>,
}

impl Finding {
    fn take(&mut self, past: &Past<'_>) -> ControlFlow<()> {
        let (found, bytes) = match past {
            Past::Record(record) => (Found::Record((*record).clone()), beside(record)),
            Past::Lost(damage) => (Found::Lost((*damage).clone()), damage.cause.len()),
        };
        self.waiting.push(found);
        self.waiting_bytes += size_of::<Found>() + bytes;
        if self.waiting_bytes < TOGETHER_BYTES { ControlFlow::Continue(()) } else { self.send() }
    }

    fn end(&mut self) -> ControlFlow<()> {
        self.waiting.push(Found::End);
        self.send()
    }

    fn send(&mut self) -> ControlFlow<()> {
        // What is heavy, a large array, takes as many places as it has weight.
        let more = (std::mem::take(&mut self.waiting_bytes) / TOGETHER_BYTES).clamp(1, WAITING) - 1;
        let together = std::mem::take(&mut self.waiting);
        let places = std::iter::once(together).chain(std::iter::repeat_with(Vec::new).take(more));
        for place in places {
            if self.sender.send(place).is_err() {
                // Nobody wants more.
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

/// Bytes that a record holds beside itself.
fn beside(record: &Record) -> usize {
    match &record.body {
        Body::Batch(batch) => batch.samples.iter().map(|it| size_of_val(it) + of_value(&it.value)).sum(),
        Body::Thinned(thinned) => thinned.samples.iter().map(|it| size_of_val(it) + of_value(&it.last)).sum(),
        Body::Event(json) => json.len(),
    }
}

fn of_value(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Array(values) => values.iter().map(|value| size_of_val(value) + of_value(value)).sum(),
        _ => 0,
    }
}

/// Puts together what the threads find.
struct Order<'a> {
    /// Everything before it is given, or told as lost.
    told_to: u64,
    each: &'a mut dyn FnMut(Past<'_>) -> ControlFlow<()>,
}

impl Order<'_> {
    fn give_piece(&mut self, found: &Receiver<Vec<Found>>) -> ControlFlow<()> {
        // A thread that is gone has panicked, and the scope says so.
        while let Ok(together) = found.recv() {
            for one in together {
                match one {
                    // What was summed up meanwhile may stand for the end of the piece before, too.
                    Found::Record(record) if record.offset >= self.told_to => {
                        self.told_to = record.offset + 1;
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
