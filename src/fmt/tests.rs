//! The layout, and that it changes nothing which `check` sees.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{format, formatted, read_whole, settled};
use crate::config::{self, Loaded};
use crate::device::Tag;
use crate::diagnostic::Severity;
use crate::profile::BUILTIN;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that was read, without the lines it stands in.
fn seen(loaded: &Loaded) -> String {
    let mut text = format!("{:?}\n", loaded.config);
    for device in &loaded.devices {
        let spec = &device.spec;
        text.push_str(&format!(
            "{} {} {} {:?}\n{:?}\n{:?}\n{:?}\n{:?}\n",
            device.path,
            device.profile,
            spec.endpoint,
            spec.options,
            spec.scans,
            spec.tags,
            device.verify,
            spec.trust
        ));
        for tag in &*device.tags {
            text.push_str(&format!("{:?}\n", Tag { source: String::new(), ..tag.clone() }));
        }
    }
    for found in &loaded.diagnostics {
        text.push_str(&format!("{} {} {}\n", found.code, found.message, found.help));
    }
    text
}

fn load(folder: &Path) -> Loaded {
    let site = folder.join("forebay.toml");
    if site.exists() { config::load(&site) } else { config::check_files(&[folder.to_owned()]) }
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(toml_files(&path));
        } else if path.extension().is_some_and(|end| end == "toml") {
            found.push(path);
        }
    }
    found
}

