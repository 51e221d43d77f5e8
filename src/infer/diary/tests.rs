use tokio::sync::mpsc::Receiver;

use super::*;
use crate::event::Kind;
use crate::infer::episode::Identity;
use crate::infer::episode::tests::spec;
use crate::infer::feedback::{Answer, FEEDBACK_MAX};
use crate::infer::spec::Spec;
use crate::infer::tell::{self, Source};
use crate::state::{State, Table};

const PATH: &str = "Works1/Pressing/press-3";
const START_US: i64 = 1_770_800_400_000_000;

/// A small state on a disk.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> State {
        State::open(&self.0.path().join("state")).unwrap().state
    }
}

/// Diaries of one run of the program, and what it sent.
struct Run {
    diaries: Arc<Diaries>,
    diary: Arc<Diary>,
    spec: Spec,
    identity: Identity,
    events: Events,
    received: Receiver<Event>,
}

impl Run {
    fn new(state: &State) -> Self {
        let (diaries, spec) = (Diaries::open(Some(state)), spec());
        let diary = diaries.of(PATH, &spec.name);
        let (events, received) = Events::new();
        let identity = Identity { model: spec.name.clone(), version: "1".into(), hash: "00".into() };
        let run = Self { diaries, diary, spec, identity, events, received };
        run.diary.resume("1", START_US, |change, episode| run.event(change, episode), &run.events);
        run
    }

    fn event(&self, change: Change, episode: &Episode) -> Event {
        let now_us = episode.end_us.unwrap_or(episode.begin_us);
        let (path, identity, spec) = (PATH, &self.identity, &self.spec);
        let (score, remaining) = (None, None);
        let source = Source { path, identity, spec, score, input_quality: 1.0, remaining, now_us };
        tell::prediction(change, episode, &source)
    }

    fn score(&self, score: f32, crossing: Option<Crossing>, now_us: i64) {
        let raise = Raise {
            path: PATH,
            identity: &self.identity,
            spec: &self.spec,
            score,
            contrib: &[1.0; 5],
            input_quality: 1.0,
        };
        let scored = Scored { raise, crossing, now_us };
        self.diary.scored(scored, |change, episode| self.event(change, episode), &self.events);
    }

    fn write(&self, state: &State) {
        self.diaries.write(Some(state), true, false, &self.events);
    }

    /// States of the predictions that were sent, with the episode.
    fn sent(&mut self) -> Vec<(String, String)> {
        let text = |event: &Event, name: &str| event.data[name].as_str().unwrap().to_owned();
        let events = std::iter::from_fn(|| self.received.try_recv().ok());
        events
            .filter(|event| event.kind == Kind::Prediction)
            .map(|event| (text(&event, "state"), text(&event, "episode")))
            .collect()
    }

    /// As if what was sent had been in the journal for long.
    fn settle(&self) {
        for entry in &mut self.diary.pages().episodes {
            (entry.told, entry.dirty) = (entry.sent, true);
        }
    }
}

#[test]
fn an_event_is_sent_when_what_it_tells_is_written() {
    let disk = Disk::new();
    let state = disk.open();
    let mut run = Run::new(&state);
    run.score(1.3, Some(Crossing::Raised), START_US);
    assert_eq!(run.sent(), [], "it waits");
    run.write(&state);
    let raised = run.sent();
    assert_eq!((raised.len(), raised[0].0.as_str()), (1, "raised"));
    drop(state);
    assert_eq!(Run::new(&disk.open()).diary.episodes()[0].id, raised[0].1);
    run.write(&disk.open());
    assert_eq!(run.sent(), [], "once");
}

