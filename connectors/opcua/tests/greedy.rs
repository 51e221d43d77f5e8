//! Servers whose answers claim what they do not have, or would grow without measure. Each meets a process
//! of its own: what they could do, the end of the process or all memory, would end the test otherwise.
#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::{impatient, open, tag};

/// Says to the process that is started where its server is.
const SERVER: &str = "FOREBAY_GREEDY_SERVER";
/// Most that a greedy answer may add to the memory that is really used, in KiB: 4 MiB of chunks, held two
/// times, and what they are decoded to as far as the estimate permits; all that for each of the two
/// threads, whose allocator keeps what it has had.
const GROWTH_MAX_KIB: u64 = 2 * (2 * 4 + 64 + 8) * 1024;
/// Address space that the process may ask for, in KiB. 2 GiB at once is more.
const SPACE_KIB: u64 = 1536 * 1024;
/// Body of one chunk, in bytes.
const BODY: usize = 60_000;

fn frame(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).expect("short");
    [&kind[..], &length.to_le_bytes(), body].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&i32::try_from(text.len()).expect("short").to_le_bytes()[..], text.as_bytes()].concat()
}

/// Id of a message (Part 6, annex A), and its header up to the diagnostics.
fn message(id: u16) -> Vec<u8> {
    [&[1, 0][..], &id.to_le_bytes(), &[0; 8], &[1, 0, 0, 0], &[0; 4]].concat()
}

/// The rest of the header without anything in it.
const PLAIN: &[u8] = &[0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0];
const READ: u16 = 634;
const ENDPOINTS: u16 = 431;
const CHANNEL: u16 = 449;

/// A Read answer with values of these bytes.
fn values(count: i32, bytes: &[u8]) -> Vec<u8> {
    [&message(READ)[..], PLAIN, &count.to_le_bytes(), bytes].concat()
}

/// An object of an unknown type with a body of this kind, that claims this length, in the header.
fn object(body: u8, claimed: i32) -> Vec<u8> {
    [&message(READ)[..], &PLAIN[..5], &[1, 7, 7, 0, body], &claimed.to_le_bytes(), &[7; 100]].concat()
}

/// A filter with two elements: the operand of the first ends with a byte 1, so that the operator of the
/// second, 17, looks like a length of more than the 11 bytes that follow. They claim 2 GiB.
fn filter() -> Vec<u8> {
    let object = |id: u16, body: &[u8]| {
        let length = i32::try_from(body.len()).expect("short").to_le_bytes();
        [&[1, 0][..], &id.to_le_bytes(), &[1], &length, body].concat()
    };
    let operand = [&[1, 0, 0, 0][..], &object(597, &[3, 1])].concat();
    let greedy = [&[1, 0, 0, 0, 0, 7, 1][..], &i32::MAX.to_le_bytes()].concat();
    let elements = [&[2, 0, 0, 0, 0, 0, 0, 0][..], &operand, &[17, 0, 0, 0], &greedy].concat();
    values(1, &[&[1, 22][..], &object(588, &elements)].concat())
}

/// Parts of an answer of which the second has the number of the first. Who reads them all finds two byte
/// strings; who leaves the second out, as the library does, an object that claims 2 GiB.
fn parts() -> [Vec<u8>; 3] {
    let evil = [&[1, 22, 1, 7, 7, 0, 1][..], &i32::MAX.to_le_bytes(), &[7; 100]].concat();
    let bytes = |length: usize| [&[1, 15][..], &i32::try_from(length).expect("short").to_le_bytes()].concat();
    let filler = vec![7; 1000 - bytes(0).len()];
    let second = [&bytes(filler.len() + evil.len())[..], &filler, &evil, &[0xFF; 4]].concat();
    [values(2, &bytes(1000)), vec![7; 1000], second]
}

