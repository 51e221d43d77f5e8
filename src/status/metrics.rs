//! `/metrics` in the text format of Prometheus, version 0.0.4: the numbers of the [`View`].

use std::fmt::Write;

use super::facts::{Metric, MetricKind, PredictionState, ToItState};
use super::judge::Letter;
use super::view::{Row, State, View};

/// All metrics. Names and texts of devices are label values and escaped there.
pub(super) fn text(view: &View, extras: &[Metric]) -> String {
    let mut metrics = of_the_box(view);
    metrics.extend(of_machines(&view.machines));
    metrics.extend(of_the_journal(view));
    metrics.extend(of_lanes(view));
    metrics.extend(of_predictions(view));
    let mut out = String::with_capacity(16 * 1024);
    for metric in metrics.iter().chain(extras) {
        write_metric(&mut out, metric);
    }
    out
}

/// Seconds of a day and of a mean year.
const DAY_S: f64 = 86_400.0;
const YEAR_S: f64 = 365.25 * DAY_S;

fn write_metric(out: &mut String, metric: &Metric) {
    if metric.samples.is_empty() {
        return;
    }
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
    };
    let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
    // Writing to a string cannot fail.
    let _written = write!(out, "# HELP {0} {help}\n# TYPE {0} {kind}\n", metric.name);
    for (labels, value) in &metric.samples {
        out.push_str(metric.name);
        for (at, (name, text)) in labels.iter().enumerate() {
            let mark = if at == 0 { '{' } else { ',' };
            let _written = write!(out, "{mark}{name}=\"{}\"", escape(text));
        }
        if !labels.is_empty() {
            out.push('}');
        }
        let _written = writeln!(out, " {}", number(*value));
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

type Samples = Vec<(Vec<(&'static str, String)>, f64)>;

fn gauge(name: &'static str, help: &'static str, samples: Samples) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, samples }
}

fn counter(name: &'static str, help: &'static str, samples: Samples) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, samples }
}

fn one(value: f64) -> Samples {
    vec![(Vec::new(), value)]
}

fn maybe(value: Option<f64>) -> Samples {
    value.map(one).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss)] // Prometheus counts in doubles
