//! A zoo of models: the good ones run and give what ONNX Runtime gives, the bad ones are refused in words before
//! they score, and none of them, whole or changed, takes the memory or the time of the box.

#[path = "models/changes.rs"]
mod changes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay::device::Text;
use forebay::infer::folder::{Content, Folder};
use forebay::infer::golden::{Case, Golden};
use forebay::infer::graph::Graph;
use forebay::infer::operators::{ML, OPERATORS};
use forebay::infer::spec::{Input, Spec};
use serde_json::Value as Json;

use crate::fuzz::{seconds, seed};
use crate::support::{root, tool};

/// Rows and inputs of the windows of the zoo (`tests/models/write.py`).
const WINDOW: usize = 8;
const INPUTS: usize = 4;
/// How far the library may be from ONNX Runtime: of the value, or absolute below 1.
const TOLERANCE: f32 = 1e-5;
/// Address space of a process that loads models one after another, with all that the test binary is, in kB.
const ADDRESSES_KB: u64 = 1 << 20;
/// One model may take this long at most, not optimised and on a busy machine.
const MODEL_MAX: Duration = Duration::from_secs(60);
/// The changed model that is being loaded, in the folder of the zoo.
const LAST: &str = "last.onnx";
/// Names the folder of the zoo to the process that loads it.
const ZOO: &str = "FOREBAY_TEST_ZOO";

