//! What formulas give, and what is said about wrong ones.

use forebay_connector::{DataType, Scalar};
use proptest::prelude::*;

use super::*;
use crate::device::Transform;

/// `a`, `b` are numbers, `on` is a BOOL, `parts` counts in 16 bits.
fn find(name: &str) -> Result<Input, NoInput> {
    let counter = Counter::new(DataType::single(Scalar::Uint), Transform::None);
    match name {
        "a" => Ok(Input { tag: 0, kind: Kind::Number, counter: None }),
        "g.b" => Ok(Input { tag: 1, kind: Kind::Number, counter: None }),
        "on" => Ok(Input { tag: 2, kind: Kind::Bool, counter: None }),
        "parts" => Ok(Input { tag: 3, kind: Kind::Number, counter: Some(counter) }),
        _ => Err(NoInput { message: format!("there is no tag `{name}`"), help: String::new() }),
    }
}

/// The result with a = 6, g.b = 4, on = true, parts = 10.
fn once(text: &str) -> Outcome {
    let formula = compile(text, &find).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    let values = [6.0, 4.0, 1.0, 10.0];
    Running::new(&formula).evaluate(&formula, 1_000_000, |input| values[formula.inputs[input] as usize])
}

/// The results for these readings of one tag, `step_ms` apart.
fn series(text: &str, step_ms: i64, readings: &[f64]) -> Vec<Outcome> {
    let formula = compile(text, &find).unwrap();
    let mut running = Running::new(&formula);
    let at = |index: usize| 1_700_000_000_000_000 + i64::try_from(index).unwrap() * step_ms * 1000;
    let each = |(index, reading): (usize, &f64)| running.evaluate(&formula, at(index), |_| *reading);
    readings.iter().enumerate().map(each).collect()
}

#[test]
fn signs_bind_as_in_school() {
    for (text, expected) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("-a - -2", -4.0),
        ("a / g.b / 2", 0.75),
        ("a - g.b - 1", 1.0),
        ("a > 5 and g.b < 5", 1.0),
        ("a > 5 and not on or g.b = 4", 1.0),
        ("not a > 5", 0.0),
        ("on != false", 1.0),
        ("if(on, a, g.b) * 2", 12.0),
        ("min(a, g.b, 5) + max(a, 7)", 11.0),
        ("mean(a, g.b)", 5.0),
        ("abs(g.b - a) + sqrt(g.b) + round(2.5)", 7.0),
        ("1.5e1+1", 16.0),
        ("if(g.b = 0, 0, a / g.b)", 1.5),
    ] {
        assert_eq!(once(text), Outcome::Value(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_said_is_invalid_and_never_a_number() {
    for text in ["1 / 0", "0 / 0 > 1", "1 / 0 > 5", "sqrt(0 - 1)", "min(0 / 0, 1)", "not 1 / 0 > 5"] {
        assert_eq!(once(text), Outcome::Invalid, "{text}");
    }
    for (text, expected) in
        [("false and 1 / 0 > 5", 0.0), ("1 / 0 > 5 or on", 1.0), ("if(on, 1, 1 / 0)", 1.0)]
    {
        assert_eq!(once(text), Outcome::Value(expected), "{text}: the other side decides");
    }
}

#[test]
fn a_rate_needs_two_readings_and_bridges_a_wrap() {
    let found = series("rate(a)", 500, &[10.0, 11.0, 9.0]);
    assert_eq!(found, [Outcome::Missing, Outcome::Value(2.0), Outcome::Value(-4.0)]);
    let found = series("rate(parts) * 60", 1000, &[65_534.0, 2.0, 3.0]);
    assert_eq!(found[1..], [Outcome::Value(240.0), Outcome::Value(60.0)]);
    let found = series("total(parts)", 1000, &[65_534.0, 2.0, 500.0, 3.0]);
    let totals = [65_534.0, 65_538.0, 66_036.0, 66_039.0].map(Outcome::Value);
    assert_eq!(found, totals, "a wrap and a reset");
    let found = series("change(parts, 10s)", 1000, &[5.0, 9.0, 1.0]);
    assert_eq!(found, [0.0, 4.0, 5.0].map(Outcome::Value));
}

#[test]
fn evaluating_takes_no_new_memory() {
    let formula =
        compile("if(a > 1, max(a, g.b, rate(a) + mean(a, 10s)), (1 + (2 + (3 + a))))", &find).unwrap();
    let mut running = Running::new(&formula);
    let before = running.room();
    for step in 0..1000 {
        running.evaluate(&formula, step * 500_000, |_| 3.0);
    }
    assert_eq!(running.room(), before);
}

#[test]
fn an_outage_ends_rates_but_not_totals() {
    let formula = compile("total(parts)", &find).unwrap();
    let mut running = Running::new(&formula);
    running.evaluate(&formula, 0, |_| 5.0);
    running.forget();
    assert_eq!(running.evaluate(&formula, 1_000_000, |_| 8.0), Outcome::Value(8.0));
    let formula = compile("rate(parts)", &find).unwrap();
    let mut running = Running::new(&formula);
    running.evaluate(&formula, 0, |_| 5.0);
    running.forget();
    assert_eq!(running.evaluate(&formula, 1_000_000, |_| 8.0), Outcome::Missing);
    assert_eq!(running.evaluate(&formula, 500_000, |_| 9.0), Outcome::Missing, "the clock was set back");
}

#[test]
fn faults_are_named_with_their_place() {
    for (text, code, span, words) in [
        ("", "P0160", 0..0, "ends too early"),
        ("a +", "P0160", 3..3, "ends too early"),
        ("a b", "P0160", 2..3, "cannot stand here"),
        ("(a", "P0160", 0..1, "not closed"),
        ("a * 0,5", "P0160", 5..6, "cannot stand here"),
        ("a ^ 2", "P0160", 2..3, "means nothing"),
        ("1 < a < 3", "P0160", 6..7, "two comparisons"),
        ("a && on", "P0160", 2..4, "cannot stand here"),
        ("minn(a, 3)", "P0160", 0..4, "no function"),
        ("rate(a, 10 s)", "P0160", 11..12, "cannot stand here"),
        ("abs(a, 10s)", "P0160", 7..10, "takes no time"),
        ("mean(a, 10y)", "P0160", 8..11, "neither a number nor a time"),
        ("mean(a, 8d)", "P0104", 8..10, "not within"),
        ("a + on", "P0162", 4..6, "needs a number"),
        ("on and a", "P0162", 7..8, "needs true or false"),
        ("if(a, 1, 2)", "P0162", 3..4, "needs true or false"),
        ("if(on, a, on)", "P0162", 10..12, "not of one kind"),
        ("on = 1", "P0162", 5..6, "not of one kind"),
        ("mean(a, 10)", "P0160", 8..10, "of no use"),
        ("total(a)", "P0162", 6..7, "for counters"),
        ("g.c * 2", "P0161", 0..3, "no tag"),
        ("a-1", "P0161", 0..3, "no tag"),
        ("change(a)", "P0160", 0..9, "needs a time"),
    ] {
        let found = compile(text, &find).expect_err(text);
        assert_eq!((found.code, found.span.clone()), (code, span), "{text}: {found:?}");
        assert!(found.message.contains(words), "{text}: {found:?}");
    }
}

#[test]
fn a_formula_has_limits() {
    let deep = format!("{}1{}", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1));
    let long = "1+".repeat(OPERATIONS_MAX) + "1";
    let minus = "-".repeat(DEPTH_MAX + 1) + "1";
    for text in [deep, long, minus, "a".repeat(BYTES_MAX + 1), "rate(a)+".repeat(MEMORIES_MAX) + "rate(a)"] {
        assert_eq!(compile(&text, &find).expect_err(&text).code, "P0131");
    }
    let wide = compile(&"1+".repeat(100), &find).expect_err("it ends too early");
    assert_eq!(wide.code, "P0160");
}

#[test]
fn names_are_those_of_tags() {
    let found: Vec<&str> =
        names("if(on and x.1.y, rate(a-b), 10s)").into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["on", "x.1.y", "a-b"]);
}

/// Expressions as text, with what they must give for a = 6 and g.b = 4.
fn arithmetic() -> impl Strategy<Value = (String, f64)> {
    let leaf = prop_oneof![
        (0u32..1000).prop_map(|n| (n.to_string(), f64::from(n))),
        Just(("a".to_owned(), 6.0)),
        Just(("g.b".to_owned(), 4.0)),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        (inner.clone(), inner, 0..6u8).prop_map(|((left, l), (right, r), sign)| match sign {
            0 => (format!("({left} + {right})"), l + r),
            1 => (format!("({left} - {right})"), l - r),
            2 => (format!("({left} * {right})"), l * r),
            3 => (format!("min({left}, {right})"), l.min(r)),
            4 => (format!("if({left} < {right}, {left}, -{right})"), if l < r { l } else { -r }),
            _ => (format!("abs({left})"), l.abs()),
        })
    })
}

