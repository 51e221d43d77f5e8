//! Random movement that real measurements have: it wanders, and comes back to its mean.

use forebay_connector::Value;

/// A value that wanders around 0 (Ornstein-Uhlenbeck process).
///
/// Stepped exactly, so that its spread does not depend on the length of the steps.
#[derive(Debug, Clone)]
pub(super) struct Drift {
    /// Present distance from the mean.
    pub(super) value: f64,
    /// Standard deviation.
    spread: f64,
    /// Time after which it has forgotten about two thirds of where it was, in seconds.
    memory_s: f64,
}

impl Drift {
    /// Starts at its mean.
    pub(super) fn new(spread: f64, memory_s: f64) -> Self {
        Self { value: 0.0, spread, memory_s }
    }

    /// Moves on by `dt_s` seconds.
    pub(super) fn step(&mut self, rng: &mut fastrand::Rng, dt_s: f64) {
        let keep = (-dt_s / self.memory_s).exp();
        self.value = self.value * keep + self.spread * (1.0 - keep * keep).sqrt() * normal(rng);
    }
}

/// A number with mean 0 and standard deviation 1, nearly normal, never beyond 6.
pub(super) fn normal(rng: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// `value` follows `target` with the time constant `tau_s`.
pub(super) fn follow(value: &mut f64, target: f64, tau_s: f64, dt_s: f64) {
    *value += (target - *value) * (1.0 - (-dt_s / tau_s).exp());
}

/// A REAL.
#[allow(clippy::cast_possible_truncation)] // a REAL has 32 bits, the digits beyond are meant to go
pub(super) fn real(value: f64) -> Value {
    Value::Real(value as f32)
}
