//! The two parts of Forebay's `document` that formulas use.

#[path = "../../../src/document/nearest.rs"]
mod nearest;
#[path = "../../../src/document/quantity.rs"]
mod quantity;

pub use nearest::nearest;
pub use quantity::duration;
