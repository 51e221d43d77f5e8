//! How long the box takes from rows of normal running to a model that watches: 20 tags, a day of seconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use forebay::demo::machine::Machine;
use forebay::demo::past;
use forebay::device::Text;
use forebay::infer::detector::Detector;
use forebay::infer::features::Prepare;
use forebay::infer::fit::{self, Learning};
use forebay::infer::folder::Content;
use forebay::infer::spec::{Input, Spec};
use forebay::lane::History;
use forebay::learn::rows::{self, Wanted};
use forebay::learn::{Grid, WINDOW};

const TAGS: usize = 20;
const DAY_S: usize = 86_400;
/// Each stage is measured so often; the median counts.
const ROUNDS: usize = 5;
/// What all stages together are to take.
const AIM_MS: f64 = 50.0;

/// One load that all tags follow, noise of each, and a slow wandering: as of a machine at work.
fn day() -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(20);
    let mut noise = move |size: f32| (random.f32() + random.f32() + random.f32() - 1.5) * size;
    let (mut load, mut slow) = (0.7_f32, [0.0_f32; TAGS]);
    let mut rows = Vec::with_capacity(TAGS * DAY_S);
    for _ in 0..DAY_S {
        load += (0.7 - load) * 0.01 + noise(0.02);
        for (tag, slow) in slow.iter_mut().enumerate() {
            *slow += noise(0.004) - *slow * 0.001;
            #[allow(clippy::cast_precision_loss)] // 20
            let gain = 1.0 + tag as f32 * 0.2;
            rows.push(50.0 + gain * load + *slow + noise(0.1));
        }
    }
    rows
}

fn spec() -> Spec {
    let input = |tag| Input { tag: format!("drive.value_{tag}"), look_at: Text::plain("look at it") };
    Spec {
        name: "learned-bench".to_owned(),
        version: "1".to_owned(),
        title: Text::plain("Normal running"),
        profile: String::new(),
        sample_interval: Duration::from_secs(1),
        window: WINDOW,
        stride: 1,
        smoothing: 1,
        threshold: 1.0,
        clear_below: 0.85,
        hold: Duration::from_secs(5),
        inputs: (0..TAGS).map(input).collect(),
        prepare: Prepare::default(),
    }
}

/// Milliseconds of each stage, in one round.
fn round(rows: &[f32], before: &Detector) -> [f64; 4] {
    let mut times = [0.0; 4];
    let mut stage = Instant::now();
    let mut next = |number: usize| {
        times[number] = stage.elapsed().as_secs_f64() * 1e3;
        stage = Instant::now();
    };
    let (model, reference) = fit::learn(rows, TAGS, WINDOW, Learning::default()).expect("it learns");
    next(0);
    let width = WINDOW * TAGS;
    let windows = [&rows[..width], &rows[rows.len() - width..]];
    let content: Content = model.content_with(spec(), &windows, Some(&reference));
    next(1);
    let mut detector = Detector::load(&content).expect("it passes its gate");
    next(2);
    detector.take_over(before);
    next(3);
    black_box(detector.missing());
    times
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Prints the table.
pub fn learning() {
    let rows = day();
    let (model, reference) = fit::learn(&rows[..TAGS * 2000], TAGS, WINDOW, Learning::default())
        .expect("a part is enough for what runs before");
    let windows = [&rows[..WINDOW * TAGS], &rows[WINDOW * TAGS..2 * WINDOW * TAGS]];
    let content = model.content_with(spec(), &windows, Some(&reference));
    let mut before = Detector::load(&content).expect("it passes its gate");
    for row in rows[..WINDOW * TAGS].chunks_exact(TAGS) {
        before.push(row).expect("it scores");
    }
    let rounds: Vec<[f64; 4]> = (0..ROUNDS).map(|_| round(&rows, &before)).collect();
    println!("\nlearning: {TAGS} tags, {DAY_S} rows, window {WINDOW}; median of {ROUNDS}, ms");
    for (stage, name) in ["fit", "write ONNX", "load and gate", "swap (window taken over)"].iter().enumerate()
    {
        println!("  {name:<26}{:>9.2}", median(rounds.iter().map(|times| times[stage]).collect()));
    }
    let all = median(rounds.iter().map(|times| times.iter().sum()).collect());
    println!("  {:<26}{all:>9.2}   (aim: under {AIM_MS})", "together");
    reading();
}

/// The same rows out of a journal: a day of the simulated press.
fn reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let devices = past::devices().expect("the demo's devices");
    let press = devices.iter().find(|device| device.name == "press-3").expect("the press");
    let end_us = 1_795_219_200_000_000;
    let seconds = u32::try_from(DAY_S).expect("a day");
    past::record(folder.path(), press, &mut Machine::new(1), (seconds, end_us), |_, _| ()).expect("stored");
    let history = History::open(&folder.path().join("telemetry")).expect("a journal");
    let is_measured = |index: &usize| {
        let tag = &press.tags[*index];
        tag.data_type.scalar.is_number() && tag.enumeration.is_none() && tag.bit.is_none() && !tag.counter
    };
    let tags: Vec<usize> = (0..press.tags.len()).filter(is_measured).take(TAGS).collect();
    let interval_us = 1_000_000;
    let grid = Grid { from_us: end_us - i64::from(seconds) * interval_us, interval_us, points: DAY_S };
    let wanted = Wanted {
        device: press,
        tags: &tags,
        states: None,
        settle: Duration::ZERO,
        fills: &[],
        grid,
        run_min: WINDOW,
        leave_out_stuck: true,
    };
    let (mut times, mut count) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        count = rows::read(&history, &wanted).expect("it is read").points.len();
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (tags, ms) = (tags.len(), median(times));
    println!("  reading a day from a journal, {tags} tags of the press, {count} rows: {ms:.1} ms");
}
