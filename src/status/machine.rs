//! One machine as plain data with all its words: what `/m/<device>` shows.

use forebay_connector::{Quality, Scalar, Value};

use super::certificates::{CertificateRow, certificates};
use super::facts::{Facts, NotRead};
use super::judge::{Letter, was_read, worth, worth_words};
use super::speech::{Speech, plain, sentence};
use super::trend;
use super::view::{PredictionRow, Row, SlowedRow, not_read_row, prediction_rows, row};
use super::words::fill;
use crate::device::{Device, Tag, Transform};
use crate::twin::{DeviceState, DeviceTwin, Link};

/// Values on one page at most: keeps the page under 60 KB.
pub(super) const VALUES_SHOWN_MAX: usize = 60;

/// Elements of an array shown at most.
const ELEMENTS_SHOWN_MAX: usize = 8;

/// Everything `/m/<device>` says.
pub(super) struct Machine {
    pub(super) row: Row,
    /// The state of the connection in words.
    pub(super) state: String,
    pub(super) groups: Vec<Group>,
    /// Which part of the values this page shows.
    pub(super) part: Part,
    /// Label and value.
    pub(super) connection: Vec<(&'static str, String)>,
    pub(super) predictions: Vec<PredictionRow>,
    /// What its server has shown.
    pub(super) certificates: Vec<CertificateRow>,
    /// What `forebay check` says of its file; empty unless that has faults.
    pub(super) check: String,
}

/// Tags under one heading.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) tags: Vec<TagRow>,
}

/// One value.
pub(super) struct TagRow {
    /// Index into [`Device::tags`].
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) desc: String,
    /// Where its curve is; texts and times have none.
    pub(super) trend: Option<String>,
    pub(super) value: String,
    pub(super) unit: String,
    pub(super) bar: Option<Bar>,
    pub(super) letter: Option<Letter>,
    /// Why it is not good; empty when it is.
    pub(super) worth: String,
    /// It is not good because nothing of this machine is.
    pub(super) away: bool,
    pub(super) age: String,
}

/// A value within its range; shares of the range from 0 to 1.
pub(super) struct Bar {
    pub(super) value: f64,
    /// The band between the alarm limits `lo` and `hi`.
    pub(super) normal: (f64, f64),
    /// The range in words.
    pub(super) range: String,
}

/// One page of a long list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// From 1.
    pub(super) number: usize,
    pub(super) parts: usize,
    /// First and one past the last entry.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) total: usize,
}

impl Part {
    /// Part `number` (from 1; out of range means the nearest) of `total` entries.
    pub(super) fn of(total: usize, size: usize, number: usize) -> Self {
        let parts = total.div_ceil(size).max(1);
        let number = number.clamp(1, parts);
        let from = (number - 1) * size;
        Self { number, parts, from, to: (from + size).min(total), total }
    }
}

/// The machine at the moment and in the language of `speech`.
pub(super) fn machine(twin: &DeviceTwin, facts: &dyn Facts, part: usize, speech: &Speech) -> Machine {
    let device = &twin.device;
    let mut predictions = prediction_rows(facts, speech);
    predictions.retain(|p| p.device == plain(&device.name));
    let mut row = row(twin, &predictions, speech);
    let mut certificates = certificates(facts, speech);
    certificates.retain(|certificate| certificate.device == plain(&device.name));
    let faulty = facts.not_read();
    row.note_faults(&faulty, speech);
    let check = faulty.iter().find(|it| it.runs_on && it.name == device.name).map(check_words);
    // A copy, so that the poller never waits for the words.
    let state = twin.state().clone();
    let shown: Vec<usize> = (0..device.tags.len()).filter(|tag| !is_bit(&device.tags[*tag])).collect();
    let part = Part::of(shown.len(), VALUES_SHOWN_MAX, part);
    Machine {
        state: state_words(&state, facts.identity().started_us, speech),
        groups: groups(device, &state, &shown[part.from..part.to], speech),
        part,
        connection: connection(device, &state, speech),
        predictions,
        row,
        certificates,
        check: check.unwrap_or_default(),
    }
}

