//! Four shapes of data, as machines give them: what changes, second by second.

use std::f64::consts::PI;

use forebay::batch::Sample;
use forebay_connector::{Quality, Value};

/// Tags of a device of any shape.
pub const TAGS: usize = 50;

/// A shape of data.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Temperatures and levels with one decimal; one tag in five moves by a tenth.
    Slow,
    /// The same, scaled, with noise in all bits.
    Noisy,
    /// Counters of pieces, strokes and energy.
    Counters,
    /// States, alarms and texts; few change.
    States,
}

impl Shape {
    pub const ALL: [Self; 4] = [Self::Slow, Self::Noisy, Self::Counters, Self::States];

    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow analogue",
            Self::Noisy => "noisy analogue",
            Self::Counters => "counters",
            Self::States => "booleans and strings",
        }
    }
}

/// A device of some shape.
pub struct Machine {
    shape: Shape,
    state: Vec<i64>,
    random: fastrand::Rng,
}

impl Machine {
    pub fn new(shape: Shape, number: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(number);
        Self { shape, state: (0..TAGS).map(|_| random.i64(100..900)).collect(), random }
    }

    /// What has changed in this second.
    pub fn scan(&mut self, second: usize) -> Vec<Sample> {
        let mut samples = Vec::new();
        for tag in 0..TAGS {
            if let Some(value) = self.value(tag, second) {
                let tag = u32::try_from(tag).expect("50 tags");
                samples.push(Sample { tag, value, quality: Quality::Good, source_us: None });
            }
        }
        samples
    }

    #[allow(clippy::cast_precision_loss)] // made-up measurements
    fn value(&mut self, tag: usize, second: usize) -> Option<Value> {
        let random = &mut self.random;
        let state = &mut self.state[tag];
        match self.shape {
            Shape::Slow => {
                let step = if random.u8(..5) == 0 { random.i64(-1..=1) } else { 0 };
                *state += step;
                (step != 0).then(|| Value::Real(*state as f32 / 10.0))
            }
            Shape::Noisy => {
                *state += random.i64(-1..=1);
                let noise = (-2.0 * random.f64().ln()).sqrt() * (2.0 * PI * random.f64()).cos();
                Some(Value::Lreal(*state as f64 / 10.0 + noise / 50.0))
            }
            Shape::Counters => {
                // Some count each second, some by what was used, some now and then.
                let step = match tag % 3 {
                    0 => 1,
                    1 => 40 + random.i64(-3..=3),
                    _ => i64::from(random.u8(..4) == 0),
                };
                *state += step;
                (step != 0).then(|| Value::Uint(state.cast_unsigned()))
            }
            Shape::States => {
                let changes = random.u16(..1000) < 20;
                *state += i64::from(changes);
                let text = || {
                    ["idle", "running", "setting up", "fault", "waiting for parts"]
                        [usize::try_from(*state % 5).unwrap_or(0)]
                };
                let part = || format!("order {} part {}", 4711 + second / 600, *state);
                changes.then(|| match tag % 10 {
                    0 => Value::Text(text().into()),
                    1 => Value::Text(part().into()),
                    _ => Value::Bool(*state % 2 == 0),
                })
            }
        }
    }
}
