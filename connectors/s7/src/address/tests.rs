use forebay_connector::DataType;
use proptest::prelude::*;

use super::*;

fn read(address: &str, data_type: &str) -> Result<Place, AddressFault> {
    Place::read(address, DataType::parse(data_type).unwrap())
}

fn canonical(address: &str, data_type: &str) -> String {
    read(address, data_type).unwrap_or_else(|fault| panic!("{address}: {fault:?}")).to_string()
}

#[test]
fn canonical_addresses_stay_and_others_become_canonical() {
    for (address, data_type) in [
        ("DB10.DBX2.0", "BOOL"),
        ("DB10.DBB52", "STRING[16]"),
        ("DB10.DBW4", "INT"),
        ("DB10.DBD8", "REAL"),
        ("DB10.DBB8", "LREAL"),
        ("DB10.DBB70", "DTL"),
        ("DB10.DBD8", "REAL[24]"),
        ("M10.1", "BOOL"),
        ("MB10", "BYTE"),
        ("MW10", "WORD"),
        ("MD10", "TIME"),
        ("IW64", "INT"),
        ("PIW256", "INT"),
        ("PID256", "DINT"),
        ("PIB7", "BYTE"),
        ("PI256.0", "BOOL"),
        ("DB10.DBW4", "WCHAR"),
        ("DB10.DBW4", "WCHAR[8]"),
        ("QB4", "USINT"),
        ("T5", "S5TIME"),
        ("C0", "BCD"),
        ("C17", "WORD[4]"),
        ("VW4", "INT"),
        ("VB0", "STRING[8]"),
        ("V10.3", "BOOL"),
        ("DB10.DBW4", "S5TIME"),
        ("DB10.DBW4", "DATE"),
        ("DB10.DBD4", "TOD"),
        ("DB10.DBB4", "DATE_AND_TIME"),
        ("DB10.DBW4", "BCD"),
        ("DB10.DBD4", "LBCD"),
    ] {
        assert_eq!(canonical(address, data_type), address);
    }
    assert_eq!(canonical("%DB10.DBX2.0", "BOOL"), "DB10.DBX2.0");
    assert_eq!(canonical("db10.dbw04", "INT"), "DB10.DBW4");
    assert_eq!(canonical("%EW64", "INT"), "IW64");
    assert_eq!(canonical("PEW256", "INT"), "PIW256");
    assert_eq!(canonical("%pew0256", "INT"), "PIW256");
    assert_eq!(canonical("A4.7", "BOOL"), "Q4.7");
    assert_eq!(canonical("%MX10.1", "BOOL"), "M10.1");
    assert_eq!(canonical("E0.0", "BOOL"), "I0.0");
    assert_eq!(canonical("FW10", "INT"), "MW10");
    assert_eq!(canonical("F10.1", "BOOL"), "M10.1");
    assert_eq!(canonical("Z5", "BCD"), "C5");
    assert_eq!(canonical("%T05", "S5TIME"), "T5");
    assert_eq!(canonical("vw04", "INT"), "VW4");
}

#[test]
fn lengths_are_those_of_a_standard_block() {
    for (address, data_type, len_bytes) in [
        ("DB1.DBX0.0", "BOOL", 1),
        ("DB1.DBX0.7", "BOOL[2]", 2),
        ("DB1.DBX0.0", "BOOL[16]", 2),
        ("DB1.DBB0", "STRING[254]", 256),
        ("DB1.DBB0", "WSTRING[10]", 24),
        ("DB1.DBB0", "DTL", 12),
        ("DB1.DBB0", "LINT", 8),
        ("DB1.DBD0", "REAL[24]", 96),
        ("DB1.DBW65534", "INT", 2),
        ("DB1.DBB0", "DATE_AND_TIME[3]", 24),
        ("DB1.DBW0", "DATE[3]", 6),
        ("DB1.DBD0", "LBCD", 4),
        ("T2046", "S5TIME[2]", 4),
    ] {
        assert_eq!(read(address, data_type).unwrap().len_bytes, len_bytes, "{address} {data_type}");
    }
}

/// Code, marked text, and a part of message, label or help.
fn refused(address: &str, data_type: &str) -> (&'static str, String, String) {
    let fault = read(address, data_type).expect_err(address);
    let text = address[fault.span.clone()].to_owned();
    (fault.code, text, format!("{} | {} | {}", fault.message, fault.label, fault.help))
}