/// A machine that is not read because its file has faults.
pub(super) fn not_read(machine: &NotRead, speech: &Speech) -> Machine {
    Machine {
        row: not_read_row(machine, speech),
        state: speech.words.state_not_read.to_owned(),
        groups: Vec::new(),
        part: Part::of(0, VALUES_SHOWN_MAX, 1),
        connection: Vec::new(),
        predictions: Vec::new(),
        certificates: Vec::new(),
        check: check_words(machine),
    }
}

/// What `forebay check` says of its file.
fn check_words(machine: &NotRead) -> String {
    machine.check.lines().map(plain_line).collect::<Vec<_>>().join("\n")
}

/// A line of a text in which columns matter: [`plain`] but for the spaces before it.
fn plain_line(line: &str) -> String {
    let text = line.trim_start();
    format!("{}{}", &line[..line.len() - text.len()], sentence(text))
}

/// Named bits are shown as the words of the tag they are part of.
fn is_bit(tag: &Tag) -> bool {
    matches!(tag.transform, Transform::Bit(_)) && tag.bit.is_some()
}

fn state_words(state: &DeviceState, started_us: i64, speech: &Speech) -> String {
    let words = speech.words;
    match &state.link {
        Link::Starting => words.state_starting.to_owned(),
        Link::StandingBy => words.state_standing_by.to_owned(),
        Link::Up { since_us } => fill(words.state_up, &[&speech.moment(*since_us)]),
        Link::Down { .. } if state.good_us == 0 => {
            fill(words.state_never, &[&fill(words.the_start, &[&speech.moment(started_us)])])
        }
        Link::Down { since_us, .. } => fill(words.state_down, &[&speech.moment(*since_us)]),
    }
}

fn groups(device: &Device, state: &DeviceState, shown: &[usize], speech: &Speech) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for &index in shown {
        let path = &device.tags[index].path;
        let (title, name) = match path.rsplit_once('.') {
            Some((group, name)) => (plain(&group.replace('.', " › ")), name),
            None => (speech.words.other_values.to_owned(), path.as_str()),
        };
        let row = tag_row(device, state, index, plain(name), speech);
        match groups.last_mut() {
            Some(group) if group.title == title => group.tags.push(row),
            _ => groups.push(Group { title, tags: vec![row] }),
        }
    }
    groups
}

fn tag_row(device: &Device, state: &DeviceState, index: usize, name: String, speech: &Speech) -> TagRow {
    let tag = &device.tags[index];
    let worth = worth(device, state, index, speech.now_us);
    let (current, empty) = (state.values.get(index), Value::Null);
    let value = current.map_or(&empty, |current| &current.value);
    let age = current.filter(|c| was_read(c)).map_or(speech.words.never.to_owned(), |current| {
        speech.duration(speech.age_s(if worth.is_good() { current.edge_us } else { last_good(current) }))
    });
    let bits = set_bits(device, state, index, speech);
    TagRow {
        index,
        name,
        desc: plain(&tag.desc),
        trend: has_trend(tag).then(|| trend::path_of_day(&device.name, &tag.path)),
        unit: if bits.is_some() || *value == Value::Null { String::new() } else { unit(tag) },
        value: bits.filter(|_| *value != Value::Null).unwrap_or_else(|| say_value(tag, value, speech)),
        bar: bar(tag, value, speech),
        letter: worth.letter(),
        worth: refusal(state, tag, current).unwrap_or_else(|| worth_words(worth, speech.words).to_owned()),
        away: !matches!(state.link, Link::Up { .. }) || state.verified == Some(false),
        age,
    }
}

/// Numbers and yes or no have a curve.
fn has_trend(tag: &Tag) -> bool {
    let scalar = tag.data_type.scalar;
    (scalar.is_number() || scalar == Scalar::Bool) && tag.data_type.array_len.is_none()
}

