//! Figures of an evaluation: hits, misses, delays and episodes.

use std::io::{self, Write};

/// What was told at each row.
pub(crate) struct Replay {
    /// First row that was judged.
    pub(crate) from: usize,
    /// The score was over the limit.
    pub(crate) over: Vec<bool>,
    /// A prediction was raised.
    pub(crate) raised: Vec<bool>,
    /// The machine was watched; rows at which it was not count for nothing.
    pub(crate) judged: Vec<bool>,
}

/// Hits and misses, row by row.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    hits: u32,
    false_alarms: u32,
    missed: u32,
    quiet: u32,
}

impl Counts {
    fn of(alarms: impl Iterator<Item = bool>, labels: &[bool], judged: &[bool]) -> Self {
        let mut counts = Self::default();
        let rows = alarms.zip(labels).zip(judged).filter(|(_, judged)| **judged);
        for ((alarm, anomaly), _) in rows {
            *match (alarm, *anomaly) {
                (true, true) => &mut counts.hits,
                (true, false) => &mut counts.false_alarms,
                (false, true) => &mut counts.missed,
                (false, false) => &mut counts.quiet,
            } += 1;
        }
        counts
    }

    fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.false_alarms += other.false_alarms;
        self.missed += other.missed;
        self.quiet += other.quiet;
    }

    /// F1, share of normal rows with an alarm, share of anomalous rows without one.
    fn figures(self) -> [f64; 3] {
        let share = |part: u32, rest: u32| f64::from(part) / f64::from((part + rest).max(1));
        let errors = self.false_alarms + self.missed;
        let f1 = share(2 * self.hits, errors);
        [f1, 100.0 * share(self.false_alarms, self.quiet), 100.0 * share(self.missed, self.hits)]
    }
}

/// One way to tell an alarm, over all labelled tables.
#[derive(Default)]
struct Told {
    counts: Counts,
    /// Rows from the onset of each anomaly to the first alarm in it; of those that were watched.
    delays: Vec<Option<usize>>,
}

impl Told {
    fn add(&mut self, alarms: &[bool], labels: &[bool], judged: &[bool]) {
        self.counts.add(Counts::of(alarms.iter().copied(), labels, judged));
        let is_watched = |(onset, end): &(usize, usize)| judged[*onset..*end].iter().any(|judged| *judged);
        for (onset, end) in spans(labels).into_iter().filter(is_watched) {
            self.delays.push((onset..end).position(|row| alarms[row] && judged[row]));
        }
    }

    fn found(&self) -> usize {
        self.delays.iter().flatten().count()
    }

    /// Median of the delays; an anomaly that was not found counts as the longest.
    fn median(&self) -> String {
        let mut delays = self.delays.clone();
        delays.sort_by_key(|delay| delay.unwrap_or(usize::MAX));
        let count = delays.len();
        let middle =
            [count.saturating_sub(1) / 2, count / 2].map(|place| delays.get(place).copied().flatten());
        match middle {
            [Some(one), Some(other)] => {
                let half = if (one + other) % 2 == 0 { "" } else { ".5" };
                format!("{}{half} rows", (one + other) / 2)
            }
            _ => "none".to_owned(),
        }
    }
}

/// Sums over all labelled tables.
#[derive(Default)]
pub(crate) struct Totals {
    over: Told,
    raised: Told,
    always: Counts,
    by_position: Counts,
    /// Predictions that touch no anomaly, and the normal rows they could come in.
    false_predictions: usize,
    normal_rows: usize,
    tables: usize,
}

