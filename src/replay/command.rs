//! `forebay replay`.

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use super::{Job, Order, State, words};
use crate::clock::now_us;
use crate::control::Client;
use crate::journal_command::{Common, Progress, When, load};
use crate::{replicate, run};

/// The box is asked so often how far it is.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Trouble that is over sooner is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// What is in the way is said again at most so often when it changes.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Where there is no bar, a line says so often how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Ended by Ctrl-C, as shells number it.
const INTERRUPTED: u8 = 130;

/// Sends history to Kafka once more, from this box's disk.
///
/// For data that was lost behind Kafka: a topic that was deleted, a consumer that was wrong. Only
/// what Kafka has had before is sent again, with the headers `delivery: replay` and `replay: <id>`,
/// by which readers tell it from the first time. What was not sent yet comes as normal records.
///
/// The running box does the work, this command watches it. Ctrl-C ends only the watching; the box
/// goes on, also over restarts and power cuts, and sends each record exactly once for an id. The
/// same command with the same --id never sends anything twice: it shows the replay that was begun.
/// It means the times it was first given, also if they were written as "2h ago".
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay replay --from \"2h ago\" --until \"1h ago\"
  forebay replay --from 2026-11-20T06:00:00Z --device press-3 --id after-the-fire
  forebay replay --list
  forebay replay --cancel after-the-fire

How far back it goes depends on `keep` in [journal] and on the budget; when the time asked for is no
longer there, it says from when on it is.")]
pub struct Replay {
    #[command(flatten)]
    common: Common,
    /// From this time on, for example "2h ago" or 2026-11-20T06:00:00Z.
    #[arg(long, value_name = "TIME", required_unless_present_any = ["list", "cancel"])]
    from: Option<Moment>,
    /// Before this time; by default now.
    #[arg(long, value_name = "TIME", alias = "to")]
    until: Option<Moment>,
    /// Only this machine, by name or path; may be given several times.
    #[arg(long)]
    device: Vec<String>,
    /// telemetry (measured values) or events (gaps, machines that come and go).
    #[arg(long, default_value = "telemetry")]
    lane: String,
    /// Name of this replay: letters, digits and -; by default a random one.
    #[arg(long)]
    id: Option<String>,
    /// Return at once; the box goes on.
    #[arg(long)]
    detach: bool,
    /// Show all replays instead.
    #[arg(long, conflicts_with_all = ["from", "cancel"])]
    list: bool,
    /// Stop the replay with this id instead; what was sent stays in Kafka.
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    cancel: Option<String>,
}

/// A time as it was written.
#[derive(Debug, Clone)]
struct Moment {
    us: i64,
    /// Empty when it is the same time for ever.
    words: String,
}

impl Moment {
    /// Whole seconds are enough for what is another time a second later, and are read better.
    fn relative(us: i64, words: &str) -> Self {
        Self { us: us.div_euclid(1_000_000) * 1_000_000, words: words.to_owned() }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let When(us) = text.parse()?;
        Ok(if When::is_relative(text) {
            Self::relative(us, text.trim())
        } else {
            Self { us, words: String::new() }
        })
    }
}

