//! The overview as plain data with all its words: what the page, the JSON API and the metrics show.

use std::sync::Arc;

use serde::Serialize;

use super::certificates::{CertificateRow, certificates};
use super::facts::{Facts, Identity, NotRead, Prediction, PredictionState, Reserve, ToIt, serialize_moment};
use super::health::severity_words;
use super::judge::{FAULTY_FILE, Letter, Tally, cause_sentence};
use super::speech::{Speech, plain, sentence};
use super::standby::{StandbyRow, standby};
use super::verdict::{Verdict, verdict};
use super::words::fill;
use super::{tiles, verdict};
use crate::infer::episode::Severity;
use crate::twin::{Cause, DeviceState, DeviceTwin, Link, Slowed, Twin};

/// Everything `/` says.
#[derive(Serialize)]
pub(super) struct View {
    /// Who speaks.
    pub(super) identity: Identity,
    /// Local time of the box, in words.
    pub(super) time: String,
    /// Microseconds since 1970 UTC.
    #[serde(serialize_with = "crate::clock::serialize_us")]
    pub(super) at: i64,
    /// State of the clock in words, empty when not known.
    pub(super) clock: &'static str,
    /// What is wrong with the clock, in sentences; empty when nothing is known to be.
    pub(super) clock_note: String,
    /// The answer in one sentence.
    pub(super) verdict: Verdict,
    /// How two boxes share the plant; `None` where there is only this one.
    pub(super) standby: Option<StandbyRow>,
    /// What the servers of machines have shown.
    pub(super) certificates: Vec<CertificateRow>,
    /// One for each device, in ISA-95 order.
    pub(super) machines: Vec<Row>,
    /// The way to Kafka.
    pub(super) to_it: Tile<ToIt>,
    /// Room on disk.
    pub(super) reserve: Tile<Reserve>,
    /// What the models say.
    pub(super) predictions: Tile<Vec<PredictionRow>>,
}

/// One machine in one line.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// The name as it was given, for links; never shown.
    #[serde(skip)]
    pub(super) key: String,
    /// Topic key.
    pub(super) path: String,
    /// Title of the profile.
    pub(super) title: String,
    /// Site, area, line and cell.
    pub(super) location: Vec<String>,
    pub(super) letter: Option<Letter>,
    pub(super) state: State,
    /// Since when it is in this state; `None` while starting.
    #[serde(rename = "since", serialize_with = "serialize_moment")]
    pub(super) since_us: Option<i64>,
    /// Why it is not good, in words; empty when it is.
    pub(super) cause: String,
    /// The connector's own words; empty while values come in.
    pub(super) detail: String,
    #[serde(skip)]
    pub(super) down: Option<Cause>,
    /// The worst of its values.
    #[serde(skip)]
    pub(super) worst: Option<Letter>,
    /// Age of the last good value, seconds; `None` before the first.
    pub(super) age_s: Option<f64>,
    /// The same in words.
    pub(super) age: String,
    pub(super) good: usize,
    pub(super) total: usize,
    /// Values per minute over the last hour, oldest first; `None` before the start.
    pub(super) rates: Vec<Option<u64>>,
    pub(super) values_read: u64,
    pub(super) samples: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) connects: u64,
    pub(super) scans_missed: u64,
    pub(super) round_trip_s: f64,
    /// How late the last scan began.
    pub(super) late_s: f64,
    /// The backup address in use; `None`: the first one.
    pub(super) backup: Option<String>,
    /// Scan classes that are read less often than asked.
    pub(super) slowed: Vec<SlowedRow>,
}

/// A scan class that is read less often than asked.
#[derive(Serialize)]
pub(super) struct SlowedRow {
    pub(super) scan: String,
    pub(super) asked_ms: u64,
    pub(super) every_ms: u64,
    pub(super) took_ms: u64,
    /// How many times longer than asked.
    pub(super) stretch: u32,
}

impl SlowedRow {
    pub(super) fn of(slowed: &Slowed) -> Self {
        Self {
            scan: plain(&slowed.scan),
            asked_ms: slowed.interval_ms,
            every_ms: slowed.interval_ms * u64::from(slowed.stretch),
            took_ms: slowed.took_ms,
            stretch: slowed.stretch,
        }
    }
}

