//! What a model is given: features, declared in `model.toml`, of the tags on the grid.
//!
//! Each input keeps a ring of its last values, as long as the longest feature of it needs. At each point
//! of the grid every feature is computed anew from its ring: no running sums, so no error grows from
//! day to day, and nothing is allocated.

mod band;
mod live;
mod missing;
mod ring;
mod spec;
mod state;
mod statistics;

use std::time::Duration;

pub(super) use live::LiveState;
pub use live::StateTag;
pub use missing::{Fill, Missing, Rule};
pub(super) use spec::{features, remaining_life, resampling, state_filter};
pub use state::{Filter, StateFilter, Verdict};

use ring::Ring;

/// Most features of a model.
pub const FEATURES_MAX: usize = 256;
/// Most points of the grid a feature looks back.
pub const POINTS_MAX: usize = 4096;
/// Most multiplications of a band at one point of the grid.
pub const BAND_WORK_MAX: usize = 1 << 18;

/// What is made of the tags before the graph sees them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prepare {
    /// Features in the order of the graph; none: the inputs themselves.
    pub features: Vec<Feature>,
    /// What becomes of missing values, for each input that says so.
    pub missing: Vec<Option<Missing>>,
    /// Windows are scored only while the machine is in these states.
    pub state: Option<StateFilter>,
    /// The graph says how long the machine will last.
    pub remaining_life: Option<RemainingLife>,
}

/// What the output `remaining` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemainingLife {
    /// Unit of its three numbers, for example `h`.
    pub unit: String,
}

/// One feature of one tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// Number of the input, from 0.
    pub input: usize,
    /// What is computed of it.
    pub kind: Kind,
}

/// What is computed of the last values of a tag. Numbers of points count the newest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// The value itself.
    Value,
    /// The value so many points ago.
    Lag(usize),
    /// Change per second since so many points ago.
    Rate {
        /// Points ago.
        points: usize,
        /// How long that is, in seconds.
        seconds: f64,
    },
    /// Mean of so many points.
    Mean(usize),
    /// Standard deviation (of all, not of a sample).
    Std(usize),
    /// Smallest value.
    Min(usize),
    /// Largest value.
    Max(usize),
    /// Largest less smallest value.
    Range(usize),
    /// Root of the mean square.
    Rms(usize),
    /// Fourth moment over the square of the second: 3 for noise, more for shocks, 0 for a constant.
    Kurtosis(usize),
    /// Largest size over RMS; 0 for nothing but zeros.
    Crest(usize),
    /// RMS of what lies between two frequencies.
    Band {
        /// Points looked at.
        points: usize,
        /// First frequency, in cycles in these points.
        first: usize,
        /// Last frequency, in cycles in these points.
        last: usize,
    },
}

impl Kind {
    /// Points of the grid it needs, the newest one among them.
    pub fn points(self) -> usize {
        match self {
            Self::Value => 1,
            Self::Lag(points) | Self::Rate { points, .. } => points + 1,
            Self::Mean(points)
            | Self::Std(points)
            | Self::Min(points)
            | Self::Max(points)
            | Self::Range(points)
            | Self::Rms(points)
            | Self::Kurtosis(points)
            | Self::Crest(points)
            | Self::Band { points, .. } => points,
        }
    }

    fn of(self, ring: &Ring) -> f64 {
        match self {
            Self::Value => ring.ago(0),
            Self::Lag(points) => ring.ago(points),
            Self::Rate { points, seconds } => (ring.ago(0) - ring.ago(points)) / seconds,
            Self::Mean(points) => statistics::mean(ring.last(points), points),
            Self::Std(points) => statistics::deviation(ring.last(points), points),
            Self::Min(points) => statistics::least(ring.last(points)),
            Self::Max(points) => statistics::most(ring.last(points)),
            Self::Range(points) => statistics::most(ring.last(points)) - statistics::least(ring.last(points)),
            Self::Rms(points) => statistics::rms(ring.last(points), points),
            Self::Kurtosis(points) => statistics::kurtosis(ring.last(points), points),
            Self::Crest(points) => statistics::crest(ring.last(points), points),
            Self::Band { points, first, last } => band::rms(ring.last(points), points, first, last),
        }
    }
}

/// The features of one model at work.
#[derive(Clone)]
pub struct Features {
    features: Vec<Feature>,
    rings: Vec<Ring>,
    row: Vec<f32>,
    filled: usize,
    needed: usize,
}

