//! A foreign simulator: starts, is told values in its own words, and starts again.

use async_trait::async_trait;
use forebay::device::Device;
use forebay_connector::{DeviceSpec, OptionValue, Value};

use super::{Bench, modbus, opcua, s7};
use crate::RigFault;
use crate::peer::Peer;

/// How to talk to the script of one protocol.
pub struct Language {
    /// Python environment of `tests/setup`.
    pub python: &'static str,
    /// Script of `tests/peers`.
    pub script: &'static str,
    /// Arguments for this device.
    pub arguments: Vec<String>,
    /// Text in front of `127.0.0.1:PORT` in an endpoint.
    pub scheme: &'static str,
    /// Commands once after each start.
    pub prepare: Vec<String>,
    /// Which tags can be set.
    pub sets: Vec<bool>,
    /// The commands that give the tags these values.
    pub set: fn(&DeviceSpec, &[Value]) -> Vec<String>,
}

/// A foreign simulator of one device.
struct Foreign {
    spec: DeviceSpec,
    language: Language,
    peer: Option<Peer>,
}

/// Starts the foreign simulator for the protocol of `device`.
///
/// # Errors
/// [`RigFault`] when there is none for the protocol, or it does not start.
pub fn start(device: &Device, peer: Option<&str>) -> Result<Box<dyn Bench>, RigFault> {
    let spec = device.spec.clone();
    let language = match (device.protocol.name(), peer) {
        ("modbus", None | Some("pymodbus")) => modbus::language(&spec),
        ("s7", None | Some("snap7-3")) => s7::language(&spec, "python"),
        ("s7", Some("snap7-2")) => s7::language(&spec, "snap7-2"),
        ("opcua", None | Some("asyncua")) => opcua::language(&spec),
        (protocol, peer) => {
            let peer = peer.unwrap_or("any");
            return Err(RigFault(format!("there is no foreign simulator `{peer}` for {protocol}")));
        }
    };
    let mut foreign = Foreign { spec, language, peer: None };
    foreign.run()?;
    Ok(Box::new(foreign))
}

impl Foreign {
    fn run(&mut self) -> Result<(), RigFault> {
        let Language { python, script, arguments, prepare, .. } = &self.language;
        let mut peer = Peer::start(python, script, arguments)?;
        for command in prepare {
            peer.command(command)?;
        }
        self.peer = Some(peer);
        Ok(())
    }
}

#[async_trait]
impl Bench for Foreign {
    fn endpoint(&self) -> String {
        let port = self.peer.as_ref().map_or(0, |peer| peer.port);
        format!("{}127.0.0.1:{port}", self.language.scheme)
    }

    fn adapt(&self, spec: &mut DeviceSpec) {
        if let Some(OptionValue::Texts(namespaces)) = spec.options.get_mut("namespaces") {
            namespaces.values_mut().for_each(|uri| *uri = opcua::URI.to_owned());
        }
    }

    fn sets(&self, raw: usize) -> bool {
        self.language.sets.get(raw).copied().unwrap_or(false)
    }

    async fn set(&mut self, values: &[Value]) -> Result<(), RigFault> {
        let commands = (self.language.set)(&self.spec, values);
        let peer = self.peer.as_mut().ok_or_else(|| RigFault("the foreign simulator is stopped".into()))?;
        tokio::task::block_in_place(|| commands.iter().try_for_each(|command| peer.command(command)))
    }

    async fn stop(&mut self) -> Result<(), RigFault> {
        tokio::task::block_in_place(|| self.peer = None);
        Ok(())
    }

    async fn start(&mut self) -> Result<(), RigFault> {
        tokio::task::block_in_place(|| self.run())
    }
}
