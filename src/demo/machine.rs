//! A mechanical press whose main bearing can wear out.
//!
//! One load drives everything, as in a real press: current, pressure, vibration and, slowly, the
//! oil temperature follow it. Wear breaks that order: first the drive end vibrates more than the
//! load explains, then the other end and the current, at last the oil runs hotter. A model that
//! has learned the order sees it break long before any single value leaves its range.

use forebay_connector::Value;

use super::drift::{Drift, follow, normal, real};

/// When the demonstration's bearing begins to wear, in seconds after the start.
pub const DEMO_WEAR_START_S: f64 = 25.0;

/// How fast it then wears: from new to worn out in four minutes.
pub const DEMO_WEAR_PER_S: f64 = 1.0 / 240.0;

/// Duration of one stroke in seconds at rated speed.
const STROKE_S: f64 = 2.5;

/// Set force of the tool in kN.
const FORCE_SET_KN: f64 = 4200.0;

/// PackML: it runs.
const EXECUTE: i64 = 6;

/// 2026-02-02T05:41:07Z in microseconds: the last fault the press remembers.
const FAULT_SINCE_US: i64 = 1_770_010_867_000_000;

/// The press of profile `acme-press-630t`. Equal seeds and equal steps give equal values.
#[derive(Debug, Clone)]
pub struct Machine {
    rng: fastrand::Rng,
    time_s: f64,
    wear: f64,
    wear_start_s: f64,
    wear_per_s: f64,
    /// Part of the present stroke that is done, 0 to 1; 0.5 is the lower dead centre.
    phase: f64,
    /// What it says of itself, a number of PackML.
    state: i64,
    strokes: u64,
    cycle_ms: i64,
    /// Share of the rated load that the tool asks for …
    tool_load: f64,
    /// … and how it wanders with material and lubrication.
    load_drift: Drift,
    ambient: Drift,
    noise: Noise,
    oil_temp: f64,
    die_temp: [f64; 4],
    oil_level: f64,
}

/// Noise of each sensor.
#[derive(Debug, Clone)]
struct Noise {
    vib_de: Drift,
    vib_nde: Drift,
    current: Drift,
    pressure: Drift,
    oil_temp: Drift,
    force: Drift,
    cushion: [Drift; 4],
}

impl Machine {
    /// A press in good order, warm and running.
    pub fn new(seed: u64) -> Self {
        let noise = Noise {
            vib_de: Drift::new(0.07, 1.0),
            vib_nde: Drift::new(0.06, 1.0),
            current: Drift::new(4.0, 1.2),
            pressure: Drift::new(0.5, 1.5),
            oil_temp: Drift::new(0.05, 4.0),
            force: Drift::new(12.0, 2.0),
            cushion: std::array::from_fn(|_| Drift::new(1.5, 3.0)),
        };
        let mut machine = Self {
            rng: fastrand::Rng::with_seed(seed),
            time_s: 0.0,
            wear: 0.0,
            wear_start_s: 0.0,
            wear_per_s: 0.0,
            phase: 0.0,
            state: EXECUTE,
            strokes: 1_204_411,
            cycle_ms: 2500,
            tool_load: 0.7,
            load_drift: Drift::new(0.07, 150.0),
            ambient: Drift::new(1.2, 1800.0),
            noise,
            oil_temp: 0.0,
            die_temp: [61.0, 64.5, 63.0, 58.5],
            oil_level: 82.0,
        };
        // Two simulated minutes, so that noise and load do not all start at their mean.
        machine.oil_temp = machine.oil_target();
        for _ in 0..240 {
            machine.step(0.5);
        }
        machine.time_s = 0.0;
        machine
    }

    /// The press of the demonstration: normal for [`DEMO_WEAR_START_S`], then wearing.
    pub fn wearing(seed: u64) -> Self {
        let mut machine = Self::new(seed);
        machine.set_wear_rate(DEMO_WEAR_START_S, DEMO_WEAR_PER_S);
        machine
    }

    /// Sets the wear of the bearing: 0 is new, 1 is worn out. Values outside are cut.
    pub fn set_wear(&mut self, wear: f64) {
        self.wear = wear.clamp(0.0, 1.0);
    }

    /// From `start_s` seconds after the start on, wear grows by `per_s` each second, up to 1.
    pub fn set_wear_rate(&mut self, start_s: f64, per_s: f64) {
        self.wear_start_s = start_s;
        self.wear_per_s = per_s.max(0.0);
    }

    /// Another tool is in: the load it asks for, as a share of the rated one; 0.7 at first.
    pub fn set_tool(&mut self, load: f64) {
        self.tool_load = load.clamp(0.4, 1.0);
    }

    /// It says that it is in another state, a number of PackML; what it does stays as it is.
    pub fn set_state(&mut self, state: i64) {
        self.state = state;
    }

