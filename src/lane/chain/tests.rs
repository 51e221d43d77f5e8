//! Whole chains there and back, and bytes that nobody wrote.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use forebay_connector::{Quality, Value};

use super::{Chain, Content, Linear, Meaning, Only};
use crate::batch::{GapBefore, Sample};
use crate::lane::tests::{same, sample};
use crate::twin::Cause;

const TAGS: u32 = 12;
const DEVICES: u32 = 3;

fn meaning() -> Meaning {
    let linear = Some(Linear { scale: 100.0 / 27648.0, offset: 0.25 });
    Meaning { tags: TAGS as usize, linear: [None, linear, linear].into() }
}

fn gap() -> impl Strategy<Value = Option<Box<GapBefore>>> {
    let gap = (any::<i64>(), "[a-z]{0,5}", "\\PC{0,10}")
        .prop_map(|(from_us, code, message)| Box::new(GapBefore { from_us, cause: Cause { code, message } }));
    prop_oneof![5 => Just(None), 1 => gap.prop_map(Some)]
}

/// A batch as nobody sends it: every column may be anything.
fn wild() -> impl Strategy<Value = Content> {
    let samples = vec((sample(), 0..TAGS), 0..8)
        .prop_map(|samples| samples.into_iter().map(|(sample, tag)| Sample { tag, ..sample }).collect());
    (any::<i64>(), samples, gap()).prop_map(|(edge_us, samples, gap)| Content { edge_us, samples, gap })
}

/// A batch as pollers send it: the same tags with near values, now and then something odd.
fn tame() -> impl Strategy<Value = Content> {
    let odd = prop_oneof![
        20 => Just(None),
        1 => sample().prop_map(Some),
        1 => Just(Some(Sample { tag: 0, value: Value::Null, quality: Quality::NoConnection, source_us: None })),
    ];
    let steps = vec((option::of(-3i32..4), odd), TAGS as usize);
    (-50_000i64..50_000, steps, any::<bool>(), gap()).prop_map(|(jitter_us, steps, source, gap)| {
        let edge_us = 1_770_797_730_000_000 + jitter_us;
        let sample = |(tag, (step, odd)): (u32, (Option<i32>, Option<Sample>))| {
            let step = step?;
            let value = match tag % 6 {
                0 => Value::Lreal(f64::from(1000 + step) * (100.0 / 27648.0) + 0.25),
                1 => Value::Real((412 + step) as f32 / 10.0),
                2 => Value::Bool(step > 0),
                3 => Value::Uint(u64::MAX - 3 + step.unsigned_abs() as u64),
                4 => Value::Text(format!("state {step}").into()),
                _ => Value::Array([Value::Int(step.into()), Value::Bool(true)].into()),
            };
            let source_us = source.then_some(1_770_797_730_000_000 + 1000 * i64::from(step));
            let plain = Sample { tag, value, quality: Quality::Good, source_us };
            Some(odd.map_or(plain, |odd| Sample { tag, ..odd }))
        };
        Content { edge_us, samples: (0..).zip(steps).filter_map(sample).collect(), gap }
    })
}

/// Batches of some devices, and before which of them a new chain begins.
fn batches() -> impl Strategy<Value = Vec<(u32, Content, bool)>> {
    let content = prop_oneof![1 => wild(), 4 => tame()];
    vec((0..DEVICES, content, prop::bool::weighted(0.1)), 0..40)
}

fn same_content(left: &Content, right: &Content) -> bool {
    left.edge_us == right.edge_us
        && left.gap == right.gap
        && left.samples.len() == right.samples.len()
        && left.samples.iter().zip(&right.samples).all(|(left, right)| {
            (left.tag, left.quality, left.source_us) == (right.tag, right.quality, right.source_us)
                && same(&left.value, &right.value)
        })
}

