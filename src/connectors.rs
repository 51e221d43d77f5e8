//! The protocols. A new one is one crate and one line here.

use std::sync::Arc;

use forebay_connector::Protocol;

/// All protocols, by the name profiles use.
pub fn all() -> [Arc<dyn Protocol>; 3] {
    [Arc::new(forebay_s7::S7), Arc::new(forebay_modbus::Modbus), Arc::new(forebay_opcua::OpcUa)]
}

/// The protocol with this name.
pub fn by_name(name: &str) -> Option<Arc<dyn Protocol>> {
    all().into_iter().find(|protocol| protocol.name() == name)
}
