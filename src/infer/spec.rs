//! `model.toml`: what a model is given, and what its score means.
//!
//! Everything that is wrong with the file is found in one run, with line and fix. Nothing has a
//! silent default.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::features::{self, Missing, Prepare};
use super::folder::Fault;
use crate::device::Text;

/// Largest `model.toml`.
pub const SPEC_BYTES_MAX: usize = 64 * 1024;
/// Most inputs of a model.
pub const INPUTS_MAX: usize = 64;
/// Longest window, in points of the grid.
pub const WINDOW_MAX: usize = 4096;
/// Longest text in the file, in bytes.
const TEXT_BYTES_MAX: usize = 400;

/// A checked `model.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Name, unique on the box.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// What it watches, for people.
    pub title: Text,
    /// Devices of this profile are watched.
    pub profile: String,
    /// Grid on which the inputs are taken.
    pub sample_interval: Duration,
    /// Points of the grid that the model sees at once.
    pub window: usize,
    /// Points of the grid from one score to the next.
    pub stride: usize,
    /// The score is the median of this many; odd.
    pub smoothing: usize,
    /// Over it, for `hold`, the prediction is raised.
    pub threshold: f32,
    /// Below it, for `hold`, the prediction ends; at most `threshold`.
    pub clear_below: f32,
    /// How long a crossing must last.
    pub hold: Duration,
    /// Inputs in the order of the graph.
    pub inputs: Vec<Input>,
    /// What is made of the inputs before the graph sees them; by default nothing.
    pub prepare: Prepare,
}

/// One input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Path of the tag.
    pub tag: String,
    /// What to look at when this tag contributes most.
    pub look_at: Text,
}

const KEYS: [&str; 17] = [
    "forebay",
    "name",
    "version",
    "title",
    "profile",
    "sample_interval",
    "window",
    "stride",
    "normalisation",
    "smoothing",
    "threshold",
    "clear_below",
    "hold",
    "input",
    "feature",
    "state",
    "remaining_life",
];

impl Spec {
    /// True when both are given the same: inputs and grid, and what is made of them.
    pub fn sees_as(&self, other: &Self) -> bool {
        let seen = |spec: &Self| {
            let inputs = spec.inputs.iter();
            let inputs = inputs.map(|input| Input { look_at: Text::default(), ..input.clone() }).collect();
            // What is left out here is looked at after the window, or says how long it is.
            Self {
                name: String::new(),
                version: String::new(),
                title: Text::default(),
                profile: String::new(),
                window: 0,
                stride: 0,
                smoothing: 0,
                threshold: 0.0,
                clear_below: 0.0,
                hold: Duration::ZERO,
                inputs,
                prepare: Prepare { remaining_life: None, ..spec.prepare.clone() },
                ..spec.clone()
            }
        };
        seen(self) == seen(other)
    }

    /// Values the graph is given at one point of the grid: its features, else its inputs.
    pub fn columns(&self) -> usize {
        if self.prepare.features.is_empty() { self.inputs.len() } else { self.prepare.features.len() }
    }

    /// Points of the grid before the first score.
    pub fn points(&self) -> usize {
        let points = self.prepare.features.iter().map(|feature| feature.kind.points()).max();
        self.window + points.unwrap_or(1) - 1
    }

    /// Reads a `model.toml`; `file` is its name in messages.
    ///
    /// # Errors
    /// All faults of the file, in the order of their lines.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = Walk { file, text, faults: Vec::new() };
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            walk.fault(at, "M0101", error.message().to_owned(), "write it as TOML 1.0");
        }
        let spec = walk.spec(document.get_ref());
        walk.faults.sort_by_key(|fault| fault.line);
        match spec {
            Some(spec) if walk.faults.is_empty() => Ok(spec),
            _ => Err(walk.faults),
        }
    }
}

