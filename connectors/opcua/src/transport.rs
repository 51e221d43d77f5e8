//! The TCP connection below the library, with a limit on what a peer may make us hold in memory.
//!
//! The library's codec keeps collecting until a frame is complete, however long the frame claims
//! to be: four bytes of a hostile header cost 4 GiB. The reader here looks at every frame header
//! that passes and ends the connection at the first impossible one.

use std::io::{Error as IoError, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use opcua::client::ConnectionSource;
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, StreamTransport,
    Transport, TransportConfiguration, TransportPollResult,
};
use opcua::core::comms::tcp_codec::TcpCodec;
use opcua::types::{ChannelSecurityToken, DateTime, EndpointDescription, Error, StatusCode};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::FramedRead;

/// Longest chunk that we offer to receive, in bytes; a longer frame ends the connection.
pub(crate) const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Most chunks of one message: together 4 MiB.
pub(crate) const MAX_CHUNKS: usize = 64;
/// Header of every frame: type, kind of chunk, length (Part 6, 7.1.2.2).
const HEADER_BYTES: usize = 8;

/// Connects to one host and port, whatever addresses the server advertises.
#[derive(Debug, Clone)]
pub(crate) struct TcpSource {
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) timeout: Duration,
    /// What the peer did wrong below the library, which itself only says that it failed.
    pub(crate) fault: Arc<OnceLock<Fault>>,
}

/// What a peer did wrong, in words that follow "connection lost: ".
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) what: String,
    /// The peer's own reason, from an error message (Part 6, 7.1.2.5).
    pub(crate) status: Option<StatusCode>,
}

impl TcpSource {
    async fn stream(&self) -> Result<TcpStream, Error> {
        let fail = |what: String| Error::new(StatusCode::BadNotConnected, what);
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(self.timeout, connecting)
            .await
            .map_err(|_| fail(format!("no answer within {} ms", self.timeout.as_millis())))?
            .map_err(|error| fail(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| fail(error.to_string()))?;
        Ok(stream)
    }
}

impl Connector for TcpSource {
    type Transport = OwnClock<StreamTransport<FrameGuard<OwnedReadHalf>, OwnedWriteHalf>>;

    async fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        outgoing: RequestRecv,
        config: TransportConfiguration,
    ) -> Result<Self::Transport, Error> {
        let open = |url: String, options| async move {
            let (reader, writer) = self.stream().await?.into_split();
            let framed = FramedRead::new(FrameGuard::new(reader, self.fault.clone()), TcpCodec::new(options));
            Ok(StreamConnection::new(framed, writer, url))
        };
        let connector = StreamConnector::new(open, self.url.clone());
        let inner = connector.connect(channel.clone(), outgoing, config).await?;
        Ok(OwnClock { inner, channel, token: 0 })
    }

    fn default_endpoint(&self) -> EndpointDescription {
        EndpointDescription::from(self.url.as_str())
    }
}

impl ConnectionSource for TcpSource {
    type Builder = Self;

    fn get_connector(&self, _endpoint: &EndpointDescription) -> Result<Self, Error> {
        Ok(self.clone())
    }
}

/// Measures the age of the channel's keys by our own clock.
///
/// The library takes the time that the server gives them, and compares it with the clock of the
/// box: behind a controller whose clock stands at 1970 it would renew the keys before every single
/// request, and with one that is ahead never, until the server ends the connection. Its own remedy
/// (`ignore_clock_skew`) shifts the times of all values as well.
pub(crate) struct OwnClock<T> {
    inner: T,
    channel: Arc<SecureChannelState>,
    /// Id of the keys whose time is right.
    token: u32,
}

impl<T> OwnClock<T> {
    fn correct(&mut self) {
        let token = self.channel.secure_channel().read().token_id();
        if token == self.token {
            return;
        }
        self.token = token;
        let mut channel = self.channel.secure_channel().write();
        let fresh = ChannelSecurityToken {
            channel_id: channel.secure_channel_id(),
            token_id: token,
            created_at: DateTime::now(),
            revised_lifetime: channel.token_lifetime(),
        };
        channel.set_security_token(fresh);
    }
}

impl<T: Transport> Transport for OwnClock<T> {
    fn poll(&mut self) -> impl Future<Output = TransportPollResult> + Send + Sync {
        self.correct();
        self.inner.poll()
    }

    fn connected_url(&self) -> &str {
        self.inner.connected_url()
    }
}

