//! `[standby]`: which of two boxes reads the machines.

use std::net::SocketAddr;
use std::time::Duration;

use super::kafka::credential;
use super::keys;
use super::read::{id, too_many};
use crate::diagnostic::Span;
use crate::document::Fields;
use crate::standby::{Standby, StandbyFor};

/// Silence after which a standby steps in unless written.
const AFTER_DEFAULT: Duration = Duration::from_secs(5);

/// Reads `[standby]`. Devices it names go to `devices` with their places, to be looked up later.
pub fn standby(root: &Fields<'_>, devices: &mut Vec<(String, Span)>) -> Option<Standby> {
    let fields = root.table("standby", "[standby]", &keys::STANDBY)?;
    fields.require("secret", "secret = \"credential:NAME\", the same on both boxes, at least 16 characters");
    let secret = credential(&fields, "secret");
    if fields.has("answer_on") {
        for key in ["of", "ask", "after", "devices"].into_iter().filter(|key| fields.has(key)) {
            let help =
                "`answer_on` makes this the active box; the other keys stand on the box that stands by";
            fields.refuse("C0211", key, &format!("`{key}` cannot stand beside `answer_on`"), help);
        }
        return Some(Standby::Active { answer_on: answer_on(&fields)?, secret: secret? });
    }
    let of =
        id(&fields, "of", "the id of the active box; or answer_on = \"address:port\", if this is that box");
    fields.require("ask", "where the active box answers, the `answer_on` of its forebay.toml");
    let after = fields.duration("after", Duration::from_secs(1)..=Duration::from_secs(3600));
    let named = fields.list("devices").unwrap_or_default();
    too_many(&fields, "devices", named.len());
    devices.extend(named.iter().map(|name| (name.text.clone(), name.span)));
    Some(Standby::Standby(StandbyFor {
        of: of?,
        ask: ask(&fields)?,
        secret: secret?,
        after: after.unwrap_or(AFTER_DEFAULT),
        devices: named.into_iter().map(|name| name.text).collect(),
    }))
}

fn answer_on(fields: &Fields<'_>) -> Option<SocketAddr> {
    let text = fields.text("answer_on")?.text;
    let parsed = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    if parsed.is_none() {
        let message = format!("`answer_on` cannot be \"{}\"", text.escape_debug());
        let help = "write the address of this box in the plant's network and a port: \"192.168.10.11:4455\"";
        fields.refuse("C0211", "answer_on", &message, help);
    }
    parsed
}

fn ask(fields: &Fields<'_>) -> Option<String> {
    let text = fields.text("ask")?.text;
    let sound = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host.len() <= 253
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if !sound {
        let message = format!("`ask` cannot be \"{}\"", text.escape_debug());
        let help = "write the `answer_on` of the active box: \"192.168.10.11:4455\"";
        fields.refuse("C0211", "ask", &message, help);
        return None;
    }
    Some(text)
}
