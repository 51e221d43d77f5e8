//! OPC UA by subscription, on the library async-opcua.
//!
//! The library never reconnects by itself here: after a reconnect of its own it sends no Publish
//! any more, so that a subscription would stay silent for ever. Every loss is reported to the
//! poller, and `connect` builds channel, session and subscriptions anew. What the library cannot
//! be left to do is done in this crate: the check of the server's certificate (`security`),
//! the limits on what an answer may cost (`transport`, `wary`), and a watchdog over silence
//! (`connector`).

mod address;
mod answers;
mod asked;
pub mod browse;
mod certificate;
mod connector;
mod decode;
mod events;
mod flat;
mod frames;
mod history;
mod inbox;
mod pace;
mod plan;
mod security;
mod session;
mod settings;
mod simulate;
mod sources;
mod structure;
mod subscribe;
mod transport;
mod trust;
mod wary;

use std::collections::BTreeMap;

use async_trait::async_trait;
use forebay_connector::planning::ReadPlan;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, OpenFault, OptionKey,
    OptionValue, Protocol, Simulator,
};

pub use address::with_field;
pub use certificate::{CertificateFacts, Fingerprint};
pub use trust::{Known, TrustList};

/// The protocol `opcua`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpcUa;

#[async_trait]
impl Protocol for OpcUa {
    fn name(&self) -> &'static str {
        "opcua"
    }

    fn options(&self) -> &'static [OptionKey] {
        settings::OPTIONS
    }

    fn has_server_units(&self) -> bool {
        true
    }

    fn check_address(&self, address: &str, data_type: DataType) -> Result<Address, AddressFault> {
        address::check(address, data_type)
    }

    fn shift_address(&self, address: &str, _by: u32) -> Result<String, AddressFault> {
        Err(address::no_shift(address))
    }

    fn check_reference(
        &self,
        address: &str,
        options: &BTreeMap<String, OptionValue>,
    ) -> Result<(), AddressFault> {
        match options.get("namespaces") {
            Some(OptionValue::Texts(namespaces)) => address::check_alias(address, namespaces),
            _ => address::check_alias(address, &BTreeMap::new()),
        }
    }

    fn doubt(&self, address: &str, _data_type: DataType) -> Option<AddressFault> {
        address::doubt(address)
    }

    fn wire(&self, address: &str, data_type: DataType) -> String {
        match address::NodeAddress::parse(address) {
            Ok(node) => format!("{}, taken as {data_type}", node.wire()),
            Err(_) => String::new(),
        }
    }

    fn check_device(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        settings::Settings::read(device).1
    }

    fn address(&self, device: &DeviceSpec) -> String {
        settings::shared_address(&device.endpoint)
    }

    fn plan(&self, device: &DeviceSpec) -> Result<ReadPlan, OpenFault> {
        Ok(plan::report(device))
    }

    fn open(&self, device: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        Ok(Box::new(connector::OpcUaConnector::new(device)?))
    }

    async fn simulate(&self, device: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        Ok(Box::new(simulate::SimulatedServer::start(device).await?))
    }
}
