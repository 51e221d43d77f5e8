//! One TCP connection that carries ISO messages: frames in, frames out, fragments joined.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
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
    stream: BufReader<TcpStream>,
    /// The last unit read, its head included.
    unit: Vec<u8>,
    /// The last message, when it came in fragments.
    message: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        // Requests are small and waited for: collecting them would only add delay.
        stream.set_nodelay(true)?;
        let stream = BufReader::with_capacity(FRAME_MAX_BYTES, stream);
        Ok(Self { stream, unit: Vec::with_capacity(FRAME_MAX_BYTES), message: Vec::new() })
    }

    pub(crate) async fn send(&mut self, frame: &[u8]) -> Result<(), WireFault> {
        Ok(self.stream.write_all(frame).await?)
    }

    /// Reads one COTP unit, whatever its kind.
    pub(crate) async fn unit(&mut self) -> Result<Cotp<'_>, WireFault> {
        self.fill().await?;
        Ok(frame::parse_cotp(&self.unit)?)
    }

    /// Reads one message, joined from its fragments.
    pub(crate) async fn message(&mut self) -> Result<&[u8], WireFault> {
        self.message.clear();
        for fragment in 1..=FRAGMENTS_MAX {
            self.fill().await?;
            match frame::parse_cotp(&self.unit)? {
                Cotp::Data { last: true, .. } if fragment == 1 => {
                    // Not taken from above: the borrow would last through the loop.
                    let head = usize::from(self.unit[0]) + 1;
                    return Ok(&self.unit[head..]);
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

    /// Reads one frame's unit into `unit`.
    async fn fill(&mut self) -> Result<(), WireFault> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await?;
        self.unit.resize(frame::parse_tpkt(head)?, 0);
        self.stream.read_exact(&mut self.unit).await?;
        Ok(())
    }

    /// Ends the connection in order.
    pub(crate) async fn close(&mut self) {
        // The peer may be gone already: that is what is wanted.
        let _gone = self.stream.shutdown().await;
    }
}