proptest! {
    /// The same arithmetic done by Rust.
    #[test]
    fn arithmetic_is_right((text, expected) in arithmetic()) {
        prop_assume!(text.len() < BYTES_MAX);
        match compile(&text, &find) {
            Ok(_) => prop_assert_eq!(once(&text), Outcome::Value(expected)),
            Err(fault) => prop_assert_eq!(fault.code, "P0131"),
        }
    }

    /// A window is never shorter than asked for, and longer by a sixtieth at most.
    #[test]
    fn windows_are_as_long_as_asked_for(readings in prop::collection::vec(-1e3..1e3, 1..200), step_ms in 50..2000i64) {
        for (function, of) in [
            ("min", (|all: &[f64]| all.iter().copied().fold(f64::MAX, f64::min)) as fn(&[f64]) -> f64),
            ("max", |all: &[f64]| all.iter().copied().fold(f64::MIN, f64::max)),
        ] {
            let found = series(&format!("{function}(a, 10s)"), step_ms, &readings);
            for (index, found) in found.into_iter().enumerate() {
                let from = |window_ms: i64| index.saturating_sub(usize::try_from(window_ms / step_ms).unwrap());
                let (shorter, longer) = (of(&readings[from(10_000)..=index]), of(&readings[from(10_334)..=index]));
                let Outcome::Value(found) = found else { panic!("no value") };
                let (low, high) = (shorter.min(longer), shorter.max(longer));
                prop_assert!((low..=high).contains(&found), "{function}: {found}, not {low} to {high}");
            }
        }
    }

    /// Formulas are hostile input.
    #[test]
    fn nothing_makes_it_panic(text in "[a-c.0-9e+*/()<=, '\"minratebs%ü-]{0,60}") {
        if let Err(fault) = compile(&text, &find) {
            prop_assert!(fault.span.end <= text.len() && text.get(fault.span).is_some());
        }
    }
}
