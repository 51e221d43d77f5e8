//! Counters: what has been added between two readings, over a wrap or a reset.

use forebay_connector::{DataType, Scalar};

use crate::device::Transform;

/// A wrap must be this short, as a share of the counter's range, to be taken for one: a fall from
/// farther below the end is a reset.
const WRAP_SHARE: f64 = 1.0 / 16.0;

/// How a counter behaves when it goes back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counter {
    /// Numbers of its type in published units; 0 when the type does not wrap.
    range: f64,
    /// The type has a sign: some devices wrap to 0 at its largest number, without using it.
    signed: bool,
}

/// What happened between two readings of a counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// It has grown by this much, or not at all.
    Grown(f64),
    /// It passed the end of its type, and has grown by this much.
    Wrapped(f64),
    /// It began anew and has come to this much since.
    Reset(f64),
    /// It fell a little: a correction, nothing is added.
    Corrected,
}

impl Step {
    /// What is to be added to a total.
    pub fn increase(self) -> f64 {
        match self {
            Self::Grown(by) | Self::Wrapped(by) | Self::Reset(by) => by,
            Self::Corrected => 0.0,
        }
    }
}

impl Counter {
    /// The counter that is read as `raw` and published through `transform`.
    pub fn new(raw: DataType, transform: Transform) -> Self {
        let bits = |bits: u32| 2f64.powi(i32::try_from(bits).unwrap_or(0));
        let numbers = match raw.scalar {
            Scalar::Bcd => 1e4,
            Scalar::Lbcd => 1e8,
            Scalar::Real | Scalar::Lreal => 0.0,
            other => other.bits().map_or(0.0, bits),
        };
        let factor = match transform {
            Transform::None => 1.0,
            // Clamped, it never shows its end.
            Transform::Linear { scale, clamp: None, .. } if scale > 0.0 => scale,
            Transform::Linear { .. } | Transform::Bit(_) => 0.0,
        };
        let signed = matches!(raw.scalar, Scalar::Sint | Scalar::Int | Scalar::Dint | Scalar::Lint);
        Self { range: numbers * factor, signed }
    }

    /// What happened from `old` to `new`.
    pub fn step(&self, old: f64, new: f64) -> Step {
        if new >= old {
            return Step::Grown(new - old);
        }
        let ranges = [self.range, if self.signed { self.range / 2.0 } else { 0.0 }];
        for range in ranges.into_iter().filter(|range| *range > 0.0) {
            let grown = new + range - old;
            if (0.0..range * WRAP_SHARE).contains(&grown) {
                return Step::Wrapped(grown);
            }
        }
        if new < old / 2.0 { Step::Reset(new.max(0.0)) } else { Step::Corrected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(scalar: Scalar, scale: f64) -> Counter {
        let transform = Transform::Linear { scale, offset: 0.0, clamp: None };
        Counter::new(DataType::single(scalar), transform)
    }

    #[test]
    fn a_wrap_is_that_of_the_type_through_the_scale() {
        let parts = counter(Scalar::Uint, 1.0);
        assert_eq!(parts.step(65_530.0, 4.0), Step::Wrapped(10.0));
        let energy = counter(Scalar::Udint, 0.5);
        assert_eq!(energy.step(2_147_483_647.5, 1.0), Step::Wrapped(1.5));
        let signed = counter(Scalar::Int, 1.0);
        assert_eq!(signed.step(32_767.0, -32_768.0), Step::Wrapped(1.0));
        assert_eq!(signed.step(32_766.0, 3.0), Step::Wrapped(5.0), "some wrap to 0 instead");
        assert_eq!(counter(Scalar::Bcd, 1.0).step(9_999.0, 0.0), Step::Wrapped(1.0));
    }

    #[test]
    fn a_reset_and_a_correction_are_no_wrap() {
        let parts = counter(Scalar::Uint, 1.0);
        assert_eq!(parts.step(1_200.0, 7.0), Step::Reset(7.0));
        assert_eq!(parts.step(1_200.0, 1_199.0), Step::Corrected);
        assert_eq!(counter(Scalar::Real, 1.0).step(1e9, 0.0), Step::Reset(0.0));
        assert_eq!(parts.step(7.0, 7.0).increase(), 0.0);
    }
}
