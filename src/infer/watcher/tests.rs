//! Watchers on devices made by hand.

use forebay_connector::{Quality, Value};
use tokio::sync::mpsc::Receiver;

use super::super::adapt::TagState;
use super::super::adapt::tests::{Machine, TAGS, content};
use super::super::diary::Diaries;
use super::super::folder::Folder;
use super::super::predictions::Predictions;
use super::super::reference::Reference;
use super::super::{Binding, watch, watch_with};
use super::*;
use crate::poll::testing::{device, tag};
use crate::twin::Twin;

#[test]
fn a_panic_outside_the_graph_breaks_one_model_and_the_others_go_on() {
    let folder = Arc::new(Folder::built_in().remove(0));
    let inputs = &folder.content.as_ref().unwrap().spec.inputs;
    let device = device((0..).zip(inputs).map(|(raw, input)| tag(&input.tag, raw)).collect());
    let (name, twin) = (device.name.clone(), Twin::new(&[device]));
    let (events, mut received) = Events::new();
    let binding = Binding { folder: Arc::clone(&folder), device: name.clone() };
    let (watcher, says) = watch(binding, "Works1/box", &twin, &events);
    let mut watcher = watcher.unwrap();
    // A row that does not fit the window.
    watcher.row = Vec::new();
    let tick = std::panic::AssertUnwindSafe(|| watcher.tick(1, &events));
    let panic = std::panic::catch_unwind(tick).unwrap_err();
    watcher.panicked(&*panic, &events);
    assert!(!watcher.is_running());
    let State::Broken { why } = says.list().remove(0).state else { panic!("still runs") };
    assert!(why.get("en").contains("a fault inside Forebay, please report it: "), "{why:?}");
    let event = received.try_recv().unwrap();
    assert_eq!((event.kind, &event.data["state"]), (Kind::ModelState, &json!("broken")));
}

const PATH: &str = "Werk1/press-3";

/// A made-up machine on the grid of its models, and what these tell.
struct Bench {
    twin: Twin,
    machine: Machine,
    events: Events,
    received: Receiver<Event>,
    now_us: i64,
}

impl Bench {
    fn new() -> Self {
        let tags = (0..).zip(["a", "b", "c"]).map(|(raw, path)| tag(path, raw)).collect();
        let (events, received) = Events::new();
        let (twin, machine) = (Twin::new(&[device(tags)]), Machine::seeded(5));
        Self { twin, machine, events, received, now_us: 1_770_800_400_000_000 }
    }

    fn binding(&self, content: &Content) -> Binding {
        let (origin, name) = (content.spec.version.clone(), content.spec.name.clone());
        let folder = Arc::new(Folder { origin, name, content: Ok(content.clone()) });
        Binding { folder, device: self.twin.devices()[0].device.name.clone() }
    }

    fn start(&self, content: &Content, diaries: &Arc<Diaries>) -> Watcher {
        let binding = self.binding(content);
        watch_with(binding, "Works1/box", &self.twin, Arc::clone(diaries), &self.events).0.unwrap()
    }

    /// A second of the machine; `moved` deviations are added to tag `c`.
    fn tick(&mut self, watcher: &mut Watcher, moved: f64) {
        self.read(moved, Quality::Good);
        watcher.tick(self.now_us, &self.events);
    }

    /// The poller reads the machine, a second later.
    fn read(&mut self, moved: f64, quality: Quality) {
        self.now_us += 1_000_000;
        let row = self.machine.row(moved, 0.0);
        let press = Arc::clone(&self.twin.devices()[0]);
        let mut state = press.state();
        state.link = Link::Up { since_us: 1 };
        for (current, value) in state.values.iter_mut().zip(row) {
            (current.value, current.quality) = (Value::Real(value), quality);
            current.edge_us = self.now_us;
        }
    }

    fn run(&mut self, watcher: &mut Watcher, seconds: u32, moved: f64) {
        (0..seconds).for_each(|_| self.tick(watcher, moved));
    }

    /// What was told since the last look, without the summaries of the minutes.
    fn told(&mut self) -> Vec<Event> {
        let all = std::iter::from_fn(|| self.received.try_recv().ok());
        all.filter(|event| event.kind != Kind::Score).collect()
    }
}

fn version(name: &str, seed: u64) -> Content {
    let mut content = content(&mut Machine::seeded(seed));
    content.spec.version = name.to_owned();
    content
}

fn learned(watcher: &Watcher) -> Drift {
    watcher.detector.drift_state().unwrap()
}

/// Reading decimal digits may be off in the last of them.
fn same(a: &Drift, b: &Drift) -> bool {
    let numbers = |tag: &TagState| [tag.accepted, tag.offset, tag.slow];
    let pairs = a.tags.iter().flat_map(numbers).zip(b.tags.iter().flat_map(numbers));
    a.hash == b.hash
        && a.tags.len() == b.tags.len()
        && pairs.fold(true, |all, (a, b)| all && (a - b).abs() < 1e-9)
}

fn open(folder: &tempfile::TempDir) -> crate::state::State {
    crate::state::State::open(&folder.path().join("state")).unwrap().state
}

