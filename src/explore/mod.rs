//! Finding out what a machine has: `forebay browse` for OPC UA, `forebay scan` for Modbus. Both only
//! read, within bounds, and write drafts that an engineer goes on with.

pub mod browse;
mod draft;
pub mod scan;
