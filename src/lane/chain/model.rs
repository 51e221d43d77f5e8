//! What numbers of one kind have looked like so far, so that the next one gets a code of the right
//! length.

/// The running mean follows by one part in 2 to this.
const RATE_SHIFT: u32 = 3;
/// Values that count fully, so that wide numbers are not escapes for long.
const FIRST_VALUES: u8 = 4;
/// Larger values count as this, so that the mean never overflows.
const LEARNED_MAX: u64 = 1 << 52;

/// Model of one whole number that is mostly small: its adaptive Golomb-Rice parameter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Number {
    /// 16 times the running mean.
    mean: u64,
    seen: u8,
}

impl Number {
    /// Low bits that are written as they are: the logarithm of about 0.7 times the mean. At most 56.
    #[inline]
    pub(super) fn rice_parameter(&self) -> u32 {
        let scaled = (self.mean - (self.mean >> 2)) >> 4;
        u64::BITS - scaled.leading_zeros()
    }

    /// Takes notice of a value.
    #[inline]
    pub(super) fn learn(&mut self, value: u64) {
        let value = value.min(LEARNED_MAX);
        if self.seen < FIRST_VALUES {
            self.seen += 1;
            self.mean = if self.seen == 1 { value << 4 } else { self.mean / 2 + value * 8 };
            return;
        }
        // One wild value must not spoil the next ones.
        let bounded = value.min((self.mean >> 4) * 32 + 16);
        self.mean = self.mean - (self.mean >> RATE_SHIFT) + (bounded << 4 >> RATE_SHIFT);
    }
}

/// Small absolute values become small numbers: 0, -1, 1, -2 become 0, 1, 2, 3.
#[allow(clippy::cast_sign_loss)] // the bits are moved, not the number
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[allow(clippy::cast_possible_wrap)] // the bits are moved, not the number
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
