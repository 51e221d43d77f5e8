//! A device ready to run: what the profile and `[[device]]` say, resolved.
//!
//! The connector reads *raw tags* ([`DeviceSpec::tags`]); Forebay publishes *tags*
//! ([`Device::tags`]), in profile order. Usually they match one to one; a tag with `bits` is
//! followed by one BOOL tag for each named bit, and calculated tags come behind all others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{DataType, DeviceSpec, Protocol, Value};
use jiff::tz::TimeZone;

use crate::formula::Formula;

/// Text in several languages, key = language (`en`, `de`).
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Text(pub BTreeMap<String, String>);

impl Text {
    /// The same text in every language.
    pub fn plain(text: impl Into<String>) -> Self {
        Self(BTreeMap::from([("en".to_owned(), text.into())]))
    }

    /// The text in `language`, else in English, else in any language, else empty.
    pub fn get(&self, language: &str) -> &str {
        self.0
            .get(language)
            .or_else(|| self.0.get("en"))
            .or_else(|| self.0.values().next())
            .map_or("", String::as_str)
    }
}

/// One machine, meter or server.
#[derive(Clone)]
pub struct Device {
    /// Name from `[[device]]`, unique on the box, for example `press-3`.
    pub name: String,
    /// Topic key: `location` and name joined with `/`, for example
    /// `Werk1/Presswerk/Linie3/Presse3/press-3`.
    pub path: String,
    /// Site, area, line and cell as written in `location`.
    pub location: Vec<String>,
    /// Profile name.
    pub profile: String,
    /// Profile version.
    pub profile_version: String,
    /// Title of the profile.
    pub title: Text,
    /// Protocol of the profile.
    pub protocol: Arc<dyn Protocol>,
    /// What the connector is given.
    pub spec: DeviceSpec,
    /// Published tags in profile order. Equal devices share them.
    pub tags: Arc<[Tag]>,
    /// Checks after every connect.
    pub verify: Vec<Verify>,
    /// Id of the box that reads this device while it lives; empty where no other box does.
    pub standby_for: String,
    /// How it may be reached, and how often.
    pub access: Access,
    /// `file:line` of `[[device]]`, for messages.
    pub source: String,
}

/// How a device may be reached, and how hard it may be worked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Other endpoints of the same device, tried in turn when the first is not reached.
    pub backup: Vec<String>,
    /// Its budget; for devices on one line the strictest of them all.
    pub budget: Budget,
    /// What it shares with the other devices of the line.
    pub line: String,
}

/// What the controller may be burdened with. `None`: without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Most requests in any second.
    pub requests_per_second: Option<u32>,
    /// Most of the time that rounds may take up, in percent.
    pub share_percent: Option<u32>,
    /// Most connections to the endpoint.
    pub connections: Option<u32>,
}

impl Budget {
    /// The stricter of the two, limit by limit.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        let least = |one: Option<u32>, other: Option<u32>| [one, other].into_iter().flatten().min();
        Self {
            requests_per_second: least(self.requests_per_second, other.requests_per_second),
            share_percent: least(self.share_percent, other.share_percent),
            connections: least(self.connections, other.connections),
        }
    }

    /// What `self` says, and where it says nothing, what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(other.requests_per_second),
            share_percent: self.share_percent.or(other.share_percent),
            connections: self.connections.or(other.connections),
        }
    }

    /// True when requests have to be paced.
    pub fn paces(&self) -> bool {
        self.requests_per_second.is_some() || self.share_percent.is_some()
    }
}

impl Device {
    /// Index of the published tag with this path.
    pub fn tag_index(&self, path: &str) -> Option<usize> {
        self.tags.iter().position(|tag| tag.path == path)
    }
}

/// One published tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// Path, for example `hydraulics.oil_temp`.
    pub path: String,
    /// Index of the raw tag it is made from; [`Tag::NO_RAW`] when it is calculated.
    pub raw: u32,
    /// How the raw value becomes the published one.
    pub transform: Transform,
    /// Type after the transform.
    pub data_type: DataType,
    /// Unit symbol from the closed list, empty when it has none. `server` is resolved by the
    /// connector's server or left empty.
    pub unit: String,
    /// Changes up to this much (in published units) are held back.
    pub deadband: f64,
    /// Swinging door instead of a deadband: straight lines between the published samples miss what
    /// was read by no more than this (in published units).
    pub compress: Option<f64>,
    /// A value is published at least this often.
    pub max_silence: Duration,
    /// Index into `spec.scans`.
    pub scan: usize,
    /// Outside of it the quality is `OutOfRange`; both ends included.
    pub range: Option<(f64, f64)>,
    /// Alarm limits by name (`lolo`, `lo`, `hi`, `hihi`), published units.
    pub limits: BTreeMap<String, f64>,
    /// A total that only grows until it wraps or is reset.
    pub counter: bool,
    /// Texts of an enumeration by number.
    pub enumeration: Option<Arc<BTreeMap<i64, EnumValue>>>,
    /// TRUE means: someone works on it (`ne107 = "C"` on a BOOL tag).
    pub function_check: bool,
    /// Text and priority of a named bit.
    pub bit: Option<BitText>,
    /// Zone of the controller's clock; a DTL is its local time. [`Tag::utc_us`] converts.
    pub timezone: Option<TimeZone>,
    /// It is calculated from other tags of the device. Calculated tags come last, each behind those
    /// it uses.
    pub formula: Option<Arc<Formula>>,
    /// `desc` of the profile, may be empty.
    pub desc: String,
    /// Profile `file:line`.
    pub source: String,
}

impl Tag {
    /// [`Tag::raw`] of a calculated tag.
    pub const NO_RAW: u32 = u32::MAX;

    /// A DTL, which the connector delivers as if the controller's clock ran on UTC, as real
    /// UTC. Both in microseconds since 1970.
    ///
    /// An hour that occurs twice is taken the first time, one that is left out is moved on
    /// (RFC 5545 rules). `None` outside years -9999 to 9999. Unchanged without a zone.
    pub fn utc_us(&self, local_us: i64) -> Option<i64> {
        let Some(zone) = &self.timezone else { return Some(local_us) };
        let local = TimeZone::UTC.to_datetime(jiff::Timestamp::from_microsecond(local_us).ok()?);
        Some(zone.to_ambiguous_timestamp(local).compatible().ok()?.as_microsecond())
    }
}

/// How a raw value becomes the published one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Transform {
    /// As it is.
    None,
    /// `raw * scale + offset`, published as LREAL.
    Linear {
        /// Factor.
        scale: f64,
        /// Added after the factor.
        offset: f64,
        /// Published values are kept within these.
        clamp: Option<(f64, f64)>,
    },
    /// One bit of the raw value, 0 = lowest, published as BOOL.
    Bit(u8),
}

/// One value of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumValue {
    /// What the number means.
    pub text: Text,
    /// This state is a function check (NE 107 letter C).
    pub function_check: bool,
}

/// One named bit of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitText {
    /// What it means when set.
    pub text: Text,
    /// `high`, `medium`, `low`, or empty when it is no alarm.
    pub priority: String,
}

/// One `[[verify]]`: read after every connect; nothing is good until all hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Verify {
    /// Index of the raw tag.
    pub raw: u32,
    /// How the raw value is scaled before it is compared.
    pub transform: Transform,
    /// What must hold.
    pub expected: Expected,
    /// What it means when it does not hold.
    pub why: Text,
}

/// What a `[[verify]]` demands.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// Exactly this value; numbers are compared as numbers.
    Is(Value),
    /// Within these bounds, both included.
    Between(f64, f64),
}
