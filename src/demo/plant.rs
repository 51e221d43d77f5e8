//! The simulated plant: a press, its meter and a filler, behind real sockets on loopback.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use forebay_connector::{Simulator, Value};
use tokio_util::sync::CancellationToken;

use super::filler::Filler;
use super::machine::Machine;
use super::meter::Meter;
use crate::device::{Device, Expected};

/// Time between two steps of the plant.
const STEP: Duration = Duration::from_millis(100);

/// One simulated device and the raw tag of each published value.
struct Simulated {
    simulator: Box<dyn Simulator>,
    /// Path and raw tag.
    tags: Vec<(String, u32)>,
}

/// All simulated devices.
pub struct Plant {
    devices: Vec<Simulated>,
    machine: Machine,
    meter: Meter,
    filler: Filler,
}

impl Plant {
    /// Starts a simulator for each of the press, the meter and the filler, in this order. `machine` is
    /// the press.
    ///
    /// # Errors
    /// When a simulator gets no socket.
    pub async fn start(devices: &[Arc<Device>], machine: Machine) -> anyhow::Result<Self> {
        let mut simulated = Vec::new();
        for device in devices {
            let simulator = device
                .protocol
                .simulate(&device.spec)
                .await
                .with_context(|| format!("simulated {} cannot start", device.name))?;
            satisfy_checks(device, simulator.as_ref());
            let tags = device.spec.tags.iter().zip(0..).map(|(tag, raw)| (tag.path.clone(), raw)).collect();
            simulated.push(Simulated { simulator, tags });
        }
        let mut plant = Self { devices: simulated, machine, meter: Meter::new(2), filler: Filler::new(3) };
        plant.step(STEP.as_secs_f64());
        Ok(plant)
    }

    /// Endpoints for `[[device]]`.
    pub fn endpoints(&self) -> Vec<String> {
        self.devices.iter().map(|device| device.simulator.endpoint()).collect()
    }

    /// Lets the plant run until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(STEP);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => self.step(STEP.as_secs_f64()),
            }
        }
    }

    fn step(&mut self, dt_s: f64) {
        self.machine.step(dt_s);
        self.meter.step(dt_s, &self.machine);
        self.filler.step(dt_s);
        let values = [self.machine.values(), self.meter.values(), self.filler.values()];
        for (device, values) in self.devices.iter().zip(values) {
            for (path, value) in values {
                if let Some((_, raw)) = device.tags.iter().find(|(tag, _)| tag == path) {
                    device.simulator.set(*raw, &value);
                }
            }
        }
    }
}

/// A simulated machine is the right one: tags that only `[[verify]]` reads hold what it demands.
fn satisfy_checks(device: &Device, simulator: &dyn Simulator) {
    for verify in &device.verify {
        match &verify.expected {
            Expected::Is(value) => simulator.set(verify.raw, value),
            Expected::Between(low, high) => {
                simulator.set(verify.raw, &Value::Lreal(f64::midpoint(*low, *high)))
            }
        }
    }
}
