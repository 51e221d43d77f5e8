//! What the tests of this crate share.
#![allow(dead_code)] // each test binary uses a part

pub mod double;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{
    Connector, DataType, DeviceSpec, OptionValue, Quality, ScanClass, Secrets, TagSpec, Value,
};

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name}"))
    }
}

/// Longest wait for an answer where a test sets none: also long for a machine that is busy.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A device with these addresses and types, all in the first of two scan classes.
pub fn device<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> DeviceSpec {
    let tags = tags.into_iter().map(|(address, data_type)| TagSpec {
        path: format!("test.{address}"),
        address: address.into(),
        data_type: DataType::parse(data_type).expect("a type of the tests"),
        order: None,
        scan: 0,
        deadband: None,
    });
    let scan = |name: &str| ScanClass { name: name.into(), interval: Duration::from_secs(1) };
    DeviceSpec {
        name: "press-3".into(),
        endpoint: "127.0.0.1".into(),
        options: BTreeMap::from([("timeout".into(), OptionValue::Duration(TIMEOUT))]),
        scans: vec![scan("fast"), scan("slow")],
        tags: tags.collect(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: std::env::temp_dir(),
    }
}

/// Text as a value.
pub fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// Polls and returns the values, which must all be good.
pub async fn good(connector: &mut dyn Connector, due: &[usize]) -> Vec<Value> {
    let mut samples = Vec::new();
    connector.poll(due, &mut samples).await.expect("a poll without fault");
    samples
        .into_iter()
        .map(|sample| {
            assert_eq!(sample.quality, Quality::Good, "tag {}", sample.tag);
            sample.value
        })
        .collect()
}
