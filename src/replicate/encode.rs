//! Journal records as the JSON that goes into Kafka. docs/kafka.md describes it for readers.
//!
//! Written straight into a reused buffer: nothing is allocated for a sample.

use std::io::Write;

use forebay_connector::Value;
use serde::Serialize;

use super::template::Template;
use crate::batch::{GapBefore, Sample, Schema, SchemaTag};
use crate::lane::{ThinnedBatch, ThinnedSample};

/// Replaces the contents of `out` by one batch as JSON.
///
/// `edge_us` is microseconds since 1970 UTC. A sample whose tag the schema does not know is
/// written with the tag `#<number>`: it is still a value that someone measured.
///
/// For one record; a [`super::RecordEncoder`] keeps what its records have in common.
pub fn batch(out: &mut Vec<u8>, schema: &Schema, edge_us: i64, gap: Option<&GapBefore>, samples: &[Sample]) {
    Template::of(schema).batch(out, &mut Times::default(), schema, edge_us, gap, samples);
}

pub(super) fn gap(out: &mut Vec<u8>, gap: &GapBefore) {
    out.extend_from_slice(b",\"gap\":{\"from\":");
    time(out, gap.from_us);
    out.extend_from_slice(b",\"cause\":");
    json(out, &gap.cause.code);
    out.extend_from_slice(b",\"cause_text\":");
    json(out, &gap.cause.message);
    out.push(b'}');
}

/// Replaces the contents of `out` by one thinned batch as JSON.
pub fn thinned(out: &mut Vec<u8>, batch: &ThinnedBatch) {
    let schema = &batch.schema;
    out.clear();
    out.extend_from_slice(b"{\"device\":");
    json(out, &schema.device);
    out.extend_from_slice(b",\"edge_time\":");
    time(out, batch.to_us);
    out.extend_from_slice(b",\"profile\":");
    profile(out, schema);
    out.extend_from_slice(b",\"thinned\":{\"from\":");
    time(out, batch.from_us);
    out.extend_from_slice(b",\"to\":");
    time(out, batch.to_us);
    display(out, format_args!(",\"interval_s\":{},\"cause\":\"disk-budget\"", batch.interval_s));
    display(out, format_args!(",\"batches\":{}}},\"samples\":[", batch.batches));
    for (index, each) in batch.samples.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        thinned_sample(out, schema, each);
    }
    out.extend_from_slice(b"]}");
}

fn thinned_sample(out: &mut Vec<u8>, schema: &Schema, sample: &ThinnedSample) {
    let tag = tag(out, schema, sample.tag);
    if let Some(numbers) = &sample.numbers {
        out.extend_from_slice(b",\"min\":");
        value(out, &numbers.min);
        out.extend_from_slice(b",\"max\":");
        value(out, &numbers.max);
        out.extend_from_slice(b",\"mean\":");
        json(out, &numbers.mean);
    }
    out.extend_from_slice(b",\"last\":");
    text_and_unit(out, tag, &sample.last);
    display(out, format_args!(",\"count\":{}", sample.count));
    if sample.bad > 0 {
        display(out, format_args!(",\"bad\":{}", sample.bad));
    }
    out.extend_from_slice(b",\"quality\":");
    json(out, sample.quality.as_str());
    out.push(b'}');
}

/// Begins a row with its tag.
pub(super) fn tag<'a>(out: &mut Vec<u8>, schema: &'a Schema, number: u32) -> Option<&'a SchemaTag> {
    let tag = tag_of(schema, number);
    out.extend_from_slice(b"{\"tag\":");
    match tag {
        Some(tag) => json(out, &tag.path),
        None => display(out, format_args!("\"#{number}\"")),
    }
    tag
}

pub(super) fn tag_of(schema: &Schema, number: u32) -> Option<&SchemaTag> {
    usize::try_from(number).ok().and_then(|index| schema.tags.get(index))
}

/// A value, and what the tag says of it.
fn text_and_unit(out: &mut Vec<u8>, tag: Option<&SchemaTag>, value: &Value) {
    self::value(out, value);
    meaning(out, tag, value);
    unit(out, tag);
}

/// What the number before means, if it means something.
pub(super) fn meaning(out: &mut Vec<u8>, tag: Option<&SchemaTag>, value: &Value) {
    if let Some(text) = tag.and_then(|tag| text(tag, value)) {
        out.extend_from_slice(b",\"text\":");
        json(out, text);
    }
}

pub(super) fn unit(out: &mut Vec<u8>, tag: Option<&SchemaTag>) {
    if let Some(tag) = tag.filter(|tag| !tag.unit.is_empty()) {
        out.extend_from_slice(b",\"unit\":");
        json(out, &tag.unit);
    }
}

