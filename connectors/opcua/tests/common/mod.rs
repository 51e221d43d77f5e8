//! Devices, connectors and a TCP proxy for the tests.
#![allow(dead_code, missing_docs)] // each test file uses a part

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, RawSample, ScanClass, Secrets, TagSpec,
};
use forebay_opcua::OpcUa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longer than any single step of a test takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const URI: &str = "urn:forebay:test";

pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no credential {name} in this test"))
    }
}

pub fn tag(path: &str, address: &str, data_type: &str, scan: usize) -> TagSpec {
    TagSpec {
        path: path.into(),
        address: address.into(),
        data_type: DataType::parse(data_type).expect("a type"),
        order: None,
        scan,
        deadband: None,
    }
}

/// A device without security; `folder` holds its files.
pub fn device(folder: &tempfile::TempDir, endpoint: &str, tags: Vec<TagSpec>) -> DeviceSpec {
    let namespaces = BTreeMap::from([("plc".to_owned(), URI.to_owned())]);
    DeviceSpec {
        name: "filler".into(),
        endpoint: endpoint.into(),
        options: BTreeMap::from([
            ("security".into(), OptionValue::Text("None".into())),
            ("publishing".into(), OptionValue::Duration(Duration::from_millis(100))),
            ("timeout".into(), OptionValue::Duration(Duration::from_secs(20))),
            ("namespaces".into(), OptionValue::Texts(namespaces)),
        ]),
        scans: vec![
            ScanClass { name: "fast".into(), interval: Duration::from_millis(100) },
            ScanClass { name: "slow".into(), interval: Duration::from_secs(10) },
        ],
        tags: tags.into(),
        trust: None,
        allow_insecure: true,
        secrets: Arc::new(NoSecrets),
        state_directory: folder.path().join("state"),
    }
}

/// The same with little patience, for servers that do not answer.
pub fn impatient(folder: &tempfile::TempDir, endpoint: &str, tags: Vec<TagSpec>) -> DeviceSpec {
    let mut device = device(folder, endpoint, tags);
    device.options.insert("timeout".into(), OptionValue::Duration(Duration::from_secs(1)));
    device
}

pub fn open(device: &DeviceSpec) -> Box<dyn Connector> {
    OpcUa.open(device.clone()).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Polls until `done` says that the samples so far are what was waited for.
pub async fn poll_until(
    connector: &mut Box<dyn Connector>,
    what: &str,
    mut done: impl FnMut(&[RawSample]) -> bool,
) -> Vec<RawSample> {
    let end = Instant::now() + PATIENCE;
    let mut samples = Vec::new();
    loop {
        connector.poll(&[0, 1], &mut samples).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        if done(&samples) {
            return samples;
        }
        assert!(Instant::now() < end, "no {what}, only {samples:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Polls until it fails.
pub async fn poll_error(connector: &mut Box<dyn Connector>) -> PollError {
    let end = Instant::now() + PATIENCE;
    let mut samples = Vec::new();
    loop {
        if let Err(error) = connector.poll(&[0, 1], &mut samples).await {
            return error;
        }
        assert!(Instant::now() < end, "no error");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Connects, again and again, as the poller does.
pub async fn reconnect(connector: &mut Box<dyn Connector>) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = connector.connect().await {
        assert!(Instant::now() < end, "no connection: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// Bytes pass.
    Open,
    /// Bytes are held back; connections stay.
    Frozen,
    /// Connections are cut, new ones closed at once.
    Cut,
}

/// A TCP proxy on loopback that can freeze and cut.
pub struct Proxy {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (line, state) = watch::channel(Line::Open);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let state = state.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    tokio::select! {
                        () = pump(client_in, server_out, state.clone()) => {}
                        () = pump(server_in, client_out, state.clone()) => {}
                        () = cut(state) => {}
                    }
                });
            }
        });
        Self { address, line, connections }
    }

    pub fn set(&self, line: Line) {
        self.line.send(line).expect("the proxy runs");
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn cut(mut state: watch::Receiver<Line>) {
    if state.wait_for(|line| *line == Line::Cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Line>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if state.wait_for(|line| *line != Line::Frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

pub fn socket(endpoint: &str) -> SocketAddr {
    endpoint.trim_start_matches("opc.tcp://").trim_end_matches('/').parse().expect("host:port")
}
