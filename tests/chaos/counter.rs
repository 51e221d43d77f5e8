//! A device that counts how often it was read, so that each sample it ever gave is known.
//!
//! A Modbus server. Every read is one more than the one before, and all tags of the answer follow
//! from that count: what arrives at the end of the line says itself where it belongs and whether
//! anything between it and its neighbour is missing.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Tags of a device: one count in two registers, and as many registers as one request still holds.
pub const TAGS: usize = 124;
/// Registers of the only request that makes sense.
const REGISTERS: u16 = 125;
/// Time from one reading to the next, as a profile says it.
const SCAN: &str = "50ms";

/// A device on a port of 127.0.0.1.
pub struct Counter {
    pub name: String,
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Reads so far that were given a number of their own.
    count: AtomicU32,
    /// While set, an answer repeats the one before.
    frozen: AtomicBool,
    ended: AtomicBool,
    /// Clients that have come so far.
    clients: AtomicU32,
}

/// What tag `index` (from 1) is when the count is `count`.
pub fn register(count: u32, index: usize) -> u16 {
    let index = u32::try_from(index).expect("few tags");
    let [low, high, ..] = count.wrapping_add(index * 521).to_le_bytes();
    u16::from_le_bytes([low, high])
}

impl Counter {
    /// Starts to listen.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !shared.ended.load(Ordering::SeqCst)).flatten() {
                let shared = Arc::clone(&shared);
                shared.clients.fetch_add(1, Ordering::SeqCst);
                // A client that was killed has gone in the middle of something.
                std::thread::spawn(move || serve(stream, &shared).unwrap_or_default());
            }
        });
        Self { name: name.to_owned(), port, state }
    }

    /// Reads answered with a number of their own.
    pub fn count(&self) -> u32 {
        self.state.count.load(Ordering::SeqCst)
    }

    /// Connections that were made so far.
    pub fn clients(&self) -> u32 {
        self.state.clients.load(Ordering::SeqCst)
    }

    /// From now on all answers are the same.
    pub fn freeze(&self) {
        self.state.frozen.store(true, Ordering::SeqCst);
    }

    /// `[[device]]` of this device.
    pub fn table(&self) -> String {
        format!(
            "[[device]]\nname = \"{}\"\nprofile = \"counter\"\nendpoint = \"tcp://127.0.0.1:{}\"\n\
             location = \"Werk1/Halle/Linie/Zelle\"\n",
            self.name, self.port
        )
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the listener; when nobody listens any more there is nobody to wake.
        let _gone = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The profile of these devices.
pub fn profile() -> String {
    let mut text = format!(
        "forebay = 1\n[profile]\nname = \"counter\"\nversion = \"1\"\nprotocol = \"modbus\"\n\
         source = \"made for the chaos test\"\n[modbus]\nunit_id = 1\ntimeout = \"5s\"\n[scan]\nfast = \"{SCAN}\"\n\
         [defaults]\nscan = \"fast\"\nmax_silence = \"60m\"\n[tags.line]\n\
         count = {{ address = \"hr:0\", type = \"UDINT\" }}\n"
    );
    for index in 1..TAGS {
        writeln!(text, "v{index} = {{ address = \"hr:{}\", type = \"UINT\" }}", index + 1).expect("a text");
    }
    text
}

/// Answers one client until it leaves (Modbus Messaging on TCP/IP 1.0b, 3.1: seven bytes of head,
/// then function and data).
fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 12];
    loop {
        stream.read_exact(&mut head)?;
        let [transaction_high, transaction_low, _, _, _, length, unit, function, rest @ ..] = head;
        let mut answer = vec![transaction_high, transaction_low, 0, 0];
        if (length, function, rest) != (6, 3, [0, 0, 0, REGISTERS.to_be_bytes()[1]]) {
            answer.extend([0, 3, unit, function | 0x80, 2]);
            stream.write_all(&answer)?;
            continue;
        }
        let count = if state.frozen.load(Ordering::SeqCst) {
            state.count.load(Ordering::SeqCst)
        } else {
            state.count.fetch_add(1, Ordering::SeqCst) + 1
        };
        let bytes = u8::try_from(2 * REGISTERS).expect("250");
        answer.extend([0, bytes + 3, unit, function, bytes]);
        answer.extend(count.to_be_bytes());
        (1..TAGS).for_each(|index| answer.extend(register(count, index).to_be_bytes()));
        stream.write_all(&answer)?;
    }
}
