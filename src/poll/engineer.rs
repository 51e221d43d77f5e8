//! From raw samples to published ones: scaling, bits, quality, calculated tags, deadband or swinging
//! door, silence.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{Quality, RawSample, Value};

use super::calculated::{self, Calculation};
use super::door::{Door, Reading};
use crate::batch::Sample;
use crate::device::{Device, Tag, Transform};
use crate::twin::{Current, DeviceState};

/// What was published last of one tag.
#[derive(Debug, Clone, Default)]
struct Published {
    value: Value,
    quality: Quality,
    /// Edge time in microseconds; 0 = never.
    edge_us: i64,
}

/// Turns the raw samples of one device into published samples.
pub struct Engineer {
    device: Arc<Device>,
    /// Published tags made from each raw tag.
    made_from: Vec<Range<u32>>,
    published: Vec<Published>,
    /// Tags that said in this scan or before that someone works on the machine.
    function_check: Vec<bool>,
    /// Edge time of the last raw sample of each tag on this connection, 0 = none yet; marks what a
    /// subscription left out.
    seen_us: Vec<i64>,
    /// A tag has come to be refused, or is not any more, since the last look.
    refusals_changed: bool,
    /// The device was heard since the scan before.
    is_heard: bool,
    /// Scan classes whose unchanged tags wait for the device to be heard.
    waiting: Vec<usize>,
    calculations: Vec<Calculation>,
    /// Swinging doors of the tags that have one.
    doors: Vec<Option<Box<Door>>>,
}

impl Engineer {
    /// Nothing published yet: the first value of every tag goes out.
    pub fn new(device: Arc<Device>) -> Self {
        let made_from = (0..device.spec.tags.len())
            .map(|raw| {
                let first = device.tags.partition_point(|tag| (tag.raw as usize) < raw);
                let end = device.tags.partition_point(|tag| (tag.raw as usize) <= raw);
                number(first)..number(end)
            })
            .collect();
        let tags = device.tags.len();
        Self {
            made_from,
            published: vec![Published::default(); tags],
            function_check: vec![false; tags],
            seen_us: vec![0; tags],
            refusals_changed: false,
            calculations: calculated::of(&device),
            is_heard: true,
            waiting: Vec::new(),
            doors: device.tags.iter().map(|tag| Some(Box::new(Door::new(tag.compress?)))).collect(),
            device,
        }
    }

    /// Published tags made from this sample.
    fn made_from(&self, sample: &RawSample) -> Option<Range<usize>> {
        let Range { start, end } = self.made_from.get(sample.tag as usize)?;
        Some(*start as usize..*end as usize)
    }

    /// A connection was lost: everything is published again once it has been read again, so that
    /// the value after a gap stands in the record even when it has not changed.
    pub fn forget(&mut self) {
        self.publish_again();
        // A value from before must not pass for one that is unchanged now.
        self.seen_us.fill(0);
        self.calculations.iter_mut().for_each(Calculation::forget);
        self.refusals_changed = true;
    }

    /// What was published has not been stored: the next scan publishes every tag.
    pub fn publish_again(&mut self) {
        self.published.fill(Published::default());
    }

    /// What swinging doors hold is pushed out, and they begin anew. When the newest of it was read,
    /// microseconds since 1970 UTC; `None` when they held nothing.
    pub fn close_doors(&mut self, out: &mut Vec<Sample>) -> Option<i64> {
        let mut newest_us = None;
        for (index, door) in self.doors.iter_mut().enumerate() {
            let Some(held) = door.as_mut().and_then(|door| door.close()) else { continue };
            newest_us = newest_us.max(Some(held.edge_us));
            out.push(of_held(index, held));
        }
        newest_us
    }

    /// Whether the device was heard since the scan before. As long as a subscription is silent, its tags
    /// are taken for unchanged, but that is neither published nor calculated with.
    pub fn set_is_heard(&mut self, is_heard: bool) {
        self.is_heard = is_heard;
    }

