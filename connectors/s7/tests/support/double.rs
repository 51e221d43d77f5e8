//! A CPU that misbehaves on demand, written without the codec under test.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_connector::{DeviceSpec, OptionValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest wait of a device that is impatient so that the tests are quick.
pub const SILENCE: Duration = Duration::from_secs(1);

/// What the CPU does; everything else it does right.
#[derive(Debug, Clone)]
pub enum Mode {
    Honest,
    /// These bytes instead of the connection confirm; none closes the connection.
    Confirm(Vec<u8>),
    /// Confirms units of 2 to this power.
    Units(u8),
    /// The setup's answer, changed.
    Setup(fn(&mut Vec<u8>)),
    /// Never answers a question about itself.
    AnonymousSilence,
    /// Answers such a question by closing the connection.
    AnonymousClose,
    /// Answers such a question by closing the connection, and takes no other for a moment.
    AnonymousBusy,
    /// Every read is answered by what this makes of the right answer.
    Answer(fn(Vec<u8>) -> Vec<u8>),
    /// Every read is answered by these bytes.
    Bytes(Vec<u8>),
    /// Every read is answered by these bytes and the end of the connection.
    Last(Vec<u8>),
    /// The right answer, byte by byte in segments of their own.
    Trickle,
    /// The answer to the read before is sent, or nothing the first time.
    Late,
    /// Sends this again and again.
    Endless(Vec<u8>),
    /// Sends a part of the answer and closes.
    CloseAfter(usize),
}

/// A question for a system status list.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Both 0 when a further part is asked for.
    pub id: u16,
    pub index: u16,
    /// Sequence number of the part before, 0 for the first.
    pub sequence: u8,
    pub reference: [u8; 2],
    /// Transport selector by which the connection was asked for.
    pub tsap: u16,
}

impl Asked {
    /// The frame that answers with a part of a list.
    pub fn part(&self, sequence: u8, more: bool, payload: &[u8]) -> Vec<u8> {
        let data = u16::try_from(payload.len()).expect("short").to_be_bytes();
        let whole = u16::try_from(payload.len() + 4).expect("short").to_be_bytes();
        let [high, low] = self.reference;
        let head = [0x32, 7, 0, 0, high, low, 0, 12, whole[0], whole[1]];
        let parameters = [0, 1, 0x12, 8, 0x12, 0x84, 1, sequence, 0, u8::from(more), 0, 0];
        frame(&[&head[..], &parameters, &[0xFF, 9, data[0], data[1]], payload].concat())
    }

    /// The frame that answers with a whole list of one record.
    pub fn record(&self, record: &[u8]) -> Vec<u8> {
        let length = u16::try_from(record.len()).expect("short");
        let head = [self.id, self.index, length, 1].map(u16::to_be_bytes).concat();
        self.part(1, false, &[&head, record].concat())
    }

    /// The frame that answers that there is no such list.
    pub fn unknown(&self) -> Vec<u8> {
        frame(&[0x32, 7, 0, 0, self.reference[0], self.reference[1], 0, 0, 0, 4, 0x0A, 0, 0, 0])
    }
}

/// What answers questions for lists: a frame, or nothing.
type Lists = Box<dyn FnMut(Asked) -> Vec<u8> + Send>;

/// What all connections share.
struct Shared {
    mode: Mutex<Mode>,
    lists: Mutex<Lists>,
    /// The next connection is not taken.
    busy: AtomicBool,
    /// Local and remote transport selector of each connection that was asked for.
    selectors: Mutex<Vec<(u16, u16)>>,
    /// Connections that are open, and the most that ever were.
    open: AtomicUsize,
    most_open: AtomicUsize,
}

/// A connection that is open.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn count(shared: &'a Shared) -> Self {
        let before = shared.open.fetch_add(1, Ordering::Relaxed);
        shared.most_open.fetch_max(before + 1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The double; it listens until it is dropped.
pub struct Double {
    pub endpoint: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Honest),
            lists: Mutex::new(Box::new(|asked| asked.unknown())),
            busy: AtomicBool::new(false),
            selectors: Mutex::new(Vec::new()),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&served);
                tokio::spawn(async move { serve(stream, &shared).await });
            }
        });
        Self { endpoint, shared, task }
    }

    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("no panic") = mode;
    }

    /// Answers questions for system status lists from now on.
    pub fn lists(&self, lists: impl FnMut(Asked) -> Vec<u8> + Send + 'static) {
        *self.shared.lists.lock().expect("no panic") = Box::new(lists);
    }

    /// The connections asked for since the last call: local and remote transport selector.
    pub fn selectors(&self) -> Vec<(u16, u16)> {
        std::mem::take(&mut self.shared.selectors.lock().expect("no panic"))
    }

    /// The most connections that were open at a time.
    pub fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::Relaxed)
    }

    /// A device on this CPU with these tags.
    pub fn device<'a>(&self, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> DeviceSpec {
        let mut device = super::device(tags);
        device.endpoint.clone_from(&self.endpoint);
        device
    }

    /// The same, waiting no longer than [`SILENCE`] for an answer that never comes.
    pub fn impatient<'a>(&self, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> DeviceSpec {
        let mut device = self.device(tags);
        device.options.insert("timeout".into(), OptionValue::Duration(SILENCE));
        device
    }
}