impl Features {
    /// For rows of `inputs` values; `None` when the inputs go to the graph as they are.
    pub fn new(prepare: &Prepare, inputs: usize) -> Option<Self> {
        let features = prepare.features.clone();
        let needed = features.iter().map(|feature| feature.kind.points()).max()?;
        let longest = |input| {
            let of = features.iter().filter(|feature| feature.input == input);
            of.map(|feature| feature.kind.points()).max().unwrap_or(1)
        };
        let rings = (0..inputs).map(|input| Ring::new(longest(input))).collect();
        let row = vec![0.0; features.len()];
        Some(Self { features, rings, row, filled: 0, needed })
    }

    /// Takes the values of one point of the grid; gives a row of features once enough is known.
    #[allow(clippy::cast_possible_truncation)] // the graph computes in 32 bits
    pub fn push(&mut self, values: &[f32]) -> Option<&[f32]> {
        self.rings.iter_mut().zip(values).for_each(|(ring, value)| ring.push(f64::from(*value)));
        self.filled = (self.filled + 1).min(self.needed);
        if self.filled < self.needed {
            return None;
        }
        for (cell, feature) in self.row.iter_mut().zip(&self.features) {
            *cell = feature.kind.of(&self.rings[feature.input]) as f32;
        }
        Some(&self.row)
    }

    /// Points of the grid still missing before the first row of features.
    pub fn missing(&self) -> usize {
        self.needed - self.filled
    }

    /// What comes next does not follow what was.
    pub fn reset(&mut self) {
        self.filled = 0;
    }

    /// Number of the input that a feature is made of.
    pub fn input(&self, feature: usize) -> usize {
        self.features[feature].input
    }

    /// Adds the sizes of what each feature contributes to what its input contributes.
    pub fn by_input(&self, contrib: &[f32], into: &mut [f32]) {
        into.fill(0.0);
        for (feature, share) in self.features.iter().zip(contrib) {
            into[feature.input] += share.abs();
        }
    }
}

