//! The shipped profiles, whole; and what no file may do to the program.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{OptionValue, Scalar, Value};
use proptest::prelude::*;

use super::{BUILTIN, Environment, Input, Instances, load};
use crate::config::CredentialStore;
use crate::device::{Device, Expected, Transform};
use crate::diagnostic::{Faults, Format, Source, Sources, render};
use crate::document::parse;

fn read(files: &[(&str, &str)], devices_max: usize, tags_max: usize) -> (Instances, String) {
    let (mut sources, faults) = (Sources::default(), Faults::default());
    let mut inputs = Vec::new();
    for (name, text) in files {
        let file = sources.add(Source::new(*name, (*text).to_owned()));
        if let Some(table) = parse(&sources.files[file], file, &faults) {
            inputs.push(Input { file, table, syntax: !faults.any_in(file), builtin: false });
        }
    }
    let environment = Environment {
        secrets: Arc::new(CredentialStore::default()),
        state_directory: "state".into(),
        devices_max,
        tags_max,
        trace: None,
    };
    let found = load(&sources, &inputs, &faults, &environment);
    let (diagnostics, hidden) = faults.finish();
    (found, render(&sources, &diagnostics, hidden, Format::Text, false))
}

fn builtin_devices() -> Vec<Arc<Device>> {
    let (found, said) = read(BUILTIN, 100, 100_000);
    assert_eq!(said, "");
    found.devices
}

fn device(name: &str) -> Arc<Device> {
    builtin_devices().into_iter().find(|device| device.name == name).unwrap()
}

#[test]
fn validate_builtin() {
    let names: Vec<String> = builtin_devices().iter().map(|device| device.name.clone()).collect();
    assert_eq!(names, ["press-3", "press-4", "filler-1", "filler-2", "meter-hall-2", "meter-compressor"]);
}

/// A profile with this line in it, of a Modbus device, and the device.
fn with_line(line: &str) -> (Option<Arc<Device>>, String) {
    let text = format!(
        "forebay = 1\n[profile]\nname = \"x\"\nversion = \"1\"\nsource = \"manual\"\nprotocol = \"modbus\"\n\
         [scan]\nslow = \"1s\"\n[defaults]\nscan = \"slow\"\ntype = \"INT\"\n[tags.a]\n{line}\n\
         [[device]]\nname = \"x-1\"\nendpoint = \"tcp://10.0.0.1\"\nlocation = \"A\"\n"
    );
    let (mut found, said) = read(&[("x.toml", &text)], 10, 1000);
    (found.devices.pop(), said)
}

#[test]
fn either_end_of_a_scale_may_stand_first() {
    for (one, other) in [("[27648, 0]", "[0, 100]"), ("[27648, 0]", "[100, 0]"), ("[0, 27648]", "[100, 0]")] {
        let line = |raw: &str, eng: &str| {
            let line = format!("x = {{ address = \"40001\", raw = {raw}, eng = {eng}, clamp = true }}");
            let (device, said) = with_line(&line);
            assert_eq!(said, "");
            device.unwrap().tags[0].transform
        };
        let turned = |ends: &str| {
            let mut ends: Vec<&str> = ends.trim_matches(['[', ']']).split(", ").collect();
            ends.reverse();
            format!("[{}]", ends.join(", "))
        };
        assert_eq!(line(one, other), line(&turned(one), &turned(other)));
        let Transform::Linear { scale, offset, .. } = line(one, other) else { panic!("it is scaled") };
        let falls = (one == "[27648, 0]") != (other == "[100, 0]");
        let expected = if falls { (-100.0 / 27648.0, 100.0) } else { (100.0 / 27648.0, 0.0) };
        assert_eq!((scale, offset), expected);
    }
}

