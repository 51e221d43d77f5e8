//! The energy meter of the press, profile `eastron-sdm630`.

use forebay_connector::Value;

use super::drift::{Drift, real};
use super::machine::Machine;

/// Power factor of a loaded asynchronous drive with its inverter.
const POWER_FACTOR: f64 = 0.86;

/// What the meter of a [`Machine`] shows.
#[derive(Debug, Clone)]
pub struct Meter {
    rng: fastrand::Rng,
    volts: [Drift; 3],
    factor: Drift,
    frequency: Drift,
    /// Phase currents in A.
    amps: [f64; 3],
    import_kwh: f64,
}

impl Meter {
    /// A meter that has counted for a while.
    pub fn new(seed: u64) -> Self {
        let mut meter = Self {
            rng: fastrand::Rng::with_seed(seed),
            volts: std::array::from_fn(|_| Drift::new(0.8, 40.0)),
            factor: Drift::new(0.004, 20.0),
            frequency: Drift::new(0.012, 30.0),
            amps: [0.0; 3],
            import_kwh: 481_207.4,
        };
        meter.frequency.step(&mut meter.rng, 60.0);
        meter
    }

    /// Lets `dt_s` seconds pass while the press draws its power.
    pub fn step(&mut self, dt_s: f64, machine: &Machine) {
        self.volts.iter_mut().for_each(|volts| volts.step(&mut self.rng, dt_s));
        self.factor.step(&mut self.rng, dt_s);
        self.frequency.step(&mut self.rng, dt_s);
        // Auxiliaries hang on the phases unevenly.
        self.amps = [14.0, 9.5, 11.0].map(|auxiliaries| machine.current() + auxiliaries);
        self.import_kwh += self.watts().iter().sum::<f64>() * dt_s / 3_600_000.0;
    }

    fn volts(&self, phase: usize) -> f64 {
        231.0 + self.volts[phase].value - 0.004 * self.amps[phase]
    }

    fn factor(&self) -> f64 {
        (POWER_FACTOR + self.factor.value).clamp(0.5, 1.0)
    }

    fn watts(&self) -> [f64; 3] {
        std::array::from_fn(|phase| self.volts(phase) * self.amps[phase] * self.factor())
    }

    /// Every tag of the profile, in profile order.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let watts = self.watts();
        let total: f64 = watts.iter().sum();
        let apparent = total / self.factor();
        vec![
            ("voltage.l1", real(self.volts(0))),
            ("voltage.l2", real(self.volts(1))),
            ("voltage.l3", real(self.volts(2))),
            ("current.l1", real(self.amps[0])),
            ("current.l2", real(self.amps[1])),
            ("current.l3", real(self.amps[2])),
            ("power.l1", real(watts[0])),
            ("power.l2", real(watts[1])),
            ("power.l3", real(watts[2])),
            ("power.total", real(total)),
            ("power.apparent", real(apparent)),
            ("power.reactive", real((apparent * apparent - total * total).max(0.0).sqrt())),
            ("power.factor", real(self.factor())),
            ("grid.frequency", real(50.0 + self.frequency.value)),
            ("energy.import", real(self.import_kwh)),
            ("energy.export", real(0.0)),
            ("energy.total", real(self.import_kwh)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_hold_the_energy_that_flowed() {
        let read = |meter: &Meter, path: &str| {
            let values = meter.values();
            let value = values.iter().find(|(name, _)| *name == path).and_then(|(_, v)| v.as_f64());
            value.unwrap_or_else(|| panic!("{path} is missing"))
        };
        let (mut machine, mut meter) = (Machine::new(1), Meter::new(1));
        let before = meter.import_kwh;
        let mut energy_ws = 0.0;
        for _ in 0..3600 {
            machine.step(1.0);
            meter.step(1.0, &machine);
            energy_ws += read(&meter, "power.total");
        }
        let counted = meter.import_kwh - before;
        assert!((counted - energy_ws / 3_600_000.0).abs() < 0.1, "{counted} kWh");
        assert!((45.0..65.0).contains(&read(&meter, "grid.frequency")));
        assert!((80.0..300.0).contains(&read(&meter, "voltage.l1")));
    }
}
