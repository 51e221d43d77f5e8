use proptest::prelude::*;

use super::*;

fn message<'a>(parameters: &'a [u8], data: &'a [u8]) -> Message<'a> {
    Message { kind: 3, reference: 1, error: 0, parameters, data }
}

fn items(data: &[u8], count: usize) -> Result<Vec<Item<'_>>, FrameFault> {
    let mut items = Items { rest: data, odd: false };
    let found = (0..count).map(|_| items.next_item()).collect();
    items.end()?;
    found
}

#[test]
fn a_read_request_is_what_siemens_tools_send() {
    let mut out = Vec::new();
    let range = Range { area: Area::Db(10), start: 48, len_bytes: 4, at: 0, tags: 1 };
    write_read(&mut out, 0x0102, [range].iter());
    let expected: &[u8] = &[
        3, 0, 0, 31, 2, 0xF0, 0x80, 0x32, 1, 0, 0, 1, 2, 0, 14, 0, 0, 4, 1, 0x12, 10, 0x10, 2, 0, 4, 0, 10,
        0x84, 0, 1, 0x80,
    ];
    assert_eq!(out, expected);
}

#[test]
fn the_periphery_is_an_area_of_its_own() {
    let mut out = Vec::new();
    let range = Range { area: Area::Periphery, start: 256, len_bytes: 2, at: 0, tags: 1 };
    write_read(&mut out, 1, [range].iter());
    assert_eq!(out[19..], [0x12, 10, 0x10, 2, 0, 2, 0, 0, 0x80, 0, 0x08, 0]);
}

#[test]
fn timers_and_counters_are_asked_for_by_number() {
    let mut out = Vec::new();
    let item = |area, start, len_bytes| Range { area, start, len_bytes, at: 0, tags: 1 };
    write_read(&mut out, 1, [item(Area::Timer, 10, 2), item(Area::Counter, 600, 6)].iter());
    assert_eq!(out[19..31], [0x12, 10, 0x10, 0x1D, 0, 1, 0, 0, 0x1D, 0, 0, 5]);
    assert_eq!(out[31..], [0x12, 10, 0x10, 0x1C, 0, 3, 0, 0, 0x1C, 0, 1, 0x2C]);
}

#[test]
fn a_refused_item_has_no_data_whatever_its_length_says() {
    // C Snap7: 0a 00 00 04 and nothing else; python-snap7: 0a 00 00 00.
    let data = [0x0A, 0, 0, 4, 0xFF, 4, 0, 16, 1, 2, 5, 0, 0, 0];
    assert_eq!(items(&data, 3).unwrap(), [Item::Refused(0x0A), Item::Data(&[1, 2]), Item::Refused(5)]);
}

#[test]
fn lengths_count_bits_or_bytes_by_the_transport_size() {
    // BIT with its real code (1 bit), BIT as python-snap7 answers it (size 4, a whole byte),
    // REAL (bytes), octets (bytes); odd items are followed by a filling byte but the last.
    let data = [0xFF, 3, 0, 1, 1, 0, 0xFF, 4, 0, 8, 1, 0, 0xFF, 7, 0, 4, 1, 2, 3, 4, 0xFF, 9, 0, 3, 7, 8, 9];
    let expected =
        [Item::Data(&[1][..]), Item::Data(&[1]), Item::Data(&[1, 2, 3, 4]), Item::Data(&[7, 8, 9])];
    assert_eq!(items(&data, 4).unwrap(), expected);
    let padded: Vec<u8> = data.iter().copied().chain([0]).collect();
    assert_eq!(items(&padded, 4).unwrap(), expected, "some devices fill the last item too");
}

