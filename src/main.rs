//! The `forebay` binary: the command line, nothing else.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use forebay::control::command::{self, Switch};
use forebay::diagnostic::Format;
use forebay::import::{self, ImportCommand};
use forebay::journal_command::{self, JournalCommand};
use forebay::new::{self, New};
use forebay::replay::command::Replay;
use forebay::{config, demo, infer, logging, replay, run};

/// Reads machines, keeps every sample, hands everything to Kafka exactly once.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
`forebay run` is the service on the box beside the machines. All other commands ask it, or look at its
files without disturbing it; they need root or the user of the service.

  forebay check /etc/forebay/forebay.toml    are the files right?
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
    Check {
        /// Files: forebay.toml, profiles, device files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// text, json or github.
        #[arg(long, default_value = "text", value_parser = Format::parse)]
        format: Format,
    },
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
    Replay(Replay),
    /// Runs the default kind of model over recorded data with labels (SKAB) and reports what it finds.
    Evaluate(infer::evaluate::Evaluate),
}

#[derive(Subcommand)]
enum DemoCommand {
    /// Writes what the simulated press does as CSV, to train a model on.
    Record(demo::record::Record),
}

#[tokio::main]
async fn main() -> ExitCode {
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
        Command::Check { files, format } => return check(&files, format),
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
        Command::Replay(replay) => return replay::command::run(&replay, &mut std::io::stdout().lock()),
        Command::Evaluate(options) => infer::evaluate::run(&options, &mut std::io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(files: &[PathBuf], format: Format) -> anyhow::Result<ExitCode> {
    let checked = config::check_files(files);
    let mut out = std::io::stdout().lock();
    let color = out.is_terminal();
    out.write_all(checked.render(format, color).as_bytes())?;
    if format == Format::Text && checked.diagnostics.is_empty() {
        writeln!(out, "{}", checked.summary())?;
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
    let Some(config) = &loaded.config else { return Ok(ExitCode::FAILURE) };
    let format = if json { logging::Format::Json } else { logging::Format::Text };
    logging::start(format, &config.log.level);
    if json && loaded.errors() > 0 {
        tracing::error!("the files have faults:\n{said}");
    } else if json && !said.is_empty() {
        tracing::warn!("the files have doubtful places:\n{said}");
    }
    let ended = run::run(config, &loaded).await;
    if let Err(error) = &ended
        && json
    {
        tracing::error!("{error:#}");
        return Ok(ExitCode::FAILURE);
    }
    ended.map(|()| ExitCode::SUCCESS)
}
