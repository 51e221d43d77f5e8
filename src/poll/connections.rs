//! At most so many connections to one address, over all devices that are read there.
//!
//! A device takes a place before it connects, and gives it back when its connection is closed. One that
//! finds none waits and says who has them; it is not read meanwhile. Devices that take turns on one
//! connection anyway need no place, and neither does one whose budget says nothing of connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::device::Device;
use crate::twin::Cause;

/// Names in a message; more are counted.
const NAMES_MAX: usize = 5;

/// Addresses with a limit, as long as a device that knows them is read.
static ADDRESSES: Mutex<BTreeMap<(&'static str, String), Arc<Taken>>> = Mutex::new(BTreeMap::new());

/// The places of one address.
#[derive(Default)]
struct Taken {
    /// Names of the devices that have one.
    by: Mutex<Vec<String>>,
    freed: Notify,
}

impl Taken {
    fn by(&self) -> MutexGuard<'_, Vec<String>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One device's claim to a place at the address in use.
pub struct Connections {
    address: String,
    taken: Arc<Taken>,
    permitted: usize,
    device: String,
}

impl Connections {
    /// The claim of `device` while it is read at `endpoint`; `None` when nothing limits it.
    pub fn of(device: &Device, endpoint: &str) -> Option<Self> {
        let permitted = device.access.budget.connections? as usize;
        let spec = forebay_connector::DeviceSpec { endpoint: endpoint.to_owned(), ..device.spec.clone() };
        if device.protocol.line(&spec).is_some() {
            return None;
        }
        let address = device.protocol.address(&spec);
        let mut addresses = ADDRESSES.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|_, taken| Arc::strong_count(taken) > 1);
        let taken = Arc::clone(addresses.entry((device.protocol.name(), address.clone())).or_default());
        Some(Self { address, taken, permitted, device: device.name.clone() })
    }

    /// Takes a place, if one is free.
    ///
    /// # Errors
    /// Who has them, in words.
    pub fn take(&self) -> Result<Place, Cause> {
        let mut by = self.taken.by();
        if by.len() >= self.permitted {
            return Err(self.waits(&by));
        }
        by.push(self.device.clone());
        Ok(Place { taken: Arc::clone(&self.taken), device: self.device.clone() })
    }

    /// Waits for a place.
    pub async fn wait(&self) -> Place {
        loop {
            // Made before the look, so that a place that is freed in between wakes it.
            let freed = self.taken.freed.notified();
            if let Ok(place) = self.take() {
                return place;
            }
            freed.await;
        }
    }

    fn waits(&self, by: &[String]) -> Cause {
        let mut names = by.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
        if by.len() > NAMES_MAX {
            names.push_str(&format!(" and {} more", by.len() - NAMES_MAX));
        }
        let (most, are) = match self.permitted {
            1 => ("1 connection".to_owned(), "is"),
            more => (format!("{more} connections"), "are"),
        };
        Cause {
            code: "no-connection-left".into(),
            message: format!(
                "waits for a connection: the budget permits {most} to {}, which {are} taken by {names}; read \
                 them as one device, or permit more if the controller has them to spare",
                self.address
            ),
        }
    }
}

/// A place that is taken; dropping it frees it.
pub struct Place {
    taken: Arc<Taken>,
    device: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by = self.taken.by();
        if let Some(index) = by.iter().position(|device| *device == self.device) {
            by.remove(index);
        }
        drop(by);
        self.taken.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::testing;

    fn claim(name: &str, permitted: u32, endpoint: &str) -> Option<Connections> {
        let mut device = Arc::into_inner(testing::device(Vec::new())).unwrap();
        device.name = name.to_owned();
        device.access.budget.connections = Some(permitted);
        Connections::of(&device, endpoint)
    }

    #[tokio::test]
    async fn a_place_is_taken_once_and_waited_for_in_words() {
        let at = "tcp://two-of-three";
        let [one, two, three] = ["one", "two", "three"].map(|name| claim(name, 2, at).unwrap());
        let first = one.take().ok().unwrap();
        let _second = two.take().ok().unwrap();
        let cause = three.take().err().unwrap();
        assert_eq!(cause.code, "no-connection-left");
        assert!(cause.message.contains("2 connections to two-of-three"), "{}", cause.message);
        assert!(cause.message.contains("taken by one, two"), "{}", cause.message);
        assert!(claim("four", 2, "elsewhere").unwrap().take().is_ok(), "another address has its own");

        let waiting = tokio::spawn(async move { three.wait().await });
        tokio::task::yield_now().await;
        drop(first);
        let _third = waiting.await.unwrap();
        assert!(one.take().is_err(), "there are two again");
    }

    #[test]
    fn without_a_limit_nobody_claims() {
        let device = testing::device(Vec::new());
        assert!(Connections::of(&device, "anywhere").is_none());
    }
}
