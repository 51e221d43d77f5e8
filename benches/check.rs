//! `forebay check` of a large plant: 1,000 profiles with 100 tags each, 500 of them with a machine.
//!
//! `cargo bench --bench check` prints how long the whole check takes; the limit is 2 s. The files are
//! read from the disk, all faults are looked for, and all devices are made.

use std::path::Path;
use std::time::Instant;

const PROFILES: usize = 1000;
const TAGS: usize = 100;
/// As many as `check` takes without a forebay.toml.
const DEVICES: usize = 500;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = 0;
    for number in 0..PROFILES {
        bytes += write_profile(folder.path(), number);
    }
    let files = [folder.path().to_owned()];
    for round in 1..=3 {
        let started = Instant::now();
        let loaded = forebay::config::check_files(&files);
        let elapsed = started.elapsed();
        assert_eq!(loaded.diagnostics, [], "the files are right");
        let tags: usize = loaded.devices.iter().map(|device| device.tags.len()).sum();
        println!(
            "round {round}: {PROFILES} profiles with {} tags ({:.1} MB), {} devices with {tags} tags: {:.2} s",
            PROFILES * TAGS,
            bytes as f64 / 1e6,
            loaded.devices.len(),
            elapsed.as_secs_f64()
        );
    }
}

fn write_profile(folder: &Path, number: usize) -> usize {
    let mut text = format!(
        "forebay = 1\n\n[profile]\nname     = \"line-{number}\"\nversion  = \"1.0.0\"\nprotocol = \"s7\"\n\
         source   = \"DB_Forebay.db, exported on 2026-02-11\"\n\n[s7]\ncpu = \"s7-1500\"\n\n[params]\n\
         db = {{ type = \"int\", default = 10, min = 1, max = 65535, desc = \"Number of the block\" }}\n\n\
         [scan]\nfast = \"200ms\"\nslow = \"30s\"\n\n[defaults]\nscan = \"fast\"\nmax_silence = \"60s\"\n"
    );
    for tag in 0..TAGS {
        if tag % 20 == 0 {
            text.push_str(&format!("\n[tags.group_{}]\n", tag / 20));
        }
        let at = tag * 4;
        text.push_str(&match tag % 10 {
            9 => format!(
                "tag_{tag} = {{ value = \"tag_{} * 0.1 + rate(tag_{})\", unit = \"kW\" }}\n",
                tag - 1,
                tag - 2
            ),
            odd if odd % 2 == 1 => format!(
                "tag_{tag} = {{ address = \"DB{{db}}.DBD{at}\", type = \"REAL\", unit = \"bar\", \
                 deadband = \"0.5%\", range = [0, 400] }}\n"
            ),
            _ => format!(
                "tag_{tag} = {{ address = \"DB{{db}}.DBD{at}\", type = \"UDINT\", kind = \"counter\", \
                 scan = \"slow\", desc = \"Parts\" }}\n"
            ),
        });
    }
    if number < DEVICES {
        text.push_str(&format!("\n[[device]]\nname     = \"machine-{number}\"\nendpoint = \"10.0.{}.{}\"\nlocation = \"Werk1/Halle{}/Linie1\"\n\
             params   = {{ db = {} }}\n",
            number / 250,
            number % 250 + 1,
            number / 100,
            number + 1
        ));
    }
    std::fs::write(folder.join(format!("line-{number}.toml")), &text).expect("it is written");
    text.len()
}
