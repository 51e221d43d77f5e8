//! The rig that needs no hardware, and what a run says when something is wrong.

use std::path::{Path, PathBuf};

use forebay_hil::cases::CASES;
use forebay_hil::proved::{self, Results};
use forebay_hil::report::{self, Verdict};
use forebay_hil::rig::Kind;
use forebay_hil::root;
use forebay_hil::runner::{self, Outcome, Report};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_the_ci_rig_is_what_it_shows_now() {
    let (rig, reports) = runner::run(&root().join("hil/rigs/ci.toml")).await.expect("the rig is whole");
    let text = report::document(&rig, "now", &reports);
    assert_eq!(report::verdict(&reports), Verdict::Good, "{text}");
    let protocols = 3;
    assert_eq!(proved::rows().count(), CASES.len() * protocols);
    for (case, protocol) in proved::rows() {
        // A row is filled on our own simulator and on a foreign one, by a run or by a reason.
        for kind in [Kind::Sim, Kind::Foreign] {
            let ran =
                reports.iter().filter(|report| (report.protocol.as_str(), report.kind) == (protocol, kind));
            let runs = ran.flat_map(|report| &report.runs).filter(|run| run.case == case).count();
            assert!(runs > 0, "{case} on {protocol}, {}", kind.as_str());
        }
    }
    let kept = Results::read(&root().join("hil/results/ci.toml")).expect("results are kept");
    assert_eq!(
        Results::of(&rig.name, &reports),
        kept,
        "run `cargo run -p forebay-hil -- --rig hil/rigs/ci.toml --record --table docs/proved-on.md`"
    );
}

#[test]
fn the_table_is_that_of_the_results() {
    let results = proved::read_all(&root().join("hil/results")).expect("results are kept");
    let kept = std::fs::read_to_string(root().join("docs/proved-on.md")).expect("the table is kept");
    assert_eq!(
        kept,
        proved::document(&results),
        "run `cargo run -p forebay-hil -- --table docs/proved-on.md`"
    );
}

/// A rig file in a folder of its own, removed at the end.
struct Written(PathBuf);

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("forebay-hil-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let head = format!("[rig]\nname = \"{name}\"\n");
        std::fs::write(folder.join(format!("{name}.toml")), head + text).expect("a file");
        Self(folder.join(format!("{name}.toml")))
    }

    async fn run(&self) -> Vec<Report> {
        runner::run(&self.0).await.expect("the file is right").1
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(self.0.parent().unwrap_or(Path::new("nowhere")));
    }
}

const METER: &str = "[meter]\nprofile = \"profiles/eastron-sdm630.toml\"\nidentity = \"x\"\n";

fn ended<'a>(reports: &'a [Report], case: &str) -> &'a Outcome {
    &reports[0].runs.iter().find(|run| run.case == case).expect("every case is reported").outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rig_lacks_is_the_reason_and_never_a_pass() {
    let rig = Written::new("bare", &format!("features = [\"modbus\"]\n{METER}kind = \"sim\"\n"));
    let reports = rig.run().await;
    assert_eq!(*ended(&reports, "verify"), Outcome::Passed);
    for (case, reason) in [
        ("values", "the rig has no feature `seed`"),
        ("identity", "the rig has no feature `identity.modbus`"),
        ("bad-address", "the rig file names no missing address"),
        ("replug", "the rig has no feature `net-impair`"),
        ("restart", "the rig has no feature `seed`"),
    ] {
        assert_eq!(*ended(&reports, case), Outcome::Skipped(reason.into()), "{case}");
    }
    let kept = Results::of("bare", &reports).device.remove(0).cases;
    assert_eq!(kept["values"], "not run: the rig has no feature `seed`");
    let other = Written::new("other", &format!("features = [\"s7\"]\n{METER}kind = \"sim\"\n"));
    assert_eq!(
        *ended(&other.run().await, "readable"),
        Outcome::Skipped("the rig has no feature `modbus`".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_fault_that_is_gone_is_a_finding() {
    let text = format!("features = [\"modbus\"]\n{METER}kind = \"sim\"\nknown_faults = [\"verify\"]\n");
    let reports = Written::new("known", &text).run().await;
    assert_eq!(*ended(&reports, "verify"), Outcome::Finding);
    assert_eq!(report::verdict(&reports), Verdict::Product);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rig_is_reported_as_rig() {
    // Bound and never listening: nobody answers there, and nobody else gets the port.
    let bound = tokio::net::TcpSocket::new_v4().expect("a socket");
    bound.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let endpoint = bound.local_addr().expect("it is bound");
    let text =
        format!("features = [\"modbus.real\"]\n{METER}kind = \"real\"\nendpoint = \"tcp://{endpoint}\"\n");
    let reports = Written::new("broken", &text).run().await;
    let fault = reports[0].fault.as_ref().expect("the rig is at fault").to_string();
    assert!(fault.contains(&format!("meter: nobody listens at {endpoint}")), "{fault}");
    assert!(reports[0].runs.is_empty());
    assert_eq!(report::verdict(&reports), Verdict::Rig);

    let text = format!("features = [\"modbus\"]\n{}kind = \"sim\"\n", METER.replace("sdm630", "sdm999"));
    let reports = Written::new("nofile", &text).run().await;
    assert!(reports[0].fault.as_ref().is_some_and(|fault| fault.to_string().contains("sdm999")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_device_is_read_through_the_same_cases() {
    // A foreign server stands in for the device: to the runner it is one, because nothing can be
    // chosen or switched there.
    let mut peer =
        forebay_hil::peer::Peer::start("python", "modbus_server.py", &["--unit".into(), "1".into()])
            .expect("pymodbus starts");
    for (offset, value) in [(0, 230.5), (2, 231.0), (4, 229.0), (70, 50.01), (62, 0.97)] {
        peer.command(&format!("setf ir {offset} ABCD {value}")).expect("it takes values");
    }
    let text = format!(
        "features = [\"modbus.real\", \"net-impair\"]\n{METER}kind = \"real\"\n\
         endpoint = \"tcp://127.0.0.1:{}\"\nmissing = \"360000\"\n",
        peer.port
    );
    let reports = Written::new("bench", &text).run().await;
    for case in ["readable", "verify", "bad-address", "replug"] {
        let run = reports[0].runs.iter().find(|run| run.case == case).expect("it is reported");
        assert_eq!(run.outcome, Outcome::Passed, "{case}: {}", run.words);
    }
    for case in ["values", "late-answer", "restart"] {
        let reason = "the values of a real device cannot be chosen";
        assert_eq!(*ended(&reports, case), Outcome::Skipped(reason.into()), "{case}");
    }
    // Another device than the profile's: the checks say so.
    peer.command("setf ir 70 CDAB 50.01").expect("it takes values");
    let reports = Written::new("bench", &text).run().await;
    assert_eq!(*ended(&reports, "verify"), Outcome::Failed);
}