/// State of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Starting,
    /// Another box reads it.
    StandingBy,
    Up,
    Down,
    /// Its file has faults.
    NotRead,
}

/// One of the three fields below the machines.
#[derive(Serialize)]
pub(super) struct Tile<T> {
    pub(super) letter: Option<Letter>,
    /// A few words.
    pub(super) headline: String,
    /// Further sentences, each with its own letter.
    pub(super) lines: Vec<Line>,
    /// What the words were made from.
    pub(super) numbers: T,
}

/// A sentence with a letter.
#[derive(Serialize)]
pub(super) struct Line {
    pub(super) letter: Option<Letter>,
    pub(super) text: String,
}

/// What one model says.
#[derive(Serialize)]
pub(super) struct PredictionRow {
    pub(super) device: String,
    pub(super) model: String,
    pub(super) title: String,
    pub(super) version: String,
    pub(super) state: PredictionState,
    pub(super) letter: Option<Letter>,
    /// The state in words.
    pub(super) text: String,
    pub(super) score: Option<f64>,
    pub(super) threshold: f64,
    #[serde(rename = "since", serialize_with = "serialize_moment")]
    pub(super) since_us: Option<i64>,
    /// Age of the last score, seconds.
    pub(super) age_s: Option<f64>,
    /// Windows that were not scored since it began to run, for lack of time.
    pub(super) windows_dropped: u64,
    /// Name of the episode that runs.
    pub(super) episode: Option<String>,
    /// How urgent it is.
    pub(super) severity: Option<Severity>,
    #[serde(skip)]
    pub(super) history: Vec<f32>,
}

/// The overview at the moment and in the language of `speech`.
pub(super) fn view(twin: &Twin, facts: &dyn Facts, speech: &Speech) -> View {
    let identity = facts.identity();
    let predictions: Vec<_> = facts.predictions().iter().map(|p| prediction(p, speech)).collect();
    let (devices, faulty) = (twin.devices(), facts.not_read());
    let running = |device: &Arc<DeviceTwin>| {
        let mut row = row(device, &predictions, speech);
        row.note_faults(&faulty, speech);
        row
    };
    let mut machines: Vec<_> = devices.iter().map(running).collect();
    let not_read = faulty.iter().filter(|machine| !machine.runs_on);
    machines.extend(not_read.map(|machine| not_read_row(machine, speech)));
    machines.sort_by(|a, b| (&a.location, &a.name).cmp(&(&b.location, &b.name)));
    let to_it = facts.to_it();
    let reserve = facts.reserve();
    View {
        time: speech.moment(speech.now_us),
        at: speech.now_us,
        clock: clock_words(identity.clock_synchronised, speech),
        clock_note: clock_note(&identity, speech),
        verdict: verdict(
            &verdict::Given {
                machines: &machines,
                to_it: &to_it,
                reserve: &reserve,
                stopped: &facts.stopped(),
                identity: &identity,
            },
            speech,
        ),
        standby: standby(facts, speech),
        certificates: certificates(facts, speech),
        to_it: tiles::to_it(to_it, &reserve, &identity, speech),
        reserve: tiles::reserve(reserve, speech),
        predictions: tiles::predictions(predictions, speech),
        machines,
        identity,
    }
}

/// State of the clock in words, empty when not known.
pub(super) fn clock_words(synchronised: Option<bool>, speech: &Speech) -> &'static str {
    match synchronised {
        Some(true) => speech.words.clock_ok,
        Some(false) => speech.words.clock_wrong,
        None => "",
    }
}

/// A clock that was set is told for so long, seconds.
const JUMP_TOLD_S: f64 = 86_400.0;

/// What is wrong with the clock, in sentences.
fn clock_note(identity: &Identity, speech: &Speech) -> String {
    let words = speech.words;
    let free = (identity.clock_synchronised == Some(false)).then(|| words.clock_free.to_owned());
    let jump = identity.clock_jump.filter(|jump| speech.age_s(jump.at_us) < JUMP_TOLD_S).map(|jump| {
        let template = if jump.by_s < 0.0 { words.clock_was_back } else { words.clock_was_forward };
        fill(template, &[&speech.duration(jump.by_s.abs()), &speech.moment(jump.at_us)])
    });
    free.into_iter().chain(jump).collect::<Vec<_>>().join(" ")
}

