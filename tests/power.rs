//! Power cuts, bad disks and long runs on file systems of their own.
//!
//! `FOREBAY_POWER_CUTS` sets the number of cuts of a longer run, `FOREBAY_POWER_SEED` repeats one.

mod bad_disk;
mod careless;
mod hour;
pub mod image;
mod lanes;
mod read_errors;
mod rot;
mod start;
mod state;
mod victim;

/// Power cuts of each test in the test command.
const CUTS: u64 = 200;

/// A number for a longer run or to repeat one; `default` when the variable is not set.
fn number_from_environment(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}