#[test]
fn the_press_is_read_as_written() {
    let press = device("press-4");
    assert_eq!(press.path, "Werk1/Presswerk/Linie3/Presse4/press-4");
    assert_eq!(press.title.get("de"), "Mechanische Presse 630 t");
    let tag = |path: &str| &press.tags[press.tag_index(path).unwrap_or_else(|| panic!("no {path}"))];
    let address = |path: &str| press.spec.tags[tag(path).raw as usize].address.as_str();

    assert_eq!(address("hydraulics.pressure"), "DB110.DBD32");
    assert_eq!(tag("hydraulics.pressure").deadband, 2.0);
    assert_eq!(press.spec.scans[tag("hydraulics.pressure").scan].interval, Duration::from_millis(200));
    assert_eq!(tag("hydraulics.oil_temp").limits["hi"], 60.0);
    assert_eq!(tag("hydraulics.oil_temp").max_silence, Duration::from_secs(60));
    assert_eq!(
        tag("hydraulics.oil_level").transform,
        Transform::Linear { scale: 100.0 / 27648.0, offset: 0.0, clamp: Some((0.0, 100.0)) }
    );
    assert_eq!(address("station.3.code"), "DB110.DBW122");
    assert!(press.tag_index("station.4.code").is_none(), "except leaves it out");
    assert_eq!(
        tag("production.cycle_time").transform,
        Transform::Linear { scale: 0.001, offset: 0.0, clamp: None }
    );
    assert_eq!(tag("production.cycle_time").data_type.scalar, Scalar::Lreal);
    assert!(tag("production.parts").counter && tag("status.maint_mode").function_check);
    let texts = tag("status.state").enumeration.as_ref().unwrap();
    assert_eq!(texts[&6].text.get("de"), "Läuft");
    let bit = tag("status.fault_word.oil_hot");
    assert_eq!((bit.transform, bit.raw), (Transform::Bit(8), tag("status.fault_word").raw));
    assert_eq!(bit.bit.as_ref().unwrap().priority, "medium");
    assert_eq!(press.verify[0].expected, Expected::Is(Value::Int(3)));
    assert_eq!(press.spec.tags[press.verify[0].raw as usize].address, "DB110.DBW0");
    assert!(tag("hydraulics.pressure").source.starts_with("acme-press-630t.toml:"));
}

#[test]
fn a_dtl_is_local_time() {
    let press = device("press-3");
    let tag = &press.tags[press.tag_index("production.fault_since").unwrap()];
    // 2026-07-01T12:00:00 in Berlin is 10:00 in UTC.
    let noon = 1_782_907_200_000_000;
    assert_eq!(tag.utc_us(noon), Some(noon - 2 * 3_600_000_000));
    assert_eq!(tag.utc_us(i64::MAX), None);
}

#[test]
fn the_meter_and_the_filler_are_read_as_written() {
    let meter = device("meter-compressor");
    assert_eq!(meter.spec.options["unit_id"], OptionValue::Int(13));
    assert_eq!(meter.spec.options["timeout"], OptionValue::Duration(Duration::from_millis(800)));
    assert_eq!(meter.tags.len(), 17);
    assert_eq!(meter.verify[0].expected, Expected::Between(45.0, 65.0));
    assert!(meter.tags.iter().filter(|tag| tag.counter).count() == 3);

    let filler = device("filler-2");
    assert!(filler.spec.tags[0].address.contains("\"DB_Filler2\".\"UnitModeCurrent\""));
    assert_eq!(filler.spec.tags[9].data_type.array_len, Some(24));
    assert!(filler.tags[0].enumeration.as_ref().unwrap()[&2].function_check);
    assert!(filler.spec.trust.as_ref().unwrap().ends_with("ddeeff"));
}

#[test]
fn the_box_has_limits() {
    let (found, said) = read(BUILTIN, 2, 100_000);
    assert_eq!((found.devices.len(), found.refused.len()), (2, 4));
    assert!(said.contains("P0131") && said.contains("has 2 devices already"), "{said}");
    let (found, _) = read(BUILTIN, 100, 60);
    let tags: usize = found.devices.iter().map(|device| device.tags.len()).sum();
    assert!(tags <= 60 && !found.refused.is_empty());
}

