//! `forebay explain`: where every property of a tag comes from, and how it is asked for.

mod address;
mod code;
mod tag;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

/// Says where every property of a tag comes from, what an address means, or what stands behind a code.
#[derive(Debug, Args)]
#[command(after_help = "\
  forebay explain press-3/oil_temp                          a tag of the box
  forebay explain press-3/hydraulics.oil_temp line3.toml    of these files instead
  forebay explain 403000 --type REAL                        an address by itself
  forebay explain P0126                                     what stands behind a code of `check`
  forebay explain 403000 --type REAL --bytes 43663333       what these bytes are in each byte order

Ends with 0 when there is an answer, with 1 when there is no such tag or address.")]
pub struct Explain {
    /// `device/tag`, the tag with or without its group; with --type an address; or a code.
    what: String,
    /// Files to look into: forebay.toml, profiles, device files.
    files: Vec<PathBuf>,
    /// The box's configuration, where no files are named.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// The type of the value at the address, for example REAL or UINT.
    #[arg(long = "type", value_name = "TYPE")]
    data_type: Option<String>,
    /// The protocol of the address; needed only where several would take it.
    #[arg(long)]
    protocol: Option<String>,
    /// Bytes as they came, in hexadecimal: shows the value, on Modbus in all four byte orders.
    #[arg(long, value_name = "HEX", requires = "data_type")]
    bytes: Option<String>,
}

/// Explains a tag or an address.
///
/// # Errors
/// When the answer cannot be written, or the question makes no sense.
pub fn run(explain: &Explain, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = match (&explain.data_type, explain.what.split_once('/')) {
        (Some(data_type), _) => {
            address::explain(&explain.what, data_type, explain.protocol.as_deref(), explain.bytes.as_deref())
        }
        (None, Some((device, tag))) => {
            let files =
                if explain.files.is_empty() { vec![explain.config.clone()] } else { explain.files.clone() };
            tag::explain(device, tag, &files)
        }
        (None, None) => match code::section(&explain.what) {
            Some(section) => Ok(section),
            None => bail!(
                "\"{}\" is neither a tag, nor a code, nor an address with its type: write device/tag, or add --type REAL",
                explain.what.escape_debug()
            ),
        },
    };
    match answer {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            writeln!(out, "{why}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Lines of two columns.
#[derive(Default)]
struct Columns {
    text: String,
}

impl Columns {
    /// One line; a name may be empty.
    fn line(&mut self, name: &str, words: &str) {
        let line = format!("{name:<13}{words}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests;