#[test]
fn the_width_is_compared_with_the_type() {
    let fault = read("DB10.DBW32", "REAL").unwrap_err();
    assert_eq!(fault.code, "S0203");
    assert_eq!(fault.message, "address is 16 bits wide, type REAL is 32");
    assert_eq!(fault.span, 5..8);
    assert_eq!(fault.label, "16 bits");
    assert_eq!(fault.type_label.as_deref(), Some("32 bits"));
    assert_eq!(fault.help, "write DB10.DBD32 or another type");

    let (code, text, words) = refused("DB10.DBD8", "LREAL");
    assert_eq!((code, text.as_str()), ("S0203", "DBD"));
    assert_eq!(
        words,
        "address is 32 bits wide, type LREAL is 64 | 32 bits | write DB10.DBB8, its first byte, or another type"
    );
    assert!(refused("DB10.DBW52", "STRING[16]").2.contains("type STRING[16] is 18 bytes"));
    assert!(refused("MW10", "BOOL").2.contains("type BOOL is 1 bit | 16 bits | write M10.0 or"));
    assert!(refused("M10.1", "INT").2.contains("address is 1 bit wide"));
    assert_eq!(refused("M10", "INT").1, "M");
    assert!(refused("M10", "INT").2.contains("write MW10"));
}

#[test]
fn each_fault_marks_its_place_and_names_the_fix() {
    for (address, data_type, code, text, words) in [
        ("DB10,REAL48", "REAL", "S0201", "DB10,REAL48", "write DB10.DBD48 with type = \"REAL\""),
        ("DB10,X2.0", "BOOL", "S0201", "DB10,X2.0", "write DB10.DBX2.0 with type = \"BOOL\""),
        ("%db10,string52.16", "BOOL", "S0201", "db10,string52.16", "DB10.DBB52 with type = \"STRING[16]\""),
        ("DB10,INT4[8]", "INT", "S0201", "DB10,INT4[8]", "write DB10.DBW4 with type = \"INT[8]\""),
        ("DB10,", "INT", "S0201", "DB10,", "write DB10.DBD48"),
        ("MREAL8", "REAL", "S0201", "MREAL8", "write MD8 with type = \"REAL\""),
        ("%EINT64", "INT", "S0201", "EINT64", "write IW64 with type = \"INT\""),
        ("MBOOL10.1", "BOOL", "S0201", "MBOOL10.1", "write M10.1 with type = \"BOOL\""),
        ("FDWORD4", "DWORD", "S0201", "FDWORD4", "write MD4 with type = \"DWORD\""),
        ("DB10,DT4", "DATE_AND_TIME", "S0201", "DB10,DT4", "write DB10.DBB4 with type = \"DATE_AND_TIME\""),
        ("MBx", "BYTE", "S0200", "x", "number missing"),
        ("DB10.DBX2", "BOOL", "S0204", "DBX2", "add .0 to .7"),
        ("M10", "BOOL", "S0204", "M10", "write M10.0 for the lowest bit"),
        ("DB10.DBX2.8", "BOOL", "S0205", "8", "bit 8 does not exist"),
        ("M10.99999999999", "BOOL", "S0206", "99999999999", "the bit number"),
        ("DB0.DBW2", "INT", "S0206", "0", "from 1 to 65535"),
        ("DB65536.DBW2", "INT", "S0206", "65536", "65535"),
        ("DB99999999999999999999.DBW2", "INT", "S0206", "99999999999999999999", "65535"),
        ("DB1.DBW65536", "INT", "S0206", "65536", "byte number"),
        ("DB1.DBD65534", "REAL", "S0206", "DBD65534", "end behind byte 65535"),
        ("DB1.DBB0", "STRING", "S0207", "DB1.DBB0", "needs its length"),
        ("DB1.DBB0", "STRING[255]", "S0207", "DB1.DBB0", "at most 254"),
        ("DB1.DBB0", "DATETIME", "S0207", "DB1.DBB0", "write DTL"),
        ("DB1.DBW4.1", "INT", "S0208", ".1", "16-bit address has no bit number"),
        ("T5", "INT", "S0212", "T5", "write type = \"S5TIME\""),
        ("T5", "BCD[3]", "S0212", "T5", "or type = \"WORD[3]\" for the raw word"),
        ("C5", "S5TIME", "S0212", "C5", "write type = \"BCD\" for its value 0 to 999"),
        ("T2048", "S5TIME", "S0206", "2048", "from 0 to 2047"),
        ("T2047", "S5TIME[2]", "S0206", "T2047", "end behind T2047"),
        ("T", "S5TIME", "S0200", "T", "number missing"),
        ("TW4", "S5TIME", "S0200", "W", "number missing"),
        ("C5.1", "BCD", "S0200", ".1", "nothing may follow"),
        ("PQW256", "INT", "S0202", "PQW", "process image"),
        ("DBW4", "INT", "S0202", "DBW", "say which block"),
        ("V4", "INT", "S0203", "V", "write VW4"),
        ("VD4", "INT", "S0203", "VD", "write VW4"),
        ("V10", "BOOL", "S0204", "V10", "write V10.0"),
        ("XW4", "INT", "S0202", "XW", "VW4 for a LOGO!"),
        ("", "INT", "S0202", "", "write DB10.DBW4"),
        ("ÄW4", "INT", "S0202", "Ä", "area is unknown"),
        ("MÄ4", "INT", "S0202", "M", "area is unknown"),
        ("DB10", "INT", "S0200", "DB10", "place in the block is missing"),
        ("DB10.", "INT", "S0200", "DB10", "place in the block is missing"),
        ("DB10.W4", "INT", "S0200", "W4", "write DB10.DBX2.0"),
        ("DB10.DB4", "INT", "S0200", "DB4", "X, B, W or D is missing"),
        ("DB10.DBW", "INT", "S0200", "W", "number missing"),
        ("DB10.DBWx", "INT", "S0200", "x", "number missing"),
        ("MW10 ", "INT", "S0200", " ", "nothing may follow"),
        ("IW64:P", "INT", "S0200", ":P", "nothing may follow"),
    ] {
        let (found, marked, said) = refused(address, data_type);
        assert_eq!((found, marked.as_str()), (code, text), "{address:?}: {said}");
        assert!(said.contains(words), "{address:?}: {said}");
    }
}