#[test]
fn a_huge_repeat_ends_early() {
    let text = BUILTIN[0].1.replace("to = 4, stride = 14", "to = 99999, stride = 0");
    assert_ne!(text, BUILTIN[0].1);
    let (found, said) = read(&[("big.toml", &text)], 100, 100_000);
    assert!(found.devices.is_empty());
    assert!(said.contains("more than 20000 tags"), "{said}");
}

#[test]
fn large_and_deep_files_are_answered() {
    let head = BUILTIN[0].1;
    for tail in ["[{", "[[a]]\n", "a=\"\n", "=\n", "x.", "{a=1\n", "\u{0}\u{1}é"] {
        let text = head.to_owned() + &tail.repeat(1_000_000 / tail.len());
        let (_, said) = read(&[("large.toml", &text)], 100, 100_000);
        assert!(said.contains("error["), "{tail}: {said}");
    }
}

#[test]
fn a_scan_class_without_tags_is_not_read() {
    let text = BUILTIN[2].1.replace("[scan]\n", "[scan]\nunused = \"10ms\"\n");
    let (found, said) = read(&[("meter.toml", &text)], 100, 100_000);
    assert_eq!(said, "");
    let spec = &found.devices[0].spec;
    assert_eq!(spec.scans.iter().map(|class| class.name.as_str()).collect::<Vec<_>>(), ["fast", "slow"]);
    let import = spec.tags.iter().find(|tag| tag.path == "energy.import").unwrap();
    assert_eq!(spec.scans[import.scan].interval, Duration::from_secs(60));
}

/// The meter with `lines` behind its tags.
fn meter_with(lines: &str) -> (Instances, String) {
    let text = BUILTIN[2].1.replacen("\n[[verify]]", &format!("\n{lines}\n\n[[verify]]"), 1);
    assert_ne!(text, BUILTIN[2].1);
    read(&[("meter.toml", &text)], 100, 100_000)
}

#[test]
fn calculated_tags_come_last_and_in_order() {
    let (found, said) = meter_with(
        "[tags.use]\n\
         share = { value = \"total_kw / {unit_id}\", unit = \"kW\", desc = \"d\" }\n\
         total_kw = { value = \"power.total / 1000\", unit = \"kW\", compress = \"1%\", range = [0, 50] }\n\
         loaded = { value = \"total_kw > 5 and grid.frequency > 49\" }\n\
         today = { value = \"change(energy.import, 1d)\", unit = \"kWh\" }",
    );
    assert_eq!(said, "");
    let device = &found.devices[0];
    let tag = |path: &str| &device.tags[device.tag_index(path).unwrap()];
    assert!(device.tag_index("use.total_kw") < device.tag_index("use.share"));
    assert_eq!(tag("use.total_kw").compress, Some(0.5));
    assert_eq!(tag("use.loaded").data_type.scalar, Scalar::Bool);
    let scan = |path: &str| device.spec.scans[tag(path).scan].name.as_str();
    assert_eq!((scan("use.share"), scan("use.today")), ("fast", "slow"), "that of the fastest tag it uses");
    assert!(
        device.tags[17..].iter().all(|tag| tag.formula.is_some() && tag.raw == crate::device::Tag::NO_RAW)
    );
    let uses: Vec<&str> = tag("use.share")
        .formula
        .iter()
        .flat_map(|it| it.inputs.iter())
        .map(|tag| device.tags[*tag as usize].path.as_str())
        .collect();
    assert_eq!(uses, ["use.total_kw"]);
}

#[test]
fn a_circle_of_formulas_is_found() {
    let (found, said) = meter_with(
        "[tags.use]\na = { value = \"b + 1\" }\nb = { value = \"c * 2\" }\nc = { value = \"power.total + b\" }",
    );
    assert!(found.devices.is_empty());
    assert!(said.contains("use.b from use.c") && said.contains("P0163"), "{said}");
}

