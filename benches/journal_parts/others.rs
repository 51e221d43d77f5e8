//! The same samples as others would keep them.

use std::fmt::Write as _;
use std::sync::Arc;

use forebay::batch::Sample;
use forebay_connector::Value;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// What both are packed with.
const ZSTD_LEVEL: i32 = 3;
/// Rows of a group, as Parquet likes them.
const GROUP_ROWS: usize = 100_000;
const SCHEMA: &str = "message samples {
    required int64 time (TIMESTAMP(MICROS, true));
    required binary device (STRING);
    required int32 tag;
    optional double number;
    optional binary text (STRING);
    required int32 quality;
}";

/// JSON Lines, packed with each sync.
pub struct Json {
    lines: String,
    zstd: zstd::bulk::Compressor<'static>,
    pub bytes: usize,
}

impl Json {
    pub fn new() -> Self {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("there is memory");
        Self { lines: String::new(), zstd, bytes: 0 }
    }

    pub fn add(&mut self, device: &str, edge_us: i64, samples: &[Sample]) {
        let lines = &mut self.lines;
        write!(lines, r#"{{"device":"{device}","edge_time":{edge_us},"samples":["#).expect("it is memory");
        for (at, sample) in samples.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(lines, r#"{comma}{{"tag":"group{}.tag{}","value":"#, sample.tag / 10, sample.tag)
                .expect("it is memory");
            match &sample.value {
                Value::Bool(it) => write!(lines, "{it}"),
                Value::Uint(it) => write!(lines, "{it}"),
                Value::Real(it) => write!(lines, "{it}"),
                Value::Lreal(it) => write!(lines, "{it}"),
                Value::Text(it) => write!(lines, "\"{it}\""),
                other => panic!("no shape has {other:?}"),
            }
            .expect("it is memory");
            write!(lines, r#","quality":"{}"}}"#, sample.quality.as_str()).expect("it is memory");
        }
        lines.push_str("]}\n");
    }

    pub fn sync(&mut self) {
        self.bytes += self.zstd.compress(self.lines.as_bytes()).expect("there is memory").len();
        self.lines.clear();
    }
}

/// One Parquet file of everything: its best case, because nothing of it is safe before its end.
pub struct Parquet {
    file: SerializedFileWriter<Vec<u8>>,
    times: Vec<i64>,
    devices: Vec<ByteArray>,
    tags: Vec<i32>,
    numbers: Vec<f64>,
    number_levels: Vec<i16>,
    texts: Vec<ByteArray>,
    qualities: Vec<i32>,
}

impl Parquet {
    pub fn new() -> Self {
        let schema = Arc::new(parse_message_type(SCHEMA).expect("it is one"));
        let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("it is one");
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("it is memory");
        Self {
            file,
            times: Vec::new(),
            devices: Vec::new(),
            tags: Vec::new(),
            numbers: Vec::new(),
            number_levels: Vec::new(),
            texts: Vec::new(),
            qualities: Vec::new(),
        }
    }

    #[allow(clippy::cast_precision_loss)] // counters of the bench are small
    pub fn add(&mut self, device: &str, edge_us: i64, samples: &[Sample]) {
        let device = ByteArray::from(device);
        for sample in samples {
            self.times.push(edge_us);
            self.devices.push(device.clone());
            self.tags.push(i32::try_from(sample.tag).expect("50 tags"));
            self.qualities.push(sample.quality as i32);
            let number = match &sample.value {
                Value::Bool(it) => f64::from(u8::from(*it)),
                Value::Uint(it) => *it as f64,
                Value::Real(it) => f64::from(*it),
                Value::Lreal(it) => *it,
                Value::Text(it) => {
                    self.texts.push(ByteArray::from(&**it));
                    self.number_levels.push(0);
                    continue;
                }
                other => panic!("no shape has {other:?}"),
            };
            self.numbers.push(number);
            self.number_levels.push(1);
        }
        if self.times.len() >= GROUP_ROWS {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.times.is_empty() {
            return;
        }
        let text_levels: Vec<i16> = self.number_levels.iter().map(|level| 1 - level).collect();
        let mut group = self.file.next_row_group().expect("it is memory");
        let mut at = 0;
        while let Some(mut column) = group.next_column().expect("it is memory") {
            match at {
                0 => column.typed::<Int64Type>().write_batch(&self.times, None, None),
                1 => column.typed::<ByteArrayType>().write_batch(&self.devices, None, None),
                2 => column.typed::<Int32Type>().write_batch(&self.tags, None, None),
                3 => column.typed::<DoubleType>().write_batch(&self.numbers, Some(&self.number_levels), None),
                4 => column.typed::<ByteArrayType>().write_batch(&self.texts, Some(&text_levels), None),
                _ => column.typed::<Int32Type>().write_batch(&self.qualities, None, None),
            }
            .expect("it is memory");
            column.close().expect("it is memory");
            at += 1;
        }
        group.close().expect("it is memory");
        self.times.clear();
        self.devices.clear();
        self.tags.clear();
        self.numbers.clear();
        self.number_levels.clear();
        self.texts.clear();
        self.qualities.clear();
    }

    pub fn finish(mut self) -> usize {
        self.write();
        self.file.into_inner().expect("it is memory").len()
    }
}