    /// It stood still over night: oil and dies are as cold as the hall.
    pub fn cool_down(&mut self) {
        self.oil_temp = 22.0 + self.ambient.value;
        self.die_temp = [self.oil_temp; 4];
    }

    /// Present wear, 0 to 1.
    pub fn wear(&self) -> f64 {
        self.wear
    }

    /// Simulated seconds since the start.
    pub fn time_s(&self) -> f64 {
        self.time_s
    }

    /// Lets `dt_s` seconds pass.
    pub fn step(&mut self, dt_s: f64) {
        self.time_s += dt_s;
        if self.time_s > self.wear_start_s {
            self.wear = (self.wear + self.wear_per_s * dt_s).min(1.0);
        }
        self.load_drift.step(&mut self.rng, dt_s);
        self.ambient.step(&mut self.rng, dt_s);
        self.noise.step(&mut self.rng, dt_s);
        self.stroke(dt_s);
        let target = self.oil_target();
        follow(&mut self.oil_temp, target, 400.0, dt_s);
        let load = self.load();
        for (temp, base) in self.die_temp.iter_mut().zip([48.0, 51.0, 50.0, 46.0]) {
            follow(temp, base + 18.0 * load, 240.0, dt_s);
        }
        // A tenth of a percent an hour, ten times that from a bearing that sweats oil.
        self.oil_level = (self.oil_level - dt_s * (0.1 + 0.9 * self.wear) / 3600.0).max(5.0);
    }

    fn stroke(&mut self, dt_s: f64) {
        self.phase += dt_s * 1000.0 / f64::from(i32::try_from(self.cycle_ms).unwrap_or(2500));
        while self.phase >= 1.0 {
            self.phase -= 1.0;
            self.strokes += 1;
            #[allow(clippy::cast_possible_truncation)] // a few thousand milliseconds
            let jitter_ms = (normal(&mut self.rng) * 8.0 + self.load() * 40.0) as i64;
            #[allow(clippy::cast_possible_truncation)] // 2500
            let rated_ms = (STROKE_S * 1000.0) as i64;
            self.cycle_ms = rated_ms - 20 + jitter_ms;
        }
    }

    /// Share of the rated load, about 0.7.
    pub fn load(&self) -> f64 {
        (self.tool_load + self.load_drift.value).clamp(0.4, 1.0)
    }

    fn oil_target(&self) -> f64 {
        22.0 + self.ambient.value + 14.0 + 16.0 * self.load() + 14.0 * self.wear
    }

    /// Vibration of the drive end, mm/s RMS.
    pub fn vib_de(&self) -> f64 {
        let rough = self.noise.vib_de.value * (1.0 + 3.0 * self.wear);
        1.4 + 0.9 * self.load() + rough + 5.0 * self.wear.powf(1.25)
    }

    /// Vibration of the non-drive end, mm/s RMS.
    pub fn vib_nde(&self) -> f64 {
        let carried = (self.wear - 0.2).max(0.0);
        1.1 + 0.7 * self.load() + self.noise.vib_nde.value * (1.0 + 2.0 * self.wear) + 2.6 * carried
    }

    /// Current of the main drive in A.
    pub fn current(&self) -> f64 {
        180.0 + 300.0 * self.load() + self.noise.current.value + 65.0 * (self.wear - 0.1).max(0.0)
    }

    /// Oil pressure in bar.
    pub fn pressure(&self) -> f64 {
        205.0 + 30.0 * self.load() + self.noise.pressure.value - 2.0 * self.wear
    }

    /// Oil temperature in °C.
    pub fn oil_temp(&self) -> f64 {
        self.oil_temp + self.noise.oil_temp.value
    }

    /// Position of the slide in mm over the lower dead centre.
    fn position(&self) -> f64 {
        300.0 * (1.0 + (std::f64::consts::TAU * self.phase).cos())
    }

    /// Force of the slide in kN: it presses in the last 40 mm before the dead centre.
    fn force(&self) -> f64 {
        let pressing = (1.0 - self.position() / 40.0).max(0.0);
        let noise = self.noise.force.value;
        (FORCE_SET_KN * (0.75 + 0.3 * self.load()) * pressing.sqrt() + noise).max(0.0)
    }

