//! Speed of every shipped model against ONNX Runtime, in one run, and the memory of the first model:
//! `cargo bench --bench models`. ONNX Runtime is the one that `tests/setup` installs, with one thread.
//! `-- learning` measures only learning: from rows to a model that watches.

#[path = "models_parts/learning.rs"]
mod learning;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use forebay::infer::folder::Folder;
use forebay::infer::graph::Graph;

/// Windows scored for a median.
const ROUNDS: usize = 5000;

/// Resident memory of this process, in kB.
fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Median microseconds for a window, with what is around the graph.
fn ours(graph: &mut Graph, window: &[f32]) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            graph.run(|into| into.copy_from_slice(window)).expect("it scores");
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// The same of ONNX Runtime, as Python sees it.
fn runtime(root: &Path, model: &Path, window: &[Vec<f32>]) -> f64 {
    let python = root.join("target/peers/onnx/bin/python");
    let output = Command::new(&python)
        .arg(root.join("tests/models/judge.py"))
        .arg(model)
        .args(["--time", &ROUNDS.to_string(), &serde_json::to_string(window).expect("JSON")])
        .output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}: run tests/setup", python.display()));
    assert!(output.status.success(), "judge.py: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("microseconds")
}

fn main() {
    if !std::env::args().any(|argument| argument == "learning") {
        scores();
    }
    learning::learning();
}

fn scores() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    println!("{:<20}{:>10}{:>14}{:>8}{:>12}", "model", "tract µs", "ONNX Rt. µs", "ratio", "load ms");
    let mut first = None;
    for folder in Folder::all(&[root.join("models")]) {
        let content = folder.content.expect("a shipped folder is right");
        let (before, started) = (resident_kb(), Instant::now());
        let mut graph = Graph::load(&content).expect("a shipped model runs");
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        first.get_or_insert(resident_kb().saturating_sub(before));
        let window = &content.golden.cases[0].window;
        let ours = ours(&mut graph, &window.concat());
        let model = root.join("models").join(&folder.name).join("model.onnx");
        let theirs = runtime(root, &model, window);
        println!("{:<20}{ours:>10.1}{theirs:>14.1}{:>8.2}{load_ms:>12.1}", folder.name, ours / theirs);
    }
    println!("the first model took {} kB", first.unwrap_or(0));
}