/// Why polling or the journal does not work; empty when they do.
pub(super) fn troubles(facts: &dyn Facts, speech: &Speech) -> Vec<String> {
    let stopped = facts.stopped();
    let mut troubles: Vec<_> = stopped.iter().map(|why| plain(why.get(speech.language.code()))).collect();
    if let Some(error) = facts.reserve().disk_error {
        let since = fill(speech.words.disk_trouble, &[&speech.moment(error.since_us)]);
        troubles.push(format!("{since} {}", plain(&error.message)));
    }
    troubles
}

/// One machine's line.
pub(super) fn row(twin: &DeviceTwin, predictions: &[PredictionRow], speech: &Speech) -> Row {
    let device = &twin.device;
    let state = twin.state();
    let tally = Tally::of(device, &state, speech.now_us);
    let words = speech.words;
    let (kind, since_us, down) = match &state.link {
        Link::Starting => (State::Starting, None, None),
        Link::StandingBy => (State::StandingBy, None, None),
        Link::Up { since_us } => (State::Up, Some(*since_us), None),
        Link::Down { since_us, cause } => (State::Down, Some(*since_us), Some(cause.clone())),
    };
    let name = plain(&device.name);
    let raised = predictions.iter().filter(|p| p.device == name).find(|p| p.letter == Some(Letter::M));
    let worst = if kind == State::Down { Some(Letter::F) } else { tally.letter() };
    let cause = match (&down, kind) {
        (Some(cause), _) => cause_sentence(cause, words),
        (None, State::Starting) => words.connecting.to_owned(),
        (None, State::StandingBy) => fill(words.other_box_reads, &[&plain(&device.standby_for)]),
        (None, _) if state.verified == Some(false) => words.cause_not_verified.to_owned(),
        (None, _) if worst.is_some() => tally.cause(speech),
        (None, _) => raised.map(|p| format!("{}: {}", p.title, p.text)).unwrap_or_default(),
    };
    let age_s = (state.good_us != 0).then(|| speech.age_s(state.good_us));
    Row {
        name,
        key: device.name.clone(),
        path: plain(&device.path),
        title: plain(device.title.get(speech.language.code())),
        location: device.location.clone(),
        letter: worst.or(raised.and(Some(Letter::M))),
        state: kind,
        since_us,
        cause,
        detail: down.as_ref().map(|cause| plain(&cause.message)).unwrap_or_default(),
        down,
        worst,
        age: age_s.map_or_else(|| "–".to_owned(), |age| speech.duration(age)),
        age_s,
        good: tally.good,
        total: tally.total,
        rates: rates(&state, speech.now_us),
        values_read: state.values_read,
        samples: state.samples,
        requests: state.requests,
        errors: state.errors,
        connects: state.connects,
        scans_missed: state.scans_missed,
        round_trip_s: seconds(state.round_us),
        late_s: seconds(state.late_us),
        backup: state.access.backup.as_deref().map(plain),
        slowed: state.access.slowed.iter().map(SlowedRow::of).collect(),
    }
}

impl Row {
    /// A machine that runs on by its files of before would not start by those of now.
    pub(super) fn note_faults(&mut self, faulty: &[NotRead], speech: &Speech) {
        let of_this = |machine: &&NotRead| machine.runs_on && machine.name == self.key;
        let Some(machine) = faulty.iter().find(of_this) else { return };
        self.letter = self.letter.or(Some(Letter::M));
        if self.cause.is_empty() {
            let parts = [sentence(&machine.fault), plain(&machine.place)];
            self.cause = fill(speech.words.cause_file_kept, &[&parts[0], &parts[1]]);
        }
    }
}

