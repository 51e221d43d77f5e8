//! One test binary: `cargo test --test forebay <module>` runs a part.

// A test may end by a panic; that is what it is for.
#![allow(clippy::unwrap_used)]

mod browser;
mod budget;
mod cases;
mod chaos;
mod device;
mod end_to_end;
mod fuzz;
mod import;
mod infer;
mod journal;
mod kafka;
mod kafka_cluster;
mod learn;
mod live;
mod models;
mod network;
mod page;
mod peers_modbus;
mod peers_opcua;
mod peers_s7;
mod power;
mod reload;
mod schema;
mod support;
mod tidy;
mod tools;
mod zoo;
