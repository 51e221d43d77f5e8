//! `forebay journal trim` and `export` while the box does not run.

use std::time::Duration;

use crate::config::Config;
use crate::event::Events;
use crate::lane::{LaneWriter, TrimOrder, Trimmed};

use super::storage::{Closed, Opener};

/// Opens both lanes under the box's own lock, removes what `order` says from `lane`, and records
/// the loss in the events lane as the box would.
///
/// # Errors
/// When the journal cannot be opened or a box runs after all, and those of [`LaneWriter::trim`].
pub fn trim_without_box(
    config: &Config,
    lane: &str,
    order: TrimOrder,
    limit: Duration,
) -> anyhow::Result<Trimmed> {
    Ok(with_lane(config, lane, |writer| writer.trim(order, limit))??)
}

/// The same for [`LaneWriter::hand_over`].
///
/// # Errors
/// When the journal cannot be opened or written, or a box runs after all.
pub fn hand_over_without_box(
    config: &Config,
    lane: &str,
    offset: u64,
    limit: Duration,
) -> anyhow::Result<()> {
    Ok(with_lane(config, lane, |writer| writer.hand_over(offset, limit))??)
}

fn with_lane<T>(config: &Config, lane: &str, work: impl FnOnce(&LaneWriter) -> T) -> anyhow::Result<T> {
    let box_path = format!("{}/{}", config.edge.site, config.edge.id);
    let (events, mut raised) = Events::new();
    let opened = Opener::new(config, &box_path, &events).open();
    let lanes = opened.map_err(|closed| match closed {
        Closed::Taken(why) | Closed::Disk(why) => anyhow::anyhow!(why),
    })?;
    let chosen: &LaneWriter = if lane == "events" { &lanes.events.writer } else { &lanes.telemetry.writer };
    if let Some(switches) = super::kafka::remembered(config) {
        let writers = [("telemetry", &lanes.telemetry.writer), ("events", &lanes.events.writer)];
        for ((name, switch), (_, writer)) in switches.iter().zip(writers) {
            super::kafka::remember_confirmed(writer, name, switch);
        }
    }
    let done = work(chosen);
    while let Ok(event) = raised.try_recv() {
        if let Err(event) = lanes.events.writer.try_append_event(event) {
            anyhow::bail!("the loss cannot be recorded: {}", event.text);
        }
    }
    let unstored = lanes.telemetry.lane.close() + lanes.events.lane.close();
    anyhow::ensure!(unstored == 0, "the loss cannot be recorded: the disk does not work");
    Ok(done)
}
