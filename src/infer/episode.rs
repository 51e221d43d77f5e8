//! An episode: what a prediction was from the moment it was raised until it is over.
//!
//! Severity says how urgent it is, by how far the score went over the threshold and for how long:
//!
//! | worst score / threshold | points | | raised for | points |
//! |---|---|---|---|---|
//! | 1.5 and more | 1 | | 30 min and more | 1 |
//! | 3 and more | 2 | | 8 h and more | 2 |
//! | 10 and more | 3 | | | |
//!
//! Up to 1 point is `low`, 2 are `medium`, 3 and more `high`. Within one episode it only grows.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::feedback::{FEEDBACK_MAX, Feedback};
use super::since::Since;
use super::spec::Spec;
use crate::device::Text;

/// Tags that an episode names at most.
pub const NAMED_MAX: usize = 3;
/// It is worse again when the worst score has grown so much since it was told last.
const WORSE_FACTOR: f32 = 1.5;
/// … and told again at most so often, microseconds.
const WORSE_EVERY_US: i64 = 60_000_000;

const MINUTE_US: i64 = 60_000_000;

/// How urgent an episode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Look at it when you pass by.
    Low,
    /// Look at it this week.
    Medium,
    /// Look at it today.
    High,
}

/// Which model said so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its graph.
    pub hash: String,
}

/// What one tag has contributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Path of the tag.
    pub tag: String,
    /// Sum of its contributions to all scores of the episode.
    sum: f64,
}

/// One episode of one model on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// Unique: when it was raised, and a few digits of what it is about.
    pub id: String,
    /// When it was raised, microseconds since 1970 UTC.
    pub begin_us: i64,
    /// When it was over; `None` while it lasts.
    pub end_us: Option<i64>,
    /// When the score left its usual band, as far as that can be told.
    pub since: Option<Since>,
    /// Highest score.
    pub worst: f32,
    /// When that was.
    pub worst_us: i64,
    /// What the score has crossed.
    pub threshold: f32,
    /// All inputs.
    contributions: Vec<Contribution>,
    /// What to look at, by the tag that contributes most.
    pub look_at: Text,
    /// The tag that `look_at` belongs to.
    look_at_tag: String,
    /// Share of good inputs in the window when it was raised.
    pub input_quality: f32,
    /// The model that raised it.
    pub identity: Identity,
    /// What people have said of it, oldest first.
    pub feedback: Vec<Feedback>,
}

/// A prediction is being raised.
pub(super) struct Raise<'a> {
    /// Device path.
    pub path: &'a str,
    /// The model.
    pub identity: &'a Identity,
    /// Its settings.
    pub spec: &'a Spec,
    /// Smoothed score.
    pub score: f32,
    /// Contributions to it.
    pub contrib: &'a [f32],
    /// Share of good inputs in the window.
    pub input_quality: f32,
}

impl Episode {
    pub(super) fn begin(raise: Raise<'_>, since: Option<Since>, now_us: i64) -> Self {
        let mut episode = Self {
            id: id(raise.path, &raise.identity.model, now_us),
            begin_us: now_us,
            end_us: None,
            since,
            worst: raise.score,
            worst_us: now_us,
            threshold: raise.spec.threshold,
            contributions: Vec::new(),
            look_at: Text::default(),
            look_at_tag: String::new(),
            input_quality: raise.input_quality,
            identity: raise.identity.clone(),
            feedback: Vec::new(),
        };
        episode.add(raise.spec, raise.score, raise.contrib, now_us);
        episode
    }

    /// A further score while it lasts.
    pub(super) fn add(&mut self, spec: &Spec, score: f32, contrib: &[f32], now_us: i64) {
        if score > self.worst {
            (self.worst, self.worst_us) = (score, now_us);
        }
        for (at, (input, value)) in spec.inputs.iter().zip(contrib).enumerate() {
            let value = f64::from(value.abs());
            match self.contributions.get_mut(at) {
                Some(known) if known.tag == input.tag => known.sum += value,
                // Another version of the model may have other inputs.
                _ => match self.contributions.iter_mut().find(|known| known.tag == input.tag) {
                    Some(known) => known.sum += value,
                    None => self.contributions.push(Contribution { tag: input.tag.clone(), sum: value }),
                },
            }
        }
        let most = self.contributions.iter().max_by(|a, b| a.sum.total_cmp(&b.sum));
        if let Some(most) = most.filter(|most| most.tag != self.look_at_tag)
            && let Some(input) = spec.inputs.iter().find(|input| input.tag == most.tag)
        {
            self.look_at = input.look_at.clone();
            self.look_at_tag.clone_from(&input.tag);
        }
    }

    /// The tags that have contributed most over the episode, with their share of the score, 0 to 1.
    pub fn contributions(&self) -> Vec<(&str, f64)> {
        let all: f64 = self.contributions.iter().map(|it| it.sum).sum();
        let share = |sum: f64| if all > 0.0 { sum / all } else { 0.0 };
        let mut shares: Vec<_> =
            self.contributions.iter().map(|it| (it.tag.as_str(), share(it.sum))).collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares.truncate(NAMED_MAX);
        shares
    }

    /// How long it has lasted at `now_us`, or did last, microseconds.
    pub fn lasted_us(&self, now_us: i64) -> i64 {
        self.end_us.unwrap_or(now_us).saturating_sub(self.begin_us).max(0)
    }

    /// How many times its threshold the worst score was.
    pub fn far(&self) -> f32 {
        self.worst / self.threshold
    }

