//! `forebay browse`: the tree of an OPC UA server, or a first profile made of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use forebay_connector::{DeviceSpec, OptionValue, Secrets};
use forebay_opcua::browse::{Bounds, Found, Variable, Walk};

use super::draft::{self, unit_by_id};
use crate::amount::counted;
use crate::config::check_files;
use crate::diagnostic::Format;

/// Where the password of `--user` is looked for: nobody else on the computer sees it there.
const PASSWORD: &str = "FOREBAY_OPCUA_PASSWORD";

/// Shows what an OPC UA server has, or writes a first profile of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay browse opc.tcp://192.168.30.10:4840 --security None
  forebay browse opc.tcp://192.168.30.10:4840 --security None --under PLC/DB_Filler --out filler.opcua.toml
  FOREBAY_OPCUA_PASSWORD=… forebay browse opc.tcp://… --user forebay --trust sha256:9f2c…

Without --out it prints the tree: name, type, unit, node id. With it, it writes a draft that `forebay check`
accepts: types, units, ranges and texts are the server's own. Take out what you do not need, and set the
location. It only reads, and stops at --depth, --nodes and --at-most.")]
pub struct Browse {
    /// The server, opc.tcp://host:port.
    url: String,
    /// Begins here: a path of names (PLC/DB_Filler), or a node id as the server has it (ns=3;s=…).
    #[arg(long, value_name = "PATH")]
    under: Option<String>,
    /// Writes a draft of a profile; never over a file that is there.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss or None.
    #[arg(long, default_value = "Basic256Sha256")]
    security: String,
    /// Sign or SignAndEncrypt.
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// User; the password is taken from $FOREBAY_OPCUA_PASSWORD.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Fingerprint of the server's certificate, as in [[device]].
    #[arg(long, value_name = "sha256:…")]
    trust: Option<String>,
    /// Levels at most.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    depth: u16,
    /// Nodes at most.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    nodes: u32,
    /// Seconds at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    at_most: u64,
}

/// Walks the server and prints or writes what was found.
///
/// # Errors
/// When the server is not reached or refuses, or the file cannot be written.
pub async fn run(browse: &Browse, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    if let Some(file) = browse.out.as_ref().filter(|file| file.exists()) {
        bail!("{} exists already: choose another name, or move it away", file.display());
    }
    let own = std::env::temp_dir().join(format!("forebay-browse-{:016x}", fastrand::u64(..)));
    let bounds = Bounds {
        depth: usize::from(browse.depth),
        nodes: usize::try_from(browse.nodes)?,
        time: Duration::from_secs(browse.at_most),
    };
    let walked = forebay_opcua::browse::browse(&browse.device(&own), browse.under.as_deref(), bounds).await;
    // Holds a certificate made for this walk, if one was needed.
    let _absent = std::fs::remove_dir_all(&own);
    let walk = walked?;
    match &browse.out {
        None => tree(&walk, out)?,
        Some(file) => {
            let connection = draft::Connection {
                url: &browse.url,
                security: &browse.security,
                mode: browse.mode(),
                user: browse.user.as_deref(),
                trust: browse.trust.as_deref(),
                under: browse.under.as_deref(),
            };
            let draft = draft::profile(&walk, &connection);
            std::fs::File::create_new(file)
                .and_then(|mut file| file.write_all(draft.text.as_bytes()))
                .with_context(|| format!("cannot write {}", file.display()))?;
            let checked = check_files(std::slice::from_ref(file));
            let tags = counted(draft.tags as u64, "tag", "tags");
            writeln!(out, "{}: {tags}, {} left out (named there)", file.display(), draft.left_out)?;
            if checked.errors() > 0 {
                out.write_all(checked.render(Format::Text, false).as_bytes())?;
                cut(&walk, out)?;
                return Ok(ExitCode::FAILURE);
            }
            writeln!(
                out,
                "Next: shorten it, set `location`, then `forebay check {} --live`",
                file.display()
            )?;
        }
    }
    cut(&walk, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Why it is not all.
fn cut(walk: &Walk, out: &mut impl Write) -> std::io::Result<()> {
    walk.cut.iter().try_for_each(|why| writeln!(out, "Not everything was looked at: {why}"))
}

impl Browse {
    fn mode(&self) -> &str {
        let usual = if self.security == "None" { "None" } else { "SignAndEncrypt" };
        self.mode.as_deref().unwrap_or(usual)
    }

    /// The server as a device without tags.
    fn device(&self, own: &std::path::Path) -> DeviceSpec {
        let text = |text: &str| OptionValue::Text(text.to_owned());
        let mut options = BTreeMap::from([
            ("security".to_owned(), text(&self.security)),
            ("mode".to_owned(), text(self.mode())),
        ]);
        if let Some(user) = &self.user {
            let auth = [("user", user.as_str()), ("password", "credential:from-the-environment")];
            let auth = auth.map(|(key, value)| (key.to_owned(), value.to_owned()));
            options.insert("auth".to_owned(), OptionValue::Texts(BTreeMap::from(auth)));
        }
        DeviceSpec {
            name: "browse".to_owned(),
            endpoint: self.url.clone(),
            options,
            scans: Vec::new(),
            tags: Arc::default(),
            trust: self.trust.clone(),
            // Whoever writes --security None has said so.
            allow_insecure: true,
            secrets: Arc::new(FromEnvironment),
            state_directory: own.to_owned(),
        }
    }
}

struct FromEnvironment;

impl Secrets for FromEnvironment {
    fn read(&self, _: &str) -> Result<String, String> {
        std::env::var(PASSWORD).map_err(|_| format!("set ${PASSWORD} to the password of --user"))
    }
}

fn tree(walk: &Walk, out: &mut impl Write) -> std::io::Result<()> {
    if !walk.identity.is_empty() {
        writeln!(out, "{}", walk.identity)?;
    }
    for found in &walk.found {
        let about = found.variable.as_ref().map(about).unwrap_or_default();
        writeln!(out, "{}{}{about}  {}", "  ".repeat(found.depth), found.name, node(found))?;
    }
    let variables = walk.found.iter().filter(|found| found.variable.is_some()).count();
    let nodes = counted(walk.found.len() as u64, "node", "nodes");
    writeln!(out, "{nodes}, {}", counted(variables as u64, "variable", "variables"))
}

/// Type, unit, range and texts of a variable.
fn about(variable: &Variable) -> String {
    let mut about = match variable.data_type {
        Some(data_type) => format!("  {data_type}"),
        None if variable.type_name.is_empty() => "  no value".to_owned(),
        None => format!("  {} (cannot be read as a tag)", variable.type_name),
    };
    if let Some(unit) = variable.unit_id.and_then(unit_by_id).map(|unit| unit.symbol) {
        about += &format!(" {unit}");
    } else if !variable.unit.is_empty() {
        about += &format!(" {}", variable.unit);
    }
    if let Some((low, high)) = variable.range {
        about += &format!(" [{low}, {high}]");
    }
    if !variable.texts.is_empty() {
        let texts = variable.texts.iter().take(4).map(|(number, text)| format!("{number}={text}"));
        about += &format!(" {{{}}}", texts.collect::<Vec<_>>().join(", "));
    }
    if !variable.readable {
        about += " (not readable for this user)";
    }
    about
}

fn node(found: &Found) -> String {
    match found.namespace.as_str() {
        "" => found.id.clone(),
        uri => format!("{} in {uri}", found.id),
    }
}