/// The file being read, and what was wrong with it so far.
pub(super) struct Walk<'a> {
    file: &'a str,
    text: &'a str,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    pub(super) fn fault(&mut self, at: usize, code: &'static str, message: String, fix: &str) {
        let line = self.text.get(..at).map(|before| before.matches('\n').count() + 1);
        self.faults.push(Fault { code, file: self.file.to_owned(), line, message, fix: fix.to_owned() });
    }

    /// Reads `key`; on a fault it is reported and the rest of the file is still read.
    pub(super) fn take<T>(
        &mut self,
        table: &DeTable<'_>,
        key: &'static str,
        fix: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = table.get(key) else {
            let at = table.values().map(|value| value.span().start).min().unwrap_or(0);
            self.fault(at, "M0103", format!("`{key}` is missing"), fix);
            return None;
        };
        let read = read(value.get_ref());
        if read.is_none() {
            let found = &self.text[value.span()];
            let shown: String = found.chars().take(40).collect();
            self.fault(value.span().start, "M0104", format!("`{key}` cannot be {shown}"), fix);
        }
        read
    }

    pub(super) fn unknown_keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&&**key.get_ref())) {
            let fix = format!("known keys here: {}", known.join(", "));
            self.fault(key.span().start, "M0102", format!("unknown key `{}`", key.get_ref()), &fix);
        }
    }

    fn spec(&mut self, table: &DeTable<'_>) -> Option<Spec> {
        self.unknown_keys(table, &KEYS);
        let format = self.take(table, "forebay", "write `forebay = 1`", |v| integer(v).filter(|n| *n == 1));
        let named = "up to 64 of a-z, 0-9, - and _";
        let name = self.take(table, "name", named, identifier);
        let version = self.take(table, "version", "a text such as \"1.0.0\", up to 32 bytes", |v| {
            v.as_str().filter(|s| !s.is_empty() && s.len() <= 32).map(str::to_owned)
        });
        let texts = "texts by language, `{ en = \"…\", de = \"…\" }`, en is a must, each up to 400 bytes";
        let title = self.take(table, "title", texts, text);
        let profile = self.take(table, "profile", named, identifier);
        let interval = self.take(table, "sample_interval", "a duration from \"50ms\" to \"1h\"", |v| {
            duration(v).filter(|d| (50..=3_600_000).contains(&d.as_millis()))
        });
        let window = self.take(table, "window", "points of the grid, 1 to 4096", |v| within(v, WINDOW_MAX));
        // Features look back by themselves, so that the graph may be given one row of them.
        let has_features = table.contains_key("feature");
        let window_max = window.filter(|_| !has_features).unwrap_or(WINDOW_MAX);
        let stride =
            self.take(table, "stride", "points of the grid, 1 to `window` (with features to 4096)", |v| {
                within(v, window_max)
            });
        let inside = "write \"graph\": mean and deviation belong inside model.onnx";
        let normalisation =
            self.take(table, "normalisation", inside, |v| v.as_str().filter(|s| *s == "graph").map(drop));
        let smoothing = self.take(table, "smoothing", "an odd number of scores, 1 to 9", |v| {
            within(v, 9).filter(|n| n % 2 == 1)
        });
        let threshold = self.take(table, "threshold", "a number over 0", |v| number(v).filter(|n| *n > 0.0));
        let limit = threshold.unwrap_or(f32::MAX);
        let clear_below = self.take(table, "clear_below", "a number over 0, at most `threshold`", |v| {
            number(v).filter(|n| *n > 0.0 && *n <= limit)
        });
        let hold = self.take(table, "hold", "a duration from \"0s\" to \"1h\"", |v| {
            duration(v).filter(|d| d.as_secs() <= 3600)
        });
        let inputs = self.inputs(table, interval);
        let (inputs, missing): (Option<Vec<_>>, _) = match inputs {
            Some(inputs) => {
                let (inputs, missing) = inputs.into_iter().unzip();
                (Some(inputs), missing)
            }
            None => (None, Vec::new()),
        };
        let features = features::features(self, table, interval, inputs.as_deref().unwrap_or_default());
        let state = features::state_filter(self, table);
        let remaining_life = features::remaining_life(self, table);
        format.and(normalisation)?;
        Some(Spec {
            name: name?,
            version: version?,
            title: title?,
            profile: profile?,
            sample_interval: interval?,
            window: window?,
            stride: stride?,
            smoothing: smoothing?,
            threshold: threshold?,
            clear_below: clear_below?,
            hold: hold?,
            inputs: inputs?,
            prepare: Prepare { features: features?, missing, state: state?, remaining_life: remaining_life? },
        })
    }

    fn inputs(
        &mut self,
        table: &DeTable<'_>,
        interval: Option<Duration>,
    ) -> Option<Vec<(Input, Option<Missing>)>> {
        let fix = "one `[[input]]` for each tag, 1 to 64";
        // The borrow of `table` lives on, so that spans inside the list can be reported.
        let list = self.take(table, "input", fix, |v| {
            v.as_array().filter(|list| (1..=INPUTS_MAX).contains(&list.len())).map(drop)
        });
        list?;
        let list = table.get("input")?.get_ref().as_array()?;
        let mut inputs: Vec<(Input, Option<Missing>)> = Vec::with_capacity(list.len());
        let mut whole = true;
        for entry in list.iter() {
            match self.input(entry, &inputs, interval) {
                Some(input) => inputs.push(input),
                None => whole = false,
            }
        }
        whole.then_some(inputs)
    }

    fn input(
        &mut self,
        entry: &Spanned<DeValue<'_>>,
        before: &[(Input, Option<Missing>)],
        interval: Option<Duration>,
    ) -> Option<(Input, Option<Missing>)> {
        let at = entry.span().start;
        let Some(table) = entry.get_ref().as_table() else {
            self.fault(
                at,
                "M0104",
                "an input must be a table".into(),
                "write `[[input]]` and its keys below",
            );
            return None;
        };
        self.unknown_keys(table, &["tag", "look_at", "missing", "max_age"]);
        let tag = self.take(table, "tag", "path of a tag, for example \"drive.current\"", |v| {
            v.as_str().filter(|s| !s.is_empty() && s.len() <= 128).map(str::to_owned)
        });
        let texts = "texts by language, `{ en = \"…\", de = \"…\" }`, en is a must, each up to 400 bytes";
        let look_at = self.take(table, "look_at", texts, text);
        let missing = features::resampling(self, table, interval);
        let tag = tag?;
        if before.iter().any(|(input, _)| input.tag == tag) {
            self.fault(at, "M0105", format!("tag {tag} is an input twice"), "leave one of them out");
            return None;
        }
        Some((Input { tag, look_at: look_at? }, missing?))
    }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn within(value: &DeValue<'_>, max: usize) -> Option<usize> {
    integer(value).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=max).contains(n))
}

