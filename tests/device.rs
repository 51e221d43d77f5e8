//! A device without a machine behind it, for tests and benchmarks that need batches only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay::device::{Device, Tag, Text, Transform};
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, OpenFault, OptionKey, Protocol,
    Scalar, Secrets, Simulator, TagSpec,
};

struct NoProtocol;

fn no_machine() -> OpenFault {
    OpenFault { message: "there is no machine behind this device".to_owned() }
}

#[async_trait]
impl Protocol for NoProtocol {
    fn name(&self) -> &'static str {
        "none"
    }

    fn options(&self) -> &'static [OptionKey] {
        &[]
    }

    fn check_address(&self, address: &str, _: DataType) -> Result<Address, AddressFault> {
        Ok(Address { canonical: address.to_owned(), place: address.to_owned() })
    }

    fn shift_address(&self, address: &str, _: u32) -> Result<String, AddressFault> {
        Ok(address.to_owned())
    }

    fn check_device(&self, _: &DeviceSpec) -> Vec<DeviceComplaint> {
        Vec::new()
    }

    fn open(&self, _: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        Err(no_machine())
    }

    async fn simulate(&self, _: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        Err(no_machine())
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("{name} is nowhere"))
    }
}

/// A device `name` with one published tag for each of `types`.
pub fn device(name: &str, types: &[Scalar]) -> Arc<Device> {
    let tag = |(raw, scalar): (u32, &Scalar)| Tag {
        path: format!("group{}.tag{raw}", raw / 10),
        raw,
        transform: Transform::None,
        data_type: DataType::single(*scalar),
        unit: "°C".to_owned(),
        deadband: 0.0,
        compress: None,
        max_silence: Duration::from_secs(60),
        scan: 0,
        range: None,
        limits: BTreeMap::new(),
        counter: false,
        enumeration: None,
        function_check: false,
        bit: None,
        timezone: None,
        formula: None,
        desc: String::new(),
        source: "test.toml:1".to_owned(),
    };
    let raw_tag = |(raw, scalar): (u32, &Scalar)| TagSpec {
        path: format!("group{}.tag{raw}", raw / 10),
        address: format!("{raw}"),
        data_type: DataType::single(*scalar),
        order: None,
        scan: 0,
        deadband: None,
    };
    Arc::new(Device {
        name: name.to_owned(),
        path: format!("Site/Line1/{name}"),
        location: vec!["Site".to_owned(), "Line1".to_owned()],
        profile: "test-machine".to_owned(),
        profile_version: "1.0".to_owned(),
        title: Text::plain("test machine"),
        protocol: Arc::new(NoProtocol),
        spec: DeviceSpec {
            name: name.to_owned(),
            endpoint: "127.0.0.1:1".to_owned(),
            options: BTreeMap::new(),
            scans: Vec::new(),
            tags: (0..).zip(types).map(raw_tag).collect(),
            trust: None,
            allow_insecure: false,
            secrets: Arc::new(NoSecrets),
            state_directory: std::env::temp_dir(),
        },
        tags: (0..).zip(types).map(tag).collect(),
        standby_for: String::new(),
        verify: Vec::new(),
        access: Default::default(),
        source: "test.toml:1".to_owned(),
    })
}
