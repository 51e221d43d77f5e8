//! A device made by hand, byte by byte, so that it can do what no library lets it do.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, PollError, Protocol, RawSample, ScanClass, Secrets, TagSpec,
};
use forebay_modbus::Modbus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing here needs a secret.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name} here"))
    }
}

/// Longest wait for an answer where a test sets none: also long for a machine that is busy.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A device with these tags (address, type, scan class).
pub fn device(endpoint: &str, options: &[(&str, OptionValue)], tags: &[(&str, &str, usize)]) -> DeviceSpec {
    let scans = tags.iter().map(|(_, _, scan)| scan + 1).max().unwrap_or(1);
    let scan = |n| ScanClass { name: format!("scan{n}"), interval: Duration::from_secs(1) };
    let tag = |(address, data_type, scan): &(&str, &str, usize)| TagSpec {
        path: format!("tag.{address}"),
        address: (*address).to_owned(),
        data_type: DataType::parse(data_type).unwrap(),
        order: None,
        scan: *scan,
        deadband: None,
    };
    DeviceSpec {
        name: "double".into(),
        endpoint: endpoint.into(),
        options: [("timeout", OptionValue::Duration(TIMEOUT))]
            .iter()
            .chain(options)
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        scans: (0..scans).map(scan).collect(),
        tags: tags.iter().map(tag).collect(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: "unused".into(),
    }
}

/// A duration option.
pub fn ms(ms: u64) -> OptionValue {
    OptionValue::Duration(Duration::from_millis(ms))
}

/// Opens a device.
pub fn open(device: DeviceSpec) -> Box<dyn Connector> {
    Modbus.open(device).unwrap()
}

/// Connects and reads these scan classes.
pub async fn connect_and_poll(
    connector: &mut Box<dyn Connector>,
    due: &[usize],
) -> Result<Vec<RawSample>, PollError> {
    connector.connect().await?;
    poll(connector, due).await
}

/// Reads these scan classes.
pub async fn poll(connector: &mut Box<dyn Connector>, due: &[usize]) -> Result<Vec<RawSample>, PollError> {
    let mut samples = Vec::new();
    let outcome = connector.poll(due, &mut samples).await;
    assert!(outcome.is_ok() || samples.is_empty(), "samples of a failed poll");
    outcome.map(|()| samples)
}

/// A listener on a port of its own, and the endpoint that leads to it.
pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

/// One request as it came: 7 bytes of header, function, start, count.
#[derive(Clone, Copy, Debug)]
pub struct Asked(pub [u8; 12]);

impl Asked {
    /// The next request, `None` when the client has gone.
    pub async fn next(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.ok().map(|_| Self(bytes))
    }

    pub fn unit(self) -> u8 {
        self.0[6]
    }

    pub fn function(self) -> u8 {
        self.0[7]
    }

    pub fn start(self) -> u16 {
        u16::from_be_bytes([self.0[8], self.0[9]])
    }

    pub fn count(self) -> u16 {
        u16::from_be_bytes([self.0[10], self.0[11]])
    }

    /// A frame with this request's header and function, and a length that is true.
    pub fn frame(self, body: &[u8]) -> Vec<u8> {
        let mut frame = self.0[..4].to_vec();
        frame.extend(u16::try_from(body.len() + 2).unwrap().to_be_bytes());
        frame.extend([self.unit(), self.function()]);
        frame.extend(body);
        frame
    }

    /// The answer an honest device gives: [`word`] and [`bit`] say what it holds.
    pub fn honest(self) -> Vec<u8> {
        let entries = (0..self.count()).map(|n| self.start() + n);
        let mut body = vec![0];
        if self.function() < 3 {
            let bits: Vec<bool> = entries.map(bit).collect();
            body.extend(
                bits.chunks(8)
                    .map(|byte| byte.iter().enumerate().fold(0, |byte, (n, bit)| byte | u8::from(*bit) << n)),
            );
        } else {
            body.extend(entries.flat_map(|entry| word(self.unit(), entry).to_be_bytes()));
        }
        body[0] = u8::try_from(body.len() - 1).unwrap();
        self.frame(&body)
    }

    /// An exception.
    pub fn exception(self, code: u8) -> Vec<u8> {
        let mut frame = self.frame(&[code]);
        frame[7] |= 0x80;
        frame
    }
}

/// What register `entry` of a unit holds: different everywhere, so that a mix-up shows.
pub fn word(unit: u8, entry: u16) -> u16 {
    u16::from(unit) * 1000 + entry
}

/// What coil `entry` holds.
pub fn bit(entry: u16) -> bool {
    entry.is_multiple_of(3)
}

/// Answers every request of a connection with what `answer` says.
pub async fn serve(mut stream: TcpStream, mut answer: impl FnMut(Asked) -> Vec<u8>) {
    while let Some(asked) = Asked::next(&mut stream).await {
        if stream.write_all(&answer(asked)).await.is_err() {
            break;
        }
    }
}