const SITE: &str = r#"
forebay = 1
[profile]
name = "hall-meter"
version = "2"
extends = "eastron-sdm630"
[scan]
fast = "5s"
[params]
unit_id = { default = 7 }
[tags.power]
total = { compress = 20, desc = "Hall" }
l1 = { address = "30019" }
[tags.cost]
now = { value = "power.total * 0.0002" }
[[device]]
name = "m1"
endpoint = "tcp://192.168.20.15"
location = "A/B"
"#;

#[test]
fn a_profile_extends_another() {
    let mut files = vec![("site.toml", SITE)];
    files.push(BUILTIN[2]);
    let (found, said) = read(&files, 100, 100_000);
    assert_eq!(said, "");
    let device = found.devices.iter().find(|device| device.name == "m1").unwrap();
    assert_eq!((device.profile.as_str(), device.profile_version.as_str()), ("hall-meter", "2"));
    assert_eq!(device.title.get("de"), "Energiezähler SDM630", "what it does not say it takes over");
    assert_eq!(device.spec.options["unit_id"], OptionValue::Int(7));
    assert_eq!(device.spec.scans[0].interval, Duration::from_secs(5));
    assert_eq!((device.tags.len(), device.verify.len()), (18, 2));
    let tag = |path: &str| &device.tags[device.tag_index(path).unwrap()];
    let total = tag("power.total");
    assert_eq!((total.compress, total.deadband, total.desc.as_str()), (Some(20.0), 0.0, "Hall"));
    assert_eq!(device.spec.tags[total.raw as usize].address, "30053");
    assert_eq!(device.spec.tags[tag("power.l1").raw as usize].address, "30019");
    assert_eq!(device.tags[17].path, "cost.now");
}

#[test]
fn equal_machines_share_their_tags_in_memory() {
    let text =
        "forebay = 1\n[profile]\nname = \"x\"\nversion = \"1\"\nsource = \"manual\"\nprotocol = \"modbus\"\n\
         [scan]\nslow = \"1s\"\n[defaults]\nscan = \"slow\"\ntype = \"INT\"\n[tags.t]\n\
         a = { address = \"40001\" }\nb = { address = \"40002\" }\n"
            .to_owned();
    let device = |name: &str, more: &str| {
        format!("[[device]]\nname = \"{name}\"\nendpoint = \"tcp://10.0.0.1\"\nlocation = \"A\"\n{more}\n")
    };
    let devices = [device("x-1", ""), device("x-2", "except = [\"t.b\"]"), device("x-3", "")].concat();
    let (found, said) = read(&[("x.toml", &(text + &devices))], 10, 1000);
    assert_eq!(said, "");
    let [first, other, third] = found.devices.as_slice() else { panic!("three devices") };
    assert!(Arc::ptr_eq(&first.tags, &third.tags) && Arc::ptr_eq(&first.spec.tags, &third.spec.tags));
    assert_eq!((first.tags.len(), other.tags.len()), (2, 1), "one that differs has its own");
}

