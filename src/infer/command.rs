//! `forebay model …`: versions of models, and who vouches for them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tokio::sync::SetOnce;

use super::models;
use super::package::{Package, SIGNATURE};
use super::registry::Registry;
use super::signature::{SecretKey, Trust};
use super::store::{self, Store};
use super::trial;
use crate::amount::{bytes, time};
use crate::config::Config;
use crate::control::command::user;
use crate::control::{Client, ClientError};
use crate::state::State;

/// What to do with models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Shows all models, their versions, and which of them run.
    List(List),
    /// Puts a model into the store of the running box, after its signature, gate and trial.
    #[command(after_help = "\
  forebay model install press-wear-1.2.0.tar              it lies there, nothing else changes
  forebay model install press-wear-1.2.0.tar --shadow     it runs beside the active one and says nothing
  forebay model install ./press-wear --activate           it takes over at once

A tar holds model.toml, model.onnx, golden.json, signature.toml and perhaps README.md, without a folder:
tar -C press-wear -cf press-wear-1.2.0.tar .")]
    Install(Install),
    /// Lets a version take over, with the window of the one before; no scan is missed.
    #[command(after_help = "\
  forebay model activate press-wear 1.2.0
  forebay model activate press-wear --outside     the one in [paths] models, or in the binary")]
    Activate(Activate),
    /// Runs a version beside the active one; it says nothing, and `list` compares them.
    #[command(after_help = "\
  forebay model shadow press-wear 1.2.0
  forebay model shadow press-wear --end")]
    Shadow(ShadowOf),
    /// Goes back to the version before.
    Rollback(OfModel),
    /// Removes a version from the store.
    Remove(OfVersion),
    /// Signs the model in a folder, by writing its signature.toml.
    #[command(after_help = "\
  forebay model new-key central-it.key
  forebay model sign ./press-wear --key central-it.key

Put central-it.key.pub into the folder of keys ([models] keys) of every box that is to trust it, and keep
central-it.key to yourself.")]
    Sign(Sign),
    /// Makes a key to sign models with: FILE, and FILE.pub for the boxes.
    NewKey {
        /// Where to write it; nothing is replaced.
        file: PathBuf,
    },
    /// Tries the model in a folder within limits of memory and time; the box does so by itself.
    #[command(hide = true)]
    Trial {
        /// The model's folder.
        folder: PathBuf,
    },
}

/// Which box, and how it answers.
#[derive(Debug, Args)]
pub struct Site {
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// `forebay model list`.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    site: Site,
}

/// `forebay model install`.
#[derive(Debug, Args)]
pub struct Install {
    /// The model's folder, or a tar of it.
    model: PathBuf,
    /// It runs in shadow from now on.
    #[arg(long, conflicts_with = "activate")]
    shadow: bool,
    /// It takes over at once.
    #[arg(long)]
    activate: bool,
    /// A device that it watches, besides those that forebay.toml names; may stand several times.
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    #[command(flatten)]
    site: Site,
}

/// `forebay model activate`.
#[derive(Debug, Args)]
pub struct Activate {
    /// Name of the model.
    model: String,
    /// Its version in the store.
    #[arg(required_unless_present = "outside")]
    version: Option<String>,
    /// The one that is not in the store: in [paths] models, or in the binary.
    #[arg(long, conflicts_with = "version")]
    outside: bool,
    #[command(flatten)]
    site: Site,
}

/// `forebay model shadow`.
#[derive(Debug, Args)]
pub struct ShadowOf {
    /// Name of the model.
    model: String,
    /// Its version in the store.
    #[arg(required_unless_present = "end")]
    version: Option<String>,
    /// Ends the shadow that runs.
    #[arg(long, conflicts_with = "version")]
    end: bool,
    #[command(flatten)]
    site: Site,
}

/// `forebay model rollback`.
#[derive(Debug, Args)]
pub struct OfModel {
    /// Name of the model.
    model: String,
    #[command(flatten)]
    site: Site,
}

/// `forebay model remove`.
#[derive(Debug, Args)]
pub struct OfVersion {
    /// Name of the model.
    model: String,
    /// Its version in the store.
    version: String,
    #[command(flatten)]
    site: Site,
}

/// `forebay model sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The model's folder.
    folder: PathBuf,
    /// The secret key, made by `forebay model new-key`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Runs one of them.
