//! One session with one server, from the first byte to the last.
//!
//! The library runs in tasks of its own, which end with the [`Link`]. A panic there, on hostile
//! bytes, is an error of this device and of nothing else.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use forebay_connector::{DeviceSpec, Pace, PollError};
use futures_util::StreamExt;
use opcua::client::transport::TransportPollResult;
use opcua::client::{
    Client, ClientBuilder, IdentityToken, Session, SessionActivity, SessionEventLoop, SessionPollResult,
    SubscriptionActivity,
};
use opcua::crypto::{PrivateKey, X509};
use opcua::types::{
    DataValue, EndpointDescription, Error, NodeId, ReadValueId, StatusCode, TimestampsToReturn,
    UserTokenPolicy, UserTokenType, VariableId, Variant,
};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::certificate::Fingerprint;
use crate::pace::SESSION_TIMEOUT;
use crate::security;
use crate::settings::{Login, Settings, authority};
use crate::transport::{Fault, MAX_CHUNK_BYTES, MAX_CHUNKS, TcpSource};
use crate::trust::TrustList;

/// How often the session is kept alive by a read of the server's state.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A Publish is answered with the next keep-alive of a subscription, much earlier than this.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(120);
/// Keys of the secure channel are renewed in this time.
const CHANNEL_LIFETIME_MS: u32 = 600_000;
/// Most nodes in one request where the server sets no lower limit.
pub(crate) const NODES_PER_REQUEST: usize = 500;
/// Longest time to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

/// What is made once for a device: the library's client with our certificate.
pub(crate) async fn client(device: &DeviceSpec, settings: &Settings) -> Result<Arc<Client>, PollError> {
    let pki = device.state_directory.join(security::PKI);
    let secure = settings.secure();
    let builder = ClientBuilder::new()
        .application_name(security::APPLICATION_NAME)
        .application_uri(security::APPLICATION_URI)
        .product_uri(security::APPLICATION_URI)
        .session_name(format!("forebay:{}", device.name))
        .pki_dir(&pki)
        .certificate_path(security::OWN_CERTIFICATE)
        .private_key_path(security::OWN_KEY)
        // The server's certificate is checked by `security::check_server` before it gets here.
        .trust_server_certs(true)
        .verify_server_certs(false)
        .session_retry_limit(0)
        .recreate_subscriptions(false)
        .keep_alive_interval(KEEP_ALIVE)
        .max_failed_keep_alive_count(0)
        .session_timeout(u32::try_from(SESSION_TIMEOUT.as_millis()).unwrap_or(30_000))
        .channel_lifetime(CHANNEL_LIFETIME_MS)
        .request_timeout(settings.timeout)
        .publish_timeout(PUBLISH_TIMEOUT)
        .max_chunk_size(MAX_CHUNK_BYTES)
        .max_incoming_chunk_size(MAX_CHUNK_BYTES)
        .max_chunk_count(MAX_CHUNKS)
        .max_message_size(MAX_CHUNKS * MAX_CHUNK_BYTES)
        .max_array_length(1 << 16)
        .max_string_length(1 << 16)
        .max_byte_string_length(1 << 16)
        // Despite its name this would shift every time the server sends by the difference of clocks.
        .ignore_clock_skew(false);
    let made = tokio::task::spawn_blocking(move || {
        if secure {
            security::own_certificate(&pki)?;
        }
        builder.client().map_err(|faults| faults.join(", "))
    });
    let cause = match made.await {
        Ok(Ok(client)) => return Ok(Arc::new(client)),
        Ok(Err(cause)) => cause,
        Err(_) => "the library failed while reading our certificate".into(),
    };
    Err(PollError::Security { what: format!("our own certificate cannot be made: {cause}") })
}

/// An open session.
pub(crate) struct Link {
    pub(crate) session: Arc<Session>,
    end: Arc<End>,
    task: AbortOnDropHandle<()>,
    timeout: Duration,
    /// The server's certificate, where a person's decision about it is in the list.
    pub(crate) listed: Option<Fingerprint>,
    /// What every request waits for, when the device has a budget.
    pub(crate) pace: Option<Arc<dyn Pace>>,
}

/// How a link ends.
#[derive(Default)]
struct End {
    /// We are ending it: what the server says of its subscriptions from now on is no fault, and the
    /// library has to run until the server has confirmed the end.
    closing: AtomicBool,
    /// Why it has ended, once it has.
    lost: OnceLock<String>,
}

/// Why there is no session.
pub(crate) struct NotOpen {
    pub(crate) error: PollError,
    /// The server is better left alone for a while.
    pub(crate) needs_rest: bool,
    /// The server may hold a session for us nevertheless.
    pub(crate) left_behind: bool,
}

