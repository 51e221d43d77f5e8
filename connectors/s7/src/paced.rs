//! What waits before every request when the device has a budget.

use std::fmt;
use std::sync::Arc;

use forebay_connector::Pace;

/// A budget, or none.
#[derive(Clone, Default)]
pub(crate) struct Paced(pub Option<Arc<dyn Pace>>);

impl Paced {
    /// Waits until the next request may be sent.
    pub(crate) async fn turn(&self) {
        if let Some(pace) = &self.0 {
            pace.turn().await;
        }
    }
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Paced" } else { "Unpaced" })
    }
}

/// Settings are compared by what the profile says; a budget is none of that.
impl PartialEq for Paced {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Paced {}