/// Name, answer, and words that the box has for it.
fn answers() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let more = "an object that claims more bytes than the 100 that follow";
    let deep = "values nested too deep";
    let cannot = "BadDecodingError";
    let limits = "BadEncodingLimitsExceeded";
    let count = |count: i32| [&message(ENDPOINTS)[..], PLAIN, &count.to_le_bytes()].concat();
    let strings = |count: i32| [&message(READ)[..], &[0], &count.to_le_bytes(), &[0; 50]].concat();
    // 65,536 values of one byte each, as often as they fit into 4 MiB.
    let array = |element: u8| [&[1, 0x80 | element][..], &65_536i32.to_le_bytes(), &[0; 65_536]].concat();
    vec![
        ("body of 2 GiB, bytes", object(1, i32::MAX), more),
        ("body of 2 GiB, XML", object(2, i32::MAX), more),
        ("body of 1 GiB, XML", object(2, 1 << 30), more),
        ("body of -2 bytes", object(1, -2), cannot),
        ("body of -2 bytes, XML", object(2, -2), cannot),
        ("body of i32::MIN", object(2, i32::MIN), cannot),
        ("i32::MAX endpoints", count(i32::MAX), cannot),
        ("-2 endpoints", count(-2), cannot),
        ("65,536 endpoints, none there", count(65_536), cannot),
        ("i32::MAX texts", strings(i32::MAX), cannot),
        ("i32::MAX values", values(i32::MAX, &[]), cannot),
        ("text of 2 GiB", values(1, &[1, 12, 0xFF, 0xFF, 0xFF, 0x7F]), cannot),
        ("bytes of 2 GiB", values(1, &[1, 15, 0xFF, 0xFF, 0xFF, 0x7F]), cannot),
        ("array of i32::MAX", values(1, &[1, 0x86, 0xFF, 0xFF, 0xFF, 0x7F]), limits),
        ("array of -2", values(1, &[1, 0x86, 0xFE, 0xFF, 0xFF, 0xFF]), cannot),
        ("array of 65,536, none there", values(1, &[1, 0x98, 0, 0, 1, 0]), cannot),
        (
            "array in an array, 10,000 deep",
            values(1, &[&[1][..], &[0x98, 1, 0, 0, 0].repeat(10_000)].concat()),
            cannot,
        ),
        ("variants, 10,000 deep", values(1, &[&[1][..], &[24; 10_000]].concat()), cannot),
        ("values, 10,000 deep", values(1, &[1, 23].repeat(10_000)), deep),
        ("values, 1,900,000 deep", values(1, &[1, 23].repeat(1_900_000)), deep),
        ("diagnostics, 10,000 deep", [&message(READ)[..], &[0x40; 10_000]].concat(), deep),
        ("diagnostics, 3,800,000 deep", [&message(READ)[..], &[0x40; 3_800_000]].concat(), deep),
        ("3,800,000 diagnostics", values(58, &array(25).repeat(58)), "takes more than 64 MiB"),
        ("3,800,000 values", values(58, &array(23).repeat(58)), "takes more than 64 MiB"),
        ("body of 2 GiB behind an operator", filter(), "an object that claims more bytes than the 0 that"),
        ("no end", vec![0; 100 * BODY], "began answers of more than 8 MiB"),
        ("not asked", vec![0; 100], "an answer to a request that was not made"),
        ("a number twice", parts().concat(), "parts of an answer that do not follow each other"),
    ]
}

/// How an answer is sent.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Whole,
    /// Without a last chunk, for two requests that nobody waits for.
    Endless,
    /// To a request that was not made.
    NotAsked,
    /// As [`parts`], with these numbers. The library takes 0 twice where 1 is expected.
    Numbered([u32; 3]),
}

impl How {
    fn of(name: &str) -> Self {
        match name {
            "no end" => Self::Endless,
            "not asked" => Self::NotAsked,
            "a number twice" => Self::Numbered([0, 0, 1]),
            _ => Self::Whole,
        }
    }

    /// Number of the answer before.
    fn opened(self) -> u32 {
        if matches!(self, Self::Numbered(_)) { 0 } else { 1 }
    }
}

fn chunk(kind: &[u8; 4], number: u32, request: u32, part: &[u8]) -> Vec<u8> {
    frame(kind, &[&[1, 1, number, request].map(u32::to_le_bytes).concat(), part].concat())
}

/// Sends an answer in chunks.
fn send(client: &mut TcpStream, request: u32, answer: &[u8], how: How) -> std::io::Result<()> {
    let kind = |is_last| if is_last { b"MSGF" } else { b"MSGC" };
    let chunks = |client: &mut TcpStream, request, first, has_last| {
        let all = answer.chunks(BODY).count();
        (first..).zip(answer.chunks(BODY)).enumerate().try_for_each(|(at, (number, part))| {
            client.write_all(&chunk(kind(at + 1 == all && has_last), number, request, part))
        })
    };
    match how {
        How::Whole => chunks(client, request, 2, true),
        How::NotAsked => chunks(client, request + 1, 2, true),
        How::Endless => {
            chunks(client, request - 1, 2, false)?;
            chunks(client, request - 2, 102, false)
        }
        How::Numbered(numbers) => {
            numbers.into_iter().zip(parts()).enumerate().try_for_each(|(at, (number, part))| {
                client.write_all(&chunk(kind(at == 2), number, request, &part))
            })
        }
    }
}

