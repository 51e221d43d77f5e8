//! Which of a device's addresses is used.
//!
//! The next one is tried when the one in use could not be reached [`UNREACHED_MAX`] times in a row, or
//! was reached [`UNREAD_MAX`] times without giving a value, round robin. The latter takes longer: a
//! connector may need several connections to find out which request the device does not like.
//! An address that works is kept, also when it is a backup and the first would work again: going
//! back would cost a gap for nothing. It returns to the first when the backup fails, and at a start.

use forebay_connector::DeviceSpec;

use crate::device::Device;

/// Attempts in a row to connect after which the next address is tried.
pub const UNREACHED_MAX: u32 = 3;
/// Connections in a row that gave no value after which it is.
pub const UNREAD_MAX: u32 = 12;

/// The addresses of one device.
pub struct Addresses {
    all: Vec<String>,
    current: usize,
    /// In parts of [`UNREAD_MAX`].
    failures: u32,
    /// The address that values came from last.
    proven: usize,
}

impl Addresses {
    /// All addresses of a device, beginning with its endpoint.
    pub fn of(device: &Device) -> Self {
        let all = std::iter::once(&device.spec.endpoint).chain(&device.access.backup).cloned().collect();
        Self { all, current: 0, failures: 0, proven: 0 }
    }

    /// What the connector is given while this address is used.
    pub fn spec(&self, device: &Device) -> DeviceSpec {
        DeviceSpec { endpoint: self.all[self.current].clone(), ..device.spec.clone() }
    }

    /// The address in use.
    pub fn current(&self) -> &str {
        &self.all[self.current]
    }

    /// True when the address in use is not the first.
    pub fn is_backup(&self) -> bool {
        self.current != 0
    }

    /// True when there is another address to go to.
    pub fn has_others(&self) -> bool {
        self.all.len() > 1
    }

    /// An attempt brought no value; `reached` when there was a connection. True when another address
    /// is in use from now on.
    pub fn failed(&mut self, reached: bool) -> bool {
        self.failures += if reached { 1 } else { UNREAD_MAX / UNREACHED_MAX };
        if self.failures < UNREAD_MAX || self.all.len() == 1 {
            return false;
        }
        self.failures = 0;
        self.current = (self.current + 1) % self.all.len();
        true
    }

    /// Values came in. Gives the address of the values before, when it was another one.
    pub fn worked(&mut self) -> Option<String> {
        self.failures = 0;
        let before = std::mem::replace(&mut self.proven, self.current);
        (before != self.current).then(|| self.all[before].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let all = ["first", "second", "third"].map(str::to_owned).into();
        Addresses { all, current: 0, failures: 0, proven: 0 }
    }

    #[test]
    fn three_failures_to_connect_in_a_row_lead_to_the_next_address_and_on_round() {
        let mut addresses = addresses();
        let mut used = Vec::new();
        for _ in 0..10 {
            used.push(addresses.current().to_owned());
            addresses.failed(false);
        }
        let three = |name: &str| vec![name.to_owned(); 3];
        assert_eq!(used, [three("first"), three("second"), three("third"), vec!["first".into()]].concat());
    }

    #[test]
    fn an_address_that_works_is_kept_and_told_once() {
        let mut addresses = addresses();
        assert_eq!(addresses.worked(), None, "the first one is nothing to tell");
        let mut unreached = || addresses.failed(false);
        assert!(!unreached() && !unreached() && unreached());
        assert_eq!(addresses.worked().as_deref(), Some("first"));
        assert_eq!((addresses.worked(), addresses.is_backup()), (None, true));
        addresses.failed(false);
        addresses.failed(false);
        addresses.worked();
        assert!(!addresses.failed(false) && !addresses.failed(false), "what worked in between counts");
        assert_eq!(addresses.current(), "second");
    }

    #[test]
    fn a_device_that_takes_connections_is_given_time_to_show_what_it_does_not_like() {
        let mut addresses = addresses();
        assert!((1..UNREAD_MAX).all(|_| !addresses.failed(true)));
        assert!(addresses.failed(true));
    }
}