#[test]
fn shifting_counts_bytes() {
    assert_eq!(shift("DB10.DBD82", 14).unwrap(), "DB10.DBD96");
    assert_eq!(shift("%db10.dbx2.3", 1).unwrap(), "DB10.DBX3.3");
    assert_eq!(shift("M10.1", 0).unwrap(), "M10.1");
    assert_eq!(shift("DB10.DBX2", 1).unwrap(), "DB10.DBX3", "what is missing stays missing");
    assert_eq!(shift("T5", 3).unwrap(), "T8", "timers are counted one by one");
    assert_eq!(shift("Z5", 0).unwrap(), "C5");
    assert_eq!(shift("VW4", 2).unwrap(), "VW6");
    assert_eq!(shift("V4", 2).unwrap(), "V6");
    assert_eq!(shift("T2047", 1).unwrap_err().code, "S0206");
    assert_eq!(shift("DB10.DBW65534", 2).unwrap_err().code, "S0206");
    assert_eq!(shift("DB10.DBW65534", u32::MAX).unwrap_err().code, "S0206");
}

#[test]
fn families_lack_what_they_lack() {
    for (address, cpu, words) in [
        ("VW4", "s7-1500", Some("cpu = \"logo\"")),
        ("VW4", "logo", None),
        ("DB1.DBW4", "logo", None),
        ("T5", "s7-1500", None),
        ("T5", "s7-300", None),
        ("C5", "s7-1200", Some("ET or CV")),
        ("T5", "logo", Some("VM Mapping")),
        ("no address", "logo", None),
    ] {
        let help = check_family(address, cpu).map_err(|fault| (fault.code, fault.help));
        match words {
            None => assert_eq!(help, Ok(()), "{address} {cpu}"),
            Some(words) => {
                let (code, help) = help.expect_err(address);
                assert!(code == "S0213" && help.contains(words), "{help}");
            }
        }
    }
}

#[test]
fn what_is_asked_for_is_said_in_words() {
    for (address, data_type, words) in [
        ("DB10.DBD36", "REAL", "read item DB10, bytes 36 to 39 (area 0x84)"),
        ("DB10.DBX2.5", "BOOL", "read item DB10, byte 2, bit 5 of it (area 0x84)"),
        ("M10.6", "BOOL[4]", "read item M, bytes 10 to 11, from bit 6 on (area 0x83)"),
        ("VB7", "BYTE", "read item DB1, byte 7 (area 0x84)"),
        ("T5", "S5TIME", "read item T5 (area 0x1D)"),
        ("C5", "BCD[3]", "read item C5 to C7 (area 0x1C)"),
    ] {
        assert_eq!(read(address, data_type).unwrap().wire(), words);
    }
}

#[test]
fn the_same_place_is_found_whatever_the_spelling() {
    let place = |address, data_type| read(address, data_type).unwrap().address().place;
    assert_eq!(place("%EW64", "INT"), place("IW64", "WORD"));
    assert_eq!(place("VW4", "INT"), place("DB1.DBW4", "INT"));
    assert_ne!(place("T5", "S5TIME"), place("T6", "S5TIME"));
    assert_ne!(place("IW64", "INT"), place("IB64", "BYTE"));
    assert_ne!(place("DB1.DBX0.0", "BOOL"), place("DB1.DBX0.1", "BOOL"));
}

proptest! {
    #[test]
    fn any_text_is_answered_with_a_span_inside_it(
        address in "(%?(DB|db|M|E|A|Q|I|T|Z|V)?[0-9]{0,6}[.,]?(DB)?[XBWD]?[0-9]{0,6}(\\.[0-9]{0,3})?)|\\PC{0,12}",
    ) {
        for data_type in ["BOOL", "INT", "REAL", "LREAL", "S5TIME", "BCD[3]", "STRING[16]", "STRING", "BOOL[65535]"] {
            match read(&address, data_type) {
                Ok(place) => {
                    prop_assert_eq!(read(&place.to_string(), data_type), Ok(place));
                    prop_assert!(place.byte + place.len_bytes <= AREA_BYTES);
                }
                Err(fault) => prop_assert!(address.get(fault.span.clone()).is_some(), "{:?}", fault),
            }
        }
        if let Ok(shifted) = shift(&address, 3) {
            prop_assert!(shift(&shifted, 0).is_ok());
        }
    }
}
