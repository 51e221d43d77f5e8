//! Every type, at the edges of its range and length, in every area, from both servers. The servers
//! write the values by their own means, see `peers/s7_values.py`.

use forebay_connector::{DataType, Quality, Scalar, Value};

use super::*;

/// Type, value as JSON, and the value that must be read.
type Vector = (&'static str, String, Value);

fn vector(data_type: &'static str, json: impl ToString, value: Value) -> Vector {
    (data_type, json.to_string(), value)
}

fn quoted(data_type: &'static str, words: &str) -> Vector {
    vector(data_type, format!("\"{words}\""), text(words))
}

/// A point in time of the years 1970 to 2262, given as text and as microseconds.
fn point(data_type: &'static str, iso: &str, us: i64) -> Vector {
    vector(data_type, format!("\"{iso}\""), Value::DateTime(us))
}

fn array(data_type: &'static str, vectors: &[Vector]) -> Vector {
    let json: Vec<&str> = vectors.iter().map(|(_, json, _)| json.as_str()).collect();
    let values = vectors.iter().map(|(.., value)| value.clone()).collect();
    vector(data_type, format!("[{}]", json.join(",")), Value::Array(values))
}

fn numbers() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (data_type, max) in [
        ("BYTE", 0xFF),
        ("USINT", 0xFF),
        ("WORD", 0xFFFF),
        ("UINT", 0xFFFF),
        ("DWORD", 0xFFFF_FFFF),
        ("UDINT", 0xFFFF_FFFF),
        ("LWORD", u64::MAX),
        ("ULINT", u64::MAX),
        ("BCD", 9_999),
        ("LBCD", 99_999_999),
    ] {
        for number in [0, 1, 1234.min(max), max / 2, max] {
            vectors.push(vector(data_type, number, Value::Uint(number)));
        }
    }
    for (data_type, max) in
        [("SINT", 0x7F), ("INT", 0x7FFF), ("DINT", 0x7FFF_FFFF), ("TIME", 0x7FFF_FFFF), ("LINT", i64::MAX)]
    {
        for number in [-max - 1, -1, 0, 1, max] {
            vectors.push(vector(data_type, number, Value::Int(number)));
        }
    }
    for number in [0.0, 41.2, -1.5, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1.0e-45] {
        vectors.push(vector("REAL", format!("{number:e}"), Value::Real(number)));
    }
    for number in [0.0, 41.2, -1.0e-300, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5.0e-324] {
        vectors.push(vector("LREAL", format!("{number:e}"), Value::Lreal(number)));
    }
    vectors
}

fn times() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for ms in [0, 10, 9_990, 10_000, 99_900, 100_000, 127_000, 999_000, 1_000_000, 9_990_000] {
        vectors.push(vector("S5TIME", ms, Value::Int(ms)));
    }
    for ms in [0, 1, 86_399_999] {
        vectors.push(vector("TOD", ms, Value::Int(ms)));
    }
    for day in
        ["1990-01-01", "1990-12-31", "1992-02-29", "2000-02-29", "2026-02-11", "2079-09-18", "2168-12-31"]
    {
        vectors.push(quoted("DATE", day));
    }
    vectors.extend([
        point("DATE_AND_TIME", "1990-01-01T00:00:00.000", 631_152_000_000_000),
        point("DATE_AND_TIME", "1999-12-31T23:59:59.999", 946_684_799_999_000),
        point("DATE_AND_TIME", "2000-02-29T12:00:00.001", 951_825_600_001_000),
        point("DATE_AND_TIME", "2026-02-11T08:30:15.120", 1_770_798_615_120_000),
        point("DATE_AND_TIME", "2089-12-31T23:59:59.999", 3_786_911_999_999_000),
        point("DTL", "1970-01-01T00:00:00.000000", 0),
        point("DTL", "2024-02-29T23:59:59.999999", 1_709_251_199_999_999),
        point("DTL", "2026-02-11T08:30:15.123456", 1_770_798_615_123_456),
        point("DTL", "2262-04-11T23:47:16.854775", 9_223_372_036_854_775),
    ]);
    vectors
}

