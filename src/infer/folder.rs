//! A model folder: `model.toml`, `model.onnx`, `golden.json`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::golden::{GOLDEN_BYTES_MAX, Golden};
use super::spec::{SPEC_BYTES_MAX, Spec};

/// Largest `model.onnx`.
pub const ONNX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most folders looked at.
pub const FOLDERS_MAX: usize = 256;

/// One thing that is wrong with a model folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Stable code, for example `M0104`; `docs/models.md` lists them.
    pub code: &'static str,
    /// File it is in.
    pub file: String,
    /// Line, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {} ({})", self.code, self.message, self.fix)
    }
}

/// What was found in a folder, not yet loaded.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Where it came from: a path, or `built in: <name>`.
    pub origin: String,
    /// Name of the folder, for a model whose own name cannot be read.
    pub name: String,
    /// The model, or all that is wrong with its files.
    pub content: Result<Content, Vec<Fault>>,
}

/// The files of a folder, read and checked, the graph not yet loaded.
#[derive(Debug, Clone)]
pub struct Content {
    /// `model.toml`.
    pub spec: Spec,
    /// `golden.json`.
    pub golden: Golden,
    /// `model.onnx`.
    pub onnx: Vec<u8>,
}

/// Models in the binary: name, then the three files.
const BUILT_IN: [(&str, &str, &str, &[u8]); 1] = [(
    "press-wear",
    include_str!("../../models/press-wear/model.toml"),
    include_str!("../../models/press-wear/golden.json"),
    include_bytes!("../../models/press-wear/model.onnx"),
)];

impl Folder {
    /// Reads a model folder.
    pub fn read(path: &Path) -> Self {
        let name =
            path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        let bytes = [
            ("model.toml", SPEC_BYTES_MAX),
            ("golden.json", GOLDEN_BYTES_MAX),
            ("model.onnx", ONNX_BYTES_MAX),
        ]
        .map(|(file, limit)| read(&path.join(file), limit));
        let missing: Vec<Fault> = bytes.iter().filter_map(|file| file.as_ref().err().cloned()).collect();
        let content = match bytes {
            [Ok(spec), Ok(golden), Ok(onnx)] => {
                Content::check(&path.display().to_string(), &spec, &golden, onnx)
            }
            // What can be checked of the rest is checked, so that one run shows every fault.
            [Ok(spec), ..] => {
                Err([Content::check_spec(&path.display().to_string(), &spec), missing].concat())
            }
            _ => Err(missing),
        };
        Self { origin: path.display().to_string(), name, content }
    }

    /// The models that are in the binary.
    pub fn built_in() -> Vec<Self> {
        let folder = |(name, spec, golden, onnx): (&str, &str, &str, &[u8])| {
            let origin = format!("built in: {name}");
            let content =
                Content::check(&format!("models/{name}"), spec.as_bytes(), golden.as_bytes(), onnx.to_vec());
            Self { origin, name: name.to_owned(), content }
        };
        BUILT_IN.map(folder).into()
    }

    /// All models: those in `directories`, one folder each, and the built-in ones whose name is not
    /// among them. A directory that does not exist holds none.
    pub fn all(directories: &[PathBuf]) -> Vec<Self> {
        let mut paths: Vec<PathBuf> =
            directories.iter().flat_map(|directory| subdirectories(directory)).collect();
        if paths.len() > FOLDERS_MAX {
            tracing::error!("{} model folders, only the first {FOLDERS_MAX} are read", paths.len());
            paths.truncate(FOLDERS_MAX);
        }
        let mut folders: Vec<Self> = Vec::with_capacity(paths.len() + BUILT_IN.len());
        for mut folder in paths.iter().map(|path| Self::read(path)) {
            if let Some(first) = folders.iter().find(|first| first.model_name() == folder.model_name()) {
                folder.content = Err(vec![Fault {
                    code: "M0106",
                    file: format!("{}/model.toml", folder.origin),
                    line: None,
                    message: format!("model {} is in {} already", folder.model_name(), first.origin),
                    fix: "remove one of the folders or rename its model".into(),
                }]);
            }
            folders.push(folder);
        }
        for built_in in Self::built_in() {
            if folders.iter().all(|folder| folder.model_name() != built_in.model_name()) {
                folders.push(built_in);
            }
        }
        folders
    }

    /// Name of the model, else of its folder.
    pub fn model_name(&self) -> &str {
        self.content.as_ref().map_or(&self.name, |content| &content.spec.name)
    }
}

/// Sorted by name.
fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

impl Content {
    /// Checks the files of a folder.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn check(origin: &str, spec: &[u8], golden: &[u8], onnx: Vec<u8>) -> Result<Self, Vec<Fault>> {
        let file = format!("{origin}/model.toml");
        let spec = Spec::parse(&file, utf8(&file, spec)?)?;
        let file = format!("{origin}/golden.json");
        let golden = Golden::parse(&file, utf8(&file, golden)?, &spec).map_err(|fault| vec![fault])?;
        Ok(Self { spec, golden, onnx })
    }

    fn check_spec(origin: &str, spec: &[u8]) -> Vec<Fault> {
        let file = format!("{origin}/model.toml");
        utf8(&file, spec).and_then(|text| Spec::parse(&file, text)).err().unwrap_or_default()
    }
}

fn utf8<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Vec<Fault>> {
    std::str::from_utf8(bytes).map_err(|_| {
        let (file, message) = (file.to_owned(), "is not UTF-8 text".to_owned());
        vec![Fault { code: "M0002", file, line: None, message, fix: "save it as UTF-8".into() }]
    })
}

/// Reads a file of at most `limit` bytes.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Fault> {
    let fault = |message: String, fix: String| Fault {
        code: "M0001",
        file: path.display().to_string(),
        line: None,
        message,
        fix,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| fault(error.to_string(), "a model folder needs this file, readable".into()))?;
    if bytes.len() > limit {
        return Err(fault(format!("is larger than {limit} bytes"), "use a smaller model".into()));
    }
    Ok(bytes)
}