pub(super) fn number(value: &DeValue<'_>) -> Option<f32> {
    let text = match value {
        DeValue::Float(float) => float.as_str().to_owned(),
        _ => integer(value)?.to_string(),
    };
    text.parse::<f32>().ok().filter(|n| n.is_finite())
}

fn identifier(value: &DeValue<'_>) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    value.as_str().filter(|s| (1..=64).contains(&s.len()) && s.chars().all(fits)).map(str::to_owned)
}

fn text(value: &DeValue<'_>) -> Option<Text> {
    let table = value.as_table().filter(|table| table.contains_key("en"))?;
    let texts = table.iter().map(|(language, text)| {
        let text = text.get_ref().as_str().filter(|s| !s.is_empty() && s.len() <= TEXT_BYTES_MAX)?;
        (language.get_ref().len() == 2).then(|| (language.get_ref().to_string(), text.to_owned()))
    });
    texts.collect::<Option<_>>().map(Text)
}

pub(super) fn duration(value: &DeValue<'_>) -> Option<Duration> {
    let text = value.as_str()?;
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let count: u64 = count.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    count.checked_mul(ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../models/press-wear/model.toml");

    fn faults(text: &str) -> Vec<String> {
        Spec::parse("model.toml", text).expect_err("it is wrong").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shipped_file_is_read() {
        let spec = Spec::parse("model.toml", GOOD).expect("it is right");
        assert_eq!(spec.sample_interval, Duration::from_millis(500));
        assert_eq!((spec.window, spec.smoothing, spec.inputs.len()), (10, 5, 5));
        assert!((spec.threshold - 1.0).abs() < f32::EPSILON);
        assert!(spec.title.get("de").contains("Lager"));
    }

    #[test]
    fn each_fault_is_named_with_its_line_and_fix() {
        let line = |text: &str| GOOD.lines().position(|l| l.starts_with(text)).expect("it is there") + 1;
        for (from, to, key, what) in [
            ("smoothing       = 5", "smoothing       = 4", "smoothing", "M0104: `smoothing` cannot be 4"),
            ("threshold       = 1.0", "threshold       = nan", "threshold", "`threshold` cannot be nan"),
            ("clear_below     = 0.85", "clear_below     = 1.2", "clear_below", "at most `threshold`"),
            ("hold            = \"5s\"", "hold            = 5", "hold", "a duration from"),
            ("stride          = 1", "stride          = 11", "stride", "1 to `window`"),
            ("window          = 10", "window          = 0", "window", "1 to 4096"),
            ("normalisation   = \"graph\"", "normalisation   = \"file\"", "normalisation", "write \"graph\""),
            ("sample_interval = \"500ms\"", "sample_interval = \"1ms\"", "sample_interval", "\"50ms\" to"),
            ("stride          = 1", "strid           = 1", "stride", "M0102: unknown key `strid`"),
        ] {
            let found = faults(&GOOD.replace(from, to));
            let place = format!("model.toml:{}: ", line(key));
            assert!(found.iter().any(|f| f.starts_with(&place) && f.contains(what)), "{to}: {found:?}");
        }
    }

    #[test]
    fn several_faults_come_in_one_run() {
        let text = GOOD
            .replace("window          = 10", "window = -1")
            .replace("\"drive.vib_nde\"", "\"drive.vib_de\"");
        let text = text.replace("hold   ", "holt   ");
        let found = faults(&text).join("\n");
        for what in [
            "`window` cannot be -1",
            "tag drive.vib_de is an input twice",
            "unknown key `holt`",
            "`hold` is missing",
        ] {
            assert!(found.contains(what), "{what} in {found}");
        }
    }

    #[test]
    fn broken_toml_is_a_fault() {
        assert!(faults("forebay = 1\nname = \"x").iter().any(|fault| fault.contains("M0101")));
        assert!(!faults("").is_empty());
    }
}
