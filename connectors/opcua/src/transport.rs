//! The TCP connection below the library, with a limit on what a peer may make us hold in memory.
//!
//! The library's codec keeps collecting until a frame is complete, however long the frame claims
//! to be: four bytes of a hostile header cost 4 GiB. And its decoder believes what an answer claims
//! (see [`crate::wary`]). The reader here looks at every frame before the library does, and ends the
//! connection at the first impossible one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opcua::client::ConnectionSource;
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, StreamTransport,
    Transport, TransportConfiguration, TransportPollResult,
};
use opcua::core::comms::tcp_codec::TcpCodec;
use opcua::types::{ChannelSecurityToken, DateTime, EndpointDescription, Error, StatusCode};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::FramedRead;

use crate::answers::Answers;
use crate::frames::{Check, FrameGuard};

/// Longest chunk that we offer to receive, in bytes; a longer frame ends the connection.
pub(crate) const MAX_CHUNK_BYTES: usize = 64 * 1024;
/// Most chunks of one message: together 4 MiB.
pub(crate) const MAX_CHUNKS: usize = 64;

/// The library gives the first request of a connection the id after this.
const FIRST_REQUEST: u32 = 1000;

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
        let asked = Arc::new(AtomicU32::new(FIRST_REQUEST));
        let open = |url: String, options| {
            let (mut answers, seen_by) = (Answers::new(asked.clone()), channel.clone());
            let check: Check = Box::new(move |frame| answers.check(frame, &seen_by.secure_channel().read()));
            async move {
                let (reader, writer) = self.stream().await?.into_split();
                let guard = FrameGuard::new(reader, check, self.fault.clone());
                Ok(StreamConnection::new(FramedRead::new(guard, TcpCodec::new(options)), writer, url))
            }
        };
        let connector = StreamConnector::new(open, self.url.clone());
        let inner = connector.connect(channel.clone(), outgoing, config).await?;
        Ok(OwnClock { inner, channel, token: 0, asked })
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

/// Measures the age of the channel's keys by our own clock, and counts the requests.
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
    /// Id of the last request.
    asked: Arc<AtomicU32>,
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
        async {
            let result = self.inner.poll().await;
            // Either takes one id, before the first byte of the request leaves.
            if let TransportPollResult::OutgoingMessage | TransportPollResult::RecoverableError(_) = result {
                self.asked.fetch_add(1, Ordering::Relaxed);
            }
            result
        }
    }

    fn connected_url(&self) -> &str {
        self.inner.connected_url()
    }
}
