//! One user at a time for each rig, as `flock` has it: it ends with the process.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use crate::rig::{Kind, Rig};
use crate::{RigFault, root};

/// The rig is ours while this lives.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the rig, without waiting. Hardware is there once for the whole computer, simulators
    /// once for each checkout.
    ///
    /// # Errors
    /// [`RigFault`] when somebody else has it, or no file can be made for the lock.
    pub fn take(rig: &Rig) -> Result<Self, RigFault> {
        let real = rig.devices.iter().any(|device| device.entry.kind == Kind::Real);
        let folder = if real { std::env::temp_dir() } else { root().join("target") };
        Self::take_file(&rig.name, folder.join(format!("forebay-hil-{}.lock", rig.name)))
    }

    fn take_file(rig: &str, path: PathBuf) -> Result<Self, RigFault> {
        let cannot = |error: std::io::Error| RigFault(format!("rig {rig}: {}: {error}", path.display()));
        let file = File::create(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(RigFault(format!(
                "rig {rig} is in use by somebody else ({}); wait until that run has ended",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rig_has_one_user() {
        let path = std::env::temp_dir().join(format!("forebay-hil-test-{}.lock", std::process::id()));
        let first = Lock::take_file("bench", path.clone()).unwrap();
        let refused = Lock::take_file("bench", path.clone()).unwrap_err().to_string();
        assert!(refused.contains("rig bench is in use by somebody else"), "{refused}");
        drop(first);
        drop(Lock::take_file("bench", path.clone()).unwrap());
        std::fs::remove_file(path).unwrap();
    }
}