fn texts() -> Vec<Vector> {
    let long: String = "Förderband °C ".chars().cycle().take(254).collect();
    let wide: String = "Größe Ω € ".chars().cycle().take(254).collect();
    let mut vectors = vec![quoted("STRING[254]", &long), quoted("WSTRING[254]", &wide)];
    for words in ["", "a", "Öl"] {
        vectors.extend([
            quoted("STRING[2]", words),
            quoted("WSTRING[2]", words),
            quoted("STRING[254]", words),
        ]);
    }
    vectors.extend([quoted("STRING[1]", "ß"), quoted("STRING[1]", ""), quoted("WSTRING[1]", "Ω")]);
    vectors.extend([quoted("STRING[8]", "€ genau!"), quoted("WSTRING[9]", "\u{1F600} Paar")]);
    vectors.extend(["A", "~", "ü", "€"].map(|letter| quoted("CHAR", letter)));
    vectors
}

fn arrays() -> Vec<Vector> {
    let int = |number: i64| vector("INT", number, Value::Int(number));
    let word = |number: u64| vector("WORD", number, Value::Uint(number));
    let real = |number: f32| vector("REAL", number, Value::Real(number));
    let flag = |on: bool| vector("BOOL", on, Value::Bool(on));
    let s5time = |ms: i64| vector("S5TIME", ms, Value::Int(ms));
    let long: Vec<Vector> = (0..600).map(word).collect();
    let flags: Vec<Vector> = (0..19).map(|number| flag(number % 3 == 0)).collect();
    vec![
        array("INT[1]", &[int(-32_768)]),
        array("INT[3]", &[int(1), int(-2), int(3)]),
        array("WORD[600]", &long),
        array("REAL[2]", &[real(1.5), real(-41.2)]),
        array("LREAL[2]", &[1.5, -2.5].map(|number| vector("LREAL", number, Value::Lreal(number)))),
        array("ULINT[2]", &[1, u64::MAX].map(|number| vector("ULINT", number, Value::Uint(number)))),
        array("CHAR[5]", &["P", "r", "e", "s", "s"].map(|letter| quoted("CHAR", letter))),
        array("USINT[3]", &[0, 7, 255].map(|number| vector("USINT", number, Value::Uint(number)))),
        array("BCD[2]", &[12, 9_999].map(|number| vector("BCD", number, Value::Uint(number)))),
        array("S5TIME[3]", &[s5time(10), s5time(127_000), s5time(9_990_000)]),
        array("DATE[2]", &["1990-01-01", "2168-12-31"].map(|day| quoted("DATE", day))),
        array("TOD[2]", &[5, 86_399_999].map(|ms| vector("TOD", ms, Value::Int(ms)))),
        array(
            "DATE_AND_TIME[2]",
            &[
                point("", "1990-01-01T00:00:00.000", 631_152_000_000_000),
                point("", "2026-02-11T08:30:15.123", 1_770_798_615_123_000),
            ],
        ),
        array(
            "DTL[2]",
            &[point("", "1970-01-01T00:00:00", 0), point("", "2000-03-01T00:00:00", 951_868_800_000_000)],
        ),
        flag(true),
        flag(false),
        array("BOOL[1]", &[flag(true)]),
        array("BOOL[8]", &flags[..8]),
        array("BOOL[19]", &flags),
    ]
}

/// The address of a type at this byte and bit of an area, as an engineer writes it.
fn address(area: &str, scalar: Scalar, byte: u64, bit: u64) -> String {
    let letter = match scalar.bits() {
        Some(1) if area == "DB10" => return format!("DB10.DBX{byte}.{bit}"),
        Some(1) => return format!("{area}{byte}.{bit}"),
        Some(16) => 'W',
        Some(32) => 'D',
        _ => 'B',
    };
    if area == "DB10" { format!("DB10.DB{letter}{byte}") } else { format!("{area}{letter}{byte}") }
}