/// Formats a copy of the folder and compares what is read before and after. The number of files
/// that could be formatted.
fn unchanged(folder: &Path) -> usize {
    let copy = tempfile::tempdir().unwrap();
    let mut texts = Vec::new();
    for file in toml_files(folder) {
        let to = copy.path().join(file.strip_prefix(folder).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
        texts.extend(std::fs::read_to_string(&to).ok().map(|text| (to, text)));
    }
    let before = load(copy.path());
    let mut formatted = 0;
    for (file, text) in &texts {
        let Ok(new) = format("x.toml", text) else { continue };
        assert_eq!(format("x.toml", &new).as_ref(), Ok(&new), "{} is laid out twice", file.display());
        std::fs::write(file, new).unwrap();
        formatted += 1;
    }
    let after = load(copy.path());
    // With faults the messages quote what is written; without any all that is read must be the same.
    if before.diagnostics.iter().all(|it| it.severity == Severity::Warning) {
        assert_eq!(seen(&before), seen(&after), "{}", folder.display());
    }
    let codes = |loaded: &Loaded| {
        let mut codes: Vec<&str> = loaded.diagnostics.iter().map(|it| it.code).collect();
        codes.sort_unstable();
        codes.join(" ")
    };
    assert_eq!(codes(&before), codes(&after), "{}", folder.display());
    formatted
}

#[test]
fn nothing_that_check_sees_is_changed() {
    assert!(unchanged(&root().join("profiles")) >= 3);
    assert!(unchanged(&root().join("docs/example")) >= 3);
    let cases = std::fs::read_dir(root().join("tests/cases")).unwrap();
    let formatted: usize = cases.map(|case| unchanged(&case.unwrap().path())).sum();
    assert!(formatted >= 100, "only {formatted} files of tests/cases could be formatted");
}

#[test]
fn columns_stand_under_each_other() {
    let text = "\u{feff}forebay=1\r\n\r\n\r\n[profile]\r\nname = 'x'\r\nprotocol=\"s7\" # S7\r\n\
        [params]\r\ndb={type=\"int\",default=10}\r\n\
        [tags.a]\r\n  # first\r\nlong_name={address=\"%DB{db}.dbd4\",type=\"float32\",unit=\"bar\"}#one\r\n\
        b={   address='E1.0', type = 'boolean'   , ne107=\"C\" } # two\r\n\
        c = { address = \"DB{db}.DBW{db}\", type = \"int16\", limits = {lo=1,hi=[ ]} }\r\n\
        multi = [ 1,\r\n  2 ] # kept\r\n";
    let expected = "forebay = 1\n\n[profile]\nname     = 'x'\nprotocol = \"s7\"  # S7\n\
        [params]\ndb = { type = \"int\", default = 10 }\n\
        [tags.a]\n# first\n\
        long_name = { address = \"DB{db}.DBD4\",    type = \"REAL\", unit = \"bar\" }  #one\n\
        b         = { address = 'I1.0',           type = 'BOOL', ne107 = \"C\" }   # two\n\
        c         = { address = \"DB{db}.DBW{db}\", type = \"INT\",  limits = { lo = 1, hi = [] } }\n\
        multi = [ 1,\n  2 ] # kept\n";
    let found = format("x.toml", text).unwrap();
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    let said = format("x.toml", "a = 1\nb = = 2\n").unwrap_err();
    assert!(said.contains("P0001") && said.contains("x.toml:2"), "{said}");
    let odd = "a.b = 1\n\"c d\" = { e.f = 2, g = 3 } # h\nt = '''\n[x]\n  y = 1\n'''\n";
    assert_eq!(format("x.toml", odd).as_deref(), Ok(odd));
    assert_eq!(format("x.toml", "").as_deref(), Ok(""));
}

#[test]
fn blanks_within_a_text_stay_and_the_rest_is_in_columns() {
    let text =
        "a = 1\nbb = \"\"\"x  \n\n\n# y \t\n  \"\"\"   # z  \nc.d = '''p \n\n\n[q] '''\ne = [1,  \n 2]\n";
    let expected =
        "a = 1\nbb = \"\"\"x  \n\n\n# y \t\n  \"\"\"   # z\nc.d = '''p \n\n\n[q] '''\ne = [1,\n 2]\n";
    let found = formatted("x.toml", text).unwrap();
    assert!(found.in_columns);
    assert_eq!(found.text, expected);
    let (_, table) = read_whole("x.toml", "a=1\n").unwrap();
    let kept = settled("x.toml", &table, "a=1\n".into(), "a = 2\n".into());
    assert!(!kept.in_columns && kept.text == "a=1\n");
}

#[test]
fn comments_that_line_up_stay_where_they_are() {
    let text = "a = 1          # x\nbc = 2         # y\nd = 3\n\ne = 1      # x\nf = 2  # y\n\ngg = 1 # x\n";
    let expected =
        "a  = 1         # x\nbc = 2         # y\nd  = 3\n\ne = 1  # x\nf = 2  # y\n\ngg = 1  # x\n";
    assert_eq!(format("x.toml", text).as_deref(), Ok(expected));
}

#[test]
fn what_comes_with_the_program_is_in_columns() {
    let mut files = toml_files(&root().join("profiles"));
    files.extend(toml_files(&root().join("docs/example")));
    assert!(files.len() >= 30, "only {} files", files.len());
    let changes = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        format("x.toml", &text).as_ref() != Ok(&text)
    };
    files.retain(changes);
    assert!(files.is_empty(), "run forebay fmt {files:?}");
    // And what `forebay new` writes.
    let folder = tempfile::tempdir().unwrap();
    for (protocol, address) in [("s7", "DB10.DBD36"), ("modbus", "40001")] {
        let file = folder.path().join(format!("{protocol}.toml"));
        let options = crate::new::New {
            protocol: Some(protocol.into()),
            endpoint: Some(if protocol == "s7" { "192.168.10.33" } else { "tcp://192.168.10.33:502" }.into()),
            location: Some("Werk1".into()),
            tag: Some("oil.temp".into()),
            address: Some(address.into()),
            data_type: Some("REAL".into()),
            out: Some(file.clone()),
            yes: true,
            ..crate::new::New::default()
        };
        crate::new::run(&options, &mut std::io::empty(), &mut Vec::new()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(format("x.toml", &text).as_ref(), Ok(&text));
    }
}

#[test]
fn lines_of_any_length_are_laid_out() {
    let long = "x".repeat(70_000);
    let text = format!("a = {{ b = \"{long}\", c = 1 }}  # d\nbb = {{ b = \"{long}y\", c = 1 }}  # d\n");
    let expected =
        format!("a  = {{ b = \"{long}\",  c = 1 }}  # d\nbb = {{ b = \"{long}y\", c = 1 }}  # d\n");
    assert!(format("x.toml", &text) == Ok(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is put between and into the words of a profile: if it can be read, it says the same
    /// afterwards, with all of its comments.
    #[test]
    fn any_readable_text_says_the_same(
        which in 0..BUILTIN.len(),
        puts in prop::collection::vec((0..6000usize, prop_oneof![
            Just(" "), Just("   "), Just("\t"), Just("\n"), Just("\n\n# words\n"), Just(" # words\n"), Just("'"), Just(","),
            Just("x = 1\n"), Just("[tags.new]\n"), Just("{ a = 1 }"),
        ]), 1..8),
    ) {
        let (name, text) = BUILTIN[which];
        let mut text = text.replace("\"REAL\"", "\"float32\"").replace("\"INT\"", "\"i16\"");
        for (at, put) in puts {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            text.insert_str(at, put);
        }
        if let Ok(new) = format(name, &text) {
            prop_assert_eq!(format(name, &new), Ok(new.clone()), "laid out twice");
            prop_assert_eq!(text.matches("words").count(), new.matches("words").count());
            let folder = tempfile::tempdir().unwrap();
            let read = |text: &str| {
                std::fs::write(folder.path().join(name), text).unwrap();
                config::check_files(&[folder.path().join(name)])
            };
            let (before, after) = (read(&text), read(&new));
            if before.errors() == 0 {
                prop_assert_eq!(seen(&before), seen(&after));
            } else {
                prop_assert!(after.errors() > 0);
            }
        }
    }
}
