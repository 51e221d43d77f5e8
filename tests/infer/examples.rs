//! The two examples of trained models, on simulated presses they have not seen.

use forebay::demo::machine::Machine;
use forebay::infer::State as Model;
use forebay::infer::detector::Detector;
use forebay::infer::folder::Folder;

use super::bench::Bench;
use crate::support::root;

fn example(name: &str) -> Folder {
    let folder = Folder::read(&root().join("models").join(name));
    assert!(folder.content.is_ok(), "{name}: {:?}", folder.content.as_ref().err());
    folder
}

#[test]
fn the_autoencoder_is_quiet_on_healthy_presses_and_finds_wear() {
    let folder = example("press-autoencoder");
    for seed in [31, 32] {
        let mut bench = Bench::new(folder.clone(), Machine::new(seed));
        bench.run(1800);
        assert_eq!(bench.events().len(), 0, "seed {seed}");
        assert_eq!(bench.prediction().state, Model::Normal, "seed {seed}");
    }
    for seed in [41, 42, 43] {
        let mut bench = Bench::new(folder.clone(), Machine::wearing(seed));
        bench.run(240);
        let events = bench.events();
        let raised = events.iter().filter(|event| event.data["state"] == "raised").count();
        assert_eq!((raised, &events[0].data["state"]), (1, &"raised".into()), "seed {seed}: {events:?}");
        println!("seed {seed}: raised after {} s", (events[0].edge_time - 1_000_000_000) / 1_000_000);
        assert!(bench.prediction().contributions[0].0.starts_with("drive."), "seed {seed}");
    }
}

/// What the model says on a wearing press against what the simulator knows.
#[test]
fn the_remaining_life_is_near_the_truth() {
    let content = example("press-life").content.expect("it was read");
    let (mut squares, mut inside, mut count) = (0.0, 0_u32, 0_u32);
    for seed in 50..54 {
        let mut detector = Detector::load(&content).expect("it runs");
        let mut machine = Machine::wearing(seed);
        while machine.wear() < 0.98 {
            machine.step(0.5);
            let values = machine.values();
            let value = |tag: &str| {
                values.iter().find(|(path, _)| *path == tag).and_then(|(_, value)| value.as_f64())
            };
            #[allow(clippy::cast_possible_truncation)]
            let row: Vec<f32> =
                content.spec.inputs.iter().map(|input| value(&input.tag).expect("a number") as f32).collect();
            let scored = detector.push(&row).expect("it scores").is_some();
            if !scored || machine.wear() < 0.15 {
                continue;
            }
            let truth = (1.0 - machine.wear()) * 240.0;
            let [low, mid, high] =
                detector.remaining().expect("it says so").map(|minutes| f64::from(minutes) * 60.0);
            assert!(low <= mid && mid <= high, "{low} {mid} {high}");
            assert!((mid - truth).abs() < 30.0, "seed {seed}: {mid} s instead of {truth}");
            squares += (mid - truth).powi(2);
            inside += u32::from((low..=high).contains(&truth));
            count += 1;
        }
    }
    let rmse = (squares / f64::from(count)).sqrt();
    println!(
        "{count} estimates, RMSE {rmse:.1} s, {:.0} % inside the band",
        100.0 * f64::from(inside) / f64::from(count)
    );
    assert!(count > 500 && rmse < 12.0, "{count} estimates, RMSE {rmse} s");
    // As an event it comes with its unit.
    let mut bench = Bench::new(example("press-life"), Machine::wearing(55));
    bench.run(220);
    let events = bench.events();
    assert_eq!(events.len(), 1, "{events:?}");
    let life = &events[0].data["remaining_life"];
    assert_eq!(life["unit"], "min");
    let number = |key: &str| life[key].as_f64().expect("a number");
    assert!(
        number("low") <= number("mid") && number("mid") <= number("high") && number("mid") < 2.1,
        "{life}"
    );
}