/// Passes bytes on while their frame headers are possible.
pub(crate) struct FrameGuard<R> {
    inner: R,
    header: [u8; HEADER_BYTES],
    /// Bytes of the current header that have passed.
    have: usize,
    /// Bytes of the current frame's body that have not passed yet.
    left: usize,
    /// Bytes of the code in an error message that have passed, newest last.
    code: Vec<u8>,
    fault: Arc<OnceLock<Fault>>,
}

impl<R> FrameGuard<R> {
    fn new(inner: R, fault: Arc<OnceLock<Fault>>) -> Self {
        Self { inner, header: [0; HEADER_BYTES], have: 0, left: 0, code: Vec::new(), fault }
    }

    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), IoError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let body = self.left.min(bytes.len());
                self.left -= body;
                if self.header.starts_with(b"ERR") {
                    self.note_error(&bytes[..body]);
                }
                bytes = &bytes[body..];
                continue;
            }
            let part = (HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            self.have += part;
            bytes = &bytes[part..];
            if self.have == HEADER_BYTES {
                self.left = self.body_length()?;
                self.have = 0;
            }
        }
        Ok(())
    }

    fn note_error(&mut self, body: &[u8]) {
        let missing = 4 - self.code.len();
        self.code.extend(body.iter().take(missing));
        if let Ok(code) = <[u8; 4]>::try_from(self.code.as_slice()) {
            let status = StatusCode::from(u32::from_le_bytes(code));
            self.fault.get_or_init(|| Fault { what: format!("it refuses ({status})"), status: Some(status) });
        }
    }

    fn body_length(&self) -> Result<usize, IoError> {
        let [a, b, c, _, length @ ..] = self.header;
        let length = u32::from_le_bytes(length) as usize;
        let known = matches!(&[a, b, c], b"ACK" | b"ERR" | b"OPN" | b"MSG" | b"CLO");
        if !known || length <= HEADER_BYTES || length > MAX_CHUNK_BYTES {
            let letters = [a, b, c];
            let kind = letters.escape_ascii();
            let what = if known {
                format!("it sent a message `{kind}` of {length} bytes, 9 to {MAX_CHUNK_BYTES} are allowed")
            } else {
                format!("it does not speak OPC UA, its answer starts with `{kind}`")
            };
            let fault = self.fault.get_or_init(|| Fault { what, status: None });
            return Err(IoError::new(ErrorKind::InvalidData, fault.what.as_str()));
        }
        Ok(length - HEADER_BYTES)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for FrameGuard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), IoError>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if buffer.filled().len() == before && buffer.remaining() > 0 {
            self.fault.get_or_init(|| Fault { what: "it closed the connection".into(), status: None });
        }
        Poll::Ready(self.pass(&buffer.filled()[before..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        [&kind[..], &length.to_le_bytes(), body].concat()
    }

    #[test]
    fn honest_frames_pass_in_any_pieces() {
        let stream = [frame(b"ACKF", &[0; 20]), frame(b"MSGC", &[7; 300]), frame(b"MSGF", &[1])].concat();
        for piece in [1, 3, 7, 8, 9, 64, 1000] {
            let mut guard = FrameGuard::new((), Arc::default());
            for bytes in stream.chunks(piece) {
                guard.pass(bytes).expect("honest");
            }
            assert_eq!((guard.have, guard.left), (0, 0));
        }
    }

    #[test]
    fn the_reason_of_an_error_message_is_kept() {
        let message = frame(b"ERRF", &[0x00, 0x00, 0x7D, 0x80, 0, 0, 0, 0]);
        for piece in [1, 5, 9, 11, 100] {
            let mut guard = FrameGuard::new((), Arc::default());
            for bytes in message.chunks(piece) {
                guard.pass(bytes).expect("honest");
            }
            let status = guard.fault.get().and_then(|fault| fault.status);
            assert_eq!(status, Some(StatusCode::BadTcpServerTooBusy), "{piece}");
        }
    }

    #[test]
    fn impossible_headers_end_the_connection() {
        let mut long = frame(b"MSGF", &[]);
        long[4..].copy_from_slice(&u32::MAX.to_le_bytes());
        for stream in
            [long, frame(b"MSGF", &[]), frame(b"HTTP", &[0; 9]), b"HTTP/1.1 400 Bad".to_vec(), vec![0; 64]]
        {
            assert!(FrameGuard::new((), Arc::default()).pass(&stream).is_err(), "{stream:?}");
        }
    }
}