impl Totals {
    /// Adds a table; gives its line.
    pub(crate) fn add(&mut self, replay: &Replay, labels: &[bool]) -> String {
        let judged = &replay.judged[..];
        self.over.add(&replay.over, labels, judged);
        self.raised.add(&replay.raised, labels, judged);
        self.always.add(Counts::of(labels.iter().map(|_| true), labels, judged));
        let count = labels.len();
        let position = (0..count).map(|row| (50..85).contains(&(row * 100 / count)));
        self.by_position.add(Counts::of(position, labels, judged));
        let touches = |(begin, end): &(usize, usize)| labels[*begin..*end].iter().any(|anomaly| *anomaly);
        let predictions = spans(&replay.raised);
        self.false_predictions += predictions.iter().filter(|span| !touches(span)).count();
        let normal = labels.iter().zip(judged).skip(replay.from);
        self.normal_rows += normal.filter(|(anomaly, judged)| !**anomaly && **judged).count();
        self.tables += 1;
        let [f1, false_alarm, missed] = Counts::of(replay.over.iter().copied(), labels, judged).figures();
        format!("F1 {f1:.3}   false alarm {false_alarm:>5.1} %   missed {missed:>5.1} %")
    }

    pub(crate) fn write(&self, kind: &str, interval_s: f64, writer: &mut impl Write) -> io::Result<()> {
        if self.tables == 0 {
            return Ok(());
        }
        let tables = match self.tables {
            1 => "1 labelled table".to_owned(),
            tables => format!("{tables} labelled tables"),
        };
        writeln!(writer, "\n{tables:<44}{:>5}{:>16}{:>11}", "F1", "false alarm %", "missed %")?;
        for (name, counts) in [
            (format!("{kind}, rows over the limit"), self.over.counts),
            (format!("{kind}, rows with a prediction"), self.raised.counts),
            ("always alarm (no sensors)".to_owned(), self.always),
            ("alarm at 50-85 % of the table (no sensors)".to_owned(), self.by_position),
        ] {
            let [f1, false_alarm, missed] = counts.figures();
            writeln!(writer, "{name:<44}{f1:>5.3}{false_alarm:>16.1}{missed:>11.1}")?;
        }
        let count = self.over.delays.len();
        for (what, told) in [("an alarm", &self.over), ("a prediction", &self.raised)] {
            let (found, median) = (told.found(), told.median());
            writeln!(writer, "anomalies with {what}: {found} of {count}, median delay {median}")?;
        }
        let hourly = hourly(self.false_predictions, self.normal_rows, interval_s);
        writeln!(writer, "predictions without an anomaly: {}, {hourly:.1} an hour", self.false_predictions)
    }
}

/// For a table without labels: how much of it alarms.
pub(super) fn unlabelled(replay: &Replay, interval_s: f64) -> String {
    let rows = replay.judged.iter().skip(replay.from).filter(|judged| **judged).count();
    let share = |alarms: &[bool]| {
        let alarms = alarms.iter().zip(&replay.judged).filter(|(alarm, judged)| **alarm && **judged).count();
        100.0 * as_f64(alarms) / as_f64(rows.max(1))
    };
    let predictions = spans(&replay.raised);
    let hourly = hourly(predictions.len(), rows, interval_s);
    let mut line = format!(
        "fitted on {} rows; of the other {rows}, {:.1} % over the limit and {:.1} % with a prediction; \
         {} predictions, {hourly:.1} an hour",
        replay.from,
        share(&replay.over),
        share(&replay.raised),
        predictions.len()
    );
    if let Some((begin, _)) = predictions.first() {
        let before_end = as_f64(replay.over.len() - begin) * interval_s / 3600.0;
        line += &format!("; the first at row {begin}, {before_end:.1} h before the end");
    }
    line
}

/// Begin and end of each run of `true`.
fn spans(flags: &[bool]) -> Vec<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (row, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
        match spans.last_mut() {
            Some((_, end)) if *end == row => *end = row + 1,
            _ => spans.push((row, row + 1)),
        }
    }
    spans
}

fn hourly(count: usize, rows: usize, interval_s: f64) -> f64 {
    as_f64(count) * 3600.0 / (as_f64(rows.max(1)) * interval_s)
}

#[allow(clippy::cast_precision_loss)] // rows in memory are far below 2^53
fn as_f64(count: usize) -> f64 {
    count as f64
}
