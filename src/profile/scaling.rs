//! From raw values to engineering units: `scale`/`offset`, `raw`/`eng`/`clamp`, and TIME.

use forebay_connector::{DataType, Scalar};

use crate::device::Transform;
use crate::document::Fields;

/// Keys that scale.
const KEYS: [&str; 5] = ["scale", "offset", "raw", "eng", "clamp"];

/// Scaling of a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// How the raw value becomes the published one.
    pub transform: Transform,
    /// `eng`, which a deadband in percent may refer to.
    pub span: Option<(f64, f64)>,
}

/// Reads the scaling keys. Inherited ones are left out where they make no sense for the type.
pub fn read(fields: &Fields<'_>, data_type: DataType) -> Scaling {
    let none = Scaling { transform: Transform::None, span: None };
    let Some(key) = KEYS.into_iter().find(|key| fields.has(key)) else { return none };
    let numeric = data_type.scalar.is_number() && !fields.has("enum") && !fields.has("bits");
    if !numeric {
        if let Some(own) = KEYS.into_iter().find(|key| fields.is_own(key)) {
            let message = format!("`{own}` makes no sense for {data_type}");
            fields.refuse("P0121", own, &message, "scaling is for numbers without `enum` and `bits`");
        }
        return none;
    }
    let points = fields.has("raw") || fields.has("eng");
    if points && (fields.has("scale") || fields.has("offset")) {
        let key = if fields.has("scale") { "scale" } else { "offset" };
        fields.refuse("P0125", key, "is scaled twice", "use scale and offset, or raw and eng, not both");
        return none;
    }
    if points {
        return by_points(fields).unwrap_or(none);
    }
    if fields.has("clamp") {
        let help = "write raw = [low, high], eng = [low, high]: clamp keeps the value within eng";
        fields.refuse("P0125", key, "`clamp` needs `raw` and `eng`", help);
        return none;
    }
    let scale = if fields.has("scale") { fields.number("scale") } else { Some(1.0) };
    let offset = if fields.has("offset") { fields.number("offset") } else { Some(0.0) };
    if scale == Some(0.0) {
        fields.refuse(
            "P0125",
            "scale",
            "`scale` = 0 makes every value the same",
            "write the factor from the raw value to the unit, for example scale = 0.1, or remove it",
        );
    }
    match (scale, offset) {
        (Some(scale), Some(offset)) => {
            Scaling { transform: Transform::Linear { scale, offset, clamp: None }, span: None }
        }
        _ => none,
    }
}

fn by_points(fields: &Fields<'_>) -> Option<Scaling> {
    let both = fields.require("raw", "raw = [low, high] goes with eng = [low, high]")
        & fields.require("eng", "raw = [low, high] goes with eng = [low, high]");
    if !both {
        return None;
    }
    let clamp = fields.bool("clamp").unwrap_or(false);
    // Either may fall: a pair of ends belongs together, whichever is written first.
    let (raw, eng) = (fields.two_different("raw"), fields.two_numbers("eng"));
    let (mut raw, mut eng) = (raw?, eng?);
    if raw.0 > raw.1 {
        (raw, eng) = ((raw.1, raw.0), (eng.1, eng.0));
    }
    if eng.0.total_cmp(&eng.1).is_eq() {
        fields.refuse("P0125", "eng", "`eng` has twice the same number", "write eng = [low, high]");
        return None;
    }
    let scale = (eng.1 - eng.0) / (raw.1 - raw.0);
    let offset = eng.0 - raw.0 * scale;
    let span = (eng.0.min(eng.1), eng.0.max(eng.1));
    let transform = Transform::Linear { scale, offset, clamp: clamp.then_some(span) };
    Some(Scaling { transform, span: Some(span) })
}

/// A TIME counts milliseconds; `unit = "s"` asks for seconds.
pub fn of_time(scalar: Scalar, unit: &str, scaling: Scaling) -> Scaling {
    match (scalar, unit, scaling.transform) {
        (scalar, "s", Transform::None) if scalar.is_duration() => {
            Scaling { transform: Transform::Linear { scale: 0.001, offset: 0.0, clamp: None }, ..scaling }
        }
        _ => scaling,
    }
}

/// Type of the published value.
pub fn published(data_type: DataType, transform: Transform) -> DataType {
    match transform {
        Transform::None => data_type,
        Transform::Linear { .. } => DataType { scalar: Scalar::Lreal, ..data_type },
        Transform::Bit(_) => DataType::single(Scalar::Bool),
    }
}

/// A deadband of published units in raw units.
pub fn raw_deadband(deadband: f64, transform: Transform) -> Option<f64> {
    let factor = match transform {
        Transform::Linear { scale, .. } => scale.abs(),
        Transform::None | Transform::Bit(_) => 1.0,
    };
    (deadband > 0.0 && factor > 0.0).then(|| deadband / factor)
}