/// Serves one connection: opens a channel and answers the first question with this.
fn serve(mut client: TcpStream, answer: &[u8], how: How) -> std::io::Result<()> {
    let question = |client: &mut TcpStream| -> std::io::Result<Vec<u8>> {
        let mut header = [0; 8];
        client.read_exact(&mut header)?;
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let mut body = vec![0; length - 8];
        client.read_exact(&mut body)?;
        Ok(body)
    };
    question(&mut client)?;
    let sizes = [0u32, 65_536, 65_536, 0, 0].map(u32::to_le_bytes).concat();
    client.write_all(&frame(b"ACKF", &sizes))?;
    let asked = question(&mut client)?;
    let number = |place: usize| u32::from_le_bytes(asked[place..place + 4].try_into().expect("four bytes"));
    // Behind the channel's id, the policy, two certificates that are none, and the number of the chunk.
    let request = number(4 + 4 + number(4) as usize + 4 + 4 + 4);
    let opened = [
        &1u32.to_le_bytes()[..],
        &text("http://opcfoundation.org/UA/SecurityPolicy#None"),
        &[0xFF; 8],
        &[how.opened(), request].map(u32::to_le_bytes).concat(),
        &message(CHANNEL),
        PLAIN,
        // Version, channel, keys, time, how long they hold, nonce.
        &[0u32, 1, 1, 0, 0, 600_000].map(u32::to_le_bytes).concat(),
        &[0xFF; 4],
    ];
    client.write_all(&frame(b"OPNF", &opened.concat()))?;
    let asked = question(&mut client)?;
    // Behind the ids of channel and keys and the number of the chunk.
    let request = u32::from_le_bytes(asked[12..16].try_into().expect("four bytes"));
    send(&mut client, request, answer, how)?;
    std::io::copy(&mut client, &mut std::io::sink()).map(|_| ())
}

/// Peak of the memory that is really used, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

/// What the process does that meets the server: it connects twice, and says what became of it.
fn meet(endpoint: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = impatient(&folder, endpoint, vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    let patience = forebay_connector::OptionValue::Duration(Duration::from_secs(20));
    spec.options.insert("timeout".into(), patience);
    runtime.block_on(async {
        let mut connector = open(&spec);
        let before = peak_kib();
        for _ in 0..2 {
            let error = connector.connect().await.expect_err("a greedy server");
            println!("MET {} KiB: {error}", peak_kib() - before);
        }
    });
}

#[test]
fn greedy_answers_cost_a_connection_and_nothing_else() {
    if let Ok(endpoint) = std::env::var(SERVER) {
        return meet(&endpoint);
    }
    let own = std::env::current_exe().expect("this test");
    let mut worst = 0;
    for (name, answer, words) in answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("opc.tcp://{}", listener.local_addr().expect("an address"));
        let how = How::of(name);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let _gone = serve(client, &answer, how);
            }
        });
        let run = Command::new("sh")
            .args(["-c", &format!("ulimit -v {SPACE_KIB}; exec \"$0\" --nocapture --test-threads=1")])
            .arg(&own)
            .env(SERVER, &endpoint)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("a process");
        let (said, wrong) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{name}: {}\n{said}\n{wrong}", run.status);
        assert!(!wrong.contains("panicked"), "{name}: {wrong}");
        let met: Vec<&str> =
            said.lines().filter_map(|line| line.split_once("MET ")).map(|met| met.1).collect();
        println!("{name}: {}", met.join("; then "));
        assert_eq!(met.len(), 2, "{name}: {said}");
        for line in met {
            let (grown, error) = line.split_once(" KiB: ").expect("two parts");
            assert!(error.contains(words), "{name}: {error}");
            let grown = grown.parse().expect("a number");
            assert!(grown <= GROWTH_MAX_KIB, "{name}: {grown} KiB");
            worst = worst.max(grown);
        }
    }
    println!("at most {worst} KiB");
}