///
/// # Errors
/// When the box does not run or says no, or a file cannot be read or written.
pub fn run(command: ModelCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        ModelCommand::List(list) => print_list(&list.site, out)?,
        ModelCommand::Install(install) => put(&install, out)?,
        ModelCommand::Activate(order) => {
            let body = json!({ "version": order.version, "by": user() });
            let done = ask(&order.site, &order.model, "activate", &body)?;
            write_done(&order.site, &done, "runs now", out)?;
        }
        ModelCommand::Shadow(order) => {
            let done =
                ask(&order.site, &order.model, "shadow", &json!({ "version": order.version, "by": user() }))?;
            let words = if order.end { "runs in shadow no more" } else { "runs in shadow" };
            write_done(&order.site, &done, words, out)?;
        }
        ModelCommand::Rollback(order) => {
            let done = ask(&order.site, &order.model, "rollback", &json!({ "by": user() }))?;
            write_done(&order.site, &done, "runs now", out)?;
        }
        ModelCommand::Remove(order) => {
            let done =
                ask(&order.site, &order.model, "remove", &json!({ "version": order.version, "by": user() }))?;
            write_done(&order.site, &done, "was removed", out)?;
        }
        ModelCommand::Sign(sign) => write_signature(&sign, out)?,
        ModelCommand::NewKey { file } => write_key(&file, out)?,
        ModelCommand::Trial { folder } => return Ok(trial::run(&folder, out)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn load(site: &Site) -> anyhow::Result<Config> {
    crate::journal_command::load(&site.config)
}

fn ask(site: &Site, model: &str, order: &str, body: &Json) -> anyhow::Result<Json> {
    anyhow::ensure!(super::package::is_model(model), "{model:?} is no name of a model");
    let client = Client::new(&load(site)?.paths.state);
    Ok(client.post(&format!("/v1/models/{model}/{order}"), body)?)
}

fn write_done(site: &Site, done: &Json, words: &str, out: &mut impl Write) -> anyhow::Result<()> {
    if site.json {
        return Ok(writeln!(out, "{done}")?);
    }
    let text = |name: &str| done[name].as_str().unwrap_or_default();
    let version = ["version", "ended", "removed"].map(text).into_iter().find(|it| !it.is_empty());
    let version = version.unwrap_or("(the one outside of the store)");
    write!(out, "{} {version} {words}", text("model"))?;
    if let Some(us) = done["swap_us"].as_f64() {
        write!(out, "; it took over within {:.2} ms", us / 1000.0)?;
    }
    Ok(writeln!(out, ".")?)
}

fn put(install: &Install, out: &mut impl Write) -> anyhow::Result<()> {
    let package = Package::read(&install.model)?;
    // What is wrong with the name is better said here.
    package.identity()?;
    let tar = package.to_tar().context("the model does not fit a tar")?;
    let then = match (install.shadow, install.activate) {
        (true, _) => "shadow",
        (_, true) => "activate",
        _ => "",
    };
    for device in &install.devices {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        anyhow::ensure!(device.chars().all(plain), "{device:?} is no name of a device");
    }
    let (devices, by) = (install.devices.join(","), user());
    let by: String =
        by.chars().filter(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.')).collect();
    let client = Client::new(&load(&install.site)?.paths.state);
    let done = client.put(&format!("/v1/models?then={then}&devices={devices}&by={by}"), &tar)?;
    if install.site.json {
        return Ok(writeln!(out, "{done}")?);
    }
    let signed = match done["signed_by"].as_str() {
        Some(by) if !by.is_empty() => format!("signed by {by}"),
        _ => "not signed".to_owned(),
    };
    writeln!(out, "{signed}{}", measured(&done["trial"]))?;
    let words = match then {
        "shadow" => "runs in shadow",
        "activate" => "runs now",
        _ => "is in the store",
    };
    write_done(&install.site, &done, words, out)
}

fn measured(trial: &Json) -> String {
    let Some(score_us) = trial["score_us"].as_f64() else { return String::new() };
    let memory = bytes(trial["memory_bytes"].as_u64().unwrap_or_default());
    format!("; a score takes {:.2} ms, the model {memory} of memory", score_us / 1000.0)
}

fn write_signature(sign: &Sign, out: &mut impl Write) -> anyhow::Result<()> {
    let key = SecretKey::read(&sign.key)?;
    let mut package = Package::read_folder(&sign.folder)?;
    let identity = key.sign(&mut package)?;
    let (path, new) = (sign.folder.join(SIGNATURE), sign.folder.join(format!(".new-{SIGNATURE}")));
    let _left = std::fs::remove_file(&new);
    store::write_synced(&new, package.signature().unwrap_or_default(), 0o644)?;
    std::fs::rename(&new, &path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(writeln!(out, "{} {} is signed with key {}.", identity.model, identity.version, key.id())?)
}

fn write_key(file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let key = SecretKey::new().map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let public = key.write(file)?;
    writeln!(
        out,
        "Key {}: {} signs, keep it to yourself; {} goes to the boxes.",
        key.id(),
        file.display(),
        public.display()
    )?;
    Ok(())
}

fn print_list(site: &Site, out: &mut impl Write) -> anyhow::Result<()> {
    let config = load(site)?;
    let (list, runs) = match Client::new(&config.paths.state).get("/v1/models") {
        Ok(list) => (list, true),
        Err(ClientError::NotRunning(_)) => (list_files(&config), false),
        Err(error) => return Err(error.into()),
    };
    if site.json {
        return Ok(writeln!(out, "{list}")?);
    }
    if !runs {
        writeln!(out, "The box does not run; this is what is stored.")?;
    }
    for model in list["models"].as_array().into_iter().flatten() {
        out.write_all(model_words(model).as_bytes())?;
    }
    Ok(())
}

/// Of a box that does not run.
fn list_files(config: &Config) -> Json {
    let store = Store::new(&config.paths.state);
    let state = Arc::new(SetOnce::new());
    if let Some(peeked) = State::peek(&config.paths.state.join("state")) {
        // It is new.
        let _set = state.set(peeked);
    }
    let (keys, unsigned) = (config.model_options.keys.clone(), config.model_options.unsigned);
    let trust = Trust { keys, unsigned, store: store.clone() };
    models::list(&store, &Registry::new(state), &trust, &config.paths.models)
}

fn model_words(model: &Json) -> String {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let moment = |json: &Json| json.as_i64().map(time).unwrap_or_default();
    let mut said = format!("{}\n", text(&model["name"]));
    let active = model["active"].as_str();
    let mark = |is: bool| if is { "*" } else { " " };
    if model["outside"].is_object() {
        let (version, origin) = (text(&model["outside"]["version"]), text(&model["outside"]["origin"]));
        said += &format!("  {} {version:<16} outside of the store ({origin})\n", mark(active.is_none()));
    }
    for version in model["versions"].as_array().into_iter().flatten() {
        let name = text(&version["version"]);
        let (is_active, shadow) =
            (active == Some(name.as_str()), model["shadow"]["version"] == name.as_str());
        let mut line = format!("  {} {name:<16} stored {}", mark(is_active), moment(&version["stored_us"]));
        match (version["refused"].as_str(), version["signed_by"].as_str()) {
            (Some(why), _) => line += &format!(", refused: {why}"),
            (_, Some("")) => line += ", not signed",
            (_, Some(by)) => line += &format!(", signed by {by}"),
            _ => {}
        }
        if is_active && model["since_us"].is_i64() {
            line += &format!("; active since {} by {}", moment(&model["since_us"]), text(&model["by"]));
        }
        if shadow {
            line += &format!("; in shadow since {}", moment(&model["shadow"]["since_us"]));
        }
        said += &line;
        said.push('\n');
    }
    said += &compared(&model["shadow"]);
    if model["failed"].is_object() {
        let (at, why) = (moment(&model["failed"]["at_us"]), text(&model["failed"]["why"]));
        said += &format!("    taken back {at}: {} ({why})\n", text(&model["failed"]["version"]));
    }
    for device in model["devices"].as_array().into_iter().flatten() {
        let dropped = device["late"].as_u64().unwrap_or(0) + device["over_share"].as_u64().unwrap_or(0);
        let dropped = if dropped > 0 { format!(", {dropped} windows dropped") } else { String::new() };
        let (name, state, moved) = (text(&device["device"]), text(&device["state"]), moved(device));
        said += &format!("    {name}: {state}{moved}{dropped}\n");
    }
    said
}

/// The tag whose baseline has moved most, and how far.
fn moved(device: &Json) -> String {
    let used = device["reach_used"].as_object().into_iter().flatten();
    let used = used.filter_map(|(tag, used)| Some((tag, (used.as_f64()? * 100.0).floor())));
    let most = used.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, used)| *used >= 1.0);
    most.map_or_else(String::new, |(tag, used)| {
        format!(", {tag} has used up {used} % of the slow change that is followed")
    })
}

/// How a shadow does beside the active version.
fn compared(shadow: &Json) -> String {
    let figures = &shadow["figures"];
    let count = |name: &str| figures[name].as_u64().unwrap_or_default();
    #[allow(clippy::cast_precision_loss)] // for people
    let mean =
        |sum: &str, scored: &str| figures[sum].as_f64().unwrap_or_default() / (count(scored).max(1) as f64);
    if !figures.is_object() {
        return String::new();
    }
    let hours = figures["watched_us"].as_f64().unwrap_or_default() / 3.6e9;
    let agreed = count("agreed") * 100 / count("compared").max(1);
    let objection = shadow["objection"].as_str();
    let verdict = objection.map_or_else(|| "it may take over".to_owned(), |why| format!("not yet: {why}"));
    format!(
        "    shadow, {hours:.1} h: {} scores (mean {:.2}), {} alarms; active: {} scores (mean {:.2}), {} alarms; \
         {agreed} % of the same opinion; {verdict}\n",
        count("scored"),
        mean("sum", "scored"),
        count("raised"),
        count("active_scored"),
        mean("active_sum", "active_scored"),
        count("active_raised"),
    )
}
