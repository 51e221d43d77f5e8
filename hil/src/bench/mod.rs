//! What answers: our own simulator, a foreign one, or a real device.

mod foreign;
mod modbus;
mod opcua;
mod own;
mod real;
mod s7;

use async_trait::async_trait;
use forebay::device::Device;
use forebay_connector::{DeviceSpec, Value};

use crate::RigFault;
use crate::rig::{Entry, Kind};

/// One device that answers.
#[async_trait]
pub trait Bench: Send + Sync {
    /// Where it is, as `[[device]]` has it.
    fn endpoint(&self) -> String;

    /// Changes what a connector needs to read this one, and not another of its type.
    fn adapt(&self, spec: &mut DeviceSpec) {
        let _ = spec;
    }

    /// True when [`Bench::set`] can give raw tag number `raw` a value.
    fn sets(&self, raw: usize) -> bool;

    /// Gives every raw tag its value, in the order of `DeviceSpec::tags`; those that it cannot set
    /// are left.
    ///
    /// # Errors
    /// [`RigFault`] when the simulator does not do as it is told.
    async fn set(&mut self, values: &[Value]) -> Result<(), RigFault>;

    /// Ends, as a device that loses its supply does.
    ///
    /// # Errors
    /// [`RigFault`] when it cannot be switched.
    async fn stop(&mut self) -> Result<(), RigFault>;

    /// Starts again, perhaps at another endpoint; a simulator has forgotten its values.
    ///
    /// # Errors
    /// [`RigFault`] when it does not come back.
    async fn start(&mut self) -> Result<(), RigFault>;

    /// What a rig may be asked for that this kind cannot do, and why: `seed`, `restart`.
    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// Starts what stands behind a role.
///
/// # Errors
/// [`RigFault`] when it does not start.
pub async fn start(entry: &Entry, device: &Device) -> Result<Box<dyn Bench>, RigFault> {
    match entry.kind {
        Kind::Sim => Ok(Box::new(own::Own::start(device).await?)),
        Kind::Foreign => tokio::task::block_in_place(|| foreign::start(device, entry.peer.as_deref())),
        Kind::Real => Ok(Box::new(real::Real::new(device))),
    }
}
