//! `forebay person …`: who may press buttons on the page.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Role, password};
use crate::control::{Client, command::user};

/// Bytes of a file with a password at most.
const FILE_BYTES_MAX: u64 = 1024;

/// Commands of `forebay person`.
#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Adds a person; asks for the password twice.
    #[command(after_help = "\
Examples:
  forebay person add anna
  forebay person add ben --role engineer
  forebay person add carl --password-file /run/carl.password

The password has 12 letters or more; several words are easy to remember. It is kept as an Argon2id hash.")]
    Add(Add),
    /// Shows who there is.
    #[command(after_help = "Example:\n  forebay person list")]
    List(Of),
    /// Removes a person; who is signed in is so no more. Also the way to a new password: remove, then add.
    #[command(after_help = "Example:\n  forebay person remove anna")]
    Remove(Remove),
}

/// Which box.
#[derive(Debug, Args)]
pub struct Of {
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// `forebay person add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Name, as it will stand beside what they say.
    name: String,
    /// operator: answers what models report; engineer: also changes what models run and learn.
    #[arg(long, default_value = "operator", value_parser = Role::parse)]
    role: Role,
    /// The first line of this file is the password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    of: Of,
}

/// `forebay person remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Name.
    name: String,
    #[command(flatten)]
    of: Of,
}

/// Runs one command. The box must run.
///
/// # Errors
/// What keeps it from being done, in words.
pub fn run(command: &PersonCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let of = match command {
        PersonCommand::Add(add) => &add.of,
        PersonCommand::List(of) => of,
        PersonCommand::Remove(remove) => &remove.of,
    };
    let config = crate::journal_command::load(&of.config)?;
    let client = Client::new(&config.paths.state);
    let (answer, text) = match command {
        PersonCommand::Add(add) => {
            // Before the password is asked for: is there a box that could take it?
            client.get("/v1/people")?;
            let password = match &add.password_file {
                Some(file) => from_file(file)?,
                None => ask_twice(&add.name)?,
            };
            password::check(&password, &add.name)?;
            let hash = password::hash(&password).map_err(anyhow::Error::msg)?;
            let body = json!({ "name": add.name, "role": add.role, "hash": hash, "by": user() });
            let answer = client.post("/v1/people", &body)?;
            (answer, format!("{} may sign in on the page now ({}).\n", add.name, add.role.code()))
        }
        PersonCommand::Remove(remove) => {
            let body = json!({ "name": remove.name, "by": user() });
            let answer = client.post("/v1/people/remove", &body)?;
            (answer, format!("{} is removed and signed in no more.\n", remove.name))
        }
        PersonCommand::List(_) => {
            let answer = client.get("/v1/people")?;
            let text = listed(&answer);
            (answer, text)
        }
    };
    match of.json {
        true => writeln!(out, "{answer}")?,
        false => out.write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn listed(answer: &serde_json::Value) -> String {
    let people = answer["people"].as_array().map(Vec::as_slice).unwrap_or_default();
    if people.is_empty() {
        return "Nobody yet: `forebay person add NAME`. Until then the page only shows.\n".to_owned();
    }
    let text =
        |person: &serde_json::Value, field: &str| person[field].as_str().unwrap_or_default().to_owned();
    let line = |person| {
        format!("{:32} {:10} since {}\n", text(person, "name"), text(person, "role"), text(person, "added"))
    };
    people.iter().map(line).collect()
}

fn from_file(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {} as text", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn ask_twice(name: &str) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("the password is asked for on a terminal; without one use --password-file FILE");
    }
    let quiet = Quiet::begin()?;
    let first = ask(&format!("Password for {name}: "))?;
    password::check(&first, name)?;
    let second = ask("The same again: ")?;
    drop(quiet);
    if first != second {
        bail!("these are two different passwords; nothing is changed");
    }
    Ok(first)
}

fn ask(question: &str) -> anyhow::Result<String> {
    // Not into the answer, which may be redirected.
    eprint!("{question}");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    eprintln!();
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal does not show what is typed, until this is dropped.
struct Quiet {
    before: String,
}

impl Quiet {
    fn begin() -> anyhow::Result<Self> {
        let unable = "the terminal cannot be told not to show the password (stty); use --password-file FILE";
        let before = Command::new("stty").arg("-g").stdin(std::process::Stdio::inherit()).output();
        let before = before.context(unable)?;
        let before = Self { before: String::from_utf8_lossy(&before.stdout).trim().to_owned() };
        let done = Command::new("stty").arg("-echo").status().context(unable)?;
        if !done.success() {
            bail!(unable);
        }
        Ok(before)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if Command::new("stty").arg(&self.before).status().is_err() {
            eprintln!("the terminal may no longer show what is typed: type `stty echo`");
        }
    }
}
