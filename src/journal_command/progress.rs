//! A bar for long work, on the terminal only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Drawn again at most so often.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Work that takes shorter needs no bar.
const QUIET: Duration = Duration::from_millis(500);
const WIDTH: usize = 30;

/// How far a piece of work is. On anything but a terminal it shows nothing.
pub struct Progress {
    what: String,
    total: u64,
    done: u64,
    started: Instant,
    drawn: Option<Instant>,
    shows: bool,
}

impl Progress {
    /// Work of `total` units, for example bytes; `what` is shown in front.
    pub fn new(what: &str, total: u64, json: bool) -> Self {
        let shows = !json && std::io::stderr().is_terminal();
        Self { what: what.to_owned(), total, done: 0, started: Instant::now(), drawn: None, shows }
    }

    /// Some more is done.
    pub fn add(&mut self, units: u64) {
        self.set(self.done.saturating_add(units));
    }

    /// So much is done.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW_EVERY);
        if self.shows && due && self.started.elapsed() >= QUIET {
            self.drawn = Some(Instant::now());
            let line = line(&self.what, self.done, self.total, self.started.elapsed());
            self.draw(&format!("\r\x1b[K{line}"));
        }
    }

    /// Whether anybody sees it.
    pub fn is_shown(&self) -> bool {
        self.shows
    }

    /// Writes a line of its own to the standard error, above the bar.
    pub fn say(&mut self, line: &str) {
        let clear = if self.drawn.take().is_some() { "\r\x1b[K" } else { "" };
        self.draw(&format!("{clear}{line}\n"));
    }

    fn draw(&self, text: &str) {
        let mut terminal = std::io::stderr().lock();
        // A bar that cannot be drawn is no reason to stop.
        let _unseen = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.draw("\r\x1b[K");
        }
    }
}

/// `verify [#########·····]  62 %, 3 s left`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn line(what: &str, done: u64, total: u64, taken: Duration) -> String {
    let part = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
    let full = (part * WIDTH as f64) as usize;
    let left_s = if part > 0.0 { taken.as_secs_f64() * (1.0 - part) / part } else { 0.0 };
    let left = match left_s.ceil() as u64 {
        0 => String::new(),
        seconds @ 1..120 => format!(", {seconds} s left"),
        seconds => format!(", {} min left", seconds.div_ceil(60)),
    };
    let bar = format!("{}{}", "#".repeat(full), "·".repeat(WIDTH - full));
    format!("{what} [{bar}] {:3.0} %{left}", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_and_how_long() {
        let half = line("verify", 50, 100, Duration::from_secs(10));
        assert_eq!(half, format!("verify [{}{}]  50 %, 10 s left", "#".repeat(15), "·".repeat(15)));
        assert!(line("export", 1, 100, Duration::from_secs(10)).ends_with("1 %, 17 min left"));
        assert!(line("export", 100, 100, Duration::from_secs(10)).ends_with("100 %"));
        assert!(line("export", 7, 0, Duration::ZERO).ends_with("100 %"));
    }
}