#[test]
fn each_version_goes_on_from_its_own_baseline() {
    let (folder, mut bench) = (tempfile::tempdir().unwrap(), Bench::new());
    let (one, two) = (version("1", 11), version("2", 12));
    let state = open(&folder);
    let diaries = Diaries::open(Some(&state));
    let mut first = bench.start(&one, &diaries);
    let trained = learned(&first);
    bench.run(&mut first, 300, 0.5);
    // As the scheduler does it: the new one is loaded, then it takes over.
    let mut second = bench.start(&two, &diaries);
    let trained_too = learned(&second);
    bench.run(&mut first, 90, 0.5);
    second.take_over(&first);
    assert_eq!(learned(&second), trained_too, "nothing of the other version");
    bench.run(&mut second, 200, -0.5);
    let (of_one, of_two) = (learned(&first), learned(&second));
    assert!(!same(&of_one, &trained) && !same(&of_two, &trained_too));
    // Back, and forth again.
    let mut back = bench.start(&one, &diaries);
    back.take_over(&second);
    assert_eq!(learned(&back), of_one, "it goes on where it was");
    let forth = bench.start(&two, &diaries);
    assert_eq!(learned(&forth), of_two);
    // A restart.
    diaries.write_all(&state, &bench.events);
    drop((diaries, state));
    let diaries = Diaries::open(Some(&open(&folder)));
    for (content, expected) in [(&one, &of_one), (&two, &of_two)] {
        let found = learned(&bench.start(content, &diaries));
        assert!(same(&found, expected), "{found:?} instead of {expected:?}");
    }
}

#[test]
fn a_state_that_opens_late_brings_what_was_learned_and_accepted() {
    let (folder, mut bench) = (tempfile::tempdir().unwrap(), Bench::new());
    let content = version("1", 11);
    let state = open(&folder);
    let before = Diaries::open(Some(&state));
    let mut watcher = bench.start(&content, &before);
    bench.run(&mut watcher, 300, 5.0);
    assert!(learned(&watcher).tags[2].accepted.abs() < 1e-9);
    watcher.slot.accept();
    bench.run(&mut watcher, 70, 5.0);
    let accepted = learned(&watcher).tags[2].accepted;
    assert!((4.0..6.0).contains(&accepted), "{accepted}");
    before.write_all(&state, &bench.events);
    // The next start finds no disk, for two minutes.
    let late = Diaries::open(None);
    let mut watcher = bench.start(&content, &late);
    bench.run(&mut watcher, 120, 5.0);
    assert!(watcher.slot.now().score.unwrap() > 1.0, "as trained, this is not normal");
    late.take(&state);
    bench.run(&mut watcher, 70, 5.0);
    assert!((learned(&watcher).tags[2].accepted - accepted).abs() < 1e-6, "{:?}", learned(&watcher));
    assert!(watcher.slot.now().score.unwrap() < 1.0);
}

/// How far the baseline of each tag may go.
fn reach(content: &Content) -> f64 {
    Reference::read(&content.onnx, TAGS).unwrap().unwrap().tags[2].reach
}

#[test]
fn a_tag_that_moves_slowly_is_told_of_once_before_it_alarms() {
    let (mut bench, content) = (Bench::new(), version("1", 11));
    let mut watcher = bench.start(&content, &Arc::default());
    let per_row = 0.75 * reach(&content) / 4000.0;
    let (mut moved, mut events) = (0.0, Vec::new());
    while moved < 3.0 * reach(&content) && events.len() < 2 {
        moved += per_row;
        bench.tick(&mut watcher, moved);
        events.extend(bench.told().into_iter().map(|event| (bench.now_us, event)));
    }
    let kinds: Vec<Kind> = events.iter().map(|(_, event)| event.kind).collect();
    assert_eq!(kinds, [Kind::Drift, Kind::Prediction], "{events:?}");
    let before_s = (events[1].0 - events[0].0) / 1_000_000;
    println!("told {before_s} s before the alarm at {:.2} of the reach", moved / reach(&content));
    assert!(before_s > 600, "{before_s} s");
    bench.run(&mut watcher, 600, moved);
    assert!(bench.told().iter().all(|event| event.kind != Kind::Drift), "once");
    let event = events.remove(0).1;
    assert_eq!((event.device.as_str(), &event.data["tag"]), (PATH, &json!("c")));
    assert_eq!((&event.data["model"], &event.data["look_at"]["en"]), (&json!("made-up"), &json!("c")));
    let used = event.data["used"].as_f64().unwrap();
    assert!((0.8..0.85).contains(&used), "{event:?}");
    let said = format!("c has slowly moved: {:.0} %", used * 100.0);
    assert!(event.text.contains(&said) && event.text.contains("new normal"), "{}", event.text);
    // A person accepts; from there the reach counts anew, and so does what is told.
    watcher.slot.accept();
    bench.run(&mut watcher, 120, moved);
    assert!(bench.told().iter().all(|event| event.kind != Kind::Drift));
    let (accepted, mut told) = (moved, 0);
    while moved < accepted + 1.2 * reach(&content) {
        moved += per_row;
        bench.tick(&mut watcher, moved);
        told += bench.told().iter().filter(|event| event.kind == Kind::Drift).count();
    }
    assert_eq!(told, 1);
}

