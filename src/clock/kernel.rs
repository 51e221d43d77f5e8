//! What the kernel knows of its clock.

/// From this error on the kernel itself calls its clock unsynchronised, microseconds.
const ERROR_MAX_US: i64 = 16_000_000;

/// Whether somebody keeps the clock of this computer right (NTP, PTP, a radio clock); `None` when
/// the kernel does not say.
///
/// While nobody does, the kernel lets the largest possible error grow by 500 µs a second, to 16 s
/// (adjtimex(2), `maxerror`). The error is asked and not the flag `STA_UNSYNC`, which chronyd only
/// clears when it may set the hardware clock, too (`rtcsync`).
#[allow(unsafe_code)] // docs/adr/0011-the-kernel-is-asked-for-its-clock.md
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: the structure holds numbers only, for which all zeros are valid.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of a whole `timex` which lives longer than the call, and
    // `modes` = 0 only reads.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    #[allow(clippy::useless_conversion)] // narrower on 32-bit systems
    (state >= 0).then(|| is_known(i64::from(timex.maxerror)))
}

fn is_known(error_max_us: i64) -> bool {
    error_max_us < ERROR_MAX_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_and_nothing_is_changed_by_asking() {
        let first = is_synchronised();
        assert!(first.is_some(), "adjtimex is not allowed here");
        assert_eq!(is_synchronised(), first);
    }

    #[test]
    fn sixteen_seconds_are_no_time() {
        assert!(is_known(0) && is_known(15_999_999));
        assert!(!is_known(16_000_000) && !is_known(i64::MAX));
    }
}