fn float(count: u64) -> f64 {
    count as f64
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[allow(clippy::cast_precision_loss)] // a time with microseconds fits well
fn of_the_box(view: &View) -> Vec<Metric> {
    let (it, identity) = (&view.to_it.numbers, &view.identity);
    let about = vec![
        ("version", identity.version.clone()),
        ("edge", identity.edge_id.clone()),
        ("site", identity.site.clone()),
    ];
    vec![
        gauge("forebay_info", "Version and identity of the box; always 1.", vec![(about, 1.0)]),
        gauge(
            "forebay_start_time_seconds",
            "Start of the process, seconds since 1970.",
            one(identity.started_us as f64 / 1e6),
        ),
        gauge(
            "forebay_clock_synchronised",
            "1 while somebody keeps the clock of the box right; absent when that is not known.",
            maybe(identity.clock_synchronised.map(flag)),
        ),
        gauge("forebay_kafka_up", "1 while Kafka takes records.", one(flag(it.state == ToItState::Up))),
        gauge(
            "forebay_kafka_fenced",
            "1 when another box uses the same edge id.",
            one(flag(matches!(it.state, ToItState::Fenced { importer: None, .. }))),
        ),
        counter(
            "forebay_kafka_shut_out_total",
            "How often somebody else has sent under the name of this box, since the start.",
            one(float(it.shut_out)),
        ),
        gauge(
            "forebay_kafka_delay_seconds",
            "Age of the oldest record Kafka has not confirmed.",
            maybe(it.delay_s),
        ),
        gauge(
            "forebay_kafka_backlog_records",
            "Records Kafka has not confirmed.",
            one(float(it.backlog_records)),
        ),
        counter(
            "forebay_kafka_committed_records_total",
            "Records confirmed by Kafka since the start.",
            one(float(it.committed_records)),
        ),
    ]
}

fn of_machines(machines: &[Row]) -> Vec<Metric> {
    let each = |value: &dyn Fn(&Row) -> Option<f64>| -> Samples {
        machines.iter().filter_map(|row| Some((vec![("device", row.name.clone())], value(row)?))).collect()
    };
    let count = |of: fn(&Row) -> u64| each(&|row| Some(float(of(row))));
    vec![
        gauge(
            "forebay_device_up",
            "1 while values come in; 0 also when the file of the device has faults.",
            each(&|row| Some(flag(row.state == State::Up))),
        ),
        gauge(
            "forebay_device_ne107",
            "NE 107 letter of the device: 0 good, 1 M, 2 S, 3 C, 4 F.",
            each(&|row| Some(severity(row.letter))),
        ),
        gauge("forebay_device_good_tags", "Tags whose last value is good.", count(|row| row.good as u64)),
        gauge("forebay_device_tags", "Tags of the device.", count(|row| row.total as u64)),
        gauge(
            "forebay_device_age_seconds",
            "Age of the last good value; absent before the first.",
            each(&|row| row.age_s),
        ),
        gauge(
            "forebay_device_round_trip_seconds",
            "Duration of the last reading.",
            each(&|row| Some(row.round_trip_s)),
        ),
        counter("forebay_device_values_total", "Values read since the start.", count(|row| row.values_read)),
        counter(
            "forebay_device_samples_total",
            "Samples journalled since the start.",
            count(|row| row.samples),
        ),
        counter("forebay_device_requests_total", "Requests sent since the start.", count(|row| row.requests)),
        counter(
            "forebay_device_errors_total",
            "Failed readings and connects since the start.",
            count(|row| row.errors),
        ),
        counter(
            "forebay_device_connects_total",
            "Successful connects since the start.",
            count(|row| row.connects),
        ),
        counter(
            "forebay_device_scans_missed_total",
            "Scans that came too late.",
            count(|row| row.scans_missed),
        ),
        gauge(
            "forebay_device_scan_late_seconds",
            "How late the last scan began.",
            each(&|row| Some(row.late_s)),
        ),
        gauge(
            "forebay_device_stretch",
            "How many times less often than asked its slowest scan class is read; 1 as asked.",
            count(|row| row.slowed.iter().map(|slowed| u64::from(slowed.stretch)).max().unwrap_or(1)),
        ),
        gauge(
            "forebay_device_backup_address",
            "1 while the device is read at a backup address.",
            count(|row| u64::from(row.backup.is_some())),
        ),
    ]
}

fn severity(letter: Option<Letter>) -> f64 {
    match letter {
        None => 0.0,
        Some(Letter::M) => 1.0,
        Some(Letter::S) => 2.0,
        Some(Letter::C) => 3.0,
        Some(Letter::F) => 4.0,
    }
}

fn of_the_journal(view: &View) -> Vec<Metric> {
    let reserve = &view.reserve.numbers;
    vec![
        gauge("forebay_journal_budget_bytes", "Bytes the journal may use.", one(float(reserve.budget_bytes))),
        gauge(
            "forebay_journal_written_bytes_per_second",
            "Bytes written per second, mean of one hour.",
            one(reserve.written_bytes_per_s),
        ),
        gauge(
            "forebay_journal_reserve_seconds",
            "How long the journal lasts without Kafka.",
            maybe(reserve.left_s),
        ),
        gauge(
            "forebay_journal_thinned_reserve_seconds",
            "How much longer it lasts with the oldest values summed up.",
            maybe(reserve.thinned_left_s),
        ),
        counter(
            "forebay_journal_thinned_records_total",
            "Records summed up unsent for lack of room.",
            one(float(reserve.thinned_records)),
        ),
        gauge(
            "forebay_flash_written_bytes_per_second",
            "Bytes that Forebay writes to the flash per second, mean of one day.",
            maybe(reserve.flash.written_bytes_per_day.map(|bytes| bytes / DAY_S)),
        ),
        gauge(
            "forebay_flash_life_seconds",
            "How long a new flash lasts at this rate, if it endures what the configuration says.",
            maybe(reserve.flash.years.map(|years| years * YEAR_S)),
        ),
        gauge(
            "forebay_flash_device_written_bytes_per_second",
            "Bytes that all programs write to the device of the journal per second, mean of one day.",
            maybe(reserve.flash.device_bytes_per_day.map(|bytes| bytes / DAY_S)),
        ),
        counter(
            "forebay_journal_dropped_records_total",
            "Records removed that were never given to Kafka: they are lost.",
            one(float(reserve.dropped_records)),
        ),
        counter(
            "forebay_journal_perhaps_dropped_records_total",
            "Records removed of which Kafka may have some.",
            one(float(reserve.perhaps_dropped_records)),
        ),
        gauge(
            "forebay_journal_failed",
            "1 while the disk does not take records.",
            one(flag(reserve.disk_error.is_some())),
        ),
    ]
}

fn of_lanes(view: &View) -> Vec<Metric> {
    let lanes = &view.reserve.numbers.lanes;
    let each = |of: fn(&super::facts::Lane) -> u64| -> Samples {
        lanes.iter().map(|lane| (vec![("lane", lane.name.clone())], float(of(lane)))).collect()
    };
    vec![
        gauge(
            "forebay_lane_unsent_bytes",
            "Bytes of this lane not yet confirmed by Kafka.",
            each(|lane| lane.unsent_bytes),
        ),
        gauge(
            "forebay_lane_history_bytes",
            "Bytes of this lane that Kafka has already.",
            each(|lane| lane.history_bytes),
        ),
        gauge(
            "forebay_lane_thinned_bytes",
            "Bytes of this lane not yet confirmed by Kafka that are summed up.",
            each(|lane| lane.thinned_bytes),
        ),
        gauge(
            "forebay_lane_disk_bytes",
            "Bytes of this lane on disk, also those Kafka has already.",
            each(|lane| lane.disk_bytes),
        ),
        gauge("forebay_lane_budget_bytes", "Bytes this lane may use.", each(|lane| lane.budget_bytes)),
        counter(
            "forebay_lane_appended_records_total",
            "Records written and synced since the start.",
            each(|lane| lane.appended_records),
        ),
        counter(
            "forebay_lane_committed_records_total",
            "Records of this lane confirmed by Kafka since the start.",
            each(|lane| lane.committed_records),
        ),
        gauge(
            "forebay_lane_backlog_records",
            "Records of this lane not confirmed by Kafka.",
            each(|lane| lane.backlog_records),
        ),
    ]
}

fn of_predictions(view: &View) -> Vec<Metric> {
    let labels =
        |p: &super::view::PredictionRow| vec![("device", p.device.clone()), ("model", p.model.clone())];
    let rows = &view.predictions.numbers;
    let each = |value: &dyn Fn(&super::view::PredictionRow) -> Option<f64>| -> Samples {
        rows.iter().filter_map(|p| Some((labels(p), value(p)?))).collect()
    };
    vec![
        gauge("forebay_prediction_score", "Last score of the model.", each(&|p| p.score)),
        gauge(
            "forebay_prediction_threshold",
            "Scores from here on are unusual.",
            each(&|p| Some(p.threshold)),
        ),
        gauge(
            "forebay_prediction_raised",
            "1 while the model says that somebody must look.",
            each(&|p| Some(flag(p.state == PredictionState::Raised))),
        ),
        gauge(
            "forebay_prediction_valid",
            "1 while the model makes a statement.",
            each(&|p| Some(flag(matches!(p.state, PredictionState::Normal | PredictionState::Raised)))),
        ),
        gauge("forebay_prediction_age_seconds", "Age of the last score.", each(&|p| p.age_s)),
    ]
}
