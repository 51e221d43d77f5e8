//! `forebay learn` and `forebay backtest`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::{Value as Json, json};

use super::backtest::{self, Backtest};
use super::{Learned, Order, ROWS_GOOD, StateOrder, Used, span};
use crate::amount::{number, time};
use crate::clock;
use crate::config;
use crate::control::Client;
use crate::control::command::user;
use crate::device::Device;
use crate::infer::folder::{Content, Folder};
use crate::infer::store::Store;
use crate::journal_command::When;
use crate::lane::History;

/// `forebay learn`.
#[derive(Debug, Args)]
#[command(after_help = "\
  forebay learn press-3 --from '1 day ago'                     everything that is measured, the last day
  forebay learn press-3 --tags 'drive.*' --tags hydraulics.pressure --from 2026-11-20 --to 2026-11-21
  forebay learn press-3 --from '7 days ago' --state status.state=Execute --settle 60

Choose a time in which the machine ran as it should: a fault that was there is normal to what is learned.
The result runs in shadow beside a model of the same name, and at once where there is none yet.
docs/predictive-maintenance.md says more.")]
pub struct Learn {
    /// Name of the device.
    device: String,
    /// Tags, `drive.*` for all below it; may stand several times. By default everything that is measured.
    #[arg(long, value_name = "TAG")]
    tags: Vec<String>,
    /// From this time on: 2026-11-20T08:00:00Z, "2026-11-20 08:00" or "8h ago".
    #[arg(long, value_name = "TIME")]
    from: When,
    /// Before this time; now by default.
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Only while this tag has one of these values: status.state=Execute,Held. A new version of a model that has
    /// [state] keeps it without this.
    #[arg(long, value_name = "TAG=VALUE,…")]
    state: Option<String>,
    /// Seconds that are left out after each beginning of such a state, and after each gap.
    #[arg(long, value_name = "SECONDS")]
    settle: Option<u64>,
    /// Milliseconds from one row to the next; by default 1000, or the slowest scan of the tags.
    #[arg(long, value_name = "MS")]
    interval: Option<u64>,
    /// Name of the model; learned-DEVICE by default.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// It takes over at once, also where another version runs.
    #[arg(long)]
    activate: bool,
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// After a beginning of a state this much is left out by default, seconds.
const SETTLE_S: u64 = 60;

impl Learn {
    fn order(&self) -> anyhow::Result<Order> {
        let state = self.state.as_deref().map(state_order).transpose()?;
        let settle_s = self.settle.unwrap_or(if state.is_some() { SETTLE_S } else { 0 });
        anyhow::ensure!(settle_s <= 3600, "--settle is at most 3600 seconds");
        Ok(Order {
            device: self.device.clone(),
            tags: self.tags.clone(),
            from_us: self.from.0,
            to_us: self.to.map(|to| to.0),
            model: self.model.clone(),
            state,
            settle_ms: settle_s * 1000,
            interval_ms: self.interval,
            activate: self.activate,
        })
    }
}

fn state_order(text: &str) -> anyhow::Result<StateOrder> {
    let (tag, is) = text.split_once('=').context("--state is written TAG=VALUE, or TAG=VALUE,VALUE")?;
    Ok(StateOrder { tag: tag.trim().to_owned(), is: is.split(',').map(|it| it.trim().to_owned()).collect() })
}

/// Has the running box learn.
///
/// # Errors
/// When the box does not run, or says no.
pub fn run(learn: &Learn, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = crate::journal_command::load(&learn.config)?;
    let client = Client::new(&config.paths.state);
    let answer = client.post("/v1/learn", &json!({ "order": learn.order()?, "by": user() }))?;
    if learn.json {
        writeln!(out, "{answer}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let learned: Learned = serde_json::from_value(answer).context("the box answers something else")?;
    out.write_all(learned_words(&learned).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// What was used, and what was left out and why.
pub(crate) fn used_words(used: &Used) -> String {
    let interval = Duration::from_millis(used.interval_ms);
    let long = |rows: u64| span(interval.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX)));
    let mut said = format!(
        "Learned from {} of normal running ({} rows, every {} ms) between {} and {}:\n  {}\n",
        long(used.rows),
        number(used.rows),
        used.interval_ms,
        time(used.from_us),
        time(used.to_us),
        used.tags.join(", "),
    );
    if let Some(state) = &used.state {
        said += &format!("  only while {state}\n");
    }
    for (cause, count) in &used.left_out {
        said += &format!("  left out: {} ({cause})\n", long(*count));
    }
    for (tag, why) in &used.tags_left_out {
        said += &format!("  not learned: {tag} ({why})\n");
    }
    if used.rows < ROWS_GOOD as u64 {
        said += &format!(
            "  This is little: what did not occur in that time will be taken for unusual. Better are {} and more.\n",
            long(ROWS_GOOD as u64)
        );
    }
    said
}

/// What was learned, and what comes next.
pub fn learned_words(learned: &Learned) -> String {
    let mut said = used_words(&learned.used);
    #[allow(clippy::cast_precision_loss)] // for people
    let ms = |us: u64| us as f64 / 1000.0;
    said += &format!("{} {} is in the store", learned.model, learned.version);
    if let Some(trial) = &learned.trial {
        said += &format!("; a score takes {:.2} ms", trial.score_us / 1000.0);
    }
    said += &format!(" (after {:.0} ms). Unusual is a score over 1 for five rows.\n", ms(learned.took_us));
    if learned.in_shadow {
        said += &format!(
            "It runs in shadow: it scores and says nothing. `forebay model list` compares it; let it take over with\n\
             `forebay model activate {} {}`, after a look at the past with\n\
             `forebay backtest {} --version {} --device {} --from '1 day ago'`.\n",
            learned.model, learned.version, learned.model, learned.version, learned.device
        );
    } else {
        said += &format!("It watches {} from now on.\n", learned.device);
    }
    said
}

/// `forebay backtest`.
#[derive(Debug, Args)]
#[command(after_help = "\
  forebay backtest learned-press-3 --device press-3 --from '7 days ago'
  forebay backtest press-wear --version 1.2.0 --device press-3 --from 2026-11-01 --to 2026-11-08

The model begins as it was after its training. Times from which it has learned flatter it.")]
pub struct BacktestOptions {
    /// Name of the model.
    model: String,
    /// Its version in the store; by default the active one, else the newest, else the one outside of the store.
    #[arg(long)]
    version: Option<String>,
    /// Name of the device whose past is replayed.
    #[arg(long, value_name = "NAME")]
    device: String,
    /// From this time on.
    #[arg(long, value_name = "TIME")]
    from: When,
    /// Before this time; now by default.
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Replays the journal through a model; the box may run or not.
///
/// # Errors
/// When the device, the model or the journal is not there, or the model does not run.
pub fn run_backtest(options: &BacktestOptions, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let loaded = config::load(&options.config);
    let config = crate::journal_command::load(&options.config)?;
    let device = find_device(&loaded, &options.device)?;
    let content = find_model(&config, &options.model, options.version.as_deref())?;
    let history = History::open(&config.journal.directory.join("telemetry"))?;
    let to_us = options.to.map_or_else(clock::now_us, |to| to.0);
    anyhow::ensure!(options.from.0 < to_us, "--from must be before --to");
    let test = backtest::run(&history, device, &content, options.from.0, to_us)?;
    if options.json {
        let mut answer = serde_json::to_value(&test)?;
        answer["model"] = Json::from(content.spec.name.clone());
        answer["version"] = Json::from(content.spec.version.clone());
        answer["device"] = Json::from(device.name.clone());
        answer["alarms_per_hour"] = Json::from(test.per_hour());
        answer["share_watched"] = Json::from(test.share());
        answer["share_over"] = Json::from(test.over_share());
        writeln!(out, "{answer}")?;
    } else {
        out.write_all(backtest_words(&content, &device.name, &test).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The device of this name.
pub(super) fn find_device<'a>(loaded: &'a config::Loaded, name: &str) -> anyhow::Result<&'a Device> {
    let device = loaded.devices.iter().find(|device| device.name == name);
    device.map(AsRef::as_ref).with_context(|| {
        let names: Vec<&str> = loaded.devices.iter().map(|device| device.name.as_str()).collect();
        format!("there is no device \"{}\"; known: {}", name.escape_debug(), names.join(", "))
    })
}

/// A model of the box: this version, else the active one, else the newest in the store, else the one outside.
pub(super) fn find_model(
    config: &config::Config,
    name: &str,
    version: Option<&str>,
) -> anyhow::Result<Content> {
    let store = Store::new(&config.paths.state);
    let active = || {
        let list = Client::new(&config.paths.state).get("/v1/models").ok()?;
        let model = list["models"].as_array()?.iter().find(|model| model["name"] == name)?;
        Some(model["active"].as_str()?.to_owned())
    };
    let newest = || {
        let stored = store.list().into_iter().rev();
        let mut stored = stored.filter(|stored| stored.identity.model == name);
        stored.next().map(|stored| stored.identity.version)
    };
    let version = version.map(str::to_owned).or_else(active);
    let outside = || Folder::all(&config.paths.models).into_iter().find(|it| it.model_name() == name);
    let folder = match version {
        Some(version) => {
            let path = store.path(name, &version);
            let unknown = || format!("{name} {version} is not in the store: see `forebay model list`");
            Folder::read(&path.with_context(unknown)?)
        }
        None => {
            let stored = newest().and_then(|version| store.path(name, &version));
            let found = stored.map(|path| Folder::read(&path)).or_else(outside);
            found.with_context(|| format!("there is no model \"{}\"", name.escape_debug()))?
        }
    };
    folder.content.map_err(|faults| {
        anyhow::anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })
}

/// What came of a backtest, for people.
pub(super) fn backtest_words(content: &Content, device: &str, test: &Backtest) -> String {
    let spec = &content.spec;
    let mut said = format!(
        "{} {} on {device}, {} to {}: {} scores, watched {:.1} % of the time.\n",
        spec.name,
        spec.version,
        time(test.from_us),
        time(test.to_us),
        number(test.scored),
        100.0 * test.share(),
    );
    if test.cut {
        said += "So much is replayed at once; ask for the rest with another --from.\n";
    }
    let interval = spec.sample_interval;
    for (cause, points) in &test.left_out {
        let long = interval.saturating_mul(u32::try_from(*points).unwrap_or(u32::MAX));
        said += &format!("  not watched: {} ({cause})\n", span(long));
    }
    if test.scored == 0 {
        return said
            + "Nothing was scored: the journal holds no complete window of its inputs in that time.\n";
    }
    said += &format!(
        "{} alarms, {:.2} an hour watched; raised {:.1} % of the watched time, over the limit {:.1} %; \
         highest score {:.2} (limit {:.2}).\n",
        number(test.raised),
        test.per_hour(),
        100.0 * test.raised_s / test.watched_s.max(f64::MIN_POSITIVE),
        100.0 * test.over_share(),
        test.worst,
        spec.threshold,
    );
    for episode in &test.episodes {
        let end = episode.end_us.map_or_else(|| "still raised at the end".to_owned(), time);
        said +=
            &format!("  {} to {end}: worst {:.2}, {}\n", time(episode.begin_us), episode.worst, episode.tag);
    }
    said
}