fn name(python: Python) -> &'static str {
    match python {
        Python::Snap7v2 => "C Snap7",
        Python::Current => "python-snap7",
    }
}

/// Reads these tags in one poll.
fn read_all(python: Python, port: u16, cpu: &str, tags: &[(String, &'static str, Value)]) -> u64 {
    let runtime = runtime();
    let mut spec = device(port, tags.iter().map(|(address, data_type, _)| (address.as_str(), *data_type)));
    spec.options.insert("cpu".into(), OptionValue::Text(cpu.into()));
    let mut connector = S7.open(spec).expect("addresses are right");
    runtime.block_on(connector.connect()).expect("connects");
    let samples = poll(&runtime, connector.as_mut()).expect("reads");
    assert_eq!(samples.len(), tags.len());
    for (sample, (address, data_type, value)) in samples.iter().zip(tags) {
        let quality = if *value == Value::Null { Quality::Invalid } else { Quality::Good };
        let found = (&sample.value, sample.quality);
        assert_eq!(found, (value, quality), "{} {cpu} {address} {data_type}", name(python));
    }
    connector.requests()
}

#[test]
fn every_type_edge_and_area() {
    let vectors = [numbers(), times(), texts(), arrays()].concat();
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        server.command("db 10 8000");
        let mut tags = Vec::new();
        let mut by_the_peer = 0;
        for (area, peer_area, number) in [("DB10", "DB", 10), ("M", "MK", 0), ("I", "PE", 0), ("Q", "PA", 0)]
        {
            let mut byte = 0;
            for (data_type, json, value) in &vectors {
                let parsed = DataType::parse(data_type).expect("a type");
                let bit = if parsed.scalar == Scalar::Bool { 3 } else { 0 };
                let address = address(area, parsed.scalar, byte, bit);
                let extent = S7.extent(&address, parsed).expect("a right address");
                let place = if bit == 0 { byte.to_string() } else { format!("{byte}.{bit}") };
                let author = server.command(&format!("put {peer_area} {number} {place} {data_type} {json}"));
                by_the_peer += u32::from(author == "util");
                tags.push((address, *data_type, value.clone()));
                byte = extent.bits.end.div_ceil(8).next_multiple_of(2);
            }
        }
        assert!(tags.len() > 500, "{}", tags.len());
        // By its own setters; the rest by the standard library, and read by its own getters.
        assert!(by_the_peer * 2 > u32::try_from(tags.len()).expect("few"), "{}: {by_the_peer}", name(python));
        let large = read_all(python, server.port, "s7-1500", &tags);
        let small = read_all(python, server.port, "s7-1200", &tags);
        assert!(small > large, "{small} requests of 240 bytes, {large} of 480 or more");
    }
}

#[test]
fn bytes_that_are_no_value_of_their_type() {
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        server.command("db 10 400");
        let mut tags = Vec::new();
        for (place, (data_type, bytes)) in (0u64..).step_by(20).zip([
            ("BCD", "000a"),
            ("BCD", "f123"), // a sign is no digit
            ("LBCD", "1234567f"),
            ("S5TIME", "4127"),
            ("S5TIME", "21a7"),
            ("DATE", "ff63"),
            ("TOD", "05265c00"),
            ("DATE_AND_TIME", "0000000000000000"),
            ("DATE_AND_TIME", "260229083015123a"),
            ("DATE_AND_TIME", "2602110830151a34"),
            ("DTL", "000000000000000000000000"),
            ("DTL", "07ea020b0418000000000000"),
            ("REAL", "7fc00000"),
            ("LREAL", "7ff0000000000000"),
            ("STRING[4]", "040561626364"),
            ("WSTRING[2]", "00020001d8000000"),
            ("S5TIME[2]", "0001ffff"),
        ]) {
            server.command(&format!("raw DB 10 {place} {bytes}"));
            let scalar = DataType::parse(data_type).expect("a type").scalar;
            tags.push((address("DB10", scalar, place, 0), data_type, Value::Null));
        }
        read_all(python, server.port, "s7-1500", &tags);
    }
}