#[test]
fn what_does_not_add_up_is_refused() {
    assert!(items(&[0xFF, 4, 0, 16, 1], 1).is_err(), "short");
    assert!(items(&[0xFF, 4, 0, 16, 1, 2, 3], 1).is_err(), "long");
    assert!(items(&[0xFF, 4, 0xFF, 0xFF, 1, 2], 1).is_err(), "absurd");
    assert!(items(&[0xFF, 8, 0, 2, 1, 2], 1).is_err(), "unknown transport size");
    let unfilled = items(&[0xFF, 4, 0, 8, 1, 0xFF, 4, 0, 8, 2], 2).unwrap();
    assert_eq!(unfilled, [Item::Data(&[1]), Item::Refused(4)], "no filling byte: no value either");
    assert!(parse_items(&message(&[4, 2], &[]), 1).is_err(), "more items");
    assert!(parse_items(&message(&[5, 1], &[]), 1).is_err(), "another function");
    assert!(parse_tpkt([3, 0, 0, 6]).is_err());
    assert!(parse_tpkt([3, 0, 0xFF, 0xFF]).is_err());
    assert!(parse_tpkt([2, 0, 0, 22]).is_err());
    assert_eq!(parse_tpkt([3, 0, 0, 22]), Ok(18));
    assert!(parse_setup(&message(&[0xF0, 0, 0, 1, 0, 1, 0, 16], &[])).is_err());
    assert_eq!(parse_setup(&message(&[0xF0, 0, 0, 1, 0, 1, 3, 0xC0], &[])), Ok(960));
}

#[test]
fn the_connection_confirm_tells_the_unit_size() {
    let confirm = [17, 0xD0, 0, 1, 0, 9, 0, 0xC0, 1, 9, 0xC1, 2, 1, 0, 0xC2, 2, 2, 1];
    assert_eq!(parse_cotp(&confirm), Ok(Cotp::Confirm { unit_bytes: 512 }));
    assert_eq!(parse_cotp(&[6, 0xD0, 0, 1, 0, 9, 0]), Ok(Cotp::Confirm { unit_bytes: 128 }));
    assert!(parse_cotp(&[9, 0xD0, 0, 1, 0, 9, 0, 0xC0, 1, 64]).is_err(), "no shift by 64");
    assert!(parse_cotp(&[9, 0xD0, 0, 1, 0, 9, 0, 0xC0, 9, 9]).is_err(), "parameter behind the end");
    assert_eq!(parse_cotp(&[6, 0x80, 0, 1, 0, 9, 3]), Ok(Cotp::Disconnect { reason: 3 }));
    assert!(parse_cotp(&[255, 0xF0, 0x80]).is_err());
    assert!(parse_cotp(&[]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), count in 0usize..22) {
        if let Some(Ok(length)) = bytes.first_chunk().copied().map(parse_tpkt) {
            prop_assert!((3..FRAME_MAX_BYTES).contains(&length));
        }
        if let Ok(Cotp::Data { payload, .. }) = parse_cotp(&bytes) {
            prop_assert!(payload.len() + 3 <= bytes.len());
        }
        let whole = parse_message(&bytes);
        for message in whole.into_iter().chain([message(&[4, 3], &bytes), message(&bytes, &[])]) {
            let _size = parse_setup(&message);
            if let Ok(mut items) = parse_items(&message, count) {
                while items.next_item().is_ok() {}
                let _left = items.end();
            }
        }
    }

    /// Heads that are nearly right reach the code behind them more often than random bytes do.
    #[test]
    fn nearly_right_bytes_do_not_either(
        mut bytes in proptest::collection::vec(any::<u8>(), 14..80),
        kind in 1u8..8,
        count in 1u8..4,
    ) {
        let data = u16::try_from(bytes.len() - 14).unwrap().to_be_bytes();
        bytes[..14].copy_from_slice(&[0x32, kind, 0, 0, 0, 1, 0, 2, data[0], data[1], 0, 0, 4, count]);
        if kind == 2 || kind == 3 {
            let message = parse_message(&bytes).unwrap();
            let mut items = parse_items(&message, usize::from(count)).unwrap();
            let mut seen = 0;
            while let Ok(Item::Data(data)) = items.next_item() {
                seen += data.len() + 4;
                prop_assert!(seen <= bytes.len() - 14);
                if data.is_empty() { break; }
            }
        }
    }

    #[test]
    fn items_round_trip(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..20)) {
        let mut data = Vec::new();
        for payload in &payloads {
            if data.len() % 2 == 1 {
                data.push(0);
            }
            data.extend([0xFF, 4]);
            data.extend(u16::try_from(payload.len() * 8).unwrap().to_be_bytes());
            data.extend(payload);
        }
        let found = items(&data, payloads.len()).unwrap();
        for (item, payload) in found.iter().zip(&payloads) {
            prop_assert_eq!(item, &Item::Data(payload));
        }
    }
}
