//! "First DWord low": the second setting that orders the words of 64-bit values.

use forebay_connector::{ByteOrder, DataType};

use super::super::report::Report;
use super::{Driver, KEPWARE_ORDER, Kepware};
use crate::amount::counted;

/// Tags of 64 bits, whose words have an order of their own in Kepware's Modbus driver.
#[derive(Debug, Default)]
pub struct Wide {
    /// The first of them.
    first: Option<String>,
    count: u64,
}

impl Wide {
    /// Counts a tag that is taken, when it has 64 bits.
    pub fn add(&mut self, name: &str, data_type: DataType) {
        if data_type.scalar.bits() == Some(64) {
            self.first.get_or_insert_with(|| name.to_owned());
            self.count += 1;
        }
    }

    /// The four words go by two settings, and only where both agree is there an order for them.
    pub fn say(&self, options: &Kepware, report: &mut Report) {
        let (Some(first), Driver::Modbus) = (&self.first, options.protocol) else { return };
        let order = options.order.as_deref().unwrap_or(KEPWARE_ORDER);
        let low_first = matches!(ByteOrder::parse(order), Some(ByteOrder::Cdab | ByteOrder::Dcba));
        let right = match low_first {
            true => "enabled, as it is by default",
            false => "disabled, and by default it is enabled",
        };
        let count = counted(self.count, "tag of 64 bits goes", "tags of 64 bits go");
        report.note(
            "I0207",
            format!(
                "{count} by \"First DWord low\" as well, which is not in the CSV; {order} is right where it is {right}"
            ),
            format!(
                "compare one value with Kepware, for example {first}; where the setting is otherwise no order fits: \
                 change it there, or read two DWORD"
            ),
        );
    }
}
