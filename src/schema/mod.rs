//! JSON Schema of the files people write, so that editors complete keys and underline slips.
//!
//! The keys come from the same tables that the readers use; only what a value looks like is said
//! here. A schema knows less than `forebay check`: it takes every file that check takes, and
//! refuses keys that do not exist and values of the wrong kind.

mod profile;
mod site;

use std::io::Write;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value as Json, json};

pub use profile::profile;
pub use site::site;

/// Writes the JSON Schema of a kind of file, for editors.
#[derive(Debug, Args)]
#[command(after_help = "\
  forebay schema profile > profile-1.json    profiles and device files
  forebay schema site > site-1.json          forebay.toml

Editors with Taplo (VS Code: \"Even Better TOML\") take a schema from a first line such as

  #:schema ./profile-1.json

and complete keys then. A running box serves both: /schema/profile-1.json and /schema/site-1.json.")]
pub struct Schema {
    /// Which kind of file.
    kind: Kind,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Profiles and device files.
    Profile,
    /// forebay.toml.
    Site,
}

/// Writes a schema.
///
/// # Errors
/// When it cannot be written.
pub fn run(schema: &Schema, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    out.write_all(text(schema.kind).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The schema as text.
pub fn text(kind: Kind) -> &'static str {
    static PROFILE: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", profile()));
    static SITE: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", site()));
    match kind {
        Kind::Profile => &PROFILE,
        Kind::Site => &SITE,
    }
}

/// The frame around a schema.
fn root(id: &str, title: &str, mut content: Json) -> Json {
    content["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    content["$id"] = json!(format!("https://forebay.local/schema/{id}.json"));
    content["title"] = json!(title);
    content
}

/// A table with exactly these keys.
fn table<'k>(keys: impl IntoIterator<Item = &'k str>, shape: impl Fn(&str) -> Json) -> Json {
    let properties: Map<String, Json> = keys.into_iter().map(|key| (key.to_owned(), shape(key))).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A table whose keys are names given by the writer.
fn named(shape: &Json) -> Json {
    json!({ "type": "object", "additionalProperties": shape })
}

/// With words that editors show.
fn told(mut shape: Json, words: &str) -> Json {
    shape["description"] = json!(words);
    shape
}

fn text_of() -> Json {
    json!({ "type": "string" })
}

fn truth() -> Json {
    json!({ "type": "boolean" })
}

/// `"200ms"`.
fn duration() -> Json {
    json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|min|m|h|d)$" })
}

/// `"16MiB"`.
fn size() -> Json {
    json!({ "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$" })
}

fn one_of(choices: &[&str]) -> Json {
    json!({ "type": "string", "enum": choices })
}

fn list_of(item: &Json) -> Json {
    json!({ "type": "array", "items": item })
}

#[cfg(test)]
mod tests;
