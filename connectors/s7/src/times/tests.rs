use proptest::prelude::*;

use super::*;

#[test]
fn s5times_are_a_base_and_three_digits() {
    for (word, ms) in [
        (0x0000, 0),
        (0x0001, 10),
        (0x0999, 9_990),
        (0x1100, 10_000),
        (0x2127, 127_000),
        (0x3999, 9_990_000),
        (0x3000, 0),
    ] {
        assert_eq!(s5time(word), Ok(Value::Int(ms)), "{word:#06x}");
    }
    for word in [0x000A, 0x00A0, 0x0A00, 0x4000, 0x8127, 0xFFFF] {
        assert_eq!(s5time(word), Err(DecodeFault::Digit), "{word:#06x}");
    }
    for (ms, word) in [(-5, 0), (9, 0), (10, 1), (9_990, 0x0999), (10_000, 0x1100), (i64::MAX, 0x3999)] {
        assert_eq!(to_s5time(ms), word, "{ms} ms");
    }
}

#[test]
fn dates_begin_in_1990_and_end_in_2168() {
    for (number, text) in [
        (0, "1990-01-01"),
        (58, "1990-02-28"),
        (789, "1992-02-29"),
        (790, "1992-03-01"),
        (3651, "1999-12-31"),
        (3652, "2000-01-01"),
        (13_190, "2026-02-11"),
        (65_378, "2168-12-31"),
    ] {
        assert_eq!(date(number), Ok(Value::Text(text.into())));
        assert_eq!(to_date(text), Some(number));
    }
    assert_eq!(date(65_379), Err(DecodeFault::Date));
    for text in ["", "1989-12-31", "2169-01-01", "2026-02-29", "2026-02", "2026-02-11-1", "2026-2-x"] {
        assert_eq!(to_date(text), None, "{text}");
    }
}

#[test]
fn date_and_time_is_digits() {
    let us = 1_770_798_615_123_000; // 2026-02-11 08:30:15.123, a Wednesday
    let bytes = [0x26, 0x02, 0x11, 0x08, 0x30, 0x15, 0x12, 0x34];
    assert_eq!(date_and_time(&bytes), Ok(Value::DateTime(us)));
    assert_eq!(to_date_and_time(us), Some(bytes));
    let year = |year| date_and_time(&[year, 1, 1, 0, 0, 0, 0, 1]);
    assert_eq!(year(0x90), Ok(Value::DateTime(631_152_000_000_000)), "1990");
    assert_eq!(year(0x89), Ok(Value::DateTime(3_755_376_000_000_000)), "2089");
    for at in 0..8 {
        let mut wrong = bytes;
        wrong[at] |= 0xF0;
        let fault = date_and_time(&wrong);
        assert_eq!(fault, Err(DecodeFault::Digit), "no digit in byte {at}");
    }
    for (at, byte) in [(1, 0), (1, 0x13), (2, 0x00), (2, 0x29), (3, 0x24), (4, 0x60), (5, 0x60)] {
        let mut wrong = bytes;
        wrong[at] = byte;
        assert_eq!(date_and_time(&wrong), Err(DecodeFault::Date), "{byte:#04x} in byte {at}");
    }
    assert_eq!(date_and_time(&[0; 8]), Err(DecodeFault::Date), "never written");
    assert!(date_and_time(&bytes[..7]).is_err());
    assert_eq!(to_date_and_time(-1), None);
    assert_eq!(to_date_and_time(i64::MAX), None);
}

#[test]
fn dtl_knows_nanoseconds() {
    // 2026-02-11 08:30:15.123456789, Wednesday, as TIA shows it.
    let bytes = [0x07, 0xEA, 2, 11, 4, 8, 30, 15, 0x07, 0x5B, 0xCD, 0x15];
    assert_eq!(dtl(&bytes), Ok(Value::DateTime(1_770_798_615_123_456)));
    let date = |year: u16, month, day| {
        let [high, low] = year.to_be_bytes();
        dtl(&[high, low, month, day, 1, 0, 0, 0, 0, 0, 0, 0])
    };
    assert_eq!(date(1970, 1, 1), Ok(Value::DateTime(0)));
    assert_eq!(date(2000, 3, 1), Ok(Value::DateTime(951_868_800_000_000)));
    assert_eq!(date(2262, 4, 11), Ok(Value::DateTime(9_223_286_400_000_000)));
    for (year, month, day) in
        [(0, 0, 0), (2026, 2, 29), (2100, 2, 29), (2026, 13, 1), (2026, 4, 31), (1969, 1, 1)]
    {
        assert_eq!(date(year, month, day), Err(DecodeFault::Date), "{year}-{month}-{day}");
    }
    for (at, byte) in [(5, 24), (6, 60), (7, 60), (8, 0x3B)] {
        let mut late = bytes;
        (late[8], late[9]) = if at == 8 { (byte, 0x9B) } else { (late[8], late[9]) };
        late[at] = byte;
        assert_eq!(dtl(&late), Err(DecodeFault::Date), "{byte} in byte {at}");
    }
    assert_eq!(to_dtl(i64::MIN), None);
}

proptest! {
    #[test]
    fn days_and_dates_are_each_others_opposite(number in -719_162i64..2_932_897) {
        let (year, month, day) = from_days(number);
        prop_assert_eq!(days(year, month, day), Some(number));
    }

    #[test]
    fn points_in_time_round_trip(us in 0i64..9_223_286_400_000_000) {
        let bytes = to_dtl(us).unwrap();
        prop_assert_eq!(dtl(&bytes), Ok(Value::DateTime(us)));
        if let Some(bytes) = to_date_and_time(us) {
            prop_assert_eq!(date_and_time(&bytes), Ok(Value::DateTime(us / 1000 * 1000)));
        }
    }

    #[test]
    fn every_s5time_is_written_as_short_as_it_was(word in 0u16..0x4000) {
        if let Ok(Value::Int(ms)) = s5time(word) {
            prop_assert_eq!(s5time(to_s5time(ms)), Ok(Value::Int(ms)));
        }
    }

    #[test]
    fn any_bytes_are_a_valid_time_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..14)) {
        for found in [dtl(&bytes), date_and_time(&bytes)] {
            if let Ok(Value::DateTime(us)) = found {
                prop_assert!((0..9_250_000_000_000_000).contains(&us));
            }
        }
    }
}
