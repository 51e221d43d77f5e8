//! What a backlog says of itself. It comes from a stick, so nothing in it is believed unchecked.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::FileError;
use crate::journal::is_segment_name;

/// Name of the file.
pub const FILE: &str = "manifest.json";
/// Longest manifest: some 100,000 files.
const BYTES_MAX: u64 = 16 << 20;
const FORMAT: &str = "forebay-backlog";
const VERSION: u32 = 1;
/// Longest id of a site or a box, as in `forebay.toml`.
const ID_BYTES_MAX: usize = 64;

/// What a folder holds, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `forebay-backlog`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// `edge.site` of the box it comes from.
    pub site: String,
    /// `edge.id` of that box.
    pub edge: String,
    /// `telemetry` or `events`.
    pub lane: String,
    /// `kafka.topic_prefix` of that box: where its own records go. `None` = exported by a version that did not
    /// say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_prefix: Option<String>,
    /// Identity of the journal, 32 hexadecimal digits.
    pub epoch: String,
    /// First offset in it.
    pub from: u64,
    /// Behind the last one. What the files hold behind that is not part of the backlog.
    pub to: u64,
    /// When it was exported, RFC 3339.
    pub exported: String,
    /// The segment files, oldest first.
    pub files: Vec<FileEntry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hexadecimal digits.
    pub sha256: String,
}

/// A folder that is no backlog, or none of this version.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It says something impossible.
    #[error("{file} is no manifest of a backlog: {reason}")]
    Wrong {
        /// Which.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

impl Manifest {
    /// The manifest of a lane; files are still to be added.
    pub fn new(site: &str, edge: &str, lane: &str, epoch: &str, range: (u64, u64)) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            site: site.into(),
            edge: edge.into(),
            lane: lane.into(),
            topic_prefix: None,
            epoch: epoch.into(),
            from: range.0,
            to: range.1,
            exported: crate::clock::rfc3339(crate::clock::now_us()),
            files: Vec::new(),
        }
    }

    /// Reads and checks the manifest in `folder`.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(FILE);
        let file = std::fs::File::open(&path).map_err(FileError::of("open", &path))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(FileError::of("read", &path))?;
        let wrong = |reason: String| ManifestError::Wrong { file: path.display().to_string(), reason };
        if bytes.len() as u64 > BYTES_MAX {
            return Err(wrong(format!("it is longer than {BYTES_MAX} bytes")));
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        manifest.check().map_err(wrong)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("its format is \"{}\"", self.format.escape_debug()));
        }
        if self.version != VERSION {
            let version = self.version;
            return Err(format!("it has version {version}, this Forebay knows {VERSION}: use a newer one"));
        }
        let prefix = self.topic_prefix.iter().map(|prefix| ("topic_prefix", prefix));
        for (name, id) in [("site", &self.site), ("edge", &self.edge)].into_iter().chain(prefix) {
            let fits = (1..=ID_BYTES_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
            if !fits {
                return Err(format!("its {name} cannot be \"{}\"", id.escape_debug()));
            }
        }
        if !matches!(self.lane.as_str(), "telemetry" | "events") {
            return Err(format!("there is no lane \"{}\"", self.lane.escape_debug()));
        }
        if !is_hex(&self.epoch, 32) {
            return Err("its epoch is not 32 hexadecimal digits".into());
        }
        if self.from >= self.to {
            return Err(format!("it holds nothing: from {} to {}", self.from, self.to));
        }
        let mut names = BTreeSet::new();
        for file in &self.files {
            // Only such names, so no path leads out of the folder.
            if !is_segment_name(&file.name) || !names.insert(&file.name) {
                return Err(format!("\"{}\" is no name of a segment", file.name.escape_debug()));
            }
            if !is_hex(&file.sha256, 64) {
                return Err(format!("the checksum of {} is none", file.name));
            }
        }
        if names.is_empty() {
            return Err("it names no files".into());
        }
        Ok(())
    }

    /// Name of the folder in which it waits to be sent.
    pub fn folder_name(&self) -> String {
        let Self { lane, epoch, from, to, .. } = self;
        format!("{lane}-{epoch}-{from}-{to}")
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// SHA-256 of what goes through.
#[derive(Default)]
pub struct FileSum(Sha256);

impl FileSum {
    /// Takes in more of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::new("Werk1", "box-1", "telemetry", &"0a".repeat(16), (3, 9));
        let name = "0000000000000001-0000000000000003.segment".to_owned();
        manifest.files.push(FileEntry { name, bytes: 100, sha256: "0b".repeat(32) });
        manifest
    }

    #[test]
    fn what_a_stick_says_is_checked() {
        type Change = fn(&mut Manifest);
        let changes: [(Change, &str); 9] = [
            (|it| it.format = "zip".into(), "format"),
            (|it| it.version = 2, "newer"),
            (|it| it.edge = "../box".into(), "edge"),
            (|it| it.site.clear(), "site"),
            (|it| it.lane = "checkpoints".into(), "no lane"),
            (|it| it.epoch.truncate(31), "epoch"),
            (|it| it.to = 3, "holds nothing"),
            (|it| it.files[0].name = "../../etc/passwd".into(), "no name of a segment"),
            (|it| it.files[0].sha256 = "zz".repeat(32), "checksum"),
        ];
        let folder = tempfile::tempdir().unwrap();
        let write = |manifest: &Manifest| {
            std::fs::write(folder.path().join(FILE), serde_json::to_vec(manifest).unwrap()).unwrap();
        };
        let right = manifest();
        write(&right);
        assert_eq!(Manifest::read(folder.path()).unwrap(), right);
        for (change, words) in changes {
            let mut wrong = manifest();
            change(&mut wrong);
            write(&wrong);
            let error = Manifest::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        std::fs::write(folder.path().join(FILE), "[]").unwrap();
        assert!(matches!(Manifest::read(folder.path()), Err(ManifestError::Wrong { .. })));
    }
}