impl From<PollError> for NotOpen {
    fn from(error: PollError) -> Self {
        Self { error, needs_rest: false, left_behind: false }
    }
}

/// What the server says of itself.
pub(crate) struct Facts {
    /// Namespace URIs, position = index until the server's next start.
    pub(crate) namespaces: Vec<String>,
    /// Product and version, empty when the server says nothing.
    pub(crate) identity: String,
    /// Most nodes in one Read.
    pub(crate) read_chunk: usize,
    /// Most items in one CreateMonitoredItems.
    pub(crate) item_chunk: usize,
}

impl Link {
    /// Opens channel and session. Bounded by about five times the device's timeout.
    pub(crate) async fn open(
        device: &DeviceSpec,
        settings: &Settings,
        client: &Arc<Client>,
        requests: &Arc<AtomicU64>,
    ) -> Result<Self, NotOpen> {
        let (host, port) = authority(&settings.url).ok_or_else(|| PollError::Connect {
            endpoint: settings.url.clone(),
            cause: "not an OPC UA endpoint".into(),
        })?;
        let source = TcpSource {
            url: settings.url.clone(),
            host,
            port,
            timeout: settings.timeout,
            fault: Arc::default(),
        };
        let mut endpoint = discover(settings, client, source.clone()).await?;
        let mut listed = None;
        if settings.secure() {
            check_certificate(device, &endpoint, &source.host, settings.trust).await?;
            let seen = || Fingerprint::of(endpoint.server_certificate.as_ref());
            listed = settings.trust.is_none().then(seen);
        }
        security::keep_safe_logins(&mut endpoint);
        let token = identity(device, settings, &mut endpoint)?;
        // The end of the first connection is no fault of the second.
        let source = TcpSource { fault: Arc::default(), ..source };
        let fault = source.fault.clone();
        let (session, events) = client
            .session_builder()
            .connect_to_endpoint_directly(endpoint)
            .map(|builder| builder.user_identity_token(token).with_connector(source))
            .and_then(|builder| builder.build(client.certificate_store().clone()))
            .map_err(|error| connect_error(settings, None, &error))?;
        let (ready, opened) = oneshot::channel();
        let end = Arc::new(End::default());
        let task = tokio::spawn(drive(events, ready, end.clone(), fault.clone(), requests.clone()));
        let task = AbortOnDropHandle::new(task);
        let link = Self { session, end, task, timeout: settings.timeout, listed, pace: None };
        let limit = settings.timeout * 3;
        let (error, needs_rest) = match timeout(limit, opened).await {
            Ok(Ok(Ok(()))) => return Ok(link),
            Ok(Ok(Err(status))) => {
                let own = settings
                    .secure()
                    .then(|| device.state_directory.join(security::PKI).join(security::OWN_CERTIFICATE));
                let status = fault.get().and_then(|fault| fault.status).unwrap_or(status);
                let error = status_error(settings, status, fault.get(), own.as_deref());
                (error, security::needs_rest(status))
            }
            Ok(Err(_)) => (hostile(), false),
            Err(_) => (PollError::Timeout { waited: limit }, false),
        };
        // The library closes the channel after a failed login, not the session.
        let left_behind = !link.session.server_session_id().is_null();
        Err(NotOpen { error, needs_rest, left_behind })
    }

    /// Fails once the session is gone.
    pub(crate) fn check(&self) -> Result<(), PollError> {
        if let Some(cause) = self.end.lost.get() {
            return Err(PollError::Lost { cause: cause.clone() });
        }
        if self.task.is_finished() { Err(hostile()) } else { Ok(()) }
    }

    /// Reads the value of each node, in order and fresh from the source.
    pub(crate) async fn read(&self, nodes: &[ReadValueId]) -> Result<Vec<DataValue>, PollError> {
        let max_age_ms = 0.0;
        let answers = self.request(self.session.read(nodes, TimestampsToReturn::Both, max_age_ms)).await?;
        if answers.len() == nodes.len() {
            Ok(answers)
        } else {
            let what = format!("{} values asked for, {} came", nodes.len(), answers.len());
            Err(PollError::Mismatch { what })
        }
    }

    /// Waits for one answer of the library, with the device's timeout.
    pub(crate) async fn request<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, PollError> {
        self.ask(answer).await?.map_err(|status| {
            security::refusal(status, None, None)
                .unwrap_or_else(|| PollError::Lost { cause: format!("request failed ({status})") })
        })
    }