#[test]
fn timers_and_counters() {
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        // Multiples of four, far from each other: see `element` in the server.
        for (command, value) in [
            ("put TM 0 0 S5TIME", "9990"),
            ("put TM 0 40 S5TIME[3]", "[10, 127000, 9990000]"),
            ("put TM 0 2044 S5TIME", "100"),
            ("put CT 0 0 BCD", "999"),
            ("put CT 0 40 BCD[3]", "[0, 7, 123]"),
            ("put CT 0 2044 BCD", "1"),
            ("raw CT 0 100", "0a00"),
        ] {
            server.command(&format!("{command} {value}"));
        }
        let tag = |address: &str, data_type, value| (address.to_owned(), data_type, value);
        let tags = [
            tag("T0", "S5TIME", Value::Int(9_990)),
            tag("T40", "S5TIME", Value::Int(10)),
            tag("T41", "S5TIME", Value::Int(127_000)),
            tag("T41", "WORD", Value::Uint(0x2127)),
            tag("T40", "S5TIME[3]", Value::Array([10, 127_000, 9_990_000].map(Value::Int).into())),
            tag("T2044", "S5TIME", Value::Int(100)),
            tag("C0", "BCD", Value::Uint(999)),
            tag("Z40", "BCD[3]", Value::Array([0, 7, 123].map(Value::Uint).into())),
            tag("C42", "BCD", Value::Uint(123)),
            tag("C42", "WORD", Value::Uint(0x0123)),
            tag("C100", "BCD", Value::Null),
            tag("C2044", "BCD", Value::Uint(1)),
        ];
        assert_eq!(read_all(python, server.port, "s7-300", &tags), 1, "one request");
    }
}

#[test]
fn the_variable_memory_of_a_logo_is_its_first_block() {
    for python in BOTH {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        server.command("db 1 1470");
        let mut tags = Vec::new();
        for (address, place, data_type, json, value) in [
            ("VB0", "0", "USINT", "200", Value::Uint(200)),
            ("VW1", "1", "INT", "-5", Value::Int(-5)),
            ("VD4", "4", "UDINT", "4000000000", Value::Uint(4_000_000_000)),
            ("V10.3", "10.3", "BOOL", "true", Value::Bool(true)),
            ("V1024.0", "1024.0", "BOOL", "true", Value::Bool(true)), // I1 of a 0BA8
            ("DB1.DBW1118", "1118", "INT", "1000", Value::Int(1000)), // AM1
        ] {
            server.command(&format!("put DB 1 {place} {data_type} {json}"));
            tags.push((address.to_owned(), data_type, value));
        }
        read_all(python, server.port, "logo", &tags);
    }
}

#[test]
fn a_cpu_says_who_it_is_and_that_it_stands_still() {
    let runtime = runtime();
    for (python, identity) in [
        (
            Python::Snap7v2,
            "6ES7 315-2EH14-0AB0 V3.2.6, CPU 315-2 PN/DP, station SNAP7-SERVER, serial S C-C2UR28922012",
        ),
        (Python::Current, "6ES7 315-2EH14-0AB0"),
    ] {
        let mut server = Peer::start(python, "s7_server.py", &[]);
        server.command("db 1 2");
        server.command("state stop");
        let mut connector = S7.open(device(server.port, [("DB1.DBW0", "INT")])).expect("right");
        assert_eq!(runtime.block_on(connector.connect()).expect("connects"), identity);
        let mut messages = Vec::new();
        connector.take_messages(&mut messages);
        // python-snap7 3.x does not tell its state by a list.
        let told =
            messages.iter().any(|message| message.active == Some(true) && message.text.contains("in STOP"));
        assert_eq!(told, matches!(python, Python::Snap7v2), "{messages:?}");
        assert_eq!(poll(&runtime, connector.as_mut()).expect("reads")[0].value, Value::Int(0));
    }
}