/// What the number of an enumeration means, in English.
pub(crate) fn text<'a>(tag: &'a SchemaTag, value: &Value) -> Option<&'a str> {
    let number = match value {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).ok()?,
        _ => return None,
    };
    tag.texts.get(&number).map(String::as_str)
}

/// Appends a value as JSON.
pub(crate) fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(bit) => json(out, bit),
        Value::Int(number) => json(out, number),
        Value::Uint(number) => json(out, number),
        // The shortest digits that read back as the same f32, so 41.2 and not 41.20000076.
        // NaN and infinity have no JSON; they become null.
        Value::Real(number) => json(out, number),
        Value::Lreal(number) => json(out, number),
        Value::Text(text) => json(out, text.as_ref()),
        Value::DateTime(us) => time(out, *us),
        Value::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self::value(out, element);
            }
            out.push(b']');
        }
    }
}

/// `"name@version"`, joined here because a joined string would be allocated for each batch.
pub(super) fn profile(out: &mut Vec<u8>, schema: &Schema) {
    json(out, &schema.profile);
    out.pop();
    let middle = out.len();
    json(out, &schema.profile_version);
    out[middle] = b'@'; // in place of the second opening quote
    if !schema.standby_for.is_empty() {
        out.extend_from_slice(b",\"standby_for\":");
        json(out, &schema.standby_for);
    }
}

/// RFC 3339 in quotes; a time outside years -9999 to 9999 is written as its bare number.
fn time(out: &mut Vec<u8>, us: i64) {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(time) => display(out, format_args!("\"{time:.6}\"")),
        Err(_) => json(out, &us),
    }
}

pub(super) fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(&mut *out, value).expect("strings and numbers always fit into a Vec");
}

/// Times, most of which lie in the second of the one before.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Seconds since 1970 UTC.
    second: i64,
    /// `"2026-02-02T02:40:00.`, empty at first.
    text: Vec<u8>,
}

