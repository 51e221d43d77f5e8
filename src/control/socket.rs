//! The socket file: who may make it, and who may use it.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Name of the socket in the folder of the state.
pub const FILE: &str = "control.sock";
/// Its owner and its group may use it, nobody else.
const MODE: u32 = 0o660;
/// `sun_path` of unix(7) has 108 bytes, the last of them 0.
const PATH_BYTES_MAX: usize = 107;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It belongs to a process that runs.
    #[error(
        "another forebay answers at {}: give this one a folder of its own (paths.state), or stop the other", .0.display()
    )]
    InUse(PathBuf),
    /// The system knows no such long names.
    #[error("the name {} is too long for a socket, at most {PATH_BYTES_MAX} bytes: choose a shorter paths.state", .0.display())]
    TooLong(PathBuf),
    /// The system said no.
    #[error("cannot {action} {}: {error}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The listening socket; its file is removed when this is dropped.
pub struct Socket {
    /// Where connections come in.
    pub listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours. The socket file alone tells nothing: after kill -9 it
    /// is still there.
    _lock: File,
}

impl Socket {
    /// Makes the socket in `folder` and replaces one that a killed process left behind. Must be
    /// called inside the runtime.
    ///
    /// # Errors
    /// [`SocketError`]; a socket that another process serves is never touched.
    pub fn bind(folder: &Path) -> Result<Self, SocketError> {
        let path = folder.join(FILE);
        // Made under this name first, so that nobody meets it before its rights are set.
        let new = folder.join("control.sock.new");
        if new.as_os_str().len() > PATH_BYTES_MAX {
            return Err(SocketError::TooLong(new));
        }
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |error| SocketError::System { action, path, error }
        };
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let lock = lock(&folder.join("control.lock"), &path)?;
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &new)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&new).map_err(failed("listen at", &new))?;
        fs::set_permissions(&new, Permissions::from_mode(MODE)).map_err(failed("set the rights of", &new))?;
        fs::rename(&new, &path).map_err(failed("rename", &new))?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that stays is replaced by the next start.
        let _left = fs::remove_file(&self.path);
    }
}

fn lock(path: &Path, socket: &Path) -> Result<File, SocketError> {
    let failed = |error| SocketError::System { action: "lock", path: path.to_owned(), error };
    let file = File::create(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse(socket.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_never_share_a_socket_and_a_dead_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        // What kill -9 leaves: the file of a socket nobody listens at.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Socket::bind(folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        let second = Socket::bind(folder.path()).err().unwrap();
        assert!(matches!(second, SocketError::InUse(_)), "{second}");
        std::os::unix::net::UnixStream::connect(&path).expect("the first one's socket is untouched");
        drop(first);
        assert!(!path.exists());
        Socket::bind(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_is_told_with_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let error = Socket::bind(&folder.path().join("x".repeat(100))).err().unwrap().to_string();
        assert!(error.contains("choose a shorter paths.state"), "{error}");
    }
}
