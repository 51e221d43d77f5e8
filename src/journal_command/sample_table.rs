//! The table of samples, one row a sample.

use std::fs::File;

use forebay_connector::Value;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::file::writer::SerializedRowGroupWriter;

use super::table::{Column, Held, Rows};
use crate::batch::Sample;
use crate::replicate::encode;

/// What is the same for all samples of a tag.
#[derive(Clone)]
pub struct Names {
    /// Path of the device.
    pub device: ByteArray,
    /// Path of the tag.
    pub tag: ByteArray,
    /// Its unit.
    pub unit: Option<ByteArray>,
}

/// What a thinned row sums up.
pub struct Summary {
    /// First time, microseconds since 1970 UTC.
    pub from_us: i64,
    /// Smallest, largest and mean value; only of numbers.
    pub numbers: Option<[f64; 3]>,
    /// Good samples summed up; the value is the last of them.
    pub count: u64,
    /// Other samples, in `count` and the numbers not contained.
    pub bad: u64,
}

/// One row.
pub struct SampleRow<'a> {
    /// Whose sample.
    pub names: &'a Names,
    /// Number of its record.
    pub offset: u64,
    /// When it was read, microseconds since 1970 UTC.
    pub edge_us: i64,
    /// The sample.
    pub sample: &'a Sample,
    /// What the number of an enumeration means.
    pub text: Option<&'a str>,
    /// Of a thinned row.
    pub summary: Option<&'a Summary>,
}

/// The rows that are held.
pub struct SampleRows {
    held: Held,
    device: Column<ByteArrayType>,
    tag: Column<ByteArrayType>,
    edge_time: Column<Int64Type>,
    time: Column<Int64Type>,
    bool_value: Column<BoolType>,
    int_value: Column<Int64Type>,
    uint_value: Column<Int64Type>,
    real_value: Column<FloatType>,
    lreal_value: Column<DoubleType>,
    text_value: Column<ByteArrayType>,
    time_value: Column<Int64Type>,
    array_value: Column<ByteArrayType>,
    text: Column<ByteArrayType>,
    unit: Column<ByteArrayType>,
    quality: Column<ByteArrayType>,
    offset: Column<Int64Type>,
    thinned_from: Column<Int64Type>,
    min: Column<DoubleType>,
    max: Column<DoubleType>,
    mean: Column<DoubleType>,
    summed: Column<Int64Type>,
    bad: Column<Int64Type>,
}

impl Default for SampleRows {
    fn default() -> Self {
        Self {
            held: Held::default(),
            device: Column::new(true),
            tag: Column::new(true),
            edge_time: Column::new(true),
            time: Column::new(false),
            bool_value: Column::new(false),
            int_value: Column::new(false),
            uint_value: Column::new(false),
            real_value: Column::new(false),
            lreal_value: Column::new(false),
            text_value: Column::new(false),
            time_value: Column::new(false),
            array_value: Column::new(false),
            text: Column::new(false),
            unit: Column::new(false),
            quality: Column::new(true),
            offset: Column::new(true),
            thinned_from: Column::new(false),
            min: Column::new(false),
            max: Column::new(false),
            mean: Column::new(false),
            summed: Column::new(false),
            bad: Column::new(false),
        }
    }
}

impl SampleRows {
    fn push_value(&mut self, value: &Value) {
        self.bool_value.push(if let Value::Bool(it) = value { Some(*it) } else { None });
        self.int_value.push(if let Value::Int(it) = value { Some(*it) } else { None });
        // Parquet keeps the bits of an unsigned number in a signed one.
        self.uint_value.push(if let Value::Uint(it) = value { Some(it.cast_signed()) } else { None });
        self.real_value.push(if let Value::Real(it) = value { Some(*it) } else { None });
        self.lreal_value.push(if let Value::Lreal(it) = value { Some(*it) } else { None });
        self.text_value.push(if let Value::Text(it) = value { Some(ByteArray::from(&**it)) } else { None });
        self.time_value.push(if let Value::DateTime(it) = value { Some(*it) } else { None });
        let array = matches!(value, Value::Array(_)).then(|| {
            let mut json = Vec::new();
            encode::value(&mut json, value);
            json
        });
        self.held.text_bytes += match value {
            Value::Text(text) => text.len(),
            _ => array.as_ref().map_or(0, Vec::len),
        };
        self.array_value.push(array.map(ByteArray::from));
    }
}

impl Rows for SampleRows {
    const NAME: &str = "samples";
    const SCHEMA: &str = "message forebay_sample {
    required binary device (STRING);
    required binary tag (STRING);
    required int64 edge_time (TIMESTAMP(MICROS, true));
    optional int64 time (TIMESTAMP(MICROS, true));
    optional boolean bool_value;
    optional int64 int_value;
    optional int64 uint_value (INTEGER(64, false));
    optional float real_value;
    optional double lreal_value;
    optional binary text_value (STRING);
    optional int64 time_value (TIMESTAMP(MICROS, true));
    optional binary array_value (JSON);
    optional binary text (STRING);
    optional binary unit (STRING);
    required binary quality (STRING);
    required int64 offset (INTEGER(64, false));
    optional int64 thinned_from (TIMESTAMP(MICROS, true));
    optional double min;
    optional double max;
    optional double mean;
    optional int64 count (INTEGER(64, false));
    optional int64 bad_count (INTEGER(64, false));
}";
    type Row<'a> = SampleRow<'a>;

    fn push(&mut self, row: &SampleRow<'_>) {
        let SampleRow { names, sample, summary, .. } = row;
        self.device.push(Some(names.device.clone()));
        self.tag.push(Some(names.tag.clone()));
        self.edge_time.push(Some(row.edge_us));
        self.time.push(sample.source_us);
        self.push_value(&sample.value);
        self.text.push(row.text.map(ByteArray::from));
        self.unit.push(names.unit.clone());
        self.quality.push(Some(ByteArray::from(sample.quality.as_str())));
        self.offset.push(Some(row.offset.cast_signed()));
        let numbers = summary.and_then(|summary| summary.numbers);
        self.thinned_from.push(summary.map(|summary| summary.from_us));
        self.min.push(numbers.map(|numbers| numbers[0]));
        self.max.push(numbers.map(|numbers| numbers[1]));
        self.mean.push(numbers.map(|numbers| numbers[2]));
        self.summed.push(summary.map(|summary| summary.count.cast_signed()));
        self.bad.push(summary.map(|summary| summary.bad.cast_signed()));
        self.held.rows += 1;
    }

    fn held(&self) -> Held {
        self.held
    }

    fn write(&mut self, to: &mut SerializedRowGroupWriter<'_, File>) -> parquet::errors::Result<()> {
        self.device.write(to)?;
        self.tag.write(to)?;
        self.edge_time.write(to)?;
        self.time.write(to)?;
        self.bool_value.write(to)?;
        self.int_value.write(to)?;
        self.uint_value.write(to)?;
        self.real_value.write(to)?;
        self.lreal_value.write(to)?;
        self.text_value.write(to)?;
        self.time_value.write(to)?;
        self.array_value.write(to)?;
        self.text.write(to)?;
        self.unit.write(to)?;
        self.quality.write(to)?;
        self.offset.write(to)?;
        self.thinned_from.write(to)?;
        self.min.write(to)?;
        self.max.write(to)?;
        self.mean.write(to)?;
        self.summed.write(to)?;
        self.bad.write(to)?;
        self.held = Held::default();
        Ok(())
    }
}
