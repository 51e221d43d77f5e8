//! What the commands say of files that are missing, and of a box that has never stored anything.

use std::path::{Path, PathBuf};

use super::daemon::{Daemon, contents};

fn segments(folder: &Path) -> Vec<PathBuf> {
    let all = contents(folder).into_iter().map(|(path, _)| path);
    all.filter(|path| path.extension().is_some_and(|extension| extension == "segment")).collect()
}

/// Name and first offset.
fn named(path: &Path) -> (String, u64) {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let first = u64::from_str_radix(&name[17..33], 16).unwrap();
    (name, first)
}

#[test]
fn a_missing_file_is_told_between_those_beside_it_and_in_front() {
    let mut daemon = Daemon::new("box-1", None, "away");
    daemon.fill(0, 20_000);
    let files = segments(&daemon.lane("telemetry"));
    assert!(files.len() > 4, "{}", files.len());
    let kept = std::fs::read(&files[1]).unwrap();
    std::fs::remove_file(&files[1]).unwrap();
    let [(before, _), (_, from), (after, to)] = [0, 1, 2].map(|at| named(&files[at]));
    let (success, text) = daemon.journal(&["verify"]).unwrap();
    assert!(!success && text.contains(&format!("MISSING between {before} and {after}\n")), "{text}");
    assert!(
        text.contains(&format!("records are in no file (offsets {from} to {}), of between 20", to - 1)),
        "{text}"
    );
    assert!(!text.contains("DAMAGED"), "the file before it is whole: {text}");
    let (_, text) = daemon.journal(&["status"]).unwrap();
    let records = 20_000 - (to - from);
    let records = format!("{},{:03} records (offsets 0 to 19999)", records / 1000, records % 1000);
    assert!(text.contains(&records), "{text}");
    assert!(
        text.contains(&format!(
            "(offsets 0 to 19999); {},{:03} not in",
            (20_000 - (to - from)) / 1000,
            (20_000 - (to - from)) % 1000
        )),
        "{text}"
    );
    assert!(text.contains(&format!("no file holds them, between {before} and {after}")), "{text}");
    // In front: known from the end of the last run, and from the running box.
    std::fs::write(&files[1], kept).unwrap();
    assert!(daemon.journal(&["verify"]).unwrap().0);
    for running in [false, true] {
        let first = &files[usize::from(running)];
        let next = named(&files[usize::from(running) + 1]).0;
        if running {
            daemon.start();
        }
        let kept = std::fs::read(first).unwrap();
        std::fs::remove_file(first).unwrap();
        let (success, text) = daemon.journal(&["verify"]).unwrap();
        assert!(
            !success && text.contains(&format!("MISSING in front of {next}")),
            "running {running}: {text}"
        );
        let (_, text) = daemon.journal(&["status"]).unwrap();
        assert!(
            text.contains(&format!("no file holds them, in front of {next}")),
            "running {running}: {text}"
        );
        std::fs::write(first, kept).unwrap();
        assert!(daemon.journal(&["verify"]).unwrap().0, "running {running}");
        if !running {
            // What the box itself removes is not missing.
            daemon
                .journal(&["trim", "--before-offset", &named(&files[1]).1.to_string(), "--unsent"])
                .unwrap();
            assert!(!files[0].exists());
            let (success, text) = daemon.journal(&["verify"]).unwrap();
            assert!(success, "{text}");
        }
    }
}

#[test]
fn a_box_that_has_never_stored_anything_is_told_so() {
    let daemon = Daemon::new("box-1", None, "away");
    let journal = daemon.state().join("journal");
    let verified = daemon.command(&["journal", "verify"]);
    assert_eq!(verified.status.code(), Some(3));
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(text.contains("there is no journal yet") && text.contains(journal.to_str().unwrap()), "{text}");
    let stick = tempfile::tempdir().unwrap();
    for format in ["parquet", "backlog"] {
        let exported = daemon.command(&[
            "journal",
            "export",
            "--format",
            format,
            "--to",
            stick.path().to_str().unwrap(),
        ]);
        assert_eq!(exported.status.code(), Some(1));
        let said = String::from_utf8_lossy(&exported.stderr).into_owned();
        assert!(said.contains("there is no journal yet") && !said.contains("os error"), "{format}: {said}");
    }
    assert!(std::fs::read_dir(stick.path()).unwrap().next().is_none(), "nothing half is left");
    // With one lane the other is not a fault.
    daemon.fill(0, 10);
    let (success, text) = daemon.journal(&["verify"]).unwrap();
    assert!(success && text.contains("events: nothing was ever stored"), "{text}");
    let (_, text) = daemon.journal(&["status"]).unwrap();
    assert!(text.contains("10 records (offsets 0 to 9); 10 not in Kafka yet"), "{text}");
}