    /// Every tag of profile `acme-press-630t` with its raw value, in profile order.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let oil_hot = self.oil_temp() > 75.0;
        #[allow(clippy::cast_possible_truncation)] // at most 27648, the card's full scale
        let oil_level = (self.oil_level / 100.0 * 27648.0) as i64;
        let mut values = vec![
            ("status.running", Value::Bool(true)),
            ("status.fault", Value::Bool(oil_hot)),
            ("status.guard_open", Value::Bool(false)),
            ("status.maint_mode", Value::Bool(false)),
            ("status.state", Value::Int(self.state)),
            ("status.fault_word", Value::Uint(u64::from(oil_hot) << 8)),
            ("production.strokes", Value::Uint(self.strokes)),
            ("production.parts", Value::Uint(self.parts())),
            ("production.cycle_time", Value::Int(self.cycle_ms)),
            ("production.recipe", Value::Text("DOOR-LI-4711".into())),
            ("production.fault_since", Value::DateTime(FAULT_SINCE_US)),
            ("slide.force", real(self.force())),
            ("slide.force_set", real(FORCE_SET_KN)),
            ("slide.position", real(self.position())),
            ("hydraulics.pressure", real(self.pressure())),
            ("hydraulics.oil_temp", real(self.oil_temp())),
            ("hydraulics.oil_level", Value::Int(oil_level)),
            ("drive.vib_de", real(self.vib_de())),
            ("drive.vib_nde", real(self.vib_nde())),
            ("drive.current", real(self.current())),
            ("drive.lube_ok", Value::Bool(true)),
        ];
        for (index, [die_temp, cushion, parts, code]) in STATION_PATHS.into_iter().enumerate() {
            let share = [0.98, 1.01, 1.0, 0.97][index];
            let force = 310.0 * share * (0.75 + 0.3 * self.load()) + self.noise.cushion[index].value;
            values.push((die_temp, real(self.die_temp[index])));
            values.push((cushion, real(force)));
            values.push((parts, Value::Uint(self.parts().saturating_sub(index as u64))));
            values.push((code, Value::Int(0)));
        }
        values
    }

    /// Good parts: every 400th stroke gives none.
    fn parts(&self) -> u64 {
        self.strokes - self.strokes / 400
    }
}

/// Tags of the four stations.
const STATION_PATHS: [[&str; 4]; 4] = [
    ["station.1.die_temp", "station.1.cushion", "station.1.parts", "station.1.code"],
    ["station.2.die_temp", "station.2.cushion", "station.2.parts", "station.2.code"],
    ["station.3.die_temp", "station.3.cushion", "station.3.parts", "station.3.code"],
    ["station.4.die_temp", "station.4.cushion", "station.4.parts", "station.4.code"],
];

impl Noise {
    fn step(&mut self, rng: &mut fastrand::Rng, dt_s: f64) {
        for drift in [
            &mut self.vib_de,
            &mut self.vib_nde,
            &mut self.current,
            &mut self.pressure,
            &mut self.oil_temp,
            &mut self.force,
        ] {
            drift.step(rng, dt_s);
        }
        self.cushion.iter_mut().for_each(|drift| drift.step(rng, dt_s));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_machines() {
        let run = |seed| {
            let mut machine = Machine::wearing(seed);
            (0..600).for_each(|_| machine.step(0.2));
            machine.values()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn wear_shows_first_at_the_drive_end() {
        let mean = |wear: f64, read: fn(&Machine) -> f64| {
            let mut machine = Machine::new(1);
            machine.set_wear(wear);
            let sum: f64 = (0..600)
                .map(|_| {
                    machine.step(0.5);
                    read(&machine)
                })
                .sum();
            sum / 600.0
        };
        let rise = |wear, read| mean(wear, read) - mean(0.0, read);
        assert!(rise(0.2, Machine::vib_de) > 0.5, "drive end");
        assert!(rise(0.2, Machine::vib_nde).abs() < 0.05, "the other end comes later");
        assert!(rise(1.0, Machine::vib_nde) > 1.5);
        assert!(rise(1.0, Machine::oil_temp) > 2.0);
        assert!(rise(1.0, Machine::current) > 40.0);
    }

    #[test]
    fn every_value_stays_in_the_range_of_the_profile() {
        let ranges = [
            ("slide.force", 0.0, 7000.0),
            ("slide.position", -5.0, 620.0),
            ("hydraulics.pressure", 0.0, 400.0),
            ("hydraulics.oil_temp", -20.0, 120.0),
            ("hydraulics.oil_level", 0.0, 27648.0),
            ("drive.vib_de", 0.0, 50.0),
            ("drive.vib_nde", 0.0, 50.0),
            ("drive.current", 0.0, 900.0),
        ];
        let mut machine = Machine::wearing(3);
        for _ in 0..6000 {
            machine.step(0.2);
            let values = machine.values();
            for (path, low, high) in ranges {
                let value = values.iter().find(|(name, _)| *name == path).and_then(|(_, v)| v.as_f64());
                assert!(value.is_some_and(|v| (low..=high).contains(&v)), "{path} is {value:?}");
            }
        }
        assert!((machine.wear() - 1.0).abs() < f64::EPSILON);
    }
}
