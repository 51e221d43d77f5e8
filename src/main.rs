//! The `forebay` binary: the command line, nothing else.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use forebay::control::command::{self, Switch};
use forebay::control::reload::{self, Reload};
use forebay::diagnostic::Format;
use forebay::explore::browse::{self, Browse};
use forebay::explore::scan::{self, Scan};
use forebay::import::{self, ImportCommand};
use forebay::infer::command::{self as model_command, ModelCommand};
use forebay::infer::trial;
use forebay::journal_command::{self, JournalCommand};
use forebay::learn;
use forebay::live::{self, Live};
use forebay::new::{self, New};
use forebay::opcua_command::{self, OpcUaCommand};
use forebay::people::command::{self as people, PersonCommand};
use forebay::replay::command::Replay;
use forebay::stand_in::{self, Sim};
use forebay::{config, demo, explain, fmt, logging, plan, replay, run, schema};

/// Reads machines, keeps every sample, hands everything to Kafka exactly once.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
`forebay run` is the service on the box beside the machines. All other commands ask it, or look at its
files without disturbing it; they need root or the user of the service.

  forebay check /etc/forebay/forebay.toml    are the files right?
  forebay plan /etc/forebay/forebay.toml     how hard will the controllers be worked?
  forebay journal status                     what is stored, how much of it Kafka does not have, and why
  forebay demo                               everything simulated; nothing else is needed

`forebay <COMMAND> --help` has the options and examples of a command, docs/operations.md more."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads the machines and hands their data to Kafka, until it is told to stop.
    Run {
        /// The site's configuration.
        #[arg(long, default_value = "/etc/forebay/forebay.toml")]
        config: PathBuf,
    },
    /// Reports all faults of a forebay.toml with everything it names, or of single profiles.
    #[command(after_help = "\
Examples:
  forebay check /etc/forebay/forebay.toml
  forebay check press-line.s7.toml --live
  forebay check /etc/forebay/forebay.toml --live --device press-3

With --live it connects to the machines as well, runs their [[verify]], and shows of each tag what came over
the wire, what was decoded from it, and what would be published. It never writes, and may run beside the box:
the machine sees one connection more. Ends with 1 when the files have errors, a machine is not reached, a
check does not hold, or a tag cannot be read.")]
    Check {
        /// Files: forebay.toml, profiles, device files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// text, json, github or sarif.
        #[arg(long, default_value = "text", value_parser = Format::parse, conflicts_with = "live")]
        format: Format,
        #[command(flatten)]
        live: Live,
    },
    Plan(plan::command::PlanCommand),
    Explain(explain::Explain),
    Fmt(fmt::Fmt),
    Schema(schema::Schema),
    /// Shows everything with a simulated plant and an embedded broker; `demo record` writes a table.
    #[command(args_conflicts_with_subcommands = true)]
    Demo {
        #[command(subcommand)]
        record: Option<DemoCommand>,
        #[command(flatten)]
        options: demo::DemoOptions,
    },
    /// Asks a few questions and writes a first profile.
    New(Box<New>),
    /// Makes a profile of what Kepware, TIA Portal or an OPC UA model has exported.
    #[command(after_help = "\
  forebay import kepware press.csv --protocol s7 --endpoint 192.168.10.33 --out press.toml
  forebay import tia-db DB_Press.db --db 10 --endpoint 192.168.10.33 --out press.toml

Every line that is left out or changed is named with its reason. The profile passes `forebay check`;
docs/profiles.md goes from the export to the running machine step by step.")]
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Looks at what is stored, checks it, takes it to another place, or removes it.
    #[command(after_help = "\
The journal is what the box has stored on its disk: telemetry (measured values) and events (gaps,
machines that come and go). Records stay until Kafka has them, and after that as history for as long
as `keep` and the budget in forebay.toml allow.

  forebay journal status
  forebay journal export --to /media/stick --device press-3 --from \"2h ago\"

All but import and trim only read. To send history again there is `forebay replay`.")]
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// Stops sending to Kafka until `resume`; machines are read and everything is stored as before.
    Pause(Switch),
    /// Takes up sending to Kafka again.
    Resume(Switch),
    Reload(Reload),
    Sim(Sim),
    Browse(Browse),
    /// Looks for machines on a line that nobody has described yet.
    Scan {
        #[command(subcommand)]
        protocol: Scan,
    },
    Replay(Replay),
    /// Adds, shows and removes those who may press buttons on the page.
    #[command(after_help = "\
Everybody may read the page. Who signs in there may also answer what the models report: seen, was
real, false alarm. The box must run.

  forebay person add anna
  forebay person list
  forebay person remove anna")]
    Person {
        #[command(subcommand)]
        command: PersonCommand,
    },
    /// Shows and decides which OPC UA servers are trusted.
    #[command(
        name = "opcua",
        after_help = "\
A server's certificate is trusted when somebody has compared its fingerprint with the one that the
server itself shows. Until then the device is not read, and its certificate waits here.

  forebay opcua list                  who waits, who is trusted, and the certificates the servers must trust
  forebay opcua trust filler-1        after the comparison
  forebay opcua reject filler-1       takes it back

