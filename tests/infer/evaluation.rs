//! Learning and evaluating on recorded data.

use forebay::demo::record::{self, Record};
use forebay::infer::evaluate::{self, Evaluate};
use forebay::infer::graph::Graph;
use forebay::infer::lag_pca::{LagPca, Settings};

use super::bench::{INPUTS, content};

/// The recording, the fit and the shipped model belong together: our own code learns from the
/// recording that `train.py` was given, and must find the same scores.
#[test]
fn learning_on_the_box_gives_the_shipped_model() {
    let mut table = Vec::new();
    record::run(&Record { seconds: 14_400, seed: 1, wear: 0.0 }, &mut table).expect("memory takes it");
    let table = String::from_utf8(table).expect("text");
    let header: Vec<&str> = table.lines().next().expect("a header").split(',').collect();
    let columns = INPUTS.map(|input| header.iter().position(|name| *name == input).expect("it is recorded"));
    let mut rows: Vec<f32> = Vec::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        rows.extend(columns.map(|column| cells[column].parse::<f32>().expect("a number")));
    }
    let content = content();
    let model =
        LagPca::fit(&rows, INPUTS.len(), content.spec.window, Settings::default()).expect("it learns");
    for case in &content.golden.cases {
        let contrib = model.contrib(&case.window.concat());
        for (found, expected) in contrib.iter().zip(&case.contrib) {
            let difference = (found - f64::from(*expected)).abs();
            assert!(difference < 1e-3, "{}: {found} instead of {expected}", case.name);
        }
    }
    // And its own ONNX passes the gate, with golden cases computed without ONNX.
    let windows: Vec<&[f32]> = rows.chunks_exact(50).take(3).collect();
    Graph::load(&model.content(content.spec.clone(), &windows)).expect("what was written can be run");
}

/// A step in the data must be found, and the rows that use no sensor must be what they claim.
#[test]
fn an_evaluation_finds_a_step_and_prints_the_trivial_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rng = fastrand::Rng::with_seed(9);
    let mut table = |labelled: bool| {
        let mut text = format!("datetime;a;b{}\n", if labelled { ";anomaly;changepoint" } else { "" });
        for row in 0..2500 {
            let anomaly = labelled && (1250..2125).contains(&row);
            let load = rng.f64();
            let a = load + 0.05 * rng.f64() + if anomaly { 3.0 } else { 0.0 };
            text += &format!("2026-01-01 00:00:00;{a};{}", load + 0.05 * rng.f64());
            text += if !labelled {
                "\n"
            } else if anomaly {
                ";1.0;0.0\n"
            } else {
                ";0.0;0.0\n"
            };
        }
        text
    };
    std::fs::create_dir(folder.path().join("steps")).expect("a folder");
    std::fs::write(folder.path().join("steps/1.csv"), table(true)).expect("it is written");
    std::fs::write(folder.path().join("free.csv"), table(false)).expect("it is written");
    let options = Evaluate {
        model: "lag-pca".into(),
        data: folder.path().into(),
        train_rows: 400,
        window: 10,
        interval_s: 1.0,
    };
    let mut said = Vec::new();
    evaluate::run(&options, &mut said).expect("it runs");
    let said = String::from_utf8(said).expect("text");
    let figures = |row: &str| -> Vec<f64> {
        let line =
            said.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row} in {said}"));
        line[44..].split_whitespace().map(|figure| figure.parse().expect("a number")).collect()
    };
    let model = figures("lag-pca, rows over the limit");
    assert!(model[0] > 0.97 && model[1] < 3.0 && model[2] < 3.0, "{said}");
    assert_eq!(figures("always alarm")[1..], [100.0, 0.0]);
    assert_eq!(figures("alarm at 50-85 %"), [1.0, 0.0, 0.0]);
    assert!(said.contains("anomalies with an alarm: 1 of 1"), "{said}");
    assert!(said.contains("anomalies with a prediction: 1 of 1"), "{said}");
    assert!(said.contains("free.csv: no labels; fitted on 400 rows"), "{said}");

    std::fs::write(folder.path().join("free.csv"), "a;b\n1;2\n1;x\n").expect("it is written");
    let error = evaluate::run(&options, &mut Vec::new()).expect_err("x is no number");
    assert!(error.to_string().ends_with("free.csv:3: b is no number"), "{error}");
}