    /// True once after the set of refused tags has changed.
    pub fn take_refusals_changed(&mut self) -> bool {
        std::mem::take(&mut self.refusals_changed)
    }

    /// Takes the raw samples of one scan, updates the twin, and pushes what is to be published.
    ///
    /// `due` are the scan classes that were read. A tag of these without a raw sample is unchanged
    /// (subscriptions send changes only): its age is renewed, and after `max_silence` it is
    /// published again.
    pub fn publish(
        &mut self,
        raw: &[RawSample],
        due: &[usize],
        edge_us: i64,
        state: &mut DeviceState,
        out: &mut Vec<Sample>,
    ) {
        self.note_function_checks(raw);
        let checked = self.function_check.contains(&true);
        let device = Arc::clone(&self.device);
        for sample in raw {
            let Some(range) = self.made_from(sample) else { continue };
            for index in range {
                let tag = &device.tags[index];
                let (value, quality) = engineer(tag, sample, checked);
                let was_refused = state.values[index].quality == Quality::Refused;
                self.refusals_changed |= was_refused != (quality == Quality::Refused);
                self.take(index, value, quality, edge_us, sample.source_us, state, out);
            }
        }
        for scan in due {
            if !self.waiting.contains(scan) {
                self.waiting.push(*scan);
            }
        }
        self.renew_unchanged(checked, edge_us, state, out);
        if self.is_heard {
            self.waiting.clear();
            self.calculate(checked, edge_us, state, out);
        }
        state.count(edge_us, raw.len() as u64);
        state.samples += out.len() as u64;
    }

    /// What a device remembers of the past, as it is to be published. Neither the twin nor what is
    /// compared with the next value learns of it.
    pub fn of_the_past(&self, raw: &[RawSample], out: &mut Vec<Sample>) {
        for sample in raw {
            let Some(range) = self.made_from(sample) else { continue };
            for index in range {
                let (value, quality) = engineer(&self.device.tags[index], sample, false);
                out.push(Sample { tag: number(index), value, quality, source_us: sample.source_us });
            }
        }
    }

    /// Takes the value of one tag into the twin, and publishes it if it is news.
    #[allow(clippy::too_many_arguments)] // one value with everything that is known of it
    fn take(
        &mut self,
        index: usize,
        value: Value,
        quality: Quality,
        edge_us: i64,
        source_us: Option<i64>,
        state: &mut DeviceState,
        out: &mut Vec<Sample>,
    ) {
        self.seen_us[index] = edge_us;
        update(state, index, &value, quality, edge_us, source_us);
        self.publish_news(index, value, quality, edge_us, source_us, false, out);
    }

    /// Publishes a value if it is news. A renewal is no reading, but says that there was none.
    #[allow(clippy::too_many_arguments)] // as above
    fn publish_news(
        &mut self,
        index: usize,
        value: Value,
        quality: Quality,
        edge_us: i64,
        source_us: Option<i64>,
        is_renewal: bool,
        out: &mut Vec<Sample>,
    ) {
        let tag = &self.device.tags[index];
        let last = &mut self.published[index];
        let must = last.edge_us == 0 || last.quality != quality || is_silent(tag, last.edge_us, edge_us);
        let news = match &mut self.doors[index] {
            None => must || is_change(tag, &last.value, &value),
            Some(door) => {
                let reading = value.as_f64().filter(|_| quality.ne107() != Some('F')).map(|number| Reading {
                    value: value.clone(),
                    quality,
                    number,
                    time_us: source_us.unwrap_or(edge_us),
                    edge_us,
                    is_renewal,
                });
                let (held, news) = match &reading {
                    Some(reading) => {
                        let passed = door.offer(reading, must);
                        (passed.held, passed.newest)
                    }
                    None => (door.close(), must),
                };
                if let Some(held) = held {
                    last.edge_us = held.edge_us;
                    out.push(of_held(index, held));
                }
                news
            }
        };
        if news {
            last.edge_us = edge_us;
            last.value.clone_from(&value);
            last.quality = quality;
            out.push(Sample { tag: number(index), value, quality, source_us });
        }
    }

