//! The score of 30 days against its normal band, in 180 steps of four hours.

use std::fmt::Write;

use maud::{Markup, html};

use super::speech::Speech;
use crate::infer::trend::{DAYS, Hour};

/// Hours of one step.
const STEP_H: i64 = 4;
const STEPS: usize = 180;
const HEIGHT: f64 = 60.0;
const HOUR_US: i64 = 3_600_000_000;

/// Lowest, mean and highest of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    low: f32,
    mean: f32,
    high: f32,
    scores: u32,
}

/// The steps up to the hour of `now_us`; `None` where there was no score.
fn steps(hours: &[Hour], now_us: i64) -> Vec<Option<Step>> {
    let end = (now_us.div_euclid(HOUR_US) + 1).div_euclid(STEP_H) + 1;
    let first = end - DAYS * 24 / STEP_H;
    let mut steps: Vec<Option<Step>> = vec![None; STEPS];
    for hour in hours.iter().filter(|hour| hour.scores > 0) {
        let at = usize::try_from(hour.hour.div_euclid(STEP_H) - first).ok();
        let Some(step) = at.and_then(|at| steps.get_mut(at)) else { continue };
        let known = step.get_or_insert(Step { low: hour.low, mean: hour.mean, high: hour.high, scores: 0 });
        known.low = known.low.min(hour.low);
        known.high = known.high.max(hour.high);
        known.scores = known.scores.saturating_add(hour.scores);
        #[allow(clippy::cast_precision_loss)] // a weight
        let weight = hour.scores as f32 / known.scores as f32;
        known.mean += (hour.mean - known.mean) * weight;
    }
    steps
}

/// The curve; nothing without any score.
pub(super) fn draw(hours: &[Hour], threshold: f64, speech: &Speech) -> Markup {
    let steps = steps(hours, speech.now_us);
    if steps.iter().all(Option::is_none) {
        return html! {};
    }
    let highest = steps.iter().flatten().map(|step| f64::from(step.high)).fold(0.0, f64::max);
    // What is far above the limit must not press everything else to the ground.
    let top = highest.clamp(threshold * 1.3, (threshold * 6.0).max(f64::MIN_POSITIVE));
    let y = |score: f64| HEIGHT - (score / top).clamp(0.0, 1.0) * (HEIGHT - 1.0);
    let words = speech.health_words();
    let limit = format!("{:.0}", y(threshold));
    html! {
        svg.month viewBox="0 0 180 60" preserveAspectRatio="none" role="img" aria-label=(words.month) {
            rect.band x="0" y=(limit) width="180" height=(format!("{:.0}", HEIGHT - y(threshold))) {}
            path.area d=(area(&steps, y)) {}
            path.limit d={ "M0 " (limit) "H180" } {}
            path.line d=(line(&steps, y)) {}
        }
        p.ends aria-hidden="true" { span { (words.month_from) } span { (words.month_to) } }
    }
}

/// From lowest to highest, a bar for each step: also one alone is seen.
fn area(steps: &[Option<Step>], y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (at, step) in steps.iter().enumerate().filter_map(|(at, step)| Some((at, (*step)?))) {
        let (high, low) = (y(f64::from(step.high)), y(f64::from(step.low)));
        // Writing to a string cannot fail.
        let _written = write!(path, "M{at} {high:.0}V{:.0}", low.max(high + 1.0));
    }
    path
}

fn line(steps: &[Option<Step>], y: impl Fn(f64) -> f64) -> String {
    let (mut path, mut pen_down) = (String::new(), false);
    for (at, step) in steps.iter().enumerate() {
        let Some(step) = step else {
            pen_down = false;
            continue;
        };
        let command = if pen_down { 'L' } else { 'M' };
        // Writing to a string cannot fail.
        let _written = write!(path, "{command}{at} {:.0}", y(f64::from(step.mean)));
        pen_down = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_become_steps_and_holes_stay_holes() {
        let now_us = 1_770_816_965_000_000;
        let now = now_us / HOUR_US;
        let hour = |hour: i64, mean: f32, scores: u32| Hour {
            hour,
            low: mean - 0.1,
            high: mean + 0.1,
            mean,
            scores,
            valid_s: 3600.0,
        };
        let first = now.div_euclid(STEP_H) * STEP_H - 8;
        let hours = [
            hour(now - 2000, 9.0, 10),
            hour(first, 0.4, 100),
            hour(first + 1, 0.8, 300),
            hour(first + 4, 0.0, 0),
            hour(now, 0.5, 10),
        ];
        let steps = steps(&hours, now_us);
        assert_eq!(steps.len(), STEPS);
        let known: Vec<_> = steps.iter().enumerate().filter(|(_, step)| step.is_some()).collect();
        assert_eq!(known.len(), 2, "{known:?}");
        let step = known[0].1.unwrap();
        let found = [step.low, step.mean, step.high];
        assert!(found.iter().zip([0.3, 0.7, 0.9]).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        assert!(known[1].0 >= STEPS - 2, "now stands at the end: {}", known[1].0);
    }
}