/// Points of the grid in a duration; `None` when it is not a whole number of them, or too many.
fn points(duration: Duration, interval: Duration) -> Option<usize> {
    let (duration, interval) = (duration.as_millis(), interval.as_millis());
    let whole = interval > 0 && duration.is_multiple_of(interval);
    let points = usize::try_from(duration.checked_div(interval)?).ok()?;
    (whole && (1..POINTS_MAX).contains(&points)).then_some(points)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by its formula, from the whole history, newest value last.
    fn naive(kind: Kind, values: &[f64]) -> f64 {
        let last = |points: usize| &values[values.len() - points..];
        #[allow(clippy::cast_precision_loss)]
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let moment = |of: &[f64], power: i32| {
            let centre = mean(of);
            mean(&of.iter().map(|value| (value - centre).powi(power)).collect::<Vec<_>>())
        };
        let fold =
            |of: &[f64], with: fn(f64, f64) -> f64| of.iter().copied().reduce(with).unwrap_or_default();
        let rms = |of: &[f64]| mean(&of.iter().map(|value| value * value).collect::<Vec<_>>()).sqrt();
        match kind {
            Kind::Value => values[values.len() - 1],
            Kind::Lag(points) => values[values.len() - 1 - points],
            Kind::Rate { points, seconds } => {
                (values[values.len() - 1] - values[values.len() - 1 - points]) / seconds
            }
            Kind::Mean(points) => mean(last(points)),
            Kind::Std(points) => moment(last(points), 2).sqrt(),
            Kind::Min(points) => fold(last(points), f64::min),
            Kind::Max(points) => fold(last(points), f64::max),
            Kind::Range(points) => fold(last(points), f64::max) - fold(last(points), f64::min),
            Kind::Rms(points) => rms(last(points)),
            Kind::Kurtosis(points) => moment(last(points), 4) / moment(last(points), 2).powi(2),
            Kind::Crest(points) => {
                last(points).iter().fold(0.0, |most: f64, value| most.max(value.abs())) / rms(last(points))
            }
            Kind::Band { points, first, last: end } => {
                let of = last(points);
                #[allow(clippy::cast_precision_loss)]
                let share = |frequency: usize| {
                    let angle = |at: usize| std::f64::consts::TAU * (frequency * at) as f64 / points as f64;
                    let turn = |part: fn(f64) -> f64| -> f64 {
                        of.iter().enumerate().map(|(at, value)| value * part(angle(at))).sum()
                    };
                    let power = turn(f64::cos).powi(2) + turn(f64::sin).powi(2);
                    // Each frequency but the highest stands twice in a spectrum.
                    let twice = if 2 * frequency == points { 1.0 } else { 2.0 };
                    twice * power / (points as f64).powi(2)
                };
                (first..=end).map(share).sum::<f64>().sqrt()
            }
        }
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        (2_usize..40, 0_usize..20, 0_usize..20, 0_u8..12).prop_map(|(points, a, b, which)| {
            let (first, last) = (1 + a.min(b).min(points / 2 - 1), (1 + a.max(b)).min(points / 2));
            match which {
                0 => Kind::Value,
                1 => Kind::Lag(points),
                2 => Kind::Rate { points, seconds: 0.5 },
                3 => Kind::Mean(points),
                4 => Kind::Std(points),
                5 => Kind::Min(points),
                6 => Kind::Max(points),
                7 => Kind::Range(points),
                8 => Kind::Rms(points),
                9 => Kind::Kurtosis(points),
                10 => Kind::Crest(points),
                _ => Kind::Band { points, first, last },
            }
        })
    }

    proptest! {
        /// Whatever came before and however the ring has turned, a feature is what its formula says.
        #[test]
        fn features_are_what_their_formulas_say(
            kinds in prop::collection::vec((0_usize..2, kinds()), 1..6),
            rows in prop::collection::vec((-50.0_f32..50.0, -1.0_f32..1.0), 1..150),
        ) {
            let list = kinds.iter().map(|(input, kind)| Feature { input: *input, kind: *kind });
            let prepare = Prepare { features: list.collect(), ..Prepare::default() };
            let needed = kinds.iter().map(|(_, kind)| kind.points()).max().unwrap_or(1);
            let mut features = Features::new(&prepare, 2).expect("there are some");
            let mut history: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
            for (count, (a, b)) in rows.iter().enumerate() {
                history[0].push(f64::from(*a));
                history[1].push(f64::from(*b));
                let found = features.push(&[*a, *b]).map(<[f32]>::to_vec);
                prop_assert_eq!(found.is_some(), count + 1 >= needed);
                for (found, (input, kind)) in found.iter().flatten().zip(&kinds) {
                    let expected = naive(*kind, &history[*input]);
                    let close = (f64::from(*found) - expected).abs() <= 1e-4 * expected.abs().max(1.0);
                    prop_assert!(close, "{kind:?}: {found} instead of {expected}");
                }
            }
        }

        /// Parts of a spectrum add up: all bands together are what is left without the mean.
        #[test]
        fn bands_add_up_to_the_deviation(values in prop::collection::vec(-9.0_f32..9.0, 4..60)) {
            let points = values.len();
            let of = |kind| {
                let prepare = Prepare { features: vec![Feature { input: 0, kind }], ..Prepare::default() };
                let mut features = Features::new(&prepare, 1).expect("there is one");
                let mut last = 0.0;
                for value in &values {
                    last = features.push(&[*value]).map_or(0.0, |row| f64::from(row[0]));
                }
                last
            };
            let half = points / 2;
            let low = of(Kind::Band { points, first: 1, last: half.max(2) / 2 });
            let high = of(Kind::Band { points, first: half.max(2) / 2 + 1, last: half });
            let both = if half / 2 + 1 > half { low } else { low.hypot(high) };
            let deviation = of(Kind::Std(points));
            prop_assert!((both - deviation).abs() < 1e-4 * deviation.max(1.0), "{both} and {deviation}");
        }
    }

    #[test]
    fn what_has_no_size_has_no_shape() {
        for (kind, expected) in [(Kind::Kurtosis(4), 0.0), (Kind::Crest(4), 0.0), (Kind::Std(4), 0.0)] {
            let prepare = Prepare { features: vec![Feature { input: 0, kind }], ..Prepare::default() };
            let mut features = Features::new(&prepare, 1).expect("there is one");
            let row = (0..4).filter_map(|_| features.push(&[0.0]).map(|row| row[0])).last();
            assert_eq!(row, Some(expected), "{kind:?} of zeros");
        }
    }
}