    /// Calculates the tags whose inputs were read in this scan.
    fn calculate(&mut self, checked: bool, edge_us: i64, state: &mut DeviceState, out: &mut Vec<Sample>) {
        for at in 0..self.calculations.len() {
            let seen_us = &self.seen_us;
            let calculation = &mut self.calculations[at];
            let index = calculation.index;
            let Some((value, worst)) = calculation.evaluate(state, |tag| seen_us[tag] != 0, edge_us) else {
                continue;
            };
            let quality = match worst.ne107() {
                Some('F') => worst,
                _ => worst.max(readable_quality(&self.device.tags[index], &value, checked)),
            };
            self.take(index, value, quality, edge_us, None, state, out);
        }
    }

    /// Looks at the tags that say "someone works on it" before any quality is decided.
    fn note_function_checks(&mut self, raw: &[RawSample]) {
        for sample in raw {
            let Some(range) = self.made_from(sample) else { continue };
            for index in range {
                let tag = &self.device.tags[index];
                self.function_check[index] = is_function_check(tag, &sample.value);
            }
        }
    }

    /// A tag of a class that waits and was left out has the value it had; only whether someone works on the machine may
    /// have changed for it.
    fn renew_unchanged(
        &mut self,
        checked: bool,
        edge_us: i64,
        state: &mut DeviceState,
        out: &mut Vec<Sample>,
    ) {
        let device = Arc::clone(&self.device);
        for (index, tag) in device.tags.iter().enumerate().filter(|(_, tag)| tag.formula.is_none()) {
            let seen_us = self.seen_us[index];
            if seen_us == 0 || seen_us == edge_us || !self.waiting.contains(&tag.scan) {
                continue;
            }
            let current = &mut state.values[index];
            current.quality = unchanged_quality(tag, current, checked);
            current.edge_us = edge_us;
            if current.quality.is_good() {
                current.good_us = edge_us;
                state.good_us = edge_us;
            }
            if !self.is_heard {
                continue;
            }
            let last = &self.published[index];
            let must =
                last.edge_us == 0 || last.quality != current.quality || is_silent(tag, last.edge_us, edge_us);
            // A line to a later value must not pass over the time in which it stood still.
            if must || self.doors[index].is_some() {
                let time_us = if self.doors[index].is_some() { None } else { current.source_us };
                let (value, quality) = (current.value.clone(), current.quality);
                self.publish_news(index, value, quality, edge_us, time_us, true, out);
            }
        }
    }
}

/// A reading that a door had held back.
fn of_held(index: usize, held: Reading) -> Sample {
    // It is older than the batch it is in.
    Sample { tag: number(index), value: held.value, quality: held.quality, source_us: Some(held.time_us) }
}

/// Scales one raw value, whatever its quality.
pub fn transform(transform: Transform, value: &Value) -> Value {
    match transform {
        Transform::None => value.clone(),
        Transform::Bit(bit) => match value {
            Value::Uint(word) => Value::Bool(word >> bit & 1 == 1),
            Value::Int(word) => Value::Bool(word >> bit & 1 == 1),
            _ => Value::Null,
        },
        Transform::Linear { scale, offset, clamp } => scale_linear(value, scale, offset, clamp),
    }
}

fn scale_linear(value: &Value, scale: f64, offset: f64, clamp: Option<(f64, f64)>) -> Value {
    if let Value::Array(items) = value {
        return Value::Array(items.iter().map(|item| scale_linear(item, scale, offset, clamp)).collect());
    }
    let Some(raw) = value.as_f64() else { return Value::Null };
    let scaled = raw * scale + offset;
    Value::Lreal(clamp.map_or(scaled, |(low, high)| scaled.clamp(low, high)))
}

fn engineer(tag: &Tag, sample: &RawSample, checked: bool) -> (Value, Quality) {
    let value = match transform(tag.transform, &sample.value) {
        Value::DateTime(local_us) => tag.utc_us(local_us).map_or(Value::Null, Value::DateTime),
        value => value,
    };
    let quality = match sample.quality {
        Quality::Good if value == Value::Null => Quality::Invalid,
        Quality::Good => readable_quality(tag, &value, checked),
        quality => quality,
    };
    (value, quality)
}

