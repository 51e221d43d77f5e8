//! Secrets: one file each, in a folder that only the service can read.

use std::io::Read as _;
use std::path::PathBuf;

use forebay_connector::Secrets;

/// Largest secret, in bytes; certificates chains with keys are far smaller.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Prefix that names a credential in files.
pub(super) const PREFIX: &str = "credential:";

/// Reads credentials by name, first from systemd's `$CREDENTIALS_DIRECTORY`, then from
/// `paths.credentials`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CredentialStore {
    directories: Vec<PathBuf>,
}

impl CredentialStore {
    /// A store that looks into `$CREDENTIALS_DIRECTORY` (if set) and then into `configured`.
    pub fn new(configured: Option<PathBuf>) -> Self {
        let systemd = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self { directories: systemd.into_iter().chain(configured).collect() }
    }

    /// The file that holds the credential, for libraries that read files themselves.
    ///
    /// # Errors
    /// A sentence that says where it was looked for.
    pub fn path(&self, name: &str) -> Result<PathBuf, String> {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        if !is_credential_name(name) {
            return Err(format!("\"{}\" cannot be the name of a credential", name.escape_debug()));
        }
        if self.directories.is_empty() {
            return Err(format!(
                "credential {name}: no folder for credentials; set LoadCredential= in the systemd unit, or \
                 credentials under [paths]"
            ));
        }
        let paths = self.directories.iter().map(|directory| directory.join(name));
        paths.into_iter().find(|path| path.exists()).ok_or_else(|| {
            let folders: Vec<String> =
                self.directories.iter().map(|path| path.display().to_string()).collect();
            format!("credential {name} is not in {}", folders.join(" or "))
        })
    }

    /// A store that looks into these folders only.
    pub fn in_directories(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }
}

/// True when `name` can be the name of a credential: no path, nothing hidden.
pub(super) fn is_credential_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

impl Secrets for CredentialStore {
    /// The secret with this name, with or without `credential:` before it, without the line
    /// break at its end.
    fn read(&self, name: &str) -> Result<String, String> {
        let path = self.path(name)?;
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let fault = |what: String| format!("credential {name}: {}: {what}", path.display());
        let file = std::fs::File::open(&path).map_err(|error| fault(error.to_string()))?;
        let mut secret = String::new();
        match file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut secret) {
            Err(error) => Err(fault(error.to_string())),
            Ok(length) if length as u64 > SECRET_BYTES_MAX => {
                Err(fault(format!("larger than {SECRET_BYTES_MAX} bytes")))
            }
            Ok(_) => Ok(secret.trim_end_matches(['\r', '\n']).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_by_name_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("opcua-filler"), "s3cret\n").unwrap();
        let store =
            CredentialStore::in_directories(vec![folder.path().join("none"), folder.path().to_owned()]);
        assert_eq!(store.read("credential:opcua-filler").as_deref(), Ok("s3cret"));
        assert_eq!(store.read("opcua-filler").as_deref(), Ok("s3cret"));
        assert!(store.read("other").unwrap_err().contains("is not in"));
        assert!(store.read("../opcua-filler").unwrap_err().contains("cannot be the name"));
        assert!(CredentialStore::default().read("x").unwrap_err().contains("LoadCredential"));
    }
}
