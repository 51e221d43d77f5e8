//! Forebay: from PLCs through a journal on disk to Kafka, exactly once and in order.
//!
//! `ARCHITECTURE.md` has the map. Data flows one way: [`poll`] → [`journal`] → [`replicate`];
//! [`twin`] feeds [`infer`] and [`status`].

pub mod alike;
pub mod amount;
pub mod backlog;
pub mod batch;
pub mod clock;
pub mod config;
pub mod connectors;
pub mod control;
pub mod demo;
pub mod device;
pub mod diagnostic;
pub mod document;
pub mod event;
pub mod explain;
pub mod explore;
pub mod fmt;
pub mod formula;
pub mod import;
pub mod infer;
pub mod journal;
pub mod journal_command;
pub mod lane;
pub mod learn;
pub mod live;
pub mod logging;
pub mod new;
pub mod opcua_command;
mod panic;
pub mod past;
pub mod people;
pub mod plan;
pub mod poll;
pub mod profile;
pub mod replay;
pub mod replicate;
pub mod run;
pub mod schema;
#[cfg(test)]
mod sim;
pub mod stand_in;
pub mod standby;
pub mod state;
pub mod status;
pub mod twin;