/// What the device said when it refused this tag, with the fix; the connector's words.
fn refusal(state: &DeviceState, tag: &Tag, current: Option<&crate::twin::Current>) -> Option<String> {
    let refused = current.is_some_and(|current| current.quality == Quality::Refused);
    state.refusals.get(&tag.raw).filter(|_| refused).map(|words| sentence(words))
}

/// A value that is not good is as old as the last good one, or as its own reading when there was none.
fn last_good(current: &crate::twin::Current) -> i64 {
    if current.good_us != 0 { current.good_us } else { current.edge_us }
}

/// Symbol of its unit; empty when it has none.
pub(super) fn unit(tag: &Tag) -> String {
    match (tag.unit.as_str(), tag.data_type.scalar) {
        ("", scalar) if scalar.is_duration() => "ms".to_owned(),
        ("1" | "server", _) => String::new(),
        (unit, _) => plain(unit),
    }
}

/// Texts of the set bits of a word with named bits; `None` when it has none.
fn set_bits(device: &Device, state: &DeviceState, index: usize, speech: &Speech) -> Option<String> {
    let raw = device.tags[index].raw;
    let mut named = 0;
    let mut set = Vec::new();
    for (at, tag) in device.tags.iter().enumerate().skip(index + 1) {
        let (true, Some(bit)) = (tag.raw == raw && is_bit(tag), &tag.bit) else { break };
        named += 1;
        if state.values.get(at).is_some_and(|current| current.value == Value::Bool(true)) {
            set.push(plain(bit.text.get(speech.language.code())));
        }
    }
    (named > 0).then(|| match set.is_empty() {
        true => speech.words.bits_none.to_owned(),
        false => set.join(", "),
    })
}

/// A value in words.
pub(super) fn say_value(tag: &Tag, value: &Value, speech: &Speech) -> String {
    if let Some(text) = enum_text(tag, value, speech) {
        return text;
    }
    match value {
        Value::Null => "–".to_owned(),
        Value::Bool(true) => speech.words.yes.to_owned(),
        Value::Bool(false) => speech.words.no.to_owned(),
        Value::Int(number) => {
            let sign = if *number < 0 { "−" } else { "" };
            format!("{sign}{}", speech.count(number.unsigned_abs()))
        }
        Value::Uint(number) => speech.count(*number),
        Value::Real(number) => speech.number(f64::from(*number), decimals(tag, f64::from(*number))),
        Value::Lreal(number) => speech.number(*number, decimals(tag, *number)),
        Value::Text(text) => plain(text),
        Value::DateTime(at_us) => speech.moment(*at_us),
        Value::Array(elements) => {
            let mut said: Vec<_> = elements
                .iter()
                .take(ELEMENTS_SHOWN_MAX)
                .map(|element| say_element(tag, element, speech))
                .collect();
            if elements.len() > ELEMENTS_SHOWN_MAX {
                said.push(format!("… ({})", elements.len()));
            }
            said.join("; ")
        }
    }
}

/// Arrays in arrays do not exist in profiles; a server that sends one is not followed further.
fn say_element(tag: &Tag, element: &Value, speech: &Speech) -> String {
    match element {
        Value::Array(inner) => format!("({})", inner.len()),
        _ => say_value(tag, element, speech),
    }
}

fn enum_text(tag: &Tag, value: &Value, speech: &Speech) -> Option<String> {
    let number = match value {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).ok()?,
        Value::Bool(set) => i64::from(*set),
        _ => return None,
    };
    let text = tag.enumeration.as_ref()?.get(&number)?.text.get(speech.language.code());
    (!text.is_empty()).then(|| plain(text))
}

