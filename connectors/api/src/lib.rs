//! What a protocol crate and the rest of Forebay say to each other.
//!
//! Types only: no runtime, no sockets, no files. A protocol is one crate that
//! implements [`Protocol`]; the poller owns time and calls its [`Connector`].

mod connector;
mod decode;
mod device;
pub mod planning;
mod sample;
mod types;

pub use connector::{Connector, DeviceMessage, Look, Pace, PollError, Simulator};
pub use decode::{DecodeFault, decode_scalar};
pub use device::{
    Address, AddressFault, DeviceComplaint, DeviceSpec, Extent, OpenFault, OptionKey, OptionKind,
    OptionValue, Protocol, ScanClass, Secrets, TagSpec, is_broken_ipv4,
};
pub use sample::{Quality, RawSample, Value};
pub use types::{ByteOrder, DataType, Scalar};
