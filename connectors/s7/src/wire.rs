//! One TCP connection that carries ISO messages: frames in, frames out, fragments joined.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frame::{self, Cotp, FRAME_MAX_BYTES, FrameFault};

/// Largest message joined from fragments. PDUs have at most 960 bytes.
const MESSAGE_MAX_BYTES: usize = 2048;

/// Fragments of one message; more never end, or are too small to be meant seriously.
const FRAGMENTS_MAX: usize = 64;

/// Why nothing (more) can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireFault {
    /// Closed, reset, unreachable.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// The bytes are no frame.
    #[error("{0}")]
    Bad(#[from] FrameFault),
    /// The peer ended the connection by COTP, with this reason (ISO 8073, 13.5.3).
    #[error("the device ended the connection, reason {0:#04x}")]
    Disconnected(u8),
}

/// The connection. Not usable any more after an error.
pub(crate) struct Wire {
    stream: TcpStream,
    /// What was read; a frame is looked at where it lies, without being copied.
    bytes: Box<[u8; FRAME_MAX_BYTES]>,
    /// What of `bytes` was read and is no part of a frame that was given out.
    fresh: Range<usize>,
    /// The last message, when it came in fragments.
    message: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        // Requests are small and waited for: collecting them would only add delay.
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: Box::new([0; FRAME_MAX_BYTES]), fresh: 0..0, message: Vec::new() })
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<(), WireFault> {
        Ok(self.stream.write_all(frame).await?)
    }

    /// Reads one COTP unit, whatever its kind.
    pub(crate) async fn unit(&mut self) -> Result<Cotp<'_>, WireFault> {
        let unit = self.frame().await?;
        Ok(frame::parse_cotp(&self.bytes[unit])?)
    }

    /// Reads one message, joined from its fragments.
    pub(crate) async fn message(&mut self) -> Result<&[u8], WireFault> {
        self.message.clear();
        for fragment in 1..=FRAGMENTS_MAX {
            let unit = self.frame().await?;
            match frame::parse_cotp(&self.bytes[unit.clone()])? {
                Cotp::Data { last: true, payload } if fragment == 1 => {
                    // Not given out itself: the borrow would last through the loop.
                    let payload = unit.end - payload.len()..unit.end;
                    return Ok(&self.bytes[payload]);
                }
                Cotp::Data { last, payload } => {
                    if self.message.len() + payload.len() > MESSAGE_MAX_BYTES {
                        frame::bad(format!("message of over {MESSAGE_MAX_BYTES} bytes"))?;
                    }
                    self.message.extend_from_slice(payload);
                    if last {
                        return Ok(&self.message);
                    }
                }
                Cotp::Disconnect { reason } => return Err(WireFault::Disconnected(reason)),
                Cotp::Request { .. } | Cotp::Confirm { .. } => {
                    frame::bad("a connection is set up twice")?;
                }
            }
        }
        Ok(frame::bad(format!("message of over {FRAGMENTS_MAX} fragments"))?)
    }

    /// Reads until a whole frame is there; returns where in `bytes` its unit lies.
    async fn frame(&mut self) -> Result<Range<usize>, WireFault> {
        loop {
            if let Some((head, behind)) = self.bytes[self.fresh.clone()].split_first_chunk() {
                let unit_bytes = frame::parse_tpkt(*head)?;
                if behind.len() >= unit_bytes {
                    let unit = self.fresh.start + head.len()..self.fresh.start + head.len() + unit_bytes;
                    self.fresh.start = unit.end;
                    return Ok(unit);
                }
            }
            // To the front: then there is room for the longest frame. Mostly nothing is left to move.
            self.bytes.copy_within(self.fresh.clone(), 0);
            self.fresh = 0..self.fresh.len();
            let count = self.stream.read(&mut self.bytes[self.fresh.end..]).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.fresh.end += count;
        }
    }

    /// Ends the connection in order.
    pub(crate) async fn close(&mut self) {
        // The peer may be gone already: that is what is wanted.
        let _gone = self.stream.shutdown().await;
    }
}