    /// The same for a request that the server may refuse: its status is inside. Every request that
    /// we send passes here, so that none misses its turn; waiting for it is no silence of the server.
    pub(crate) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, StatusCode>, PollError> {
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        let silent = PollError::Timeout { waited: self.timeout };
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Err(_) => Err(silent),
            Ok(Err(error)) if error.status() == StatusCode::BadTimeout => Err(silent),
            Ok(Err(error)) => {
                self.check()?;
                Ok(Err(error.status()))
            }
        }
    }

    /// Asks the server about itself. Namespaces are read anew for every session, because a
    /// server may number them differently after each start (Part 6, 5.1.12).
    pub(crate) async fn facts(&self) -> Result<Facts, PollError> {
        let nodes = [
            VariableId::Server_NamespaceArray,
            VariableId::Server_ServerStatus_BuildInfo_ProductName,
            VariableId::Server_ServerStatus_BuildInfo_SoftwareVersion,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        ]
        .map(|variable| ReadValueId::from(NodeId::from(variable)));
        let answers = self.read(&nodes).await?;
        let [namespaces, product, version, reads, items] = <[DataValue; 5]>::try_from(answers)
            .map_err(|_| PollError::Mismatch { what: "not five values".into() })?;
        let Some(Variant::Array(namespaces)) = namespaces.value else {
            return Err(PollError::Mismatch { what: "the server has no list of namespaces".into() });
        };
        let identity = [text(product), text(version)].join(" ").trim().chars().take(120).collect();
        Ok(Facts {
            namespaces: namespaces.values.iter().map(uri).collect(),
            identity,
            read_chunk: chunk(reads),
            item_chunk: chunk(items),
        })
    }

    /// Closes session and channel, as far as the server still listens; true when it has confirmed
    /// that.
    pub(crate) async fn close(self) -> bool {
        // The session ends by its timeout where the goodbye does not arrive.
        self.end.closing.store(true, Ordering::Relaxed);
        self.check().is_ok() && matches!(timeout(GOODBYE, self.session.disconnect()).await, Ok(Ok(())))
    }
}

/// The check of the certificate reads and writes files.
async fn check_certificate(
    device: &DeviceSpec,
    endpoint: &EndpointDescription,
    host: &str,
    pinned: Option<Fingerprint>,
) -> Result<(), PollError> {
    let (name, endpoint, host) = (device.name.clone(), endpoint.clone(), host.to_owned());
    let list = TrustList::new(&device.state_directory);
    let checking =
        tokio::task::spawn_blocking(move || security::check_server(&name, &endpoint, &host, pinned, &list));
    checking.await.unwrap_or_else(|_| Err(hostile()))
}

/// A namespace; what is no text keeps its place, but has no name.
fn uri(value: &Variant) -> String {
    if let Variant::String(uri) = value { uri.to_string() } else { String::new() }
}

fn text(answer: DataValue) -> String {
    match answer.value {
        Some(Variant::String(text)) => text.to_string().chars().filter(|c| !c.is_control()).collect(),
        _ => String::new(),
    }
}

/// A limit of the server; 0 and nothing mean none (Part 5, 6.3.11).
fn chunk(answer: DataValue) -> usize {
    match answer.value {
        Some(Variant::UInt32(limit)) if limit > 0 => NODES_PER_REQUEST.min(limit as usize),
        _ => NODES_PER_REQUEST,
    }
}

/// Runs the library's event loop until the session is gone, and says why.
async fn drive(
    events: SessionEventLoop<TcpSource>,
    ready: oneshot::Sender<Result<(), StatusCode>>,
    end: Arc<End>,
    fault: Arc<OnceLock<Fault>>,
    requests: Arc<AtomicU64>,
) {
    let mut ready = Some(ready);
    let mut events = std::pin::pin!(events.enter());
    let cause = loop {
        match events.next().await {
            Some(Ok(SessionPollResult::Reconnected(_))) => {
                // Nobody waits any more when the caller gave up: then the link is dropped, too.
                let _gone = ready.take().map(|ready| ready.send(Ok(())));
            }
            Some(Ok(SessionPollResult::Transport(TransportPollResult::OutgoingMessage))) => {
                requests.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(SessionPollResult::ConnectionLost(status))) => {
                let plain = || format!("connection ended ({status})");
                break fault.get().map_or_else(plain, |fault| fault.what.clone());
            }
            Some(Ok(SessionPollResult::ReconnectFailed(status)) | Err(status)) => {
                let _gone = ready.take().map(|ready| ready.send(Err(status)));
                break format!("session ended ({status})");
            }
            // A server that answers, but runs no program or hides its state, still has values.
            Some(Ok(SessionPollResult::SessionActivity(SessionActivity::KeepAliveFailed(status))))
                if status != StatusCode::BadServerHalted
                    && status != StatusCode::BadUnknownResponse
                    && !end.closing.load(Ordering::Relaxed) =>
            {
                break format!("the server does not answer any more ({status})");
            }
            Some(Ok(SessionPollResult::Subscription(
                SubscriptionActivity::FatalFailure(status)
                | SubscriptionActivity::PublishFailed(status @ StatusCode::BadNoSubscription),
            ))) if !end.closing.load(Ordering::Relaxed) => {
                break format!("the server has dropped the subscriptions ({status})");
            }
            Some(Ok(_)) => {}
            None => break "connection closed".into(),
        }
    };
    // Set once only: this task is the only one that writes.
    let _first = end.lost.set(cause);
}