/// Does `work` of the test with this name on a new zoo, in a process with bounded addresses: memory that a
/// model should not ask for ends it.
fn bounded(test: &str, work: impl FnOnce(&Path)) -> Option<tempfile::TempDir> {
    if let Some(zoo) = std::env::var_os(ZOO) {
        work(Path::new(&zoo));
        println!("all done");
        return None;
    }
    let zoo = tempfile::tempdir().expect("a folder");
    let mut python = Command::new(tool("onnx/bin/python"));
    let wrote =
        python.arg(root().join("tests/models/zoo.py")).arg(zoo.path()).output().expect("Python starts");
    assert!(wrote.status.success(), "zoo.py: {}", String::from_utf8_lossy(&wrote.stderr));
    let output = Command::new("sh")
        .args(["-c", "ulimit -v \"$0\" && ulimit -t 900 && exec \"$@\"", &ADDRESSES_KB.to_string()])
        .arg(std::env::current_exe().expect("it runs"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ZOO, zoo.path())
        .output()
        .expect("this test starts itself");
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let end = output.status.success() && said.contains("all done");
    if !end && zoo.path().join(LAST).exists() {
        let kept = std::env::temp_dir().join("forebay-fatal.onnx");
        fs::copy(zoo.path().join(LAST), &kept).expect("there is room");
        eprintln!("the last model is kept in {}", kept.display());
    }
    assert!(end, "{test} failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    Some(zoo)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read").path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn json(file: &Path) -> Json {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// What the zoo's windows need.
fn spec() -> Spec {
    let spec = Folder::built_in().remove(0).content.expect("it is right").spec;
    let input = |number| Input { tag: format!("tag {number}"), look_at: Text::plain("look") };
    Spec { window: WINDOW, inputs: (0..INPUTS).map(input).collect(), ..spec }
}

fn content(onnx: Vec<u8>, cases: Vec<Case>) -> Content {
    Content { spec: spec(), golden: Golden { tolerance: TOLERANCE, cases }, onnx }
}

/// Peak of resident memory of this process, in MB.
fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// Loads one model; `None` when it passes its gate.
fn verdict(content: &Content) -> (Option<String>, Duration) {
    let started = Instant::now();
    let said = Graph::load(content).err().map(|error| error.to_string());
    (said, started.elapsed())
}

#[test]
fn every_model_of_the_zoo_gets_its_verdict() {
    let zoo = bounded("zoo::every_model_of_the_zoo_gets_its_verdict", verdicts);
    let Some(zoo) = zoo else { return };
    // What is accepted was compared, and what was compared is accepted.
    let mut compared = BTreeSet::new();
    for file in files(&zoo.path().join("good")) {
        for used in json(&file.with_extension("json"))["uses"].as_array().expect("a list") {
            let [domain, operator, attribute] =
                [0, 1, 2].map(|part| used[part].as_str().expect("text").to_owned());
            compared.insert((domain, operator, attribute));
        }
    }
    for (domain, operator, attributes) in OPERATORS {
        for attribute in attributes.iter().chain(&[""]) {
            let used = (domain.to_owned(), operator.to_owned(), (*attribute).to_owned());
            assert!(compared.contains(&used), "no good model of the zoo has {operator} with {attribute:?}");
        }
    }
    assert!(OPERATORS.is_sorted_by_key(|(domain, operator, _)| (*domain == ML, *operator)), "not in order");
}

fn verdicts(zoo: &Path) {
    let good = files(&zoo.join("good"));
    let mut wrong = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    let mut note = |time: Duration, name: &str| slowest = slowest.clone().max((time, name.to_owned()));
    for file in &good {
        let cases = json(&file.with_extension("json"))["cases"].take();
        let cases = serde_json::from_value(cases).expect("cases");
        let (said, time) = verdict(&content(fs::read(file).expect("a file"), cases));
        note(time, &name(file));
        wrong.extend(said.map(|said| format!("{} must run: {said}", name(file))));
    }
    let (bad, expected) = (files(&zoo.join("bad")), json(&zoo.join("bad.json")));
    for file in &bad {
        let says = expected[name(file)].as_str().expect("a verdict");
        let (said, time) = verdict(&content(fs::read(file).expect("a file"), Vec::new()));
        note(time, &name(file));
        let said = said.unwrap_or_else(|| "runs".to_owned());
        println!("{}: {said} ({} ms)", name(file), time.as_millis());
        if !said.contains(says) {
            wrong.push(format!("{}: {said:?} instead of {says:?}", name(file)));
        }
    }
    println!(
        "{} good models, {} bad ones, at most {} MB, slowest {slowest:?}",
        good.len(),
        bad.len(),
        peak_mb()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(good.len() >= 100 && bad.len() >= 30, "{} good, {} bad", good.len(), bad.len());
    assert!(slowest.0 < MODEL_MAX, "{slowest:?}");
}

/// The gate knows the silent ones by name: golden cases that agree with the wrong numbers change nothing.
#[test]
fn what_is_silently_wrong_is_refused_whatever_its_golden_cases_say() {
    bounded("zoo::what_is_silently_wrong_is_refused_whatever_its_golden_cases_say", |zoo| {
        for (name, says) in [("lstm-relu", "activation"), ("celu-alpha", "Celu"), ("forest-label", "label")] {
            let onnx = fs::read(zoo.join("bad").join(format!("{name}.onnx"))).expect("it was written");
            let said = verdict(&content(onnx, Vec::new())).0.expect("it is refused without any golden case");
            assert!(
                said.contains(says) && said.contains("M0306") && said.contains("docs/models.md"),
                "{said}"
            );
        }
    });
}

/// What a recurrent network remembers of one window must not reach the next.
#[test]
fn a_window_is_scored_without_the_one_before() {
    bounded("zoo::a_window_is_scored_without_the_one_before", |zoo| {
        for name in ["lstm", "gru-linear", "rnn", "conv"] {
            let file = zoo.join("good").join(format!("{name}.onnx"));
            let mut graph =
                Graph::load(&content(fs::read(file).expect("a file"), Vec::new())).expect("it runs");
            let mut score = |value: f32| {
                graph.run(|window| window.fill(value)).expect("it scores");
                graph.score().to_bits()
            };
            let first = score(0.5);
            score(-3.0);
            assert_eq!(score(0.5), first, "{name}: the score of the same window");
        }
    });
}

/// Models with changes, bytes and structure, for a time (`FOREBAY_FUZZ_SECONDS`).
#[test]
fn no_changed_model_takes_the_memory_or_the_time_of_the_box() {
    bounded("zoo::no_changed_model_takes_the_memory_or_the_time_of_the_box", |zoo| {
        let read = |file: &PathBuf| fs::read(file).expect("a file");
        let of = |part: &str| files(&zoo.join(part)).iter().map(read).collect::<Vec<_>>();
        let models: Vec<_> =
            of("good").into_iter().chain(of("bad")).filter(|model| model.len() < 1 << 16).collect();
        let mut random = fastrand::Rng::with_seed(seed());
        let end = Instant::now() + Duration::from_secs(seconds());
        let (mut tried, mut ran, mut slowest) = (0, 0, Duration::ZERO);
        // A fault of the library is told by its panics; here they are expected.
        std::panic::set_hook(Box::new(|_| {}));
        while Instant::now() < end {
            let model = changes::changed(&models, &mut random);
            fs::write(zoo.join(LAST), &model).expect("there is room");
            let (said, time) = verdict(&content(model.clone(), Vec::new()));
            if time > MODEL_MAX {
                let kept = std::env::temp_dir().join("forebay-slow.onnx");
                fs::write(&kept, model).expect("there is room");
                panic!("{} took {time:?}: {said:?}", kept.display());
            }
            tried += 1;
            ran += u32::from(said.is_none());
            slowest = slowest.max(time);
        }
        let peak = peak_mb();
        println!("{tried} models tried, {ran} ran, seed {}, at most {peak} MB, slowest {slowest:?}", seed());
        assert!(tried > 20, "only {tried} models were tried");
    });
}

/// Changed models that once ended the process.
#[test]
fn models_that_once_ended_the_process_are_refused() {
    bounded("zoo::models_that_once_ended_the_process_are_refused", |_| {
        let kept = files(&root().join("tests/models/kept"));
        for file in &kept {
            let (said, _) = verdict(&content(fs::read(file).expect("a file"), Vec::new()));
            println!("{}: {}", name(file), said.expect("it is refused"));
        }
        assert!(!kept.is_empty(), "none is kept");
    });
}

/// Random windows near those of the golden cases, through the library and through ONNX Runtime.
#[test]
fn shipped_models_give_what_onnx_runtime_gives() {
    let mut random = fastrand::Rng::with_seed(seed());
    let folders = Folder::all(&[root().join("models")]);
    assert!(folders.len() >= 3, "{} models are shipped", folders.len());
    for folder in folders {
        let content = folder.content.unwrap_or_else(|faults| panic!("{}: {faults:?}", folder.name));
        let mut graph = Graph::load(&content).unwrap_or_else(|error| panic!("{}: {error}", folder.name));
        let windows: Vec<Vec<Vec<f32>>> = (0..50)
            .map(|number| {
                let mut window = content.golden.cases[number % content.golden.cases.len()].window.clone();
                window.iter_mut().flatten().for_each(|value| *value *= 0.95 + 0.1 * random.f32());
                window
            })
            .collect();
        let judged = judge(&root().join("models").join(&folder.name).join("model.onnx"), &windows);
        let mut largest = 0.0_f32;
        for (window, expected) in windows.iter().zip(&judged) {
            graph.run(|into| into.copy_from_slice(&window.concat())).expect("it scores");
            let found = graph.contrib().iter().copied().chain([graph.score()]);
            let found: Vec<f32> = found.chain(graph.remaining().into_iter().flatten()).collect();
            assert_eq!(found.len(), expected.len(), "{}", folder.name);
            for (found, expected) in found.iter().zip(expected) {
                let difference = (found - expected).abs() / expected.abs().max(1.0);
                assert!(difference <= TOLERANCE, "{}: {found} instead of {expected}", folder.name);
                largest = largest.max(difference);
            }
        }
        println!("{}: {} windows, largest difference {largest:e}", folder.name, windows.len());
    }
}

/// Outputs of ONNX Runtime for each window.
fn judge(model: &Path, windows: &[Vec<Vec<f32>>]) -> Vec<Vec<f32>> {
    let input = tempfile::NamedTempFile::new().expect("a file");
    let lines: Vec<String> =
        windows.iter().map(|window| serde_json::to_string(window).expect("JSON")).collect();
    fs::write(input.path(), lines.join("\n") + "\n").expect("there is room");
    let output = Command::new(tool("onnx/bin/python"))
        .arg(root().join("tests/models/judge.py"))
        .arg(model)
        .stdin(Stdio::from(fs::File::open(input.path()).expect("it was written")))
        .output()
        .expect("Python starts");
    assert!(output.status.success(), "judge.py: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    let judged: Vec<Vec<f32>> =
        lines.lines().map(|line| serde_json::from_str(line).expect("numbers")).collect();
    assert_eq!(judged.len(), windows.len());
    judged
}