/// Writes and reads a batch through two chains in step; the record's length.
fn through(writer: &mut Chain, reader: &mut Chain, device: u32, content: &Content, apart: bool) -> usize {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let mut sent = content.clone();
    assert!(writer.put(device, &meaning(), &mut sent, &mut front, &mut back));
    assert!(same_content(&sent, content), "writing changes nothing");
    let length = front.len() + back.len();
    let record = if apart { (front, Some(back)) } else { ([front, back].concat(), None) };
    // What the batch before left there must not come through.
    let mut read = Content {
        edge_us: 7,
        samples: vec![content.samples.first().cloned(); 1].into_iter().flatten().collect(),
        gap: None,
    };
    let slices = (record.0.as_slice(), record.1.as_deref());
    reader.take(device, &meaning(), slices, Only::default(), &mut read).expect("it reads what it wrote");
    assert!(same_content(&read, content), "{content:?} became {read:?}");
    length
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chains_round_trip(batches in batches(), base_us in any::<i64>(), apart in any::<bool>()) {
        let (mut writer, mut reader) = (Chain::default(), Chain::default());
        writer.begin(base_us);
        reader.begin(base_us);
        for (device, content, begins) in &batches {
            if *begins {
                writer.begin(content.edge_us);
                reader.begin(content.edge_us);
            }
            through(&mut writer, &mut reader, *device, content, apart);
        }
    }

    /// Values of other tags are stepped over, and the wanted ones are as with all of them; also when
    /// nothing behind the last wanted one is read, unless something depends on that.
    #[test]
    fn one_tag_is_read_among_others(batches in batches(), tag in 0..TAGS) {
        let (mut writer, mut stepping, mut passing) = (Chain::default(), Chain::default(), Chain::default());
        let tags: Vec<bool> = (0..TAGS).map(|at| at == tag).collect();
        let of_tag = |content: Content| {
            let samples = content.samples.iter().filter(|sample| sample.tag == tag).cloned().collect();
            Content { samples, ..content }
        };
        for (device, content, _) in &batches {
            let (mut front, mut back) = (Vec::new(), Vec::new());
            let mut sent = content.clone();
            prop_assert!(writer.put(*device, &meaning(), &mut sent, &mut front, &mut back));
            let slices = (front.as_slice(), Some(back.as_slice()));
            let sent = of_tag(sent);
            for (reader, end) in [(&mut stepping, None), (&mut passing, Some(tag + 1))] {
                let mut read = Content::default();
                let only = Only { tags: Some(&tags), end };
                let taken = reader.take(*device, &meaning(), slices, only, &mut read).map(|()| of_tag(read));
                let is_same = taken.as_ref().is_some_and(|read| same_content(read, &sent));
                let is_owned = taken.is_none() && reader.has_passed_over(*device);
                prop_assert!(is_same || end.is_some() && is_owned, "{sent:?} became {taken:?}");
            }
        }
    }

    #[test]
    fn noise_never_panics_and_stays_bounded(
        records in vec((0..DEVICES, vec(any::<u8>(), 0..60), option::of(vec(any::<u8>(), 0..20))), 1..40),
        base_us in any::<i64>(),
    ) {
        let mut chain = Chain::default();
        chain.begin(base_us);
        let mut read = Content::default();
        for (device, front, back) in &records {
            // The outcome does not matter, only that there is one. A new chain makes devices whole again.
            if chain.take(*device, &meaning(), (front, back.as_deref()), Only::default(), &mut read).is_none() {
                chain.begin(base_us);
            }
            prop_assert!(read.samples.len() <= crate::batch::BATCH_SAMPLES_MAX);
        }
    }

    #[test]
    fn changed_records_never_panic(batches in batches(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (mut writer, mut reader) = (Chain::default(), Chain::default());
        let mut read = Content::default();
        for (device, content, _) in &batches {
            let (mut front, mut back) = (Vec::new(), Vec::new());
            prop_assert!(writer.put(*device, &meaning(), &mut content.clone(), &mut front, &mut back));
            *at.get_mut(&mut front) = byte;
            let _outcome = reader.take(*device, &meaning(), (&front, Some(&back)), Only::default(), &mut read);
        }
    }
}

fn scan(number: i64, value: impl Fn(u32) -> Value) -> Content {
    let sample = |tag| Sample { tag, value: value(tag), quality: Quality::Good, source_us: None };
    let edge_us = 1_770_797_730_000_000 + number * 1_000_000 + number % 7 * 30;
    Content { edge_us, samples: (0..TAGS).map(sample).collect(), gap: None }
}

/// Mean length of a record once the chain has got going.
fn settled(value: impl Fn(i64, u32) -> Value) -> f64 {
    let (mut writer, mut reader) = (Chain::default(), Chain::default());
    let mut length = 0;
    for number in 0..200 {
        let content = scan(number, |tag| value(number, tag));
        let took = through(&mut writer, &mut reader, 0, &content, false);
        length += if number >= 100 { took } else { 0 };
    }
    length as f64 / 100.0
}

#[test]
fn what_goes_on_as_it_went_costs_next_to_nothing() {
    let counters = settled(|number, tag| Value::Uint(u64::try_from(number).unwrap() * u64::from(tag)));
    assert!(counters <= 4.0, "{counters} bytes for a scan of {TAGS} steady counters");
    let still = settled(|_, tag| Value::Real(41.2 + tag as f32));
    assert!(still <= 4.0, "{still} bytes for a scan of {TAGS} values that stay");
    let texts =
        settled(|number, _| Value::Text(["idle", "running"][usize::try_from(number % 2).unwrap()].into()));
    assert!(texts <= 6.0, "{texts} bytes for a scan of {TAGS} texts that come back");
}

#[test]
fn a_scaled_value_is_the_raw_one_with_the_schema() {
    let noisy = |number: i64| f64::from(i32::try_from(number * 7919 % 50).unwrap() + 10_000);
    let scaled = settled(|number, tag| match tag {
        1 | 2 => Value::Lreal(noisy(number) * (100.0 / 27648.0) + 0.25),
        _ => Value::Null,
    });
    assert!(scaled <= 6.0, "{scaled} bytes for two scaled values");
}

#[test]
fn a_device_whose_record_is_broken_is_silent_until_the_next_chain() {
    let mut chain = Chain::default();
    let mut read = Content::default();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let mut content = scan(0, |_| Value::Bool(true));
    let mut writer = Chain::default();
    assert!(writer.put(1, &meaning(), &mut content, &mut front, &mut back));
    assert!(chain.take(1, &meaning(), (&[0xff; 3], None), Only::default(), &mut read).is_none());
    assert!(chain.take(1, &meaning(), (&front, Some(&back)), Only::default(), &mut read).is_none());
    chain.begin(0);
    assert!(chain.take(1, &meaning(), (&front, Some(&back)), Only::default(), &mut read).is_some());
    assert!(writer.first_bytes() > 0);
}

#[test]
fn a_tag_that_is_none_of_the_schemas_is_refused() {
    let mut writer = Chain::default();
    let mut content = Content { samples: scan(0, |_| Value::Null).samples, ..Content::default() };
    content.samples[3].tag = TAGS;
    assert!(!writer.put(0, &meaning(), &mut content, &mut Vec::new(), &mut Vec::new()));
}