/// Decimals that mean something: as many as the deadband has, else about a thousandth of the
/// range, else three or four digits in all. The same for each value of a tag wherever possible,
/// so that the column stands still.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped to 0 … 4
fn decimals(tag: &Tag, value: f64) -> usize {
    let digits = match tag.range {
        // 0.2 → 1, 0.05 → 2, 5 → 0; the small number keeps 0.1 from becoming 2.
        _ if tag.deadband > 0.0 => (-tag.deadband.log10() - 1e-9).ceil(),
        Some((low, high)) if high > low => (3.0 - (high - low).log10()).round(),
        _ => match value.abs() {
            0.0..1.0 => 3.0,
            1.0..10.0 => 2.0,
            10.0..1000.0 => 1.0,
            _ => 0.0,
        },
    };
    digits.clamp(0.0, 4.0) as usize
}

fn bar(tag: &Tag, value: &Value, speech: &Speech) -> Option<Bar> {
    let (low, high) = tag.range.filter(|(low, high)| high > low)?;
    let number = value.as_f64().filter(|number| number.is_finite() && tag.enumeration.is_none())?;
    let share = |number: f64| ((number - low) / (high - low)).clamp(0.0, 1.0);
    let limit = |name: &str, without: f64| share(tag.limits.get(name).copied().unwrap_or(without));
    let ends = [speech.number(low, decimals(tag, low)), speech.number(high, decimals(tag, high))];
    Some(Bar {
        value: share(number),
        normal: (limit("lo", low), limit("hi", high)),
        range: fill(speech.words.range_title, &[&ends[0], &ends[1]]),
    })
}

fn connection(device: &Device, state: &DeviceState, speech: &Speech) -> Vec<(&'static str, String)> {
    let words = speech.words;
    let mut facts = Vec::new();
    if let Link::Down { cause, .. } = &state.link {
        facts.push((words.for_engineer, sentence(&cause.message)));
    }
    facts.push((words.address, plain(&device.spec.endpoint)));
    if let Some(backup) = &state.access.backup {
        facts.push((words.backup, plain(backup)));
    }
    for slowed in &state.access.slowed {
        let SlowedRow { scan, asked_ms, every_ms, took_ms, .. } = SlowedRow::of(slowed);
        let said = [asked_ms, every_ms, took_ms].map(|ms| speech.count(ms));
        facts.push((words.slowed, fill(words.slowed_why, &[&scan, &said[0], &said[1], &said[2]])));
    }
    if state.round_us != 0 {
        #[allow(clippy::cast_precision_loss)] // milliseconds with one decimal
        let round_ms = state.round_us as f64 / 1e3;
        facts.push((
            words.round_trip,
            format!("{} ms", speech.number(round_ms, usize::from(round_ms < 10.0))),
        ));
    }
    facts.push((words.connects, times(state.connects, speech)));
    facts.push((words.errors, speech.count(state.errors)));
    facts.push((words.requests, speech.count(state.requests)));
    facts.push((words.missed, speech.count(state.scans_missed)));
    if !state.identity.is_empty() {
        facts.push((words.identity, plain(&state.identity)));
    }
    if !device.verify.is_empty() {
        facts.push((words.checks, checks(device, state, speech)));
    }
    facts.push((words.profile, plain(&format!("{} {}", device.profile, device.profile_version))));
    facts
}

fn times(count: u64, speech: &Speech) -> String {
    match count {
        1 => speech.words.times_once.to_owned(),
        _ => fill(speech.words.times, &[&speech.count(count)]),
    }
}

fn checks(device: &Device, state: &DeviceState, speech: &Speech) -> String {
    match state.verified {
        None => speech.words.checks_waiting.to_owned(),
        Some(true) => speech.words.checks_passed.to_owned(),
        Some(false) => {
            let why: Vec<_> = device
                .verify
                .iter()
                .map(|verify| plain(verify.why.get(speech.language.code())))
                .filter(|why| !why.is_empty())
                .take(3)
                .collect();
            format!("{}: {}", speech.words.checks_failed, why.join("; "))
                .trim_end_matches([':', ' '])
                .to_owned()
        }
    }
}
