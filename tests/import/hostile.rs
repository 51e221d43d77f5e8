//! Damaged exports: no importer panics, hangs, or writes a profile that `forebay check` refuses.
//!
//! Every file of `tests/import` is changed in seeded ways: bytes, lines, repetitions, cut ends.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::{arguments, folders, import};

/// One import may take this long at most, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pieces that mean something to one importer or another.
const PIECES: [&str; 24] = [
    "\"",
    ",",
    ";",
    "\r\n",
    "{",
    "}",
    "<",
    "&#x110000;",
    "</UANodeSet>",
    "Array[-2147483648..2147483647] of Struct",
    "Array[0..1, 0..1, 0..1] of \"UDT_Motor\";",
    "String[",
    "END_STRUCT;",
    "DB65535,REAL65535[9999][9999]",
    "400001[65535][65535]",
    "465536.15",
    "%M99999999999.9",
    "{db}",
    "'''",
    "\u{0}",
    "ä€𝄞",
    "-1e308",
    "ns=99999999999999999999;i=1",
    "(*",
];

/// A change of a file: where, as a share of its length, and what.
#[derive(Debug, Clone)]
enum Change {
    Byte(f64, u8),
    Insert(f64, usize),
    Remove(f64, usize),
    Repeat(f64, usize, usize),
    Cut(f64),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0.0..1.0f64;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (at(), 0..PIECES.len()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (at(), 1..200usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (at(), 1..300usize, 1..40usize).prop_map(|(at, len, times)| Change::Repeat(at, len, times)),
        at().prop_map(Change::Cut),
    ]
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let place = |at: f64| (at * bytes.len() as f64) as usize;
    match *change {
        Change::Byte(at, byte) => {
            let at = place(at);
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
        }
        Change::Insert(at, piece) => {
            let at = place(at);
            bytes.splice(at..at, PIECES[piece].bytes());
        }
        Change::Remove(at, len) => {
            let at = place(at);
            bytes.drain(at..(at + len).min(bytes.len()));
        }
        Change::Repeat(at, len, times) => {
            let at = place(at);
            let part = bytes[at..(at + len).min(bytes.len())].repeat(times);
            bytes.splice(at..at, part);
        }
        Change::Cut(at) => bytes.truncate(place(at)),
    }
}

/// The cases that import a file, with that file: the first argument behind the importer's name.
fn cases() -> Vec<(Vec<String>, PathBuf)> {
    let cases = folders().into_iter().map(|folder| {
        let arguments = arguments(&folder);
        let file = PathBuf::from(&arguments[1]);
        (arguments, file)
    });
    cases
        .filter(|(_, file)| file.exists() && std::fs::metadata(file).is_ok_and(|about| about.len() < 20_000))
        .collect()
}

fn imports_or_says_why(arguments: &[String], file: &Path, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let name = file.file_name().expect("it has a name");
    let changed = folder.path().join(name);
    std::fs::write(&changed, bytes).expect("it is written");
    let mut arguments = arguments.to_vec();
    arguments[1] = changed.display().to_string();
    // In a thread of its own, so that a loop without end is a failure and not a test without end.
    let (done, result) = mpsc::channel();
    let given = arguments.clone();
    std::thread::spawn(move || done.send(import(&given)));
    let imported = match result.recv_timeout(PATIENCE) {
        Ok(imported) => imported,
        Err(error) => panic!("{arguments:?}: {error}:\n{}", String::from_utf8_lossy(bytes)),
    };
    // The importer's own check found a fault in what the importer had made.
    assert!(
        !imported.report.contains("would not pass")
            || arguments.iter().any(|word| word.starts_with("tcp://192.168.1.5")),
        "{}",
        imported.report
    );
    assert!(
        !imported.report.contains("damaged spreadsheet[I0001]: save it anew"),
        "the reader has panicked: {}",
        imported.report
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_exports_are_survived(case in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..6)) {
        let cases = cases();
        let (arguments, file) = case.get(&cases);
        let mut bytes = std::fs::read(file).expect("the file is there");
        changes.iter().for_each(|change| apply(&mut bytes, change));
        imports_or_says_why(arguments, file, &bytes);
    }

    #[test]
    fn noise_is_survived(case in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let cases = cases();
        let (arguments, file) = case.get(&cases);
        imports_or_says_why(arguments, file, &bytes);
    }
}
