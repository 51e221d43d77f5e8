//! The box that a command is about: its configuration, its folders, and itself when it runs.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value as Json;

use crate::config::{self, Config};
use crate::control::{Client, ClientError, Switches};
use crate::diagnostic::Format;
use crate::journal::{Hole, JournalFiles};
use crate::lane::OfflineLane;
use crate::run;

/// The lanes of a box.
pub const LANES: [&str; 2] = ["telemetry", "events"];

/// A box as its configuration describes it.
pub struct Site {
    /// The configuration.
    pub config: Config,
    /// The running box, if it runs.
    pub client: Client,
    /// What `/v1/status` answered; `None` = it does not run.
    pub running: Option<Json>,
}

impl Site {
    /// Reads the configuration and asks the box, if it runs.
    ///
    /// # Errors
    /// When the configuration has faults of its own, or a running box may not be asked: without
    /// its word nobody knows what is synced.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let config = load(path)?;
        let client = Client::new(&config.paths.state);
        let running = match client.get("/v1/status") {
            Ok(status) => Some(status),
            Err(ClientError::NotRunning(_)) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { config, client, running })
    }

    /// Folder of a lane's journal.
    pub fn directory(&self, lane: &str) -> PathBuf {
        self.config.journal.directory.join(lane)
    }

    /// What the running box says of a lane.
    pub fn lane(&self, lane: &str) -> Option<&Json> {
        of_lane(self.running.as_ref()?, lane)
    }

    /// Behind the last record that Kafka has, as the running box knows it.
    pub fn committed(&self, lane: &str) -> Option<u64> {
        self.lane(lane)?["journal"]["committed"].as_u64()
    }

    /// The files of a lane, read up to what the running box calls synced.
    ///
    /// # Errors
    /// When there is no journal, or when it cannot be read.
    pub fn open_lane(&self, lane: &str) -> anyhow::Result<OfflineLane> {
        match self.find_lane(lane)? {
            Some(found) => Ok(found),
            None => bail!(self.no_journal()),
        }
    }

    /// The same; `None` when nothing was ever stored.
    ///
    /// # Errors
    /// When it cannot be read, or when there are only its name and no files.
    pub fn find_lane(&self, lane: &str) -> anyhow::Result<Option<OfflineLane>> {
        let synced = self.lane(lane).and_then(|lane| lane["synced"].as_u64());
        let directory = self.directory(lane);
        match OfflineLane::open(&directory, synced) {
            Ok(found) => Ok(Some(found)),
            // There is nothing that could be damaged.
            Err(error) if error.is_absent() && !directory.join("epoch").exists() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What of a lane is in no file any more although nobody has removed it.
    pub fn holes(&self, lane: &str, files: &JournalFiles) -> Vec<Hole> {
        let in_front = match &self.running {
            None => files.missing().and_then(|missing| files.hole_in_front(missing.from_offset)),
            // What it has removed since it was asked is not missing.
            Some(_) => self.client.get("/v1/status").ok().and_then(|now| {
                let first = of_lane(&now, lane)?["journal"]["first_offset"].as_u64()?;
                files.hole_in_front(first)
            }),
        };
        in_front.into_iter().chain(files.holes()).collect()
    }

    /// What a box that does not run remembers of Kafka and of pauses; `None` when nothing is known.
    pub fn remembered(&self) -> Option<Switches> {
        if self.running.is_some() { None } else { run::remembered(&self.config) }
    }

    /// Why there is nothing to be seen of these lanes.
    pub fn no_journal(&self) -> String {
        format!(
            "there is no journal yet: nothing was ever stored in {} (`directory` under [journal])",
            self.config.journal.directory.display()
        )
    }

    /// The lanes that a command is about: the named one, else both.
    ///
    /// # Errors
    /// When there is no such lane.
    pub fn lanes(named: Option<&str>) -> anyhow::Result<Vec<&'static str>> {
        let Some(name) = named else { return Ok(LANES.to_vec()) };
        let known = LANES.iter().find(|lane| **lane == name);
        known.map(|lane| vec![*lane]).with_context(|| {
            format!("there is no lane \"{}\", only {}", name.escape_debug(), LANES.join(" and "))
        })
    }
}

fn of_lane<'a>(status: &'a Json, lane: &str) -> Option<&'a Json> {
    status["lanes"].as_array()?.iter().find(|known| known["name"] == lane)
}

/// The configuration; faults of devices and profiles do not matter here.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let loaded = config::load(path);
    let said = loaded.render(Format::Text, std::io::stderr().is_terminal());
    match loaded.config {
        Some(config) => Ok(config),
        None => bail!("{} cannot be used:\n{said}", path.display()),
    }
}