/// The word at an even offset of a block, different for all blocks and offsets of the tests.
pub fn word(block: u16, offset: u16) -> u16 {
    block * 1000 + offset
}

/// Wraps an S7 message into one COTP unit and one frame.
pub fn frame(message: &[u8]) -> Vec<u8> {
    unit(true, message)
}

/// A frame with a part of a message.
pub fn unit(last: bool, part: &[u8]) -> Vec<u8> {
    let length = u16::try_from(part.len() + 7).expect("short").to_be_bytes();
    [&[3, 0, length[0], length[1], 2, 0xF0, if last { 0x80 } else { 0 }], part].concat()
}

/// The right answer to a read request.
fn answer(request: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for item in request[12..].chunks_exact(12) {
        let number = |at: usize| u16::from_be_bytes([item[at], item[at + 1]]);
        let (len, block, start) = (number(4), number(6), number(10) / 8);
        if data.len() % 2 == 1 {
            data.push(0);
        }
        data.extend([0xFF, 4]);
        data.extend((len * 8).to_be_bytes());
        for offset in start..start + len {
            data.push(word(block, offset & !1).to_be_bytes()[usize::from(offset & 1)]);
        }
    }
    let length = u16::try_from(data.len()).expect("short").to_be_bytes();
    let head = [0x32, 3, 0, 0, request[4], request[5], 0, 2, length[0], length[1], 0, 0, 4, request[11]];
    frame(&[&head[..], &data].concat())
}

async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.ok()?;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]])) - 4];
    stream.read_exact(&mut rest).await.ok()?;
    Some(rest)
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let request = message(&mut stream).await?;
    let _open = Open::count(shared);
    let selector = |at: usize| request.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let tsap = selector(16)?;
    shared.selectors.lock().expect("no panic").push((selector(12)?, tsap));
    if shared.busy.swap(false, Ordering::Relaxed) {
        return None;
    }
    let mode = || shared.mode.lock().expect("no panic").clone();
    let confirm = match mode() {
        Mode::Confirm(bytes) if bytes.is_empty() => return None,
        Mode::Confirm(bytes) => bytes,
        Mode::Units(exponent) => vec![3, 0, 0, 14, 9, 0xD0, 0, 1, 0, 7, 0, 0xC0, 1, exponent],
        _ => vec![3, 0, 0, 14, 9, 0xD0, 0, 1, 0, 7, 0, 0xC0, 1, 10],
    };
    stream.write_all(&confirm).await.ok()?;
    let mut previous = Vec::new();
    loop {
        let unit = message(&mut stream).await?;
        let request = &unit[3..];
        match (request[1], request.get(10), mode()) {
            (7, _, Mode::AnonymousSilence) => {}
            (7, _, Mode::AnonymousClose) => return None,
            (7, _, Mode::AnonymousBusy) => {
                shared.busy.store(true, Ordering::Relaxed);
                return None;
            }
            (7, ..) => {
                let word =
                    |at: usize| request.get(at..at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
                let first = request[7] == 8;
                let asked = Asked {
                    id: if first { word(22) } else { 0 },
                    index: if first { word(24) } else { 0 },
                    sequence: request[17],
                    reference: [request[4], request[5]],
                    tsap,
                };
                let answer = (shared.lists.lock().expect("no panic"))(asked);
                stream.write_all(&answer).await.ok()?;
            }
            (1, Some(0xF0), mode) => {
                let reference = [request[4], request[5]];
                let [high, low] = reference;
                let mut setup = vec![0x32, 3, 0, 0, high, low, 0, 8, 0, 0, 0, 0, 0xF0, 0, 0, 1, 0, 1, 0, 240];
                if let Mode::Setup(change) = mode {
                    change(&mut setup);
                }
                stream.write_all(&frame(&setup)).await.ok()?;
            }
            (_, _, mode) => {
                let right = answer(request);
                misbehave(&mut stream, mode, right.clone(), &previous).await?;
                previous = right;
            }
        }
    }
}

async fn misbehave(stream: &mut TcpStream, mode: Mode, right: Vec<u8>, previous: &[u8]) -> Option<()> {
    let bytes = match mode {
        Mode::Answer(change) => change(right),
        Mode::Bytes(bytes) => bytes,
        Mode::Last(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            return None;
        }
        Mode::Late => previous.to_vec(),
        Mode::Trickle => {
            for byte in right {
                stream.write_all(&[byte]).await.ok()?;
                stream.flush().await.ok()?;
                // Lets the reader take this byte before the next is there.
                tokio::task::yield_now().await;
            }
            return Some(());
        }
        Mode::Endless(bytes) => loop {
            stream.write_all(&bytes).await.ok()?;
        },
        Mode::CloseAfter(len) => {
            stream.write_all(&right[..len]).await.ok()?;
            stream.shutdown().await.ok()?;
            return None;
        }
        _ => right,
    };
    stream.write_all(&bytes).await.ok()
}
