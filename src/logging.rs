//! Logging by tracing: readable on a terminal, one JSON object a line for journald and collectors.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Sends log lines of `level` and above to standard error. Called once, before the first line.
///
/// Libraries speak from `warn` on: their chatter about one device that is away would bury
/// everything else, and what matters of it is in our own messages.
pub fn start(format: Format, level: &str) {
    let filter = EnvFilter::new(format!(
        "warn,forebay={level},opcua_client=off,opcua_core=off,opcua_crypto=off,opcua_types=off,opcua_server=off"
    ));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => {
            let color = std::io::stderr().is_terminal();
            let layer = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(color)
                .with_target(false);
            registry.with(layer).try_init()
        }
        Format::Json => {
            let layer =
                tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true);
            registry.with(layer).try_init()
        }
    };
    if let Err(error) = started {
        eprintln!("forebay: no log: {error}");
    }
}