#[test]
fn a_device_changes_its_own_tags_only() {
    let text = format!(
        "{SITE}
[device.scan]
slow = \"2m\"
[device.modbus]
timeout = \"2s\"
[device.tags.grid]
frequency = {{ range = [55, 65] }}
[device.tags.extra]
own = {{ address = \"30100\", unit = \"V\" }}
[[device]]
name = \"m2\"
endpoint = \"tcp://192.168.20.16\"
location = \"A/B\"
"
    );
    let (found, said) = read(&[("site.toml", &text), BUILTIN[2]], 100, 100_000);
    assert_eq!(said, "");
    let device = |name: &str| found.devices.iter().find(|device| device.name == name).unwrap();
    let range = |name: &str| device(name).tags[device(name).tag_index("grid.frequency").unwrap()].range;
    assert_eq!((range("m1"), range("m2")), (Some((55.0, 65.0)), Some((45.0, 65.0))));
    let timeout = |name: &str| device(name).spec.options["timeout"].clone();
    assert_eq!(timeout("m1"), OptionValue::Duration(Duration::from_secs(2)));
    assert_eq!(timeout("m2"), OptionValue::Duration(Duration::from_millis(800)));
    assert!(device("m1").tag_index("extra.own").is_some() && device("m2").tag_index("extra.own").is_none());
    assert_eq!(device("m1").spec.scans[1].interval, Duration::from_secs(120));
}

#[test]
fn one_of_a_repeated_group_differs() {
    let text = BUILTIN[0].1.replacen(
        "\n[enum.packml_state]",
        "\n[tags.\"station.3\"]\ndie_temp = { deadband = 2 }\n\n[enum.packml_state]",
        1,
    );
    let (found, said) = read(&[("press.toml", &text)], 100, 100_000);
    assert_eq!(said, "");
    let press = &found.devices[0];
    let deadband = |path: &str| press.tags[press.tag_index(path).unwrap()].deadband;
    assert_eq!((deadband("station.2.die_temp"), deadband("station.3.die_temp")), (0.5, 2.0));
}

#[test]
fn profiles_that_extend_each_other_are_refused() {
    let one = SITE.replace("hall-meter", "a").replace("eastron-sdm630", "b");
    let two = SITE.replace("hall-meter", "b").replace("eastron-sdm630", "a").replace("m1", "m2");
    let (found, said) = read(&[("a.toml", &one), ("b.toml", &two)], 100, 100_000);
    assert!(found.devices.is_empty());
    assert!(said.contains("P0147") && !said.contains("needs"), "{said}");
}

/// One change to a text's bytes.
#[derive(Debug, Clone)]
enum Change {
    Put(usize, u8),
    Cut(usize, usize),
    Copy(usize, usize, usize),
    Insert(usize, String),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..6000usize;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (at.clone(), 1..200usize).prop_map(|(at, len)| Change::Cut(at, len)),
        (at.clone(), 1..200usize, at.clone()).prop_map(|(from, len, to)| Change::Copy(from, len, to)),
        (at, prop_oneof!["[\\]{}=.,\"'\n#x0-9%]{1,8}", "\\PC{1,4}"])
            .prop_map(|(at, text)| Change::Insert(at, text)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        let len = bytes.len();
        match change {
            Change::Put(at, byte) => {
                if let Some(old) = bytes.get_mut(at % len.max(1)) {
                    *old = *byte;
                }
            }
            Change::Cut(at, count) => drop(bytes.drain(*at.min(&len)..(at + count).min(len))),
            Change::Copy(from, count, to) => {
                let part = bytes[*from.min(&len)..(from + count).min(len)].to_vec();
                let to = *to.min(&len);
                bytes.splice(to..to, part);
            }
            Change::Insert(at, text) => {
                let at = *at.min(&len);
                bytes.splice(at..at, text.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Files are hostile input: whatever they hold, there is an answer, and a file that gave an
    /// error gave no fewer words than that.
    #[test]
    fn no_file_makes_it_panic(which in 0..BUILTIN.len(), changes in prop::collection::vec(change(), 1..6)) {
        let (name, text) = BUILTIN[which];
        let text = changed(text, &changes);
        let (found, said) = read(&[(name, &text)], 100, 100_000);
        prop_assert!(found.refused.is_empty() || !said.is_empty(), "refused in silence");
        for device in &found.devices {
            let read = device.tags.iter().filter(|tag| tag.formula.is_none());
            prop_assert!(read.into_iter().all(|tag| (tag.raw as usize) < device.spec.tags.len()));
            prop_assert!(device.spec.tags.iter().all(|tag| tag.scan < device.spec.scans.len()));
        }
    }
}