The box may be running; it sees the decision at its next try. `trust = \"sha256:...\"` in [[device]] is
the other way."
    )]
    OpcUa {
        #[command(subcommand)]
        command: OpcUaCommand,
    },
    /// Puts versions of models into the box, lets them run, and takes them back.
    #[command(after_help = "\
  forebay model list                              what there is, and what runs
  forebay model install press-wear-1.2.0.tar --shadow
  forebay model activate press-wear 1.2.0         when `list` shows that it does well
  forebay model rollback press-wear               when it does not

Models must be signed by somebody whom the box trusts, see `forebay model sign --help` and docs/models.md.")]
    Model {
        #[command(subcommand)]
        command: ModelCommand,
    },
    /// Learns what is normal for a machine from its own history in the journal; the box must run.
    Learn(learn::command::Learn),
    /// Replays the journal through a model and says what it would have raised.
    Backtest(learn::command::BacktestOptions),
    /// Runs a model, or the default kind fitted anew, over tables or the journal and says how good it is.
    Evaluate(learn::evaluate::Command),
}

#[derive(Subcommand)]
enum DemoCommand {
    /// Writes what the simulated press does as CSV, to train a model on.
    Record(demo::record::Record),
}

#[tokio::main]
async fn main() -> ExitCode {
    trial::try_with(trial::this_program());
    match execute(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("forebay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config } => return run_box(&config).await,
        Command::Check { files, format, live } => return check(&files, format, &live).await,
        Command::Plan(command) => return plan::command::run(&command, &mut std::io::stdout().lock()),
        Command::Explain(command) => return explain::run(&command, &mut std::io::stdout().lock()),
        Command::Fmt(command) => return fmt::run(&command, &mut std::io::stdout().lock()),
        Command::Schema(command) => return schema::run(&command, &mut std::io::stdout().lock()),
        Command::Demo { record: Some(DemoCommand::Record(record)), .. } => {
            demo::record::run(&record, &mut std::io::stdout().lock())?;
        }
        Command::Demo { record: None, options } => {
            // The story in the terminal says what the warnings would say.
            logging::start(logging::Format::Text, "error");
            demo::run(options).await?;
        }
        Command::New(options) => {
            return new::run(&options, &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
        }
        Command::Import { command } => {
            return import::run(&command, &mut std::io::stdout().lock(), &mut std::io::stderr().lock());
        }
        Command::Journal { command } => {
            logging::start(logging::Format::Text, "error");
            return journal_command::run(command, &mut std::io::stdout().lock());
        }
        Command::Pause(switch) => return command::run(&switch, true, &mut std::io::stdout().lock()),
        Command::Resume(switch) => return command::run(&switch, false, &mut std::io::stdout().lock()),
        Command::Reload(reload) => return reload::run(&reload, &mut std::io::stdout().lock()),
        Command::Sim(sim) => return stand_in::run(&sim, &mut std::io::stdout()).await,
        Command::Browse(browse) => return browse::run(&browse, &mut std::io::stdout()).await,
        Command::Scan { protocol } => return scan::run(&protocol, &mut std::io::stdout()).await,
        Command::Replay(replay) => return replay::command::run(&replay, &mut std::io::stdout().lock()),
        Command::Person { command } => return people::run(&command, &mut std::io::stdout().lock()),
        Command::OpcUa { command } => return opcua_command::run(&command, &mut std::io::stdout().lock()),
        Command::Model { command } => return model_command::run(command, &mut std::io::stdout().lock()),
        Command::Learn(options) => return learn::command::run(&options, &mut std::io::stdout().lock()),
        Command::Backtest(options) => {
            return learn::command::run_backtest(&options, &mut std::io::stdout().lock());
        }
        Command::Evaluate(options) => {
            return learn::evaluate::run(&options, &mut std::io::stdout().lock());
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(files: &[PathBuf], format: Format, live: &Live) -> anyhow::Result<ExitCode> {
    let checked = config::check_files(files);
    let mut out = std::io::stdout().lock();
    let color = out.is_terminal();
    out.write_all(checked.render(format, color).as_bytes())?;
    if format == Format::Text && checked.diagnostics.is_empty() {
        writeln!(out, "{}", checked.summary())?;
    }
    if live.live {
        let found = live::run(live, &checked.devices, &mut out).await?;
        return Ok(if checked.errors() == 0 { found } else { ExitCode::FAILURE });
    }
    Ok(if checked.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_box(path: &std::path::Path) -> anyhow::Result<ExitCode> {
    let loaded = config::load(path);
    let json = loaded.config.as_ref().is_some_and(|config| config.log.json);
    let color = !json && std::io::stderr().is_terminal();
    let said = loaded.render(Format::Text, color);
    if !json {
        eprint!("{said}");
    }
    let Some(config) = loaded.config.clone() else { return Ok(ExitCode::FAILURE) };
    let format = if json { logging::Format::Json } else { logging::Format::Text };
    logging::start(format, &config.log.level);
    if json && loaded.errors() > 0 {
        tracing::error!("the files have faults:\n{said}");
    } else if json && !said.is_empty() {
        tracing::warn!("the files have doubtful places:\n{said}");
    }
    let ended = run::run(path, &config, loaded).await;
    if let Err(error) = &ended
        && json
    {
        tracing::error!("{error:#}");
        return Ok(ExitCode::FAILURE);
    }
    ended.map(|()| ExitCode::SUCCESS)
}