/// Quality of a value that the device calls good.
fn readable_quality(tag: &Tag, value: &Value, checked: bool) -> Quality {
    match checked {
        true => Quality::FunctionCheck,
        false if is_outside(tag, value) => Quality::OutOfRange,
        false => Quality::Good,
    }
}

/// Quality of a value that was not sent because it has not changed.
fn unchanged_quality(tag: &Tag, current: &Current, checked: bool) -> Quality {
    match current.quality {
        Quality::Good | Quality::FunctionCheck | Quality::OutOfRange => {
            readable_quality(tag, &current.value, checked)
        }
        quality => quality,
    }
}

fn is_function_check(tag: &Tag, value: &Value) -> bool {
    if tag.function_check && matches!(tag.transform, Transform::None) {
        return *value == Value::Bool(true);
    }
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        _ => None,
    };
    match (&tag.enumeration, number) {
        (Some(values), Some(number)) => values.get(&number).is_some_and(|value| value.function_check),
        _ => false,
    }
}

fn is_outside(tag: &Tag, value: &Value) -> bool {
    match (tag.range, value.as_f64()) {
        (Some((low, high)), Some(number)) => number < low || number > high,
        _ => false,
    }
}

fn is_change(tag: &Tag, last: &Value, value: &Value) -> bool {
    match (last.as_f64(), value.as_f64()) {
        (Some(last), Some(value)) if tag.deadband > 0.0 => (value - last).abs() > tag.deadband,
        _ => last != value,
    }
}

fn is_silent(tag: &Tag, last_us: i64, edge_us: i64) -> bool {
    // Where the clock was set back nobody knows how long it was: better once too often.
    if edge_us < last_us {
        return true;
    }
    let silence = Duration::from_micros(u64::try_from(edge_us - last_us).unwrap_or(0));
    silence >= tag.max_silence
}

fn update(
    state: &mut DeviceState,
    index: usize,
    value: &Value,
    quality: Quality,
    edge_us: i64,
    source_us: Option<i64>,
) {
    let current = &mut state.values[index];
    current.value.clone_from(value);
    current.quality = quality;
    current.edge_us = edge_us;
    current.source_us = source_us;
    if quality.is_good() {
        current.good_us = edge_us;
        state.good_us = edge_us;
    }
}

