//! `[[feature]]`, `[state]`, `[remaining_life]` and the rules for missing values in `model.toml`.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::spec::{Input, Walk, duration, integer, number};
use super::missing::{Missing, Rule};
use super::state::StateFilter;
use super::{BAND_WORK_MAX, FEATURES_MAX, Feature, Kind, POINTS_MAX, RemainingLife, points};

/// Most states in which a machine is judged.
const STATES_MAX: usize = 32;
/// Kinds of a feature, for messages.
const KINDS: &str = "value, lag, rate, mean, std, min, max, range, rms, kurtosis, crest or band";

/// `missing` and `max_age` of one `[[input]]`: none, or both.
pub(in super::super) fn resampling(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    interval: Option<Duration>,
) -> Option<Option<Missing>> {
    if !table.contains_key("missing") && !table.contains_key("max_age") {
        return Some(None);
    }
    let rules = "\"refuse\", \"last\", \"mean\" or \"linear\"";
    let rule = walk.take(table, "missing", rules, |value| {
        Some(match value.as_str()? {
            "refuse" => None,
            "last" => Some(Rule::Last),
            "mean" => Some(Rule::Mean),
            "linear" => Some(Rule::Linear),
            _ => return None,
        })
    })?;
    let Some(rule) = rule else {
        // Nothing is filled in, so nothing has an age.
        return Some(None);
    };
    let points_max = on_grid(walk, table, "max_age", interval)?;
    Some(Some(Missing { rule, points_max }))
}

/// A duration that is a whole number of points of the grid.
fn on_grid(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    key: &'static str,
    interval: Option<Duration>,
) -> Option<usize> {
    let interval = interval?;
    let ms = interval.as_millis();
    let fix = format!(
        "a duration such as \"{}ms\": a multiple of sample_interval, under {POINTS_MAX} times it",
        10 * ms
    );
    walk.take(table, key, &fix, |value| duration(value).and_then(|duration| points(duration, interval)))
}

/// All `[[feature]]`, in the order of the graph.
pub(in super::super) fn features(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    interval: Option<Duration>,
    inputs: &[Input],
) -> Option<Vec<Feature>> {
    let Some(list) = table.get("feature") else { return Some(Vec::new()) };
    let fix = format!("one `[[feature]]` for each value the graph is given, 1 to {FEATURES_MAX}");
    walk.take(table, "feature", &fix, |value| {
        value.as_array().filter(|list| (1..=FEATURES_MAX).contains(&list.len())).map(drop)
    })?;
    let list = list.get_ref().as_array()?;
    let features: Vec<_> = list.iter().map(|entry| feature(walk, entry, interval, inputs)).collect();
    features.into_iter().collect()
}

fn feature(
    walk: &mut Walk<'_>,
    entry: &Spanned<DeValue<'_>>,
    interval: Option<Duration>,
    inputs: &[Input],
) -> Option<Feature> {
    let at = entry.span().start;
    let Some(table) = entry.get_ref().as_table() else {
        walk.fault(at, "M0104", "a feature must be a table".into(), "write `[[feature]]` and its keys below");
        return None;
    };
    let tag = walk.take(table, "tag", "path of a tag that is an `[[input]]`", |value| {
        value.as_str().map(str::to_owned)
    });
    let input = tag.and_then(|tag| {
        let input = inputs.iter().position(|input| input.tag == tag);
        if input.is_none() {
            let message = format!("feature of {tag}, which is no input");
            walk.fault(at, "M0107", message, "add an `[[input]]` with this tag, or correct the name");
        }
        input
    });
    let kind = walk
        .take(table, "kind", KINDS, |value| value.as_str().filter(|kind| is_kind(kind)).map(str::to_owned));
    let kind = kind.and_then(|kind| {
        let keys: &[&str] = match kind.as_str() {
            "value" => &["tag", "kind"],
            "lag" => &["tag", "kind", "by"],
            "band" => &["tag", "kind", "over", "from_hz", "to_hz"],
            _ => &["tag", "kind", "over"],
        };
        walk.unknown_keys(table, keys);
        read_kind(walk, table, &kind, interval)
    });
    Some(Feature { input: input?, kind: kind? })
}

fn is_kind(kind: &str) -> bool {
    KINDS.split([',', ' ']).any(|known| known == kind && kind != "or")
}