impl Times {
    /// As [`time`] does it.
    pub fn put(&mut self, out: &mut Vec<u8>, us: i64) {
        const DIGITS: usize = 6;
        let second = us.div_euclid(1_000_000);
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let whole = jiff::Timestamp::from_second(second).is_ok();
            if !whole || jiff::Timestamp::from_microsecond(us).is_err() {
                return time(out, us);
            }
            time(&mut self.text, second * 1_000_000);
            self.text.truncate(self.text.len() - DIGITS - 2); // and `Z"`
        }
        out.extend_from_slice(&self.text);
        let mut digits = *b"000000Z\"";
        let mut rest = us.rem_euclid(1_000_000);
        for digit in digits[..DIGITS].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

fn display(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forebay_connector::Quality;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::clock::rfc3339;
    use crate::lane::Numbers;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (0_i64..4).prop_map(Value::Int),
            any::<u64>().prop_map(Value::Uint),
            (0_u64..4).prop_map(Value::Uint),
            any::<f32>().prop_map(Value::Real),
            any::<f64>().prop_map(Value::Lreal),
            any::<String>().prop_map(|text| Value::Text(text.into())),
            any::<i64>().prop_map(Value::DateTime),
            (0_i64..4_000_000_000_000_000).prop_map(Value::DateTime),
        ];
        leaf.prop_recursive(2, 12, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(|elements| Value::Array(elements.into()))
        })
    }

    fn any_schema() -> impl Strategy<Value = Schema> {
        let tag =
            (any::<String>(), any::<String>(), prop::collection::btree_map(0_i64..4, any::<String>(), 0..3))
                .prop_map(|(path, unit, texts)| SchemaTag { path, data_type: "INT".to_owned(), unit, texts });
        (any::<String>(), any::<String>(), any::<String>(), prop::collection::vec(tag, 1..5)).prop_map(
            |(device, profile, profile_version, tags)| Schema {
                device,
                name: "name".to_owned(),
                profile,
                profile_version,
                standby_for: String::new(),
                tags: tags.into(),
            },
        )
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        (0_u32..6, any_value(), 0_u8..9, prop::option::of(0_i64..4_000_000_000_000_000)).prop_map(
            |(tag, value, quality, source_us)| Sample {
                tag,
                value,
                quality: Quality::from_u8(quality).unwrap(),
                source_us,
            },
        )
    }

    fn expected_time(us: i64) -> Json {
        match jiff::Timestamp::from_microsecond(us) {
            Ok(_) => json!(rfc3339(us)),
            Err(_) => json!(us),
        }
    }

    fn assert_near(json: &Json, expected: f64, relative: f64, absolute: f64) {
        let read = json.as_f64().unwrap();
        assert!((read - expected).abs() <= expected.abs() * relative + absolute, "{read} {expected}");
    }

    fn assert_value(json: &Json, value: &Value) {
        match value {
            // serde_json reads floats to the last digit but one; the exact digits are tested below.
            Value::Real(real) if real.is_finite() => assert_near(json, f64::from(*real), 1e-7, 1e-44),
            Value::Lreal(real) if real.is_finite() => assert_near(json, *real, 1e-14, f64::MIN_POSITIVE),
            Value::Null | Value::Real(_) | Value::Lreal(_) => assert!(json.is_null()),
            Value::Bool(bit) => assert_eq!(json, bit),
            Value::Int(number) => assert_eq!(json, number),
            Value::Uint(number) => assert_eq!(json, number),
            Value::Text(text) => assert_eq!(json, text.as_ref()),
            Value::DateTime(us) => assert_eq!(*json, expected_time(*us)),
            Value::Array(elements) => {
                let array = json.as_array().unwrap();
                assert_eq!(array.len(), elements.len());
                array.iter().zip(elements).for_each(|(json, value)| assert_value(json, value));
            }
        }
    }

    proptest! {
        #[test]
        fn a_stranger_reads_what_was_measured(
            schema in any_schema(),
            edge_us in 0_i64..4_000_000_000_000_000,
            samples in prop::collection::vec(any_sample(), 0..8),
        ) {
            let mut out = b"left from the batch before".to_vec();
            batch(&mut out, &schema, edge_us, None, &samples);
            let read: Json = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&read["device"], &json!(schema.device));
            prop_assert_eq!(&read["edge_time"], &json!(rfc3339(edge_us)));
            prop_assert_eq!(&read["profile"], &json!(format!("{}@{}", schema.profile, schema.profile_version)));
            let rows = read["samples"].as_array().unwrap();
            prop_assert_eq!(rows.len(), samples.len());
            for (row, sample) in rows.iter().zip(&samples) {
                let tag = schema.tags.get(sample.tag as usize);
                let path = tag.map_or_else(|| format!("#{}", sample.tag), |tag| tag.path.clone());
                prop_assert_eq!(&row["tag"], &json!(path));
                assert_value(&row["value"], &sample.value);
                let text = tag.and_then(|tag| super::text(tag, &sample.value));
                prop_assert_eq!(row.get("text").and_then(Json::as_str), text);
                let unit = tag.map(|tag| tag.unit.as_str()).filter(|unit| !unit.is_empty());
                prop_assert_eq!(row.get("unit").and_then(Json::as_str), unit);
                prop_assert_eq!(&row["quality"], &json!(sample.quality.as_str()));
                prop_assert_eq!(row.get("time").cloned(), sample.source_us.map(expected_time));
            }
        }
    }

    #[test]
    fn a_record_of_a_standby_says_so() {
        let mut schema = Schema {
            device: "Werk1/press-3".into(),
            name: "press-3".into(),
            profile: "press".into(),
            profile_version: "1".into(),
            standby_for: String::new(),
            tags: [].into(),
        };
        for (of, expected) in [("", None), ("box-a", Some("box-a"))] {
            schema.standby_for = of.to_owned();
            let mut out = Vec::new();
            batch(&mut out, &schema, 0, None, &[]);
            let read: Json = serde_json::from_slice(&out).unwrap();
            assert_eq!(read.get("standby_for").and_then(Json::as_str), expected);
            assert_eq!(read["profile"], "press@1");
        }
    }

    proptest! {
        #[test]
        fn floats_read_back_to_the_last_bit(real in any::<f32>(), long in any::<f64>()) {
            let text = |value: Value| {
                let mut out = Vec::new();
                super::value(&mut out, &value);
                String::from_utf8(out).unwrap()
            };
            prop_assert_eq!(text(Value::Real(real)).parse::<f32>().ok(), Some(real));
            prop_assert_eq!(text(Value::Lreal(long)).parse::<f64>().ok(), Some(long));
        }
    }

    #[test]
    fn a_thinned_batch_reads_as_documented() {
        let tag = |path: &str, unit: &str, texts: BTreeMap<i64, String>| SchemaTag {
            path: path.to_owned(),
            data_type: "REAL".to_owned(),
            unit: unit.to_owned(),
            texts,
        };
        let schema = Schema {
            device: "Werk1/Presse3/press-3".to_owned(),
            name: "press-3".to_owned(),
            profile: "press".to_owned(),
            profile_version: "1.2".to_owned(),
            standby_for: String::new(),
            tags: [
                tag("hydraulics.oil_temp", "°C", BTreeMap::new()),
                tag("mode", "", BTreeMap::from([(3, "running".to_owned())])),
                tag("order", "", BTreeMap::new()),
                tag("broken", "", BTreeMap::new()),
            ]
            .into(),
        };
        let row = |tag, count, bad, quality, last, numbers| ThinnedSample {
            tag,
            count,
            bad,
            quality,
            last,
            numbers,
        };
        let numbers = |min, max, mean| Some(Numbers { min, max, mean });
        let batch = ThinnedBatch {
            schema: schema.into(),
            from_us: 1_770_000_000_500_000,
            to_us: 1_770_000_059_750_000,
            interval_s: 60,
            batches: 120,
            samples: vec![
                row(
                    0,
                    118,
                    2,
                    Quality::Uncertain,
                    Value::Real(41.2),
                    numbers(Value::Real(40.9), Value::Real(41.6), 41.25),
                ),
                row(1, 120, 0, Quality::Good, Value::Uint(3), numbers(Value::Uint(3), Value::Uint(3), 3.0)),
                row(2, 1, 0, Quality::Good, Value::Text("A-4711".into()), None),
                row(3, 0, 4, Quality::Refused, Value::Null, None),
            ],
        };
        let mut out = b"left from the batch before".to_vec();
        thinned(&mut out, &batch);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"device":"Werk1/Presse3/press-3","edge_time":"2026-02-02T02:40:59.750000Z","profile":"press@1.2","#,
                r#""thinned":{"from":"2026-02-02T02:40:00.500000Z","to":"2026-02-02T02:40:59.750000Z","#,
                r#""interval_s":60,"cause":"disk-budget","batches":120},"samples":["#,
                r#"{"tag":"hydraulics.oil_temp","min":40.9,"max":41.6,"mean":41.25,"last":41.2,"unit":"°C","#,
                r#""count":118,"bad":2,"quality":"uncertain"},"#,
                r#"{"tag":"mode","min":3,"max":3,"mean":3.0,"last":3,"text":"running","count":120,"quality":"good"},"#,
                r#"{"tag":"order","last":"A-4711","count":1,"quality":"good"},"#,
                r#"{"tag":"broken","last":null,"count":0,"bad":4,"quality":"refused"}]}"#,
            )
        );
    }

    #[test]
    fn times_in_a_row_are_written_like_each_alone() {
        const SECOND: i64 = 1_000_000;
        let ends = [jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond()];
        let around = [0, 1_770_000_000_500_000, -62_167_219_200_000_000, ends[0], ends[1]];
        let steps = [0, 1, 7, -1, SECOND - 1, SECOND, SECOND + 1, -SECOND, 0];
        let times = around.iter().flat_map(|us| steps.map(|step| us + step)).chain([i64::MIN, i64::MAX, 0]);
        let mut row = Times::default();
        for us in times {
            let (mut out, mut alone) = (Vec::new(), Vec::new());
            row.put(&mut out, us);
            time(&mut alone, us);
            assert_eq!(String::from_utf8(out), String::from_utf8(alone), "{us}");
        }
    }

    #[test]
    fn reads_as_documented() {
        let tag = |path: &str, unit: &str, texts: BTreeMap<i64, String>| SchemaTag {
            path: path.to_owned(),
            data_type: "REAL".to_owned(),
            unit: unit.to_owned(),
            texts,
        };
        let schema = Schema {
            device: "Werk1/Presse3/press-3".to_owned(),
            name: "press-3".to_owned(),
            profile: "press".to_owned(),
            profile_version: "1.2".to_owned(),
            standby_for: String::new(),
            tags: [
                tag("hydraulics.oil_temp", "°C", BTreeMap::new()),
                tag("mode", "", BTreeMap::from([(3, "running \"auto\"".to_owned())])),
            ]
            .into(),
        };
        let sample = |tag, value, source_us| Sample { tag, value, quality: Quality::Good, source_us };
        let samples =
            [sample(0, Value::Real(41.2), None), sample(1, Value::Uint(3), Some(1_770_000_000_250_000))];
        let mut out = Vec::new();
        batch(&mut out, &schema, 1_770_000_000_500_000, None, &samples);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"device":"Werk1/Presse3/press-3","edge_time":"2026-02-02T02:40:00.500000Z","#,
                r#""profile":"press@1.2","samples":["#,
                r#"{"tag":"hydraulics.oil_temp","value":41.2,"unit":"°C","quality":"good"},"#,
                r#"{"tag":"mode","value":3,"text":"running \"auto\"","quality":"good","#,
                r#""time":"2026-02-02T02:40:00.250000Z"}]}"#,
            )
        );
    }
}