#[test]
fn a_running_episode_goes_on_after_a_restart_and_is_not_told_again() {
    let disk = Disk::new();
    let state = disk.open();
    let mut run = Run::new(&state);
    run.score(1.3, Some(Crossing::Raised), START_US);
    run.write(&state);
    let id = run.sent().remove(0).1;
    run.settle();
    run.write(&state);
    drop((run, state));

    let state = disk.open();
    let mut run = Run::new(&state);
    assert_eq!(run.diary.running_us(), Some(START_US));
    run.score(1.4, None, START_US + 1);
    run.score(2.4, None, START_US + 2);
    run.write(&state);
    assert_eq!(run.sent(), [], "it was told, and is not worse for a minute");
    run.score(0.2, Some(Crossing::Cleared), START_US + 3);
    run.write(&state);
    assert_eq!(run.sent(), [("cleared".to_owned(), id)]);
    let over = &run.diary.episodes()[0];
    assert_eq!((over.worst, over.end_us), (2.4, Some(START_US + 3)));
    assert_eq!(run.diary.running_us(), None);
}

#[test]
fn what_a_crash_has_swallowed_is_told_after_the_restart() {
    let disk = Disk::new();
    let state = disk.open();
    let mut run = Run::new(&state);
    run.score(1.3, Some(Crossing::Raised), START_US);
    // Written and sent, but nobody knows whether it came into the journal.
    run.write(&state);
    let raised = run.sent();
    drop((run, state));
    let state = disk.open();
    let mut run = Run::new(&state);
    run.write(&state);
    assert_eq!(run.sent(), raised, "the same event of the same episode");
    run.score(0.2, Some(Crossing::Cleared), START_US + 3);
    run.settle();
    drop(run);
    // The end was never written: it is still running, and ends anew.
    let mut run = Run::new(&state);
    assert_eq!(run.diary.running_us(), Some(START_US));
    run.score(0.2, Some(Crossing::Cleared), START_US + 9);
    run.write(&state);
    assert_eq!(run.sent().last().map(|(state, _)| state.as_str()), Some("cleared"));
}

#[test]
fn at_the_stop_nothing_is_sent_into_a_journal_that_closes() {
    let disk = Disk::new();
    let state = disk.open();
    let mut run = Run::new(&state);
    run.score(1.3, Some(Crossing::Raised), START_US);
    run.diaries.write(Some(&state), true, true, &run.events);
    assert_eq!(run.sent(), []);
    let mut next = Run::new(&state);
    next.write(&state);
    assert_eq!(next.sent().len(), 1, "told by the next run");
}

#[test]
fn the_number_of_episodes_and_of_answers_is_bounded() {
    let disk = Disk::new();
    let state = disk.open();
    let run = Run::new(&state);
    for at in 0..100 {
        let now_us = START_US + at * 1_000_000;
        run.score(1.3, Some(Crossing::Raised), now_us);
        run.score(0.1, Some(Crossing::Cleared), now_us + 1);
        if at % 7 == 0 {
            run.write(&state);
        }
    }
    let last = run.diary.episodes()[0].id.clone();
    let say = |note: String| Feedback { answer: Answer::Seen, person: "anna".into(), note, at_us: START_US };
    for at in 0..30 {
        run.diaries.hear(&last, &say(at.to_string()), &run.events).unwrap();
    }
    run.diaries.hear("nobody", &say(String::new()), &run.events).unwrap_err();
    run.write(&state);
    let stored = state.list(Table::Diary);
    assert_eq!(stored.iter().filter(|(key, _)| key.contains("\nepisode ")).count(), EPISODES_MAX);
    drop((run, state));
    let run = Run::new(&disk.open());
    let episodes = run.diary.episodes();
    assert_eq!((episodes.len(), episodes[0].id.as_str()), (EPISODES_MAX, last.as_str()));
    let notes: Vec<&str> = episodes[0].feedback.iter().map(|it| it.note.as_str()).collect();
    assert_eq!((notes.len(), notes[0], notes[FEEDBACK_MAX - 1]), (FEEDBACK_MAX, "0", "29"));
    assert!(episodes.windows(2).all(|pair| pair[0].begin_us > pair[1].begin_us));
}

