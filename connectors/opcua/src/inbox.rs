//! Where values wait between the library's task and the poller.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forebay_connector::{PollError, Quality, RawSample, Value};

/// Waiting samples for every tag, on average, that fit.
const SAMPLES_PER_TAG: usize = 32;
/// Waiting samples that fit in any case.
const SAMPLES_MIN: usize = 4096;
/// Texts and arrays that may wait, in bytes.
const BYTES_MAX: usize = 16 << 20;

/// A bounded queue of samples.
///
/// When it is full the oldest sample goes, and the next one of the same tag is marked uncertain,
/// so that the hole is not taken for an unchanged value.
pub(crate) struct Inbox {
    state: Mutex<State>,
    samples_max: usize,
}

struct State {
    queue: VecDeque<RawSample>,
    /// Texts and arrays in the queue, in bytes.
    bytes: usize,
    /// For each tag: something before its next sample was dropped.
    hole: Vec<bool>,
    /// When each subscription was last heard.
    heard: Vec<Instant>,
    fault: Option<PollError>,
    /// Values were given out after the fault; more of them do not put it off.
    put_off: bool,
}

impl Inbox {
    /// For so many tags and subscriptions; all count as heard just now.
    pub(crate) fn new(tags: usize, subscriptions: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            hole: vec![false; tags],
            heard: vec![Instant::now(); subscriptions],
            fault: None,
            put_off: false,
        };
        Self { state: Mutex::new(state), samples_max: SAMPLES_MIN.max(tags * SAMPLES_PER_TAG) }
    }

    /// Adds a sample; `sample.tag` is below the number of tags.
    pub(crate) fn push(&self, sample: RawSample) {
        let mut state = self.lock();
        state.bytes += extra_bytes(&sample.value);
        state.queue.push_back(sample);
        while state.queue.len() > self.samples_max || state.bytes > BYTES_MAX {
            let Some(oldest) = state.queue.pop_front() else { break };
            state.bytes -= extra_bytes(&oldest.value);
            if let Some(hole) = state.hole.get_mut(oldest.tag as usize) {
                *hole = true;
            }
        }
    }

    /// Notes that a subscription is alive, with or without values.
    pub(crate) fn hear(&self, subscription: usize) {
        if let Some(heard) = self.lock().heard.get_mut(subscription) {
            *heard = Instant::now();
        }
    }

    /// How long this subscription has been silent.
    pub(crate) fn silence(&self, subscription: usize) -> Duration {
        self.lock().heard.get(subscription).map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Records why the connection is of no use any more; the first reason stays.
    pub(crate) fn fail(&self, fault: PollError) {
        self.lock().fault.get_or_insert(fault);
    }

    /// Moves everything to `samples`, in the order it arrived. What came before a fault is still
    /// delivered; the fault comes with the next call.
    pub(crate) fn drain(&self, samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let mut state = self.lock();
        let State { queue, bytes, hole, fault, put_off, .. } = &mut *state;
        if queue.is_empty() || *put_off {
            return fault.clone().map_or(Ok(()), Err);
        }
        *put_off = fault.is_some();
        samples.reserve(queue.len());
        for mut sample in queue.drain(..) {
            let after_hole = hole.get_mut(sample.tag as usize).is_some_and(std::mem::take);
            if after_hole && sample.quality == Quality::Good {
                sample.quality = Quality::Uncertain;
            }
            samples.push(sample);
        }
        *bytes = 0;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn extra_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Array(values) => {
            size_of_val::<[Value]>(values) + values.iter().map(extra_bytes).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tag: u32, value: Value) -> RawSample {
        RawSample { tag, value, quality: Quality::Good, source_us: None }
    }

    #[test]
    fn what_is_dropped_leaves_a_mark() {
        let inbox = Inbox::new(2, 0);
        inbox.push(sample(0, Value::Int(-1)));
        for number in 0..SAMPLES_MIN as i64 {
            inbox.push(sample(1, Value::Int(number)));
        }
        let mut samples = Vec::new();
        inbox.drain(&mut samples).expect("no fault");
        assert_eq!(samples.len(), SAMPLES_MIN);
        assert!(samples.iter().all(|sample| sample.quality == Quality::Good && sample.tag == 1));
        inbox.push(sample(0, Value::Int(7)));
        inbox.push(sample(0, Value::Int(8)));
        samples.clear();
        inbox.drain(&mut samples).expect("no fault");
        let qualities: Vec<_> = samples.iter().map(|sample| sample.quality).collect();
        assert_eq!(qualities, [Quality::Uncertain, Quality::Good]);
    }

    #[test]
    fn texts_are_bounded_by_their_bytes() {
        let inbox = Inbox::new(1, 0);
        let text: Box<str> = "x".repeat(1 << 20).into();
        for _ in 0..40 {
            inbox.push(sample(0, Value::Text(text.clone())));
        }
        let mut samples = Vec::new();
        inbox.drain(&mut samples).expect("no fault");
        assert_eq!(samples.len(), BYTES_MAX >> 20);
        assert_eq!(samples[0].quality, Quality::Uncertain);
    }

    #[test]
    fn a_fault_comes_after_the_values() {
        let inbox = Inbox::new(1, 0);
        inbox.push(sample(0, Value::Int(1)));
        inbox.fail(PollError::Lost { cause: "first".into() });
        inbox.fail(PollError::Lost { cause: "second".into() });
        let mut samples = Vec::new();
        assert_eq!(inbox.drain(&mut samples), Ok(()));
        assert_eq!(samples.len(), 1);
        // Others go on.
        inbox.push(sample(0, Value::Int(2)));
        assert_eq!(inbox.drain(&mut samples), Err(PollError::Lost { cause: "first".into() }));
    }
}
