//! Siemens S7 over ISO on TCP: reads data blocks, bit memory and the process images of S7-300,
//! S7-400, S7-1200, S7-1500 and LOGO!, and simulates such a CPU.
//!
//! ```text
//! address, kepware   what an address means, and what is wrong with it
//! plan               which bytes to ask for, in which requests
//! frame, wire        bytes to messages (pure) and messages over TCP
//! szl, identity      system status lists: asking for one, and what some of them say
//! watch              who the CPU is, whether it runs, whether the engineer can still connect
//! session            one connection: set-up, one request and its answer
//! connector          the tags of a device: plan, ask, remember refusals, decode
//! decode, encode     bytes of a block to values and back
//! times              the types of time, both ways
//! simulate           a strict CPU for the demo and for tests
//! ```
//!
//! S7comm has no checksum, and a late answer looks like a punctual one: an answer must carry the
//! reference of its request, and the lengths that were asked for. Whatever does not fit ends the
//! connection, see [`forebay_connector::PollError::Mismatch`].

mod address;
mod connector;
mod decode;
mod encode;
mod frame;
mod identity;
mod kepware;
mod paced;
mod plan;
mod refusal;
mod session;
mod settings;
mod simulate;
mod steps;
mod szl;
mod times;
mod watch;
mod wire;

use std::collections::BTreeMap;

use async_trait::async_trait;
use forebay_connector::planning::ReadPlan;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, Extent, OpenFault, OptionKey,
    OptionValue, Protocol, Simulator,
};

use crate::address::Place;
use crate::connector::S7Connector;
use crate::settings::Settings;
use crate::simulate::S7Simulator;

/// The protocol `s7` of profiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct S7;

#[async_trait]
impl Protocol for S7 {
    fn name(&self) -> &'static str {
        "s7"
    }

    fn options(&self) -> &'static [OptionKey] {
        settings::OPTIONS
    }

    fn check_address(&self, address: &str, data_type: DataType) -> Result<Address, AddressFault> {
        Place::read(address, data_type).map(|place| place.address())
    }

    fn shift_address(&self, address: &str, by: u32) -> Result<String, AddressFault> {
        address::shift(address, by)
    }

    fn doubt(&self, address: &str, data_type: DataType) -> Option<AddressFault> {
        Place::read(address, data_type).ok()?.doubt(address)
    }

    fn extent(&self, address: &str, data_type: DataType) -> Option<Extent> {
        Place::read(address, data_type).ok().map(|place| place.extent())
    }

    fn check_reference(
        &self,
        address: &str,
        options: &BTreeMap<String, OptionValue>,
    ) -> Result<(), AddressFault> {
        address::check_family(address, settings::cpu(options))
    }

    fn wire(&self, address: &str, data_type: DataType) -> String {
        Place::read(address, data_type).map(|place| place.wire()).unwrap_or_default()
    }

    fn check_device(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        settings::complaints(device)
    }

    fn address(&self, device: &DeviceSpec) -> String {
        settings::address(&device.endpoint)
    }

    fn plan(&self, device: &DeviceSpec) -> Result<ReadPlan, OpenFault> {
        plan::report(device)
    }

    fn open(&self, device: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        let settings = Settings::read(&device)
            .map_err(|complaint| OpenFault { message: format!("{}: {}", device.name, complaint.message) })?;
        let places = places(&device)?;
        Ok(Box::new(S7Connector::new(settings, &device, places)))
    }

    async fn simulate(&self, device: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        let places = places(device)?;
        // Only the PDU size counts; the endpoint need not be a valid one.
        let device = DeviceSpec { endpoint: "127.0.0.1".into(), ..device.clone() };
        let settings =
            Settings::read(&device).map_err(|complaint| OpenFault { message: complaint.message })?;
        let simulator = S7Simulator::start(places, settings.pdu_bytes).await.map_err(|error| OpenFault {
            message: format!("{}: no socket for the simulated CPU: {error}", device.name),
        })?;
        Ok(Box::new(simulator))
    }
}

/// The places of all tags, in profile order.
fn places(device: &DeviceSpec) -> Result<Vec<Place>, OpenFault> {
    device
        .tags
        .iter()
        .map(|tag| {
            let place = Place::read(&tag.address, tag.data_type);
            place.map(|place| Place { order: tag.order.unwrap_or_default(), ..place }).map_err(|fault| {
                OpenFault {
                    message: format!("{}: tag {}: {}; {}", device.name, tag.path, fault.message, fault.help),
                }
            })
        })
        .collect()
}