/// Asks for the endpoints and picks the configured one, with the configured host and port: what
/// the server advertises is often a name or address that is valid on its own side only.
async fn discover(
    settings: &Settings,
    client: &Arc<Client>,
    source: TcpSource,
) -> Result<EndpointDescription, PollError> {
    let (asking, limit, fault) = (client.clone(), settings.timeout * 2, source.fault.clone());
    let asked =
        AbortOnDropHandle::new(tokio::spawn(async move { asking.get_endpoints(source, &[], &[]).await }));
    let offered = match timeout(limit, asked).await {
        Ok(Ok(Ok(offered))) => offered,
        Ok(Ok(Err(error))) => return Err(connect_error(settings, fault.get(), &error)),
        Ok(Err(_)) => return Err(hostile()),
        Err(_) => return Err(PollError::Timeout { waited: limit }),
    };
    let policy = settings.policy.to_uri();
    let fits = |endpoint: &&EndpointDescription| {
        endpoint.security_policy_uri.as_ref() == policy
            && endpoint.security_mode == settings.mode
            && endpoint.endpoint_url.as_ref().starts_with("opc.tcp://")
    };
    let Some(endpoint) = offered.iter().find(fits) else {
        let names: Vec<_> = offered
            .iter()
            .take(20)
            .map(|endpoint| {
                let policy = endpoint.security_policy_uri.as_ref().rsplit('#').next().unwrap_or_default();
                format!("{policy}/{:?}", endpoint.security_mode)
            })
            .collect();
        return Err(PollError::Security {
            what: format!(
                "the server does not offer {}/{:?}, only {}; see `security` and `mode` in [opcua], or enable it \
                 on the server",
                settings.policy,
                settings.mode,
                if names.is_empty() { "nothing".into() } else { names.join(", ") }
            ),
        });
    };
    let mut endpoint = endpoint.clone();
    endpoint.endpoint_url = patched(&settings.url, endpoint.endpoint_url.as_ref()).into();
    Ok(endpoint)
}

/// Configured host and port, advertised path.
fn patched(configured: &str, advertised: &str) -> String {
    let scheme = "opc.tcp://".len();
    let end = |url: &str| url[scheme..].find('/').map_or(url.len(), |slash| scheme + slash);
    format!("{}{}", &configured[..end(configured)], &advertised[end(advertised)..])
}

/// How we log in; secrets are read now, so that a new one is used without a restart.
fn identity(
    device: &DeviceSpec,
    settings: &Settings,
    endpoint: &mut EndpointDescription,
) -> Result<IdentityToken, PollError> {
    let refuse = |what: &str| Err(PollError::Security { what: what.into() });
    let read = |name: &str| device.secrets.read(name).map_err(|what| PollError::Security { what });
    let tokens = endpoint.user_identity_tokens.get_or_insert_with(|| vec![UserTokenPolicy::anonymous()]);
    let takes = |kind| tokens.iter().any(|token| token.token_type == kind);
    match &settings.login {
        Login::Guest if takes(UserTokenType::Anonymous) => Ok(IdentityToken::Anonymous),
        Login::Guest => refuse("the server takes no guests; write auth in [opcua]"),
        Login::User { name, password } if takes(UserTokenType::UserName) => {
            Ok(IdentityToken::UserName(name.clone(), read(password)?.into()))
        }
        Login::User { .. } => refuse(
            "the server takes no user and password that would be protected on the way; see its settings",
        ),
        Login::Certificate { certificate, key } if takes(UserTokenType::Certificate) => {
            let unreadable = |name: &str, what: &str| PollError::Security {
                what: format!("credential:{name} is no {what} in PEM (RSA); store it anew"),
            };
            let user = X509::from_pem(read(certificate)?.as_bytes())
                .map_err(|_| unreadable(certificate, "certificate"))?;
            let signer =
                PrivateKey::from_pem(read(key)?.as_bytes()).map_err(|_| unreadable(key, "private key"))?;
            Ok(IdentityToken::new_x509(user, signer))
        }
        Login::Certificate { .. } => refuse(
            "the server takes no user by certificate, or none that would be protected on the way; see its settings",
        ),
    }
}

