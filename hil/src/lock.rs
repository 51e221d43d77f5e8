//! One user at a time for each rig, as `flock` has it: it ends with the process.

use std::fs::{File, TryLockError};

use crate::RigFault;

/// The rig is ours while this lives.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the rig, without waiting.
    ///
    /// # Errors
    /// [`RigFault`] when somebody else has it, or no file can be made in the folder for temporary
    /// files.
    pub fn take(rig: &str) -> Result<Self, RigFault> {
        let path = std::env::temp_dir().join(format!("forebay-hil-{rig}.lock"));
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
        let name = format!("lock-test-{}", std::process::id());
        let first = Lock::take(&name).unwrap();
        let refused = Lock::take(&name).unwrap_err().to_string();
        assert!(refused.contains("in use by somebody else"), "{refused}");
        drop(first);
        Lock::take(&name).unwrap();
    }
}