/// Tags are far fewer than 2^32: profiles are limited.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formula;
    use crate::poll::testing::{device, real, tag};

    fn scan(engineer: &mut Engineer, state: &mut DeviceState, raw: &[RawSample], ms: i64) -> Vec<Sample> {
        let mut out = Vec::new();
        engineer.publish(raw, &[0], 1_000_000 + ms * 1000, state, &mut out);
        out
    }

    fn state(device: &Device) -> DeviceState {
        DeviceState { values: vec![Default::default(); device.tags.len()], ..DeviceState::default() }
    }

    #[test]
    fn deadband_holds_back_and_silence_forces_out() {
        let mut temp = tag("oil.temp", 0);
        temp.deadband = 0.5;
        temp.max_silence = Duration::from_secs(10);
        let device = device(vec![temp]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        assert_eq!(scan(&mut engineer, &mut state, &[real(0, 20.0)], 0).len(), 1, "the first goes out");
        assert_eq!(scan(&mut engineer, &mut state, &[real(0, 20.4)], 100).len(), 0, "within the deadband");
        assert_eq!(scan(&mut engineer, &mut state, &[real(0, 20.6)], 200).len(), 1, "beyond the deadband");
        assert_eq!(scan(&mut engineer, &mut state, &[real(0, 20.6)], 10_100).len(), 0, "not silent yet");
        assert_eq!(
            scan(&mut engineer, &mut state, &[], 10_200).len(),
            1,
            "silent, also when nothing was sent"
        );
        assert_eq!(state.good_us, 1_000_000 + 10_200_000, "an unchanged subscribed value is not old");
    }

    #[test]
    fn range_bits_and_function_check_decide_the_quality() {
        let mut speed = tag("speed", 0);
        speed.range = Some((0.0, 10.0));
        let mut maintenance = tag("maintenance", 1);
        maintenance.function_check = true;
        let mut bit = tag("faults.overload", 2);
        bit.transform = Transform::Bit(3);
        let device = device(vec![speed, maintenance, bit]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        let raw = |speed: f32, maintenance: bool| {
            [
                real(0, speed),
                RawSample {
                    tag: 1,
                    value: Value::Bool(maintenance),
                    quality: Quality::Good,
                    source_us: None,
                },
                RawSample { tag: 2, value: Value::Uint(8), quality: Quality::Good, source_us: None },
            ]
        };
        let out = scan(&mut engineer, &mut state, &raw(11.0, false), 0);
        assert_eq!(out[0].quality, Quality::OutOfRange);
        assert_eq!((&out[2].value, out[2].quality), (&Value::Bool(true), Quality::Good));
        let out = scan(&mut engineer, &mut state, &raw(5.0, true), 100);
        assert!(out.iter().all(|sample| sample.quality == Quality::FunctionCheck), "{out:?}");
        let out = scan(&mut engineer, &mut state, &raw(5.0, false), 200);
        assert_eq!(out.len(), 3, "a change of quality is news for every tag");
    }

    #[test]
    fn a_value_from_before_an_outage_is_not_renewed_after_it() {
        let device = device(vec![tag("a", 0), tag("b", 1)]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        scan(&mut engineer, &mut state, &[real(0, 1.0), real(1, 1.0)], 0);
        engineer.forget();
        assert_eq!(scan(&mut engineer, &mut state, &[], 5000).len(), 0, "nothing was read yet");
        assert_eq!(state.good_us, 1_000_000, "nothing was good since");
        let out = scan(&mut engineer, &mut state, &[real(1, 1.0)], 5100);
        assert_eq!(out.iter().map(|sample| sample.tag).collect::<Vec<_>>(), [1], "only what was read");
    }

    #[test]
    fn what_was_not_stored_is_published_again() {
        let device = device(vec![tag("a", 0)]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        scan(&mut engineer, &mut state, &[real(0, 1.0)], 0);
        engineer.publish_again();
        assert_eq!(
            scan(&mut engineer, &mut state, &[], 100).len(),
            1,
            "also when the device sends changes only"
        );
    }

    #[test]
    fn a_function_check_is_true_of_unchanged_values_too() {
        let mut maintenance = tag("maintenance", 1);
        maintenance.function_check = true;
        let device = device(vec![tag("speed", 0), maintenance]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        let switch = |on| RawSample { value: Value::Bool(on), ..real(1, 0.0) };
        scan(&mut engineer, &mut state, &[real(0, 1.0), switch(false)], 0);
        for (at_ms, on, expected) in [(100, true, Quality::FunctionCheck), (200, false, Quality::Good)] {
            let out = scan(&mut engineer, &mut state, &[switch(on)], at_ms);
            assert!(out.iter().all(|sample| sample.quality == expected), "{out:?}");
            assert_eq!(out.len(), 2, "speed was not sent, but is worth something else now");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nobody() {
        let device = device(vec![tag("a", 0)]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        scan(&mut engineer, &mut state, &[real(0, 1.0)], 3_600_000);
        assert_eq!(scan(&mut engineer, &mut state, &[real(0, 1.0)], 100).len(), 1);
        assert_eq!(scan(&mut engineer, &mut state, &[real(0, 1.0)], 200).len(), 0);
    }

    #[test]
    fn raw_and_eng_are_scaled_and_clamped() {
        let linear = Transform::Linear { scale: 100.0 / 27648.0, offset: 0.0, clamp: Some((0.0, 100.0)) };
        assert_eq!(transform(linear, &Value::Int(13824)), Value::Lreal(50.0));
        assert_eq!(transform(linear, &Value::Int(32000)), Value::Lreal(100.0));
        assert_eq!(transform(linear, &Value::Text("x".into())), Value::Null);
    }

    /// A tag calculated from the first two tags.
    fn calculated(text: &str) -> Tag {
        let find = |name: &str| {
            let index = u32::from(name == "b");
            Ok(formula::Input { tag: index, kind: formula::Kind::Number, counter: None })
        };
        let formula = formula::compile(text, &find).unwrap();
        Tag { raw: Tag::NO_RAW, formula: Some(Arc::new(formula)), ..tag("sum", 0) }
    }

    #[test]
    fn a_calculated_tag_has_the_worst_quality_of_what_it_is_made_from() {
        let mut first = tag("a", 0);
        first.range = Some((0.0, 10.0));
        let device = device(vec![first, tag("b", 1), calculated("a + b")]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        let out = scan(&mut engineer, &mut state, &[real(0, 1.0)], 0);
        assert_eq!(out.len(), 1, "one of the two is missing");
        let out = scan(&mut engineer, &mut state, &[real(0, 1.0), real(1, 2.0)], 100);
        let last = |out: &[Sample]| {
            out.iter().find(|sample| sample.tag == 2).map(|it| (it.value.clone(), it.quality))
        };
        assert_eq!(last(&out), Some((Value::Lreal(3.0), Quality::Good)));
        let out = scan(&mut engineer, &mut state, &[real(0, 11.0), real(1, 2.0)], 200);
        assert_eq!(last(&out), Some((Value::Lreal(13.0), Quality::OutOfRange)));
        let refused = RawSample { value: Value::Null, quality: Quality::Refused, ..real(1, 0.0) };
        let out = scan(&mut engineer, &mut state, &[real(0, 11.0), refused], 300);
        assert_eq!(last(&out), Some((Value::Null, Quality::Refused)));
        let out = scan(&mut engineer, &mut state, &[real(0, 1.0), real(1, 1.0)], 400);
        assert_eq!(last(&out), Some((Value::Lreal(2.0), Quality::Good)));
        let out = scan(&mut engineer, &mut state, &[real(0, 1.0), real(1, 1.0)], 500);
        assert_eq!(last(&out), None, "nothing new");
        engineer.forget();
        assert_eq!(last(&scan(&mut engineer, &mut state, &[real(0, 5.0)], 600)), None, "b is from before");
    }

    #[test]
    fn a_division_by_zero_is_invalid() {
        let device = device(vec![tag("a", 0), tag("b", 1), calculated("a / b")]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        let out = scan(&mut engineer, &mut state, &[real(0, 1.0), real(1, 0.0)], 0);
        assert_eq!((&out[2].value, out[2].quality), (&Value::Null, Quality::Invalid));
    }

    #[test]
    fn a_swinging_door_publishes_the_corners_with_their_time() {
        let mut level = tag("level", 0);
        level.compress = Some(0.1);
        let device = device(vec![level]);
        let (mut engineer, mut state) = (Engineer::new(Arc::clone(&device)), state(&device));
        let mut out = Vec::new();
        for (step, value) in [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0].into_iter().enumerate() {
            // The server says nothing while it stands still.
            let raw = if step > 4 { vec![] } else { vec![real(0, value)] };
            let ms = i64::try_from(step).unwrap() * 1000;
            engineer.publish(&raw, &[0], 1_000_000 + ms * 1000, &mut state, &mut out);
        }
        let bad = RawSample { value: Value::Null, quality: Quality::Invalid, ..real(0, 0.0) };
        out.extend(scan(&mut engineer, &mut state, &[bad], 7000));
        let found: Vec<_> = out.iter().map(|it| (it.value.as_f64(), it.quality, it.source_us)).collect();
        let at = |ms: i64| Some(1_000_000 + ms * 1000);
        let expected = [
            (Some(0.0), Quality::Good, None),
            (Some(3.0), Quality::Good, at(3000)),
            (Some(3.0), Quality::Good, at(6000)),
            (None, Quality::Invalid, None),
        ];
        assert_eq!(found, expected);
    }
}
