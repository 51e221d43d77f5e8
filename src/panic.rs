//! What a panic that was caught says.

use std::any::Any;

/// Characters kept of a message: it may quote a file or a device.
const CHARS_MAX: usize = 300;

/// The message of a panic, without control characters and not longer than 300 characters.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let printable = text.unwrap_or("without a message").chars().filter(|c| !c.is_control());
    printable.take(CHARS_MAX).collect()
}
