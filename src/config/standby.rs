//! `[standby]`: which of two boxes reads the machines.

use std::net::SocketAddr;
use std::time::Duration;

use super::kafka::credential;
use super::keys;
use super::read::{id, too_many};
use crate::diagnostic::Span;
use crate::document::Fields;
use crate::standby::{Heartbeat, Standby, StandbyFor};

/// Silence after which a standby steps in unless written.
const AFTER_DEFAULT: Duration = Duration::from_secs(5);

/// Shortest time a lease may hold: it is written three times in it, and Kafka must be asked meanwhile.
const LEASE_MIN: Duration = Duration::from_secs(5);
const LEASE_MAX: Duration = Duration::from_secs(3600);
/// Keys that only the box that stands by has.
const OF_STANDBY: [&str; 4] = ["of", "ask", "after", "devices"];

/// Reads `[standby]`. Devices it names go to `devices` with their places, to be looked up later.
pub fn standby(root: &Fields<'_>, devices: &mut Vec<(String, Span)>) -> Option<Standby> {
    let fields = root.table("standby", "[standby]", &keys::STANDBY)?;
    let lease = fields.duration("lease", LEASE_MIN..=LEASE_MAX);
    let is_active = fields.has("answer_on") || !OF_STANDBY.iter().any(|key| fields.has(key));
    let secret = secret(&fields, if is_active { "answer_on" } else { "ask" });
    if is_active {
        return active(&fields, secret, lease);
    }
    let of =
        id(&fields, "of", "the id of the active box; or answer_on = \"address:port\", if this is that box");
    if !fields.has("lease") {
        let what = "where the active box answers, the `answer_on` of its forebay.toml; or lease = \"15s\", if it writes one";
        fields.require("ask", what);
    }
    let after = fields.duration("after", Duration::from_secs(1)..=Duration::from_secs(3600));
    let named = fields.list("devices").unwrap_or_default();
    too_many(&fields, "devices", named.len());
    devices.extend(named.iter().map(|name| (name.text.clone(), name.span)));
    let heartbeat = match fields.has("ask") {
        true => Some(Heartbeat { at: ask(&fields)?, secret: secret? }),
        false => None,
    };
    if heartbeat.is_none() && lease.is_none() {
        return None;
    }
    Some(Standby::Standby(StandbyFor {
        of: of?,
        heartbeat,
        lease,
        after: after.unwrap_or(AFTER_DEFAULT),
        devices: named.into_iter().map(|name| name.text).collect(),
    }))
}

/// The credential of the heartbeat at the key `of_heartbeat`; without a heartbeat there is nothing to sign.
fn secret(fields: &Fields<'_>, of_heartbeat: &str) -> Option<String> {
    if fields.has(of_heartbeat) {
        fields.require(
            "secret",
            "secret = \"credential:NAME\", the same on both boxes, at least 16 characters",
        );
    } else if fields.has("secret") && fields.has("lease") {
        let message = format!("`secret` signs nothing without `{of_heartbeat}`");
        let help = format!("leave it out, or write `{of_heartbeat}` too: a lease in Kafka has no secret");
        fields.refuse("C0211", "secret", &message, help);
    }
    credential(fields, "secret")
}

/// The box that the other one stands by for.
fn active(fields: &Fields<'_>, secret: Option<String>, lease: Option<Duration>) -> Option<Standby> {
    for key in OF_STANDBY.into_iter().filter(|key| fields.has(key)) {
        let help = "`answer_on` makes this the active box; the other keys stand on the box that stands by";
        fields.refuse("C0211", key, &format!("`{key}` cannot stand beside `answer_on`"), help);
    }
    if !fields.has("lease") {
        let what = "answer_on = \"address:port\" or lease = \"15s\" on the active box; of = \"its id\" on the one that stands by";
        fields.require("answer_on", what);
    }
    let heartbeat = match fields.has("answer_on") {
        true => Some(Heartbeat { at: answer_on(fields)?, secret: secret? }),
        false => None,
    };
    (heartbeat.is_some() || lease.is_some()).then_some(Standby::Active { heartbeat, lease })
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