/// The line of a machine whose file has faults. Where it stands is not known, so it comes first.
pub(super) fn not_read_row(machine: &NotRead, speech: &Speech) -> Row {
    let cause = Cause { code: FAULTY_FILE.to_owned(), message: machine.fault.clone() };
    Row {
        name: plain(&machine.name),
        key: machine.name.clone(),
        path: String::new(),
        title: String::new(),
        location: Vec::new(),
        letter: Some(Letter::F),
        state: State::NotRead,
        since_us: None,
        cause: fill(speech.words.cause_file, &[&sentence(&machine.fault), &plain(&machine.place)]),
        detail: sentence(&machine.fault),
        down: Some(cause),
        worst: Some(Letter::F),
        age_s: None,
        age: "–".to_owned(),
        good: 0,
        total: 0,
        rates: Vec::new(),
        values_read: 0,
        samples: 0,
        requests: 0,
        errors: 0,
        connects: 0,
        scans_missed: 0,
        round_trip_s: 0.0,
        late_s: 0.0,
        backup: None,
        slowed: Vec::new(),
    }
}

#[allow(clippy::cast_precision_loss)] // microseconds of one reading
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Values per minute of the last 60 minutes. The running minute has what it counted so far and
/// the rest of a minute from the one before, so that the curve neither drops nor jumps.
fn rates(state: &DeviceState, now_us: i64) -> Vec<Option<u64>> {
    const MINUTES: i64 = 60;
    const MINUTE_US: i64 = 60_000_000;
    let this = now_us.div_euclid(MINUTE_US);
    let rest_us = u64::try_from(MINUTE_US - now_us.rem_euclid(MINUTE_US)).unwrap_or_default();
    // The minute we started in is a part of one.
    let first = state.minutes.front().map_or(i64::MAX, |minute| minute.minute + 1);
    let first = if state.minutes.len() < 60 { first } else { this - MINUTES + 1 };
    let values = |minute: i64| state.minutes.iter().find(|m| m.minute == minute).map_or(0, |m| m.values);
    let of = |minute: i64| match minute {
        _ if minute < first => None,
        _ if minute < this => Some(values(minute)),
        _ => Some(values(this).saturating_add(values(this - 1).saturating_mul(rest_us) / 60_000_000)),
    };
    (this - MINUTES + 1..=this).map(of).collect()
}

pub(super) fn prediction(p: &Prediction, speech: &Speech) -> PredictionRow {
    let words = speech.words;
    let own = sentence(p.words.get(speech.language.code()));
    let (letter, usual) = match p.state {
        PredictionState::Normal => (None, words.model_normal),
        PredictionState::Filling => (None, words.model_collecting),
        PredictionState::Raised => (Some(Letter::M), words.model_raised),
        PredictionState::Suppressed => (Some(Letter::S), words.model_suppressed),
        PredictionState::Broken => (Some(Letter::F), words.model_broken),
    };
    let text = match p.state {
        PredictionState::Normal => usual.to_owned(),
        _ if own.is_empty() => usual.to_owned(),
        _ => own,
    };
    let title = plain(p.title.get(speech.language.code()));
    PredictionRow {
        device: plain(&p.device),
        model: plain(&p.model),
        title: if title.is_empty() { plain(&p.model) } else { title },
        version: plain(&p.version),
        state: p.state,
        letter,
        text,
        score: p.score.filter(|score| score.is_finite()),
        threshold: p.threshold,
        since_us: p.since_us,
        age_s: p.last_us.map(|at| speech.age_s(at)),
        windows_dropped: p.dropped,
        episode: p.episode.as_ref().map(|(id, _)| plain(id)),
        severity: p.episode.as_ref().map(|(_, severity)| *severity),
        history: p.history.clone(),
    }
}

/// The predictions of one machine, or of all.
pub(super) fn prediction_rows(facts: &dyn Facts, speech: &Speech) -> Vec<PredictionRow> {
    facts.predictions().iter().map(|p| prediction(p, speech)).collect()
}

/// `machine: what is watched`, and why there is no statement; what to do stands at the machine.
pub(super) fn prediction_headline(p: &PredictionRow, speech: &Speech) -> String {
    let words = speech.words;
    let name = fill(words.model_of, &[&p.device, &p.title]);
    match p.state {
        PredictionState::Suppressed => format!("{name}, {}", words.model_suppressed),
        PredictionState::Broken => format!("{name}, {}", words.model_broken),
        PredictionState::Normal | PredictionState::Raised | PredictionState::Filling => match p.severity {
            Some(severity) => format!("{name}, {}", severity_words(severity, speech.health_words())),
            None => name,
        },
    }
}