/// Asks the running box.
///
/// # Errors
/// When the box does not run, or says no.
pub fn run(replay: &Replay, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let config = load(&replay.common.config)?;
    let client = Client::new(&config.paths.state);
    if replay.list {
        return list(&client, replay.common.json, out);
    }
    if let Some(id) = &replay.cancel {
        let job = client.delete(&format!("/v1/replay/{id}"))?;
        show(&job, replay.common.json, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let order = order(replay)?;
    let interrupted = on_interrupt();
    let answer = client.post("/v1/replay", &json!(order))?;
    let is_known = answer["new"] == false;
    let job: Job =
        serde_json::from_value(answer.clone()).context("the running forebay is of another version")?;
    let quiet = replay.common.json;
    if !quiet {
        out.write_all(begun(&job, is_known, &command(replay, &job.order)).as_bytes())?;
        out.flush()?;
    }
    if replay.detach {
        if quiet {
            show(&answer, quiet, out)?;
        } else {
            writeln!(out, "{}", how_to_look(&job, replay))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (job, answer) = watch(&client, job, quiet, &interrupted)?;
    if !job.state.is_over() {
        if quiet {
            show(&answer, quiet, out)?;
        } else {
            writeln!(out, "{}: {}", job.order.id, words::progress(&job))?;
            writeln!(out, "{}", how_to_look(&job, replay))?;
        }
        return Ok(ExitCode::from(INTERRUPTED));
    }
    show(&answer, quiet, out)?;
    let done = job.state == State::Done && !words::nothing_fits(&job);
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn order(replay: &Replay) -> anyhow::Result<Order> {
    let Some(from) = replay.from.clone() else { bail!("give --from") };
    let until = replay.until.clone().unwrap_or_else(|| Moment::relative(now_us(), "now"));
    Ok(Order {
        id: replay.id.clone().unwrap_or_else(|| format!("{:08x}", fastrand::u32(..))),
        lane: replay.lane.clone(),
        from_us: from.us,
        to_us: until.us,
        devices: replay.device.clone(),
        from_words: from.words,
        to_words: until.words,
    })
}

/// What will be sent, under which id, and how to ask for it again.
fn begun(job: &Job, is_known: bool, command: &str) -> String {
    let (id, meaning) = (&job.order.id, words::meaning(&job.order));
    if is_known {
        return format!("{id} was begun before, and means what it meant then: {meaning}\n");
    }
    format!("{id}: {meaning}\nThe same again, for example after an interruption: {command}\n")
}

/// The command that asks for `order` again, with the configuration that this one has.
fn command(replay: &Replay, order: &Order) -> String {
    words::command(order) + &config_argument(replay)
}

fn config_argument(replay: &Replay) -> String {
    match replay.common.config.to_str() {
        Some("/etc/forebay/forebay.toml") | None => String::new(),
        Some(path) => format!(" --config {path}"),
    }
}

fn how_to_look(job: &Job, replay: &Replay) -> String {
    let (id, config) = (&job.order.id, config_argument(replay));
    format!(
        "The box goes on with it by itself.\nHow far it is: forebay journal status{config}\nTo end it: forebay replay \
         --cancel {id}{config}"
    )
}

/// Becomes true when somebody presses Ctrl-C, or the process is asked to end; a second time ends it.
fn on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::<AtomicBool>::default();
    let set = Arc::clone(&flag);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            run::stop_signal().await;
            set.store(true, Ordering::SeqCst);
            run::stop_signal().await;
            std::process::exit(INTERRUPTED.into());
        });
    }
    flag
}

/// Shows a bar, and what is in the way, until the job is over or nobody watches any more.
fn watch(client: &Client, job: Job, quiet: bool, interrupted: &AtomicBool) -> anyhow::Result<(Job, Json)> {
    let id = job.order.id.clone();
    let mut progress = Progress::new(&format!("replay {id}"), job.to_offset - job.from_offset, quiet);
    let mut said = Said { id: id.clone(), at: Instant::now(), text: String::new() };
    loop {
        let answer = client
            .get(&format!("/v1/replay/{id}"))
            .with_context(|| format!("the replay {id} goes on by itself when forebay runs again"))?;
        let job: Job =
            serde_json::from_value(answer.clone()).context("the running forebay is of another version")?;
        progress.set(job.next_offset.saturating_sub(job.from_offset));
        if job.state.is_over() || interrupted.load(Ordering::SeqCst) {
            return Ok((job, answer));
        }
        if !quiet {
            said.look(&job, &mut progress);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// What was said last while watching.
struct Said {
    id: String,
    at: Instant,
    text: String,
}

impl Said {
    /// Says what has changed, on the standard error.
    fn look(&mut self, job: &Job, progress: &mut Progress) {
        let up = replicate::State::Up.to_string();
        let flows = job.state == State::Sending && (job.text == up || job.text.is_empty());
        let text = if flows { String::new() } else { words::progress(job) };
        let pause = if self.text.is_empty() { QUIET } else { SAY_EVERY };
        let waited = self.at.elapsed();
        if text != self.text && waited >= pause {
            let line = if flows { format!("{up} again") } else { text.clone() };
            (self.text, self.at) = (text, Instant::now());
            progress.say(&format!("{}: {line}", self.id));
        } else if waited >= REPORT_EVERY && !progress.is_shown() {
            self.at = Instant::now();
            progress.say(&format!("{}: {}", self.id, words::progress(job)));
        }
    }
}

fn list(client: &Client, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = client.get("/v1/replay")?;
    if json {
        writeln!(out, "{answer}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs = answer["replays"].as_array().map_or(&[][..], Vec::as_slice);
    if jobs.is_empty() {
        writeln!(out, "there are no replays")?;
    }
    for job in jobs {
        writeln!(out, "{}", words::line(job))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(job: &Json, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{job}")?
    } else {
        writeln!(out, "{}", words::line(job))?
    };
    Ok(())
}
