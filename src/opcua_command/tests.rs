//! The commands on a site of files, with certificates as the connector leaves them.

use std::fs;

use clap::Parser;
use sha2::{Digest, Sha256};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: OpcUaCommand,
}

struct Plant {
    folder: tempfile::TempDir,
}

impl Plant {
    /// A site with a filler (OPC UA, encrypted) and a press (S7).
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let site = format!(
            "forebay = 1\n[edge]\nid = \"e\"\nsite = \"w\"\n[kafka]\nbrokers = [\"k:9092\"]\n[paths]\nstate = \"{}\"\n\
             profiles = [\"{}\"]\ndevices = [\"{}\"]\n",
            state.display(),
            folder.path().join("profiles").display(),
            folder.path().join("devices").display(),
        );
        fs::create_dir_all(folder.path().join("profiles")).expect("a folder");
        fs::create_dir_all(folder.path().join("devices")).expect("a folder");
        let device = |name: &str, profile: &str, endpoint: &str, more: &str| {
            format!(
                "[[device]]\nname = \"{name}\"\nprofile = \"{profile}\"\nendpoint = \"{endpoint}\"\nlocation = \
                 \"A/B/C/D\"\n{more}\n"
            )
        };
        let devices = [
            "forebay = 1\n".to_owned(),
            device("filler-1", "bottle-filler", "opc.tcp://10.0.0.7", more),
            device("press-3", "acme-press-630t", "10.0.0.8", ""),
        ];
        fs::write(folder.path().join("devices/all.toml"), devices.concat()).expect("written");
        fs::write(folder.path().join("forebay.toml"), site).expect("written");
        Self { folder }
    }

    /// Puts a certificate where the connector would; returns its fingerprint.
    fn waits(&self, der: &[u8]) -> String {
        let digits: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = self.folder.path().join("state/devices/filler-1/rejected");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{digits}.der")), der).expect("written");
        format!("sha256:{digits}")
    }

    fn run(&self, words: &[&str]) -> Result<String, String> {
        let config = self.folder.path().join("forebay.toml").display().to_string();
        let line = [&["opcua"], words, &["--config", &config]].concat();
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(&line.command, &mut out).map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8(out).expect("text"))
    }
}

/// Two certificates of servers, made with openssl for these tests.
const FIRST: &[u8] = include_bytes!("tests/first.der");
const SECOND: &[u8] = include_bytes!("tests/second.der");

#[test]
fn a_certificate_is_shown_trusted_and_taken_back() {
    let plant = Plant::new("");
    let empty = plant.run(&["list"]).expect("shown");
    assert!(
        empty.contains("filler-1  opc.tcp://10.0.0.7") && empty.contains("no certificate seen yet"),
        "{empty}"
    );
    assert!(!empty.contains("press-3"), "{empty}");
    assert!(
        plant.run(&["trust", "filler-1"]).expect_err("nothing waits").contains("no certificate of filler-1")
    );

    let seen = plant.waits(FIRST);
    let shown = plant.run(&["list", "filler-1"]).expect("shown");
    for part in ["waits for a decision", &seen, "CN=Filler 1", "plc-7", "10.0.0.7", "opcua trust filler-1"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let told = plant.run(&["trust", "filler-1"]).expect("trusted");
    assert!(told.contains("trusted now") && told.contains(&seen), "{told}");
    let shown = plant.run(&["list"]).expect("shown");
    assert!(shown.contains("  trusted\n") && !shown.contains("waits"), "{shown}");
    let told = plant.run(&["reject", "filler-1"]).expect("rejected");
    assert!(told.contains("trusted no longer"), "{told}");
    let told = plant.run(&["reject", "filler-1"]).expect("forgotten");
    assert!(told.contains("forgotten"), "{told}");
    assert!(plant.run(&["reject", "filler-1"]).is_err());
}

#[test]
fn of_several_certificates_one_has_to_be_named() {
    let plant = Plant::new("");
    let (first, second) = (plant.waits(FIRST), plant.waits(SECOND));
    let said = plant.run(&["trust", "filler-1"]).expect_err("two wait");
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    assert!(plant.run(&["trust", "filler-1", "sha256:12"]).expect_err("short").contains("at least 8 digits"));
    assert!(plant.run(&["trust", "filler-1", "00112233"]).is_err());
    let told =
        plant.run(&["trust", "filler-1", &second["sha256:".len()..][..8].to_uppercase()]).expect("named");
    assert!(told.contains(&second), "{told}");
}

#[test]
fn what_cannot_be_decided_is_told() {
    let pin = format!("sha256:{}", "9f".repeat(32));
    let plant = Plant::new(&format!("trust = \"{pin}\""));
    plant.waits(FIRST);
    let said = plant.run(&["trust", "filler-1"]).expect_err("pinned");
    assert!(said.contains(&pin) && said.contains("all.toml:"), "{said}");
    assert!(plant.run(&["list"]).expect("shown").contains("refused"));
    assert!(plant.run(&["trust", "press-3"]).expect_err("S7").contains("does not speak OPC UA"));
    assert!(plant.run(&["trust", "filler-2"]).expect_err("unknown").contains("those with OPC UA: filler-1"));
}
