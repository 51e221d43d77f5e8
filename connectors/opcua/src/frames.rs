//! Cuts what comes from a peer into frames, and passes each on only when it may be.

use std::io::{Error as IoError, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use opcua::types::StatusCode;
use tokio::io::{AsyncRead, ReadBuf};

use crate::transport::{Fault, MAX_CHUNK_BYTES};

/// Header of every frame: type, kind of chunk, length (Part 6, 7.1.2.2).
const HEADER_BYTES: usize = 8;
/// Bytes that are read at once.
const READ_BYTES: usize = 8 * 1024;

/// Looks at a whole frame; an error in words ends the connection.
pub(crate) type Check = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send + Sync>;

/// Passes whole frames on, one at a time: the keys for the second of two may come with the first.
pub(crate) struct FrameGuard<R> {
    inner: R,
    /// What has come and has not been passed on.
    held: Vec<u8>,
    /// Where that begins.
    begin: usize,
    /// Bytes from there on that may pass.
    cleared: usize,
    check: Check,
    fault: Arc<OnceLock<Fault>>,
}

impl<R> FrameGuard<R> {
    pub(crate) fn new(inner: R, check: Check, fault: Arc<OnceLock<Fault>>) -> Self {
        Self { inner, held: Vec::new(), begin: 0, cleared: 0, check, fault }
    }

    /// Clears the first frame as soon as all of it is there.
    fn clear(&mut self) -> Result<(), IoError> {
        let bytes = &self.held[self.begin..];
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(()) };
        let length = frame_length(header).map_err(|what| refuse(&self.fault, what, None))?;
        let Some(frame) = bytes.get(..length) else { return Ok(()) };
        if let (b"ERR", Some(code)) = (&frame[..3], frame[HEADER_BYTES..].first_chunk()) {
            let status = StatusCode::from(u32::from_le_bytes(*code));
            // The library must see it as well, for the end of the connection.
            let _told = refuse(&self.fault, format!("it refuses ({status})"), Some(status));
        }
        (self.check)(frame).map_err(|what| refuse(&self.fault, what, None))?;
        self.cleared = length;
        Ok(())
    }

    /// Passes on what is cleared, as far as there is room.
    fn pass(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.held[self.begin..self.begin + length]);
        self.begin += length;
        self.cleared -= length;
        if self.cleared == 0 {
            self.held.drain(..self.begin);
            self.begin = 0;
        }
    }
}

fn refuse(fault: &OnceLock<Fault>, what: String, status: Option<StatusCode>) -> IoError {
    let fault = fault.get_or_init(|| Fault { what, status });
    IoError::new(ErrorKind::InvalidData, fault.what.as_str())
}

/// Length of the frame with this header.
fn frame_length(header: &[u8; HEADER_BYTES]) -> Result<usize, String> {
    let [a, b, c, _, length @ ..] = *header;
    let (letters, length) = ([a, b, c], u32::from_le_bytes(length) as usize);
    let kind = letters.escape_ascii();
    if !matches!(&letters, b"ACK" | b"ERR" | b"OPN" | b"MSG" | b"CLO") {
        Err(format!("it does not speak OPC UA, its answer starts with `{kind}`"))
    } else if length <= HEADER_BYTES || length > MAX_CHUNK_BYTES {
        Err(format!("it sent a message `{kind}` of {length} bytes, 9 to {MAX_CHUNK_BYTES} are allowed"))
    } else {
        Ok(length)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for FrameGuard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), IoError>> {
        let this = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.cleared == 0 {
                this.clear()?;
            }
            if this.cleared > 0 {
                this.pass(buffer);
                return Poll::Ready(Ok(()));
            }
            let mut room = [0; READ_BYTES];
            let mut more = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut more))?;
            if more.filled().is_empty() {
                this.fault.get_or_init(|| Fault { what: "it closed the connection".into(), status: None });
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(more.filled());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        [&kind[..], &length.to_le_bytes(), body].concat()
    }

    /// Sends these bytes in pieces through a guard: what passes of them, the pieces in which it does,
    /// and how it ends.
    async fn through(stream: &[u8], piece: usize, check: Check) -> (Vec<Vec<u8>>, Option<Fault>) {
        let (mut peer, end) = tokio::io::duplex(piece);
        let sent = stream.to_vec();
        let sending = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let _gone = peer.write_all(&sent).await;
        });
        let fault = Arc::default();
        let mut guard = FrameGuard::new(end, check, Arc::clone(&fault));
        let (mut passed, mut room) = (Vec::new(), vec![0; 1000]);
        while let Ok(length @ 1..) = guard.read(&mut room).await {
            passed.push(room[..length].to_vec());
        }
        drop(guard);
        sending.await.expect("sent");
        (passed, Arc::into_inner(fault).and_then(OnceLock::into_inner))
    }

    fn anything() -> Check {
        Box::new(|_| Ok(()))
    }

    #[tokio::test]
    async fn honest_frames_pass_whole_and_one_at_a_time() {
        let frames = [frame(b"ACKF", &[0; 20]), frame(b"MSGC", &[7; 300]), frame(b"MSGF", &[1])];
        for piece in [1, 3, 7, 8, 9, 64, 100_000] {
            let (passed, fault) = through(&frames.concat(), piece, anything()).await;
            assert_eq!(passed, frames, "pieces of {piece}");
            assert_eq!(fault.map(|fault| fault.what).as_deref(), Some("it closed the connection"));
        }
        let long = frame(b"MSGF", &[9; 60_000]);
        assert_eq!(through(&long, 512, anything()).await.0.concat(), long);
        // Half a frame is none.
        assert!(through(&long[..50_000], 512, anything()).await.0.is_empty());
    }

    #[tokio::test]
    async fn the_reason_of_an_error_message_is_kept() {
        let message = frame(b"ERRF", &[0x00, 0x00, 0x7D, 0x80, 0, 0, 0, 0]);
        for piece in [1, 5, 9, 11, 100] {
            let (passed, fault) = through(&message, piece, anything()).await;
            assert_eq!(passed, std::slice::from_ref(&message), "{piece}");
            let status = fault.and_then(|fault| fault.status);
            assert_eq!(status, Some(StatusCode::BadTcpServerTooBusy), "{piece}");
        }
    }

    #[tokio::test]
    async fn impossible_headers_end_the_connection() {
        let mut long = frame(b"MSGF", &[]);
        long[4..].copy_from_slice(&u32::MAX.to_le_bytes());
        for stream in
            [long, frame(b"MSGF", &[]), frame(b"HTTP", &[0; 9]), b"HTTP/1.1 400 Bad".to_vec(), vec![0; 64]]
        {
            let (passed, fault) = through(&stream, 64, anything()).await;
            assert!(passed.is_empty(), "{stream:?}");
            assert_ne!(fault.expect("a fault").what, "it closed the connection", "{stream:?}");
        }
    }

    #[tokio::test]
    async fn what_the_check_refuses_does_not_pass() {
        let frames = [frame(b"MSGF", &[1; 9]), frame(b"MSGF", &[2; 9]), frame(b"MSGF", &[3; 9])];
        let no_twos: Check =
            Box::new(|frame| if frame.ends_with(&[2]) { Err("it sent twos".into()) } else { Ok(()) });
        let (passed, fault) = through(&frames.concat(), 64, no_twos).await;
        assert_eq!(passed, frames[..1]);
        assert_eq!(fault.expect("a fault").what, "it sent twos");
    }
}