#[test]
fn a_shadow_keeps_what_it_learns_and_tells_nothing_of_it() {
    let mut bench = Bench::new();
    let (one, two) = (version("1", 11), version("2", 12));
    let diaries: Arc<Diaries> = Arc::default();
    let predictions =
        Predictions::new(vec![bench.binding(&one)], "Works1/box", &bench.twin, Arc::clone(&diaries));
    let again = Content { spec: Spec { version: "3".into(), ..one.spec.clone() }, ..one.clone() };
    predictions.bind_with(
        vec![bench.binding(&one)],
        [&two, &again].map(|it| bench.binding(it)).into(),
        &bench.twin,
    );
    let (active, shadows) = (predictions.slots(), predictions.shadows());
    assert!(
        Arc::ptr_eq(&active[0].diary, &shadows[0].learned)
            && !Arc::ptr_eq(&active[0].diary, &shadows[0].diary)
    );
    assert!(!Arc::ptr_eq(&active[0].diary, &shadows[1].learned), "the active one has the same graph");
    let mut shadow = Watcher::start(Arc::clone(&shadows[0]), &bench.events).unwrap();
    let mut state = learned(&shadow);
    state.tags[2].offset = 0.9 * reach(&two);
    shadow.detector.restore_drift(&state).unwrap();
    let moved = state.tags[2].offset;
    bench.run(&mut shadow, 130, moved);
    assert_eq!(bench.told().len(), 0);
    // It takes over, and then it tells.
    predictions.bind_with(vec![bench.binding(&two)], Vec::new(), &bench.twin);
    let mut promoted = Watcher::start(Arc::clone(&predictions.slots()[0]), &bench.events).unwrap();
    let kept = learned(&promoted).tags[2].offset / reach(&two);
    assert!((0.85..0.95).contains(&kept), "{kept}");
    bench.run(&mut promoted, 70, moved);
    assert_eq!(bench.told().iter().map(|event| event.kind).collect::<Vec<_>>(), [Kind::Drift]);
}

const HOUR_US: i64 = 3_600_000_000;

#[test]
fn a_clock_that_is_set_back_holds_up_neither_an_event_nor_what_is_shown() {
    let (mut bench, content) = (Bench::new(), version("1", 11));
    let mut watcher = bench.start(&content, &Arc::default());
    bench.run(&mut watcher, 30, 0.0);
    assert!(matches!(watcher.slot.now().state, State::Normal));
    // There is no time for scores: after a minute nothing is called normal.
    bench.now_us -= HOUR_US;
    for _ in 0..62 {
        bench.read(0.0, Quality::Good);
        watcher.tick_within(bench.now_us, false, &bench.events);
    }
    assert!(matches!(watcher.slot.now().state, State::Suppressed { .. }), "{:?}", watcher.slot.now().state);
    bench.run(&mut watcher, 10, 0.0);
    assert!(matches!(watcher.slot.now().state, State::Normal));
    bench.told();
    // An input is missing: that is told after five seconds.
    for at in 0..8 {
        bench.now_us -= if at == 2 { HOUR_US } else { 0 };
        bench.read(0.0, Quality::Bad);
        watcher.tick(bench.now_us, &bench.events);
    }
    let told: Vec<Kind> = bench.told().iter().map(|event| event.kind).collect();
    assert_eq!(told, [Kind::ModelState]);
}

#[test]
fn an_episode_of_a_state_that_opens_late_goes_on_and_is_not_begun_anew() {
    let (folder, mut bench) = (tempfile::tempdir().unwrap(), Bench::new());
    let (content, state) = (version("1", 11), open(&folder));
    let before = Diaries::open(Some(&state));
    let mut watcher = bench.start(&content, &before);
    bench.run(&mut watcher, 40, 5.0);
    before.write_all(&state, &bench.events);
    let episodes = |told: Vec<Event>| -> Vec<(String, String)> {
        let text = |event: &Event, name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
        told.iter().map(|event| (text(event, "state"), text(event, "episode"))).collect()
    };
    let raised = episodes(bench.told());
    assert_eq!((raised.len(), raised[0].0.as_str()), (1, "raised"));
    drop((watcher, before));
    // The disk is not there at the next start; it comes when the score is over the limit again.
    let late = Diaries::open(None);
    let mut watcher = bench.start(&content, &late);
    bench.run(&mut watcher, 7, 5.0);
    assert!(watcher.slot.now().score.unwrap() > 1.0 && watcher.slot.now().raised_us.is_none());
    late.take(&state);
    bench.run(&mut watcher, 30, 5.0);
    late.write_all(&state, &bench.events);
    assert_eq!(
        episodes(bench.told()),
        raised,
        "the same once more: nobody knows whether it was in the journal"
    );
    bench.run(&mut watcher, 60, 0.0);
    late.write_all(&state, &bench.events);
    assert_eq!(episodes(bench.told()), [("cleared".to_owned(), raised[0].1.clone())]);
    assert_eq!(watcher.slot.diary.episodes().len(), 1);
}