fn hostile() -> PollError {
    PollError::Mismatch { what: "the library failed on what the server sent".into() }
}

fn connect_error(settings: &Settings, fault: Option<&Fault>, error: &Error) -> PollError {
    let refusal = fault.and_then(|fault| security::refusal(fault.status?, None, None));
    if let Some(refusal) = refusal {
        return refusal;
    }
    match (fault, error.status()) {
        (Some(fault), _) => PollError::Lost { cause: fault.what.clone() },
        (None, StatusCode::BadTimeout) => PollError::Timeout { waited: settings.timeout },
        // From `TcpSource`, in the words of the system.
        (None, StatusCode::BadNotConnected) => {
            let cause = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
            PollError::Connect { endpoint: settings.url.clone(), cause }
        }
        // Not "unreachable", after which it would soon be tried again: somebody took the connection.
        (None, status @ (StatusCode::BadConnectionClosed | StatusCode::BadCommunicationError)) => {
            PollError::Lost { cause: format!("it closes the connection before it is open ({status})") }
        }
        (None, status) => {
            PollError::Lost { cause: format!("it does not answer as an OPC UA server does ({status})") }
        }
    }
}

fn status_error(
    settings: &Settings,
    status: StatusCode,
    fault: Option<&Fault>,
    own: Option<&Path>,
) -> PollError {
    security::refusal(status, Some(&settings.login), own).unwrap_or_else(|| match status {
        StatusCode::BadTimeout => PollError::Timeout { waited: settings.timeout },
        // Not "unreachable", after which it would soon be tried again: the server may hold a session.
        _ => match fault {
            Some(fault) => PollError::Lost { cause: fault.what.clone() },
            None => PollError::Refused { what: format!("it opens no session ({status})") },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_host_wins() {
        for (configured, advertised, expected) in [
            (
                "opc.tcp://10.0.0.1:14840",
                "opc.tcp://plc:4840/ua/server",
                "opc.tcp://10.0.0.1:14840/ua/server",
            ),
            ("opc.tcp://10.0.0.1:14840/x", "opc.tcp://plc", "opc.tcp://10.0.0.1:14840"),
        ] {
            assert_eq!(patched(configured, advertised), expected);
        }
    }

    #[test]
    fn a_connection_that_is_taken_and_then_fails_is_lost_and_not_unreachable() {
        let settings = Settings::read(&DeviceSpec {
            name: "filler".into(),
            endpoint: "opc.tcp://10.0.0.1".into(),
            options: Default::default(),
            scans: Vec::new(),
            tags: Arc::default(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(Nothing),
            state_directory: "unused".into(),
        })
        .0;
        let kind = |fault: Option<Fault>, status| {
            connect_error(&settings, fault.as_ref(), &Error::new(status, "nothing listens"))
        };
        let fault = |status| Some(Fault { what: "it closed the connection".into(), status });
        use StatusCode as Code;
        let unreachable = kind(None, Code::BadNotConnected);
        assert!(
            matches!(&unreachable, PollError::Connect { cause, .. } if cause == "nothing listens"),
            "{unreachable}"
        );
        assert!(matches!(kind(None, Code::BadTimeout), PollError::Timeout { .. }));
        // After the system has given a connection, whatever the status: it is not "unreachable", after
        // which it would be tried again every 2 s.
        for status in [
            Code::BadConnectionClosed,
            Code::BadCommunicationError,
            Code::BadDecodingError,
            Code::BadTcpInternalError,
        ] {
            let error = kind(None, status);
            assert!(matches!(error, PollError::Lost { .. }), "{status}: {error}");
        }
        for status in [Code::BadNotConnected, Code::BadTimeout, Code::BadConnectionClosed] {
            let error = kind(fault(None), status);
            let words = "it closed the connection";
            assert!(matches!(&error, PollError::Lost { cause } if cause == words), "{status}: {error}");
        }
        let busy = kind(fault(Some(Code::BadCertificateUntrusted)), Code::BadConnectionClosed);
        assert!(matches!(busy, PollError::Security { .. }), "{busy}");
    }

    struct Nothing;

    impl forebay_connector::Secrets for Nothing {
        fn read(&self, _: &str) -> Result<String, String> {
            Err("none".into())
        }
    }
}
