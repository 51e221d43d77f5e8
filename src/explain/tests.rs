//! What is said about tags and addresses of the shipped profiles.

use super::*;

fn shipped(name: &str) -> Vec<PathBuf> {
    vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("profiles").join(name)]
}

#[test]
fn every_key_has_its_place() {
    let said = tag::explain("press-4", "oil_temp", &shipped("acme-press-630t.toml")).unwrap();
    for words in [
        "press-4/hydraulics.oil_temp",
        "DB110.DBD36",
        "its line",
        "acme-press-630t.toml:",
        "{db} = 110",
        "params of the device",
        "[defaults]",
        "hi 60, hihi 75",
    ] {
        assert!(said.contains(words), "{words} is missing in:\n{said}");
    }
    let said = tag::explain("press-3", "oil_level", &shipped("acme-press-630t.toml")).unwrap();
    assert!(said.contains("kept within 0 to 100"), "{said}");
    let said =
        tag::explain("press-3", "status.fault_word.oil_hot", &shipped("acme-press-630t.toml")).unwrap();
    assert!(said.contains("bit 8") && said.contains("press_faults"), "{said}");
}

#[test]
fn a_device_of_its_own_ways_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.toml");
    std::fs::write(
        &file,
        "forebay = 1\n[[device]]\nprofile = \"eastron-sdm630\"\nname = \"m1\"\nendpoint = \"tcp://10.0.0.1\"\n\
         location = \"A/B\"\n[device.tags.power]\ntotal = { deadband = 99 }\n",
    )
    .unwrap();
    let said = tag::explain("m1", "power.total", &[file]).unwrap();
    let line = said.lines().find(|line| line.starts_with("deadband")).unwrap();
    assert!(
        line.contains("99") && line.contains("line.toml:8") && line.contains("the device's own"),
        "{said}"
    );
    let line = said.lines().find(|line| line.starts_with("address  ") && line.contains("\"30053\"")).unwrap();
    assert!(line.contains("eastron-sdm630.toml:"), "{said}");
}

#[test]
fn a_slip_is_met_with_a_name() {
    let ask =
        |device: &str, tag: &str| tag::explain(device, tag, &shipped("acme-press-630t.toml")).unwrap_err();
    assert!(ask("press3", "oil_temp").contains("did you mean press-3?"));
    assert!(ask("press-3", "oil_tmp").contains("did you mean oil_temp?"));
    assert!(ask("press-3", "code").contains("several: station.1.code, station.2.code"));
}

#[test]
fn an_address_by_itself() {
    let said = address::explain("403000", "REAL", None, Some("43 66 33 33")).unwrap();
    assert!(said.contains("43000 (modbus)") && said.contains("ABCD         230.2\n"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with(['A', 'B', 'C', 'D'])).count(), 4, "{said}");
    let said = address::explain("DB10,REAL48", "REAL", Some("s7"), None).unwrap_err();
    assert!(said.contains("S0201") && said.contains("DB10.DBD48"), "{said}");
    let said = address::explain("DB10.DBD48", "REAL", None, Some("43663333")).unwrap();
    assert!(said.ends_with("ABCD         230.2\n") && !said.contains("BADC"), "{said}");
    let said = address::explain("403000", "REAL[2]", None, Some("4366333343663333")).unwrap_err();
    assert!(said.contains("REAL[2] is a list") && said.ends_with("--type REAL"), "{said}");
    assert!(address::explain("403000", "REAL", None, Some("4366")).unwrap_err().contains("8 hexadecimal"));
    assert!(address::explain("403000", "REEL", None, None).unwrap_err().contains("no type"));
    assert!(address::explain("403000", "REAL", Some("profibus"), None).unwrap_err().contains("no protocol"));
}

#[test]
fn every_code_has_its_words() {
    let said = code::section("p0163").unwrap();
    assert!(said.starts_with("P0163: calculated from itself\n") && !said.contains("##"), "{said}");
    let last_of_a_part = code::section("P0151").unwrap();
    assert!(!last_of_a_part.contains("# "), "{last_of_a_part}");
    assert!(code::section("P01").is_none() && code::section("").is_none());
}
