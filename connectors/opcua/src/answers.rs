//! Puts the chunks of a peer's answers together, to look at them before the library does.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use opcua::core::comms::message_chunk::{MessageChunk, MessageIsFinalType};
use opcua::core::comms::secure_channel::SecureChannel;
use opcua::core::{Message, ResponseMessage};
use opcua::types::{BinaryDecodable, Context, MessageSecurityMode, NodeId, SimpleBinaryDecodable};

use crate::flat::is_flat;
use crate::transport::{MAX_CHUNK_BYTES, MAX_CHUNKS};
use crate::wary::check;

/// Most that unfinished answers may hold in memory, in bytes.
const UNFINISHED_MAX: usize = 2 * MAX_CHUNKS * MAX_CHUNK_BYTES;
/// Most answers that may be unfinished at a time. No more requests are under way, and servers send one
/// answer after the other.
const UNFINISHED_COUNT: usize = 64;
/// What stands before the body of an encrypted chunk, in bytes: header with the channel's id, keys'
/// id, numbers of chunk and request (Part 6, 6.7.2).
const CHUNK_HEAD_BYTES: usize = 24;

/// Answers of which not all chunks have come, by request.
pub(crate) struct Answers {
    unfinished: HashMap<u32, Unfinished>,
    /// What they take, in bytes.
    held: usize,
    /// Id of the last request that was made.
    asked: Arc<AtomicU32>,
}

/// The parts of one answer that have come.
#[derive(Default)]
struct Unfinished {
    bytes: Vec<u8>,
    /// Number of the last part.
    number: u32,
}

impl Answers {
    pub(crate) fn new(asked: Arc<AtomicU32>) -> Self {
        Self { unfinished: HashMap::new(), held: 0, asked }
    }

    /// Fails when a part with this number does not follow the one before. The library puts the parts of
    /// an answer in order and leaves out what does not follow, so it would decode something else.
    fn check_order(&self, request: u32, number: u32) -> Result<(), String> {
        match self.unfinished.get(&request) {
            Some(before) if before.number.checked_add(1) != Some(number) => {
                Err("it sent parts of an answer that do not follow each other".into())
            }
            _ => Ok(()),
        }
    }

    /// Keeps a part of an answer.
    fn keep(&mut self, request: u32, number: u32, part: &[u8]) -> Result<(), String> {
        let whole = self.unfinished.entry(request).or_default();
        self.held -= whole.bytes.capacity();
        whole.bytes.extend_from_slice(part);
        whole.number = number;
        self.held += whole.bytes.capacity();
        if self.held > UNFINISHED_MAX {
            Err(format!("it began answers of more than {} MiB and ended none", UNFINISHED_MAX >> 20))
        } else if self.unfinished.len() > UNFINISHED_COUNT {
            Err(format!("it began more than {UNFINISHED_COUNT} answers and ended none"))
        } else {
            Ok(())
        }
    }

    /// What was kept of an answer.
    fn release(&mut self, request: u32) -> Option<Vec<u8>> {
        let whole = self.unfinished.remove(&request)?.bytes;
        self.held -= whole.capacity();
        Some(whole)
    }

    /// Takes one whole frame, and looks at the answer that it completes.
    ///
    /// # Errors
    /// In words, why the library must not see it. What the library can refuse by itself passes.
    pub(crate) fn check(&mut self, frame: &[u8], channel: &SecureChannel) -> Result<(), String> {
        if !(frame.starts_with(b"MSG") || frame.starts_with(b"OPN") || frame.starts_with(b"CLO")) {
            return Ok(());
        }
        let sealed = channel.security_mode() != MessageSecurityMode::None && !frame.starts_with(b"OPN");
        if sealed && frame.len() < CHUNK_HEAD_BYTES + channel.security_policy().symmetric_signature_size() {
            // The library takes the length of the signature off without looking.
            return Err(format!("it sent an encrypted message of only {} bytes", frame.len()));
        }
        let Some(Opened { chunk, is_final, request, number, body }) = open(frame, channel) else {
            return Ok(());
        };
        // The library ignores what it has not asked for, and what it ignored would be missing when it
        // puts the answer to a later request together; the ids can be guessed.
        if request > self.asked.load(Ordering::Relaxed) {
            return Err("it sent an answer to a request that was not made".into());
        }
        self.check_order(request, number)?;
        let part = &chunk.data[body..];
        match is_final {
            MessageIsFinalType::FinalError => {
                self.release(request);
                Ok(())
            }
            MessageIsFinalType::Intermediate => self.keep(request, number, part),
            MessageIsFinalType::Final => {
                let context = channel.context();
                match self.release(request) {
                    Some(mut whole) => {
                        whole.extend_from_slice(part);
                        check_answer(&whole, &context.context())
                    }
                    None => check_answer(part, &context.context()),
                }
            }
        }
    }
}

/// A chunk without its encryption.
struct Opened {
    chunk: MessageChunk,
    is_final: MessageIsFinalType,
    /// Id of the request that it answers.
    request: u32,
    /// Sequence number.
    number: u32,
    /// Where its body begins.
    body: usize,
}

fn open(frame: &[u8], channel: &SecureChannel) -> Option<Opened> {
    let options = channel.decoding_options();
    let chunk = <MessageChunk as SimpleBinaryDecodable>::decode(&mut Cursor::new(frame), &options).ok()?;
    let chunk = channel.verify_and_remove_security(chunk.data).ok()?;
    let info = chunk.chunk_info(channel).ok()?;
    let (is_final, body) = (info.message_header.is_final, info.body_offset);
    let (request, number) = (info.sequence_header.request_id, info.sequence_header.sequence_number);
    (body <= chunk.data.len()).then_some(Opened { chunk, is_final, request, number, body })
}

/// Decodes an answer as the library does afterwards, unless nothing in it can do harm.
fn check_answer(body: &[u8], context: &Context<'_>) -> Result<(), String> {
    if is_flat(body) {
        return Ok(());
    }
    try_answer(body, context).map(drop)
}

/// The trial itself: how much memory the answer takes at most, in bytes.
pub(crate) fn try_answer(body: &[u8], context: &Context<'_>) -> Result<usize, String> {
    check(None, body, |stream| {
        let kind = NodeId::decode(stream, context).ok().and_then(|id| id.as_object_id().ok());
        kind.is_some_and(|kind| ResponseMessage::decode_by_object_id(stream, kind, context).is_ok())
    })
}
