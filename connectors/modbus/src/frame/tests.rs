use proptest::prelude::*;

use super::*;

fn read(table: Table, start: u16, count: u16) -> Read {
    Read { unit: 17, table, start, count }
}

/// An answer put together here, byte by byte.
fn answer(read: Read, framing: Framing, transaction: u16, data: &[u8]) -> Vec<u8> {
    let mut body = vec![read.unit, read.function(), u8::try_from(data.len()).unwrap()];
    body.extend(data);
    framed(framing, transaction, &body)
}

fn framed(framing: Framing, transaction: u16, body: &[u8]) -> Vec<u8> {
    match framing {
        Framing::Tcp => {
            let mut frame = transaction.to_be_bytes().to_vec();
            frame.extend([0, 0]);
            frame.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            frame.extend(body);
            frame
        }
        Framing::Rtu => {
            let mut frame = body.to_vec();
            frame.extend(crc(body).to_le_bytes());
            frame
        }
    }
}

#[test]
fn requests_are_those_of_the_standard() {
    // The request of the Application Protocol's example 6.3, and CRCs that other tools give for it.
    let read = read(Table::HoldingRegisters, 0x6B, 3);
    assert_eq!(read.request(Framing::Tcp, 0x1234).bytes(), [0x12, 0x34, 0, 0, 0, 6, 17, 3, 0, 0x6B, 0, 3]);
    assert_eq!(read.request(Framing::Rtu, 0).bytes(), [0x11, 3, 0, 0x6B, 0, 3, 0x76, 0x87]);
    // The check value of CRC-16/MODBUS.
    assert_eq!(crc(b"123456789"), 0x4B37);
}

#[test]
fn a_frame_of_another_kind_says_what_is_wrong() {
    let read = read(Table::HoldingRegisters, 10, 1);
    let rtu = read.request(Framing::Rtu, 0);
    for (body, words) in [
        (&[18, 3, 2, 0, 7][..], "unit 17 asked, unit 18 answered"),
        (&[17, 4, 2, 0, 7], "function 3 asked for, 4 answered"),
        (&[17, 3, 4, 0, 7, 0, 8], "1 registers (2 bytes) asked for, 4 bytes answered"),
    ] {
        let frame = framed(Framing::Rtu, 0, body);
        let judged = rtu.judge(&frame[..frame.len().min(7)]);
        assert_eq!(judged, Err(words.to_owned()));
    }
    let mut frame = framed(Framing::Rtu, 0, &[17, 3, 2, 0, 7]);
    frame[4] ^= 1;
    assert!(rtu.judge(&frame).unwrap_err().contains("CRC"));
    assert_eq!(rtu.judge(&framed(Framing::Rtu, 0, &[17, 0x83, 2])), Ok(Heard::Exception(2)));
    let tcp = read.request(Framing::Tcp, 9);
    assert!(tcp.judge(&framed(Framing::Tcp, 8, &[17, 3, 2, 0, 7])).unwrap_err().contains("transaction 9"));
    assert_eq!(tcp.judge(&framed(Framing::Tcp, 9, &[17, 0x83, 2])), Ok(Heard::Exception(2)));
}

/// The echo of a request is nobody's answer, also where it looks like one to its last byte.
#[test]
fn an_echo_is_never_data() {
    let mut alike = 0;
    for unit in 0..=255 {
        for start in 0x0200..=0x02FF {
            let read = Read { unit, table: Table::HoldingRegisters, start, count: 1 };
            let request = read.request(Framing::Rtu, 0);
            let echo = request.bytes();
            alike += u32::from(crc(&echo[..5]).to_le_bytes() == echo[5..7]);
            for len in 0..=echo.len() {
                let judged = request.judge(&echo[..len.min(7)]);
                assert!(!matches!(judged, Ok(Heard::Data(_))), "unit {unit}, start {start}");
            }
        }
    }
    assert!(alike > 0, "the test has met no echo with the checksum of an answer");
}

fn reads() -> impl Strategy<Value = Read> {
    let tables = [Table::Coils, Table::DiscreteInputs, Table::InputRegisters, Table::HoldingRegisters];
    (any::<u8>(), proptest::sample::select(tables.to_vec()), any::<u16>(), 1u16..=2000).prop_map(
        |(unit, table, start, count)| Read {
            unit,
            table,
            start,
            count: if table.is_bits() { count } else { count.clamp(1, 125) },
        },
    )
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Tcp), Just(Framing::Rtu)]
}

proptest! {
    /// Any bytes at all: no panic, and nothing longer than a frame is waited for.
    #[test]
    fn any_bytes_are_judged(
        read in reads(), framing in framings(), transaction: u16,
        bytes in proptest::collection::vec(any::<u8>(), 0..ANSWER_MAX),
    ) {
        match read.request(framing, transaction).judge(&bytes) {
            Ok(Heard::Part(total)) => prop_assert!(bytes.len() < total && total <= ANSWER_MAX),
            Ok(Heard::Data(range)) => prop_assert_eq!(range.len(), read.data_len()),
            Ok(Heard::Exception(_)) | Err(_) => {}
        }
    }

    /// An honest answer is part of an answer at every length, then data, and one flipped bit
    /// outside of the data (anywhere, with a CRC) is noticed.
    #[test]
    fn honest_answers_are_data_and_spoilt_ones_are_not(
        read in reads(), framing in framings(), transaction: u16, seed: u8, flip: proptest::sample::Index,
    ) {
        let data: Vec<u8> = (0..=255).map(|n| seed.wrapping_mul(31).wrapping_add(n)).take(read.data_len()).collect();
        let frame = answer(read, framing, transaction, &data);
        let request = read.request(framing, transaction);
        prop_assume!(framing == Framing::Tcp || !request.bytes().starts_with(&frame[..frame.len().min(7)]));
        for len in 0..frame.len() {
            prop_assert_eq!(request.judge(&frame[..len]), Ok(Heard::Part(frame.len())));
        }
        let range = match request.judge(&frame) {
            Ok(Heard::Data(range)) => range,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(&frame[range.clone()], &data[..]);
        let bit = flip.index(frame.len() * 8);
        let mut spoilt = frame.clone();
        spoilt[bit / 8] ^= 1 << (bit % 8);
        let in_data = range.contains(&(bit / 8));
        // The top bit of the function makes an exception, whose length is another on TCP; on RTU
        // the rest follows after the exception's five bytes.
        if framing == Framing::Rtu || !in_data {
            prop_assert!(!matches!(request.judge(&spoilt), Ok(Heard::Data(_))), "bit {}", bit);
        }
    }
}
