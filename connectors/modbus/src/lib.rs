//! Modbus TCP and RTU: reads coils, discrete inputs, input and holding registers.
//!
//! `address` and `endpoint` understand what profiles and devices write, `plan` turns tags into few
//! requests, `frame` knows the bytes, `session` is one connection that trusts nothing, `line` shares
//! it among the units behind one endpoint by their `standing`, `connector` joins them and keeps its
//! `suspects`. `simulate` is the other side, for the demo and for tests.
//!
//! Nothing here writes to a device.

mod address;
mod connector;
mod decode;
mod encode;
mod endpoint;
mod frame;
mod line;
mod plan;
mod refusal;
mod session;
mod settings;
mod simulate;
mod standing;
mod suspects;

use async_trait::async_trait;
use forebay_connector::planning::ReadPlan;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, Extent, OpenFault, OptionKey,
    Protocol, Simulator,
};

use connector::ModbusConnector;
use settings::Settings;
use simulate::ModbusSimulator;

/// The protocol, `protocol = "modbus"` in profiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Modbus;

#[async_trait]
impl Protocol for Modbus {
    fn name(&self) -> &'static str {
        "modbus"
    }

    fn options(&self) -> &'static [OptionKey] {
        settings::OPTIONS
    }

    fn check_address(&self, address: &str, data_type: DataType) -> Result<Address, AddressFault> {
        let (place, _) = address::check(address, data_type)?;
        Ok(Address { canonical: place.to_string(), place: place.wire() })
    }

    fn shift_address(&self, address: &str, by: u32) -> Result<String, AddressFault> {
        let shifted = address::parse(address)?.shifted(by);
        shifted.map(|place| place.to_string()).ok_or_else(|| address::past_the_end(address, by))
    }

    fn extent(&self, address: &str, data_type: DataType) -> Option<Extent> {
        let (place, count) = address::check(address, data_type).ok()?;
        Some(place.extent(count))
    }

    fn wire(&self, address: &str, data_type: DataType) -> String {
        address::check(address, data_type).map_or_else(|_| String::new(), |(place, count)| place.asked(count))
    }

    fn check_device(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        Settings::read(device).err().unwrap_or_default()
    }

    fn line(&self, device: &DeviceSpec) -> Option<String> {
        Settings::read(device).ok().map(|settings| settings.endpoint.line())
    }

    fn plan(&self, device: &DeviceSpec) -> Result<ReadPlan, OpenFault> {
        plan::report(device)
    }

    fn open(&self, device: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        Ok(Box::new(ModbusConnector::open(&device)?))
    }

    async fn simulate(&self, device: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        Ok(Box::new(ModbusSimulator::start(device)?))
    }
}