#[test]
fn a_state_that_opens_late_is_taken_in() {
    let disk = Disk::new();
    let state = disk.open();
    let run = Run::new(&state);
    run.score(1.3, Some(Crossing::Raised), START_US);
    run.write(&state);
    let later = Diaries::open(None);
    let diary = later.of(PATH, &run.spec.name);
    let (events, _received) = Events::new();
    let late = Run { diaries: Arc::clone(&later), diary, events, ..Run::new(&state) };
    late.score(1.5, Some(Crossing::Raised), START_US + 60_000_000);
    later.take(&state);
    let episodes = late.diary.episodes();
    assert_eq!(episodes.len(), 2);
    assert_eq!(episodes[1].end_us, Some(START_US + 60_000_000), "the earlier one is over");
    assert_eq!(late.diary.running_us(), Some(START_US + 60_000_000));
    late.write(&state);
    let places = state.list(Table::Diary).into_iter().filter(|(key, _)| key.contains("\nepisode "));
    assert_eq!(places.count(), 2, "each in a place of its own");
}

#[test]
fn damaged_pieces_are_left_out() {
    let disk = Disk::new();
    let state = disk.open();
    let pieces = ["episode 0", "episode 99", "episode x", "day 3", "hour 3", "version", "other"];
    let name = spec().name;
    let keys: Vec<String> = pieces.iter().map(|piece| format!("{PATH}\n{name}\n{piece}")).collect();
    let values = keys.iter().map(|key| (key.as_str(), b"\xff\x00 garbage".to_vec()));
    state.save(Table::Diary, values.chain([("no lines", b"1".to_vec())])).unwrap();
    let run = Run::new(&state);
    assert_eq!((run.diary.episodes().len(), run.diary.hours().len()), (0, 0));
}

#[test]
fn an_answer_to_an_episode_that_is_not_there_changes_nothing_and_says_nothing() {
    let disk = Disk::new();
    let state = disk.open();
    let mut run = Run::new(&state);
    let say = |answer| Feedback { answer, person: "anna".into(), note: String::new(), at_us: START_US };
    run.score(1.3, Some(Crossing::Raised), START_US);
    let first = run.diary.episodes()[0].id.clone();
    run.diaries.hear(&first, &say(Answer::Seen), &run.events).unwrap();
    run.score(0.1, Some(Crossing::Cleared), START_US + 1);
    run.diaries.hear(&first, &say(Answer::FalseAlarm), &run.events).unwrap();
    run.write(&state);
    run.sent();
    // So many others that it is not remembered any more.
    for at in 1..=i64::try_from(EPISODES_MAX).unwrap() {
        run.score(1.3, Some(Crossing::Raised), START_US + at * 1_000_000);
        run.score(0.1, Some(Crossing::Cleared), START_US + at * 1_000_000 + 1);
        run.write(&state);
    }
    while run.received.try_recv().is_ok() {}
    let before = (run.diary.episodes(), state.list(Table::Diary));
    let long = "x".repeat(5000);
    for id in ["", "nobody", first.as_str(), long.as_str(), "20260211-133605-3fa9c1\n"] {
        let refused = run.diaries.hear(id, &say(Answer::Real), &run.events).unwrap_err();
        assert!(refused.to_string().len() < 120, "{refused}");
    }
    run.write(&state);
    assert!(run.received.try_recv().is_err(), "no event");
    assert_eq!(before, (run.diary.episodes(), state.list(Table::Diary)));
    // One of another device with the same number of episodes is not meant either.
    let other = run.diaries.of("Works1/Pressing/press-4", &run.spec.name);
    let newest = run.diary.episodes()[0].id.clone();
    run.diaries.hear(&newest, &say(Answer::Real), &run.events).unwrap();
    assert_eq!((other.episodes().len(), run.diary.episodes()[0].feedback.len()), (0, 1));
}
