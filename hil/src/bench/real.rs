//! A real device: it is where it is, and has the values it has.

use async_trait::async_trait;
use forebay::device::Device;
use forebay_connector::Value;

use super::Bench;
use crate::RigFault;

/// A device of a bench.
pub struct Real {
    endpoint: String,
}

impl Real {
    /// The device at the endpoint of its rig file.
    pub fn new(device: &Device) -> Self {
        Self { endpoint: device.spec.endpoint.clone() }
    }
}

#[async_trait]
impl Bench for Real {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn sets(&self, _raw: usize) -> bool {
        false
    }

    async fn set(&mut self, _values: &[Value]) -> Result<(), RigFault> {
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), RigFault> {
        Err(RigFault("a real device cannot be switched off from here".into()))
    }

    async fn start(&mut self) -> Result<(), RigFault> {
        Err(RigFault("a real device cannot be switched on from here".into()))
    }

    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("seed", "the values of a real device cannot be chosen"),
            ("restart", "there is no relay on the supply of this device"),
        ]
    }
}
