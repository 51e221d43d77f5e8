//! Our own simulator, made from the same profile as what is tested.

use async_trait::async_trait;
use forebay::device::Device;
use forebay_connector::{Simulator, Value};

use super::Bench;
use crate::RigFault;

/// A simulated device of ours.
pub struct Own(Box<dyn Simulator>);

impl Own {
    /// Starts it.
    ///
    /// # Errors
    /// [`RigFault`] when it gets no socket.
    pub async fn start(device: &Device) -> Result<Self, RigFault> {
        let simulator = device.protocol.simulate(&device.spec).await;
        simulator.map(Self).map_err(|fault| RigFault(fault.to_string()))
    }
}

#[async_trait]
impl Bench for Own {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn sets(&self, _raw: usize) -> bool {
        true
    }

    async fn set(&mut self, values: &[Value]) -> Result<(), RigFault> {
        for (raw, value) in (0..).zip(values) {
            self.0.set(raw, value);
        }
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), RigFault> {
        self.0.unplug(true).await;
        Ok(())
    }

    async fn start(&mut self) -> Result<(), RigFault> {
        self.0.unplug(false).await;
        Ok(())
    }
}
