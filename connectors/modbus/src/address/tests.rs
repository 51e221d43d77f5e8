use forebay_connector::{DataType, Scalar};
use proptest::prelude::*;

use super::*;

fn typed(text: &str) -> DataType {
    DataType::parse(text).unwrap()
}

#[test]
fn both_notations_meet_in_one_spelling() {
    for (text, canonical, wire) in [
        ("30053", "30053", "ir:52"),
        ("300053", "30053", "ir:52"),
        ("ir:52", "30053", "ir:52"),
        ("IR:0x34", "30053", "ir:52"),
        ("hr:0x0BB7", "43000", "hr:2999"),
        ("403000", "43000", "hr:2999"),
        ("00001", "00001", "co:0"),
        ("co:9998", "09999", "co:9998"),
        ("co:9999", "010000", "co:9999"),
        ("110000", "110000", "di:9999"),
        ("465536", "465536", "hr:65535"),
        ("40001.3", "40001.3", "hr:0.3"),
        ("hr:7.15", "40008.15", "hr:7.15"),
    ] {
        let place = parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!((place.to_string().as_str(), place.wire().as_str()), (canonical, wire), "{text}");
    }
}

#[test]
fn faults_point_into_the_address() {
    for (text, data_type, code, span, help) in [
        (
            "41",
            "INT",
            "M0201",
            0..2,
            "\"40001\" if it is holding register 1 with its zeros left out, or \"hr:41\"",
        ),
        ("401", "INT", "M0201", 0..3, "\"40001\""),
        ("4001", "INT", "M0201", 0..4, "\"hr:4001\""),
        ("53", "INT", "M0201", 0..2, "\"40053\""),
        ("4", "INT", "M0201", 0..1, "\"hr:4\""),
        ("153", "INT", "M0201", 0..3, "\"hr:153\" (or \"ir:153\") if 153 is"),
        ("0", "BOOL", "M0201", 0..1, "\"co:0\" (or \"di:0\") if 0 is the offset"),
        (
            "153",
            "BOOL",
            "M0201",
            0..3,
            "\"10053\" if it is discrete input 53 with its zeros left out, or \"co:153\"",
        ),
        ("41", "BOOL", "M0201", 0..2, "\"00041\" (or \"10041\") if it counts from 1"),
        ("41.1", "BOOL", "M0201", 0..2, "\"40001\""),
        ("", "INT", "M0202", 0..0, "\"30053\""),
        ("DB1.W0", "INT", "M0202", 0..3, "\"30053\""),
        ("%MW100", "INT", "M0202", 0..6, "\"30053\""),
        ("4000001", "INT", "M0202", 0..7, "\"30053\""),
        ("20001", "INT", "M0202", 0..1, "\"hr:20001\""),
        ("xr:1", "INT", "M0202", 0..2, "\"hr:1\""),
        ("hr:-1", "INT", "M0202", 3..5, "\"hr:52\""),
        ("hr:0x+1", "INT", "M0202", 3..7, "\"hr:52\""),
        ("hr:", "INT", "M0202", 3..3, "\"hr:52\""),
        ("40000", "INT", "M0205", 1..5, "\"40001\" or \"hr:0\""),
        ("465537", "INT", "M0205", 1..6, "1 to 65536"),
        ("hr:65536", "INT", "M0205", 3..8, "65535"),
        ("hr:99999999999999999999", "INT", "M0202", 3..23, "hr:52"),
        ("465536", "REAL", "M0205", 0..6, "65534"),
        ("00001", "REAL", "M0203", 0..5, "\"BOOL\""),
        ("40001.3", "INT", "M0203", 0..7, "\"40001\""),
        ("40001.3", "BOOL[2]", "M0203", 0..7, "\"40001\""),
        ("40001", "BOOL", "M0204", 0..5, "\"40001.0\""),
        ("40001.16", "BOOL", "M0204", 6..8, "\"40001.0\""),
        ("40001.x", "BOOL", "M0204", 6..7, "\"40001.0\""),
        ("00001.1", "BOOL", "M0204", 6..7, "\"00001\""),
        ("40001", "DTL", "M0206", 0..5, "one tag for each register"),
        ("40001", "DATETIME", "M0206", 0..5, "one tag for each register"),
        ("40001", "USINT", "M0206", 0..5, "UINT"),
        ("40001", "STRING", "M0206", 0..5, "STRING[16]"),
        ("40001", "REAL[63]", "M0207", 0..5, "125 registers"),
        ("40001", "STRING[251]", "M0207", 0..5, "125 registers"),
        ("00001", "BOOL[2001]", "M0207", 0..5, "2000 bits"),
    ] {
        let fault = check(text, typed(data_type)).expect_err(text);
        assert!(text != "0" || !fault.help.contains("0000"), "{:?}: nothing has number 0", fault.help);
        assert_eq!((fault.code, &fault.span), (code, &span), "{text}: {fault:?}");
        assert!(fault.help.contains(help), "{text}: {:?} does not say {help:?}", fault.help);
    }
}

#[test]
fn widths_are_in_registers_or_bits() {
    for (address, data_type, count) in [
        ("40001", "INT", 1),
        ("40001", "TIME", 2),
        ("40001", "LREAL", 4),
        ("40001", "REAL[24]", 48),
        ("40001", "STRING[5]", 3),
        ("40001", "WSTRING[5]", 5),
        ("40001.0", "BOOL", 1),
        ("00001", "BOOL[2000]", 2000),
    ] {
        assert_eq!(check(address, typed(data_type)).unwrap().1, count, "{data_type}");
    }
}

#[test]
fn a_shift_counts_registers_and_keeps_the_bit() {
    assert_eq!(parse("40001.3").unwrap().shifted(14).unwrap().to_string(), "40015.3");
    assert_eq!(parse("09999").unwrap().shifted(1).unwrap().to_string(), "010000");
    assert_eq!(parse("465536").unwrap().shifted(1), None);
    assert_eq!(parse("465536").unwrap().shifted(u32::MAX), None);
}

proptest! {
    #[test]
    fn the_canonical_spelling_reads_back(table in 0usize..4, start: u16, bit in proptest::option::of(0u8..16)) {
        let table = Table::ALL[table];
        let place = Place { table, start, bit: bit.filter(|_| !table.is_bits()) };
        prop_assert_eq!(parse(&place.to_string()), Ok(place));
        prop_assert_eq!(parse(&place.wire()), Ok(place));
    }

    #[test]
    fn any_text_is_an_address_or_a_fault_inside_it(text in "\\PC{0,12}|[0-9hrico:x.]{0,9}") {
        if let Err(fault) = check(&text, DataType::single(Scalar::Int)) {
            prop_assert!(text.get(fault.span.clone()).is_some(), "{:?}", fault);
            prop_assert!(!fault.help.is_empty());
        }
    }
}

#[test]
fn what_is_asked_for_is_told_as_on_the_wire() {
    for (address, data_type, asked) in [
        ("403000", "REAL", "FC03, wire 2999 (0x0BB7), 2 registers"),
        ("30001", "INT", "FC04, wire 0 (0x0000), 1 register"),
        ("40011.3", "BOOL", "FC03, wire 10 (0x000A), 1 register, bit 3"),
        ("co:16", "BOOL", "FC01, wire 16 (0x0010), 1 bit"),
        ("10001", "BOOL[9]", "FC02, wire 0 (0x0000), 9 bits"),
        ("465536", "BCD", "FC03, wire 65535 (0xFFFF), 1 register"),
    ] {
        let (place, count) = check(address, DataType::parse(data_type).unwrap()).unwrap();
        assert_eq!(place.asked(count), asked);
    }
}