    /// How urgent it is at `now_us`.
    pub fn severity(&self, now_us: i64) -> Severity {
        let far = match self.far() {
            far if far >= 10.0 => 3,
            far if far >= 3.0 => 2,
            far if far >= 1.5 => 1,
            _ => 0,
        };
        let long = match self.lasted_us(now_us) / MINUTE_US {
            480.. => 2,
            30.. => 1,
            _ => 0,
        };
        match far + long {
            0 | 1 => Severity::Low,
            2 => Severity::Medium,
            _ => Severity::High,
        }
    }

    /// Keeps what somebody said; of many the first and the latest.
    pub(super) fn hear(&mut self, feedback: Feedback) {
        if self.feedback.len() >= FEEDBACK_MAX {
            self.feedback.remove(1);
        }
        self.feedback.push(feedback);
    }
}

/// What was told of a running episode, so that it is told again when it is worse.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    worst: f32,
    severity: Severity,
    at_us: i64,
}

impl Told {
    pub(super) fn of(episode: &Episode, now_us: i64) -> Self {
        Self { worst: episode.worst, severity: episode.severity(now_us), at_us: now_us }
    }

    /// Whether the episode has become worse by enough, and long enough after the last time.
    pub(super) fn is_worse(&self, episode: &Episode, now_us: i64) -> bool {
        let worse = episode.worst >= self.worst * WORSE_FACTOR || episode.severity(now_us) > self.severity;
        // A clock that was set back must not hold it up.
        worse && !(0..WORSE_EVERY_US).contains(&now_us.saturating_sub(self.at_us))
    }
}

/// `20260211-133605-3fa9c1`: readable, and different for everything raised in the same second.
fn id(path: &str, model: &str, begin_us: i64) -> String {
    let hash = Sha256::digest(format!("{path}\n{model}\n{begin_us}"));
    let hash: String = hash.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let time = jiff::Timestamp::from_microsecond(begin_us);
    let time = time.map_or_else(|_| begin_us.to_string(), |time| time.strftime("%Y%m%d-%H%M%S").to_string());
    format!("{time}-{hash}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::folder::Folder;
    use super::*;

    /// Settings of the shipped model.
    pub fn spec() -> Spec {
        Folder::built_in().remove(0).content.unwrap().spec
    }

    pub fn episode(spec: &Spec, score: f32, now_us: i64) -> Episode {
        let identity = Identity { model: spec.name.clone(), ..Identity::default() };
        let raise = Raise {
            path: "Works1/press-3",
            identity: &identity,
            spec,
            score,
            contrib: &[0.1, 0.6, 0.2, 0.05, 0.05],
            input_quality: 1.0,
        };
        Episode::begin(raise, None, now_us)
    }

    #[test]
    fn severity_grows_with_how_far_and_how_long() {
        let spec = spec();
        let hour = 60 * MINUTE_US;
        for (score, after_us, severity) in [
            (1.1, 0, Severity::Low),
            (1.1, 31 * MINUTE_US, Severity::Low),
            (1.1, 9 * hour, Severity::Medium),
            (1.6, 0, Severity::Low),
            (1.6, hour, Severity::Medium),
            (1.6, 9 * hour, Severity::High),
            (3.0, 0, Severity::Medium),
            (3.0, hour, Severity::High),
            (12.0, 0, Severity::High),
        ] {
            let mut episode = episode(&spec, score * spec.threshold, 1);
            assert_eq!(episode.severity(1 + after_us), severity, "{score} after {after_us}");
            episode.end_us = Some(1 + after_us);
            assert_eq!(episode.severity(1 + 100 * hour), severity, "it does not grow after its end");
        }
    }

    #[test]
    fn contributions_are_those_of_the_whole_episode() {
        let spec = spec();
        let mut episode = episode(&spec, 1.2, 1);
        assert_eq!(episode.contributions()[0].0, spec.inputs[1].tag);
        assert_eq!(episode.look_at, spec.inputs[1].look_at);
        for at in 0..5 {
            episode.add(&spec, 1.5, &[3.0, 0.0, 0.0, 1.0, 0.0], 2 + at);
        }
        let named = episode.contributions();
        assert_eq!(named.len(), NAMED_MAX);
        assert_eq!((named[0].0, named[1].0), (spec.inputs[0].tag.as_str(), spec.inputs[3].tag.as_str()));
        assert!((named[0].1 - 15.1 / 21.0).abs() < 1e-6, "{named:?}");
        assert_eq!(episode.look_at, spec.inputs[0].look_at, "what to look at follows");
        assert_eq!((episode.worst, episode.worst_us), (1.5, 2));
    }

    #[test]
    fn worse_is_told_when_it_counts_and_not_more_than_once_a_minute() {
        let spec = spec();
        let mut episode = episode(&spec, 1.2 * spec.threshold, 0);
        let told = Told::of(&episode, 0);
        episode.add(&spec, 1.7 * spec.threshold, &[1.0; 5], 1);
        assert!(!told.is_worse(&episode, 2 * MINUTE_US), "not by much");
        episode.add(&spec, 1.9 * spec.threshold, &[1.0; 5], 2);
        assert!(!told.is_worse(&episode, MINUTE_US - 1) && told.is_worse(&episode, MINUTE_US));
        let told = Told::of(&episode, MINUTE_US);
        assert!(!told.is_worse(&episode, 29 * MINUTE_US));
        assert!(told.is_worse(&episode, 31 * MINUTE_US), "by its duration");
        episode.add(&spec, 9.0 * spec.threshold, &[1.0; 5], 3);
        assert!(told.is_worse(&episode, -59 * MINUTE_US), "the clock was set back");
    }

    #[test]
    fn episodes_have_names_of_their_own() {
        let at = 1_770_816_965_000_000;
        assert!(id("a", "b", at).starts_with("20260211-133605-"));
        assert_ne!(id("a", "b", at), id("a", "c", at));
        assert_ne!(id("a", "b", at), id("a", "b", at + 1));
    }
}