fn read_kind(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
    kind: &str,
    interval: Option<Duration>,
) -> Option<Kind> {
    match kind {
        "value" => return Some(Kind::Value),
        "lag" => return on_grid(walk, table, "by", interval).map(Kind::Lag),
        _ => {}
    }
    let points = on_grid(walk, table, "over", interval)?;
    let interval = interval?;
    let least = match kind {
        "rate" => 1,
        "kurtosis" | "band" => 4,
        _ => 2,
    };
    if points < least {
        let at = table.get("over").map_or(0, |value| value.span().start);
        let fix = format!("at least {} ms", interval.as_millis() * least as u128);
        walk.fault(at, "M0104", format!("`over` is too short for `{kind}`"), &fix);
        return None;
    }
    Some(match kind {
        #[allow(clippy::cast_precision_loss)] // below 4096
        "rate" => Kind::Rate { points, seconds: interval.as_secs_f64() * points as f64 },
        "mean" => Kind::Mean(points),
        "std" => Kind::Std(points),
        "min" => Kind::Min(points),
        "max" => Kind::Max(points),
        "range" => Kind::Range(points),
        "rms" => Kind::Rms(points),
        "kurtosis" => Kind::Kurtosis(points),
        "crest" => Kind::Crest(points),
        _ => return band(walk, table, points, interval),
    })
}

/// Frequencies in a window are steps of one cycle in it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 2048
fn band(walk: &mut Walk<'_>, table: &DeTable<'_>, points: usize, interval: Duration) -> Option<Kind> {
    let seconds = interval.as_secs_f64() * points as f64;
    let highest = 0.5 / interval.as_secs_f64();
    let fix = format!("a frequency in Hz, over 0, at most {highest} (half of the grid's)");
    let read = |value: &DeValue<'_>| number(value).map(f64::from).filter(|hz| *hz >= 0.0 && *hz <= highest);
    let (from, to) = (walk.take(table, "from_hz", &fix, read), walk.take(table, "to_hz", &fix, read));
    let (first, last) =
        ((from? * seconds - 1e-6).ceil().max(1.0) as usize, (to? * seconds + 1e-6).floor() as usize);
    let at = table.get("to_hz").map_or(0, |value| value.span().start);
    if first > last {
        let message =
            format!("no frequency of the window lies in this band: they are {} Hz apart", 1.0 / seconds);
        walk.fault(at, "M0108", message, "widen the band, or make `over` longer");
        return None;
    }
    if points * (last - first + 1) > BAND_WORK_MAX {
        let message = format!("the band has {} frequencies of {points} points", last - first + 1);
        walk.fault(at, "M0108", message, "narrow the band, or make `over` shorter");
        return None;
    }
    Some(Kind::Band { points, first, last: last.min(points / 2) })
}

/// `[state]`.
pub(in super::super) fn state_filter(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
) -> Option<Option<StateFilter>> {
    if !table.contains_key("state") {
        return Some(None);
    }
    let keys =
        "tag, is and settle, for example { tag = \"status.state\", is = [\"Execute\"], settle = \"10s\" }";
    walk.take(table, "state", keys, |value| value.as_table().map(drop))?;
    let table = table.get("state")?.get_ref().as_table()?;
    walk.unknown_keys(table, &["tag", "is", "settle"]);
    let tag = walk.take(table, "tag", "path of the tag that tells the state", |value| {
        value.as_str().filter(|tag| !tag.is_empty() && tag.len() <= 128).map(str::to_owned)
    });
    let names = "a list of names, numbers, or true and false: [\"Execute\"], up to 32";
    let is = walk.take(table, "is", names, |value| {
        let list = value.as_array().filter(|list| (1..=STATES_MAX).contains(&list.len()))?;
        list.iter().map(|value| state_name(value.get_ref())).collect::<Option<Vec<_>>>()
    });
    let settle = walk.take(table, "settle", "a duration from \"0s\" to \"1h\"", |value| {
        duration(value).filter(|settle| settle.as_secs() <= 3600)
    });
    Some(Some(StateFilter { tag: tag?, is: is?, settle: settle? }))
}

fn state_name(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::String(text) => Some(text.to_string()).filter(|text| !text.is_empty() && text.len() <= 64),
        _ => integer(value).map(|number| number.to_string()),
    }
}

/// `[remaining_life]`.
pub(in super::super) fn remaining_life(
    walk: &mut Walk<'_>,
    table: &DeTable<'_>,
) -> Option<Option<RemainingLife>> {
    if !table.contains_key("remaining_life") {
        return Some(None);
    }
    let keys = "the unit, for example { unit = \"h\" }";
    walk.take(table, "remaining_life", keys, |value| value.as_table().map(drop))?;
    let table = table.get("remaining_life")?.get_ref().as_table()?;
    walk.unknown_keys(table, &["unit"]);
    let unit =
        walk.take(table, "unit", "\"s\", \"min\", \"h\", \"d\", or what is counted (\"strokes\")", |value| {
            value.as_str().filter(|unit| !unit.is_empty() && unit.len() <= 16).map(str::to_owned)
        });
    Some(Some(RemainingLife { unit: unit? }))
}

