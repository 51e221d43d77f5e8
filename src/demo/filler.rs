//! A bottle filler, profile `bottle-filler`.

use forebay_connector::Value;

use super::drift::{Drift, follow, real};

/// 2024-05-14T08:00:00Z in microseconds.
const BUILT_US: i64 = 1_715_673_600_000_000;

/// Bottles a minute.
const SPEED: f64 = 400.0;

/// The filler: it empties its tank, refills it, and rejects a bottle now and then.
#[derive(Debug, Clone)]
pub struct Filler {
    rng: fastrand::Rng,
    speed: Drift,
    product_temp: Drift,
    co2: Drift,
    torque: [Drift; 24],
    tank_level: f64,
    refilling: bool,
    /// Bottles, with the one that is on its way.
    bottles: f64,
    rejected: i64,
}

impl Filler {
    /// A filler in production.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            speed: Drift::new(1.5, 20.0),
            product_temp: Drift::new(0.3, 300.0),
            co2: Drift::new(0.03, 15.0),
            torque: std::array::from_fn(|_| Drift::new(0.05, 3.0)),
            tank_level: 71.0,
            refilling: false,
            bottles: 88_120.0,
            rejected: 214,
        }
    }

    /// Lets `dt_s` seconds pass.
    pub fn step(&mut self, dt_s: f64) {
        for drift in [&mut self.speed, &mut self.product_temp, &mut self.co2] {
            drift.step(&mut self.rng, dt_s);
        }
        self.torque.iter_mut().for_each(|torque| torque.step(&mut self.rng, dt_s));
        let bottles = (SPEED + self.speed.value) * dt_s / 60.0;
        self.bottles += bottles;
        if self.rng.f64() < bottles * 0.002 {
            self.rejected += 1;
        }
        if self.refilling {
            follow(&mut self.tank_level, 90.0, 60.0, dt_s);
            self.refilling = self.tank_level < 85.0;
        } else {
            self.tank_level -= 0.12 * dt_s;
            self.refilling = self.tank_level < 55.0;
        }
    }

    /// Every tag of the profile, in profile order.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        #[allow(clippy::cast_possible_truncation)] // a count far below 2^31
        let good = self.bottles as i64 - self.rejected;
        let torque = self.torque.iter().map(|torque| real(1.8 + torque.value)).collect();
        vec![
            ("status.mode", Value::Int(1)),
            ("status.state", Value::Int(6)),
            ("status.speed", real(SPEED + self.speed.value)),
            ("status.stop_reason", Value::Int(0)),
            ("production.good", Value::Int(good)),
            ("production.rejected", Value::Int(self.rejected)),
            ("filling.product_temp", real(17.5 + self.product_temp.value)),
            ("filling.tank_level", real(self.tank_level)),
            ("filling.co2_pressure", real(4.2 + self.co2.value)),
            ("filling.torque", Value::Array(torque)),
            ("nameplate.serial", Value::Text("F24-0117".into())),
            ("nameplate.built", Value::DateTime(BUILT_US)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tank_is_refilled_and_counts_only_grow() {
        let mut filler = Filler::new(5);
        let mut last = (0, 0);
        for _ in 0..36_000 {
            filler.step(0.2);
            assert!((50.0..=90.0).contains(&filler.tank_level), "{}", filler.tank_level);
            let values = filler.values();
            let (Value::Int(good), Value::Int(rejected)) = (&values[4].1, &values[5].1) else {
                panic!("counts are DINT")
            };
            // A rejected bottle may be counted a step before the belt has moved on.
            assert!(*good >= last.0 - 1 && *rejected >= last.1);
            last = (*good, *rejected);
        }
        assert!(last.1 > 214);
    }
}