#[cfg(test)]
mod tests {
    use super::super::super::spec::Spec;
    use super::*;

    const SHIPPED: &str = include_str!("../../../models/press-wear/model.toml");

    /// The shipped file with more below, and with `window = 1`.
    fn read(more: &str) -> Result<Spec, String> {
        let text = format!("{}\n{more}", SHIPPED.replace("window          = 10", "window          = 1"));
        Spec::parse("model.toml", &text)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn features_are_read_with_their_windows() {
        let spec = read(
            "[[feature]]\ntag = \"drive.vib_de\"\nkind = \"rms\"\nover = \"10s\"\n\
             [[feature]]\ntag = \"drive.current\"\nkind = \"lag\"\nby = \"5s\"\n\
             [[feature]]\ntag = \"drive.current\"\nkind = \"rate\"\nover = \"2s\"\n\
             [[feature]]\ntag = \"drive.vib_nde\"\nkind = \"band\"\nover = \"20s\"\nfrom_hz = 0.2\nto_hz = 0.5\n\
             [state]\ntag = \"status.state\"\nis = [\"Execute\", 6, true]\nsettle = \"10s\"\n\
             [remaining_life]\nunit = \"h\"\n",
        )
        .expect("it is right");
        let kinds: Vec<_> =
            spec.prepare.features.iter().map(|feature| (feature.input, feature.kind)).collect();
        let band = Kind::Band { points: 40, first: 4, last: 10 };
        let rate = Kind::Rate { points: 4, seconds: 2.0 };
        assert_eq!(kinds, [(0, Kind::Rms(20)), (2, Kind::Lag(10)), (2, rate), (1, band)]);
        let state = spec.prepare.state.expect("a filter");
        assert_eq!(
            (state.is, state.settle),
            (vec!["Execute".into(), "6".into(), "true".into()], Duration::from_secs(10))
        );
        assert_eq!(spec.prepare.remaining_life.map(|life| life.unit), Some("h".into()));
    }

    #[test]
    fn missing_values_have_a_rule_for_each_input() {
        let with = |rule: &str| {
            let text = SHIPPED.replacen(
                "tag     = \"drive.current\"\n",
                &format!("tag = \"drive.current\"\n{rule}\n"),
                1,
            );
            Spec::parse("model.toml", &text).map(|spec| spec.prepare.missing[2])
        };
        let last = Missing { rule: Rule::Last, points_max: 4 };
        assert_eq!(with("missing = \"last\"\nmax_age = \"2s\""), Ok(Some(last)));
        assert_eq!(with("missing = \"refuse\""), Ok(None));
        assert_eq!(with(""), Ok(None));
        for (rule, what) in [
            ("missing = \"guess\"", "`missing` cannot be \"guess\""),
            ("missing = \"mean\"", "`max_age` is missing"),
            ("missing = \"mean\"\nmax_age = \"0.7s\"", "a multiple of sample_interval"),
        ] {
            let faults = with(rule).expect_err("it is wrong");
            assert!(faults.iter().any(|fault| fault.to_string().contains(what)), "{rule}: {faults:?}");
        }
    }

    #[test]
    fn each_fault_of_a_feature_is_named() {
        let vib = "[[feature]]\ntag = \"drive.vib_de\"\n";
        for (more, what) in [
            ("[[feature]]\ntag = \"drive.speed\"\nkind = \"value\"".into(), "M0107: feature of drive.speed"),
            (format!("{vib}kind = \"median\""), "`kind` cannot be \"median\" (value, lag, rate"),
            (format!("{vib}kind = \"rms\""), "`over` is missing (a duration such as \"5000ms\""),
            (format!("{vib}kind = \"rms\"\nover = \"750ms\""), "a multiple of sample_interval"),
            (
                format!("{vib}kind = \"kurtosis\"\nover = \"1s\""),
                "`over` is too short for `kurtosis` (at least 2000 ms)",
            ),
            (
                format!("{vib}kind = \"value\"\nover = \"1s\""),
                "unknown key `over` (known keys here: tag, kind)",
            ),
            (
                format!("{vib}kind = \"band\"\nover = \"10s\"\nfrom_hz = 0.2\nto_hz = 5"),
                "at most 1 (half of the grid's)",
            ),
            (
                format!("{vib}kind = \"band\"\nover = \"10s\"\nfrom_hz = 0.21\nto_hz = 0.29"),
                "M0108: no frequency",
            ),
            ("[state]\ntag = \"status.state\"\nis = []\nsettle = \"1s\"".into(), "`is` cannot be []"),
            ("[remaining_life]\nunits = \"h\"".into(), "unknown key `units`"),
        ] {
            let found = read(&more).expect_err("it is wrong");
            assert!(found.contains(what), "{more}: {found}");
        }
    }
}
