//! `[kafka]`.

use std::path::Path;
use std::time::Duration;

use forebay_connector::is_broken_ipv4;

use super::credentials::{PREFIX, is_credential_name};
use super::keys;
use super::read::{id, seconds, too_many};
use super::{Fallback, Kafka, KeySource, Sasl, Tls};
use crate::document::{Fields, TextValue};
use crate::replicate::{DailyWindow, TRANSACTION_RECORDS_MAX};

/// Slowest line that may be set: with less, the framing of the transactions alone would fill it.
const BANDWIDTH_MIN_BITS_PER_S: u64 = 16_000;
/// Units of `bandwidth`, in bits a second.
const BANDWIDTH_UNITS: [(&str, u64); 3] =
    [("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];

pub(super) fn kafka(root: &Fields<'_>, base: &Path) -> Option<Kafka> {
    root.require("kafka", "write [kafka] with brokers = [\"host:9092\"]: where data goes");
    let fields = root.table("kafka", "[kafka]", &keys::KAFKA)?;
    fields.require("brokers", "at least one broker: brokers = [\"kafka1.example.com:9092\"]");
    let brokers = fields.list("brokers").map(|list| brokers(&fields, &list));
    let topic_prefix =
        if fields.has("topic_prefix") { id(&fields, "topic_prefix", "") } else { Some("forebay".to_owned()) };
    let transaction_timeout = fields.duration("transaction_timeout", seconds(10)..=seconds(900));
    let commit_interval = fields.duration("commit_interval", Duration::from_millis(100)..=seconds(60));
    let records = fields.int("transaction_records_max", 100..=10_000_000);
    let create_topics = fields.bool("create_topics").unwrap_or(true);
    let (tls, sasl) = identity(&fields, base);
    let mode = fields.choice("mode", &["exactly-once", "at-least-once"]);
    let backfill = fields.choice("backfill", &["in-order", "live-first"]);
    let live_first = backfill == Some("live-first");
    // Faulty, it may have been meant.
    if backfill == Some("in-order") || !fields.has("backfill") {
        let of_live_first = ["live_after", "backfill_share", "backfill_window"];
        for key in of_live_first.into_iter().filter(|key| fields.has(key)) {
            let help =
                "write backfill = \"live-first\", or leave it out: in order there is no backlog beside";
            fields.refuse("C0210", key, &format!("`{key}` needs backfill = \"live-first\""), help);
        }
    }
    let live_after = fields.duration("live_after", seconds(5)..=seconds(86_400));
    let backfill_share = text(&fields, "backfill_share", percent, "a part from 1% to 100%: \"50%\"");
    let window = "from one time of the day to another: \"22:00-06:00\"";
    let backfill_window = text(&fields, "backfill_window", DailyWindow::parse, window);
    let bandwidth = text(&fields, "bandwidth", bandwidth, "at least 16kbit/s: \"1Mbit/s\", \"500kbit/s\"");
    let fallback = fallback(&fields, base);
    Some(Kafka {
        brokers: brokers?,
        topic_prefix: topic_prefix?,
        transaction_timeout: transaction_timeout.unwrap_or(seconds(60)),
        commit_interval: commit_interval.unwrap_or(seconds(1)),
        transaction_records_max: records
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(TRANSACTION_RECORDS_MAX),
        create_topics,
        tls,
        sasl,
        exactly_once: mode != Some("at-least-once"),
        live_first,
        live_after: live_after.unwrap_or(seconds(30)),
        backfill_share: backfill_share.unwrap_or(0.5),
        backfill_window,
        bandwidth_bits_per_s: bandwidth,
        fallback,
    })
}

fn fallback(kafka: &Fields<'_>, base: &Path) -> Option<Fallback> {
    let fields = kafka.table("fallback", "[kafka.fallback]", &keys::FALLBACK)?;
    fields.require("brokers", "at least one broker of the second cluster: brokers = [\"host:9092\"]");
    let brokers = fields.list("brokers").map(|list| brokers(&fields, &list));
    let after = fields.duration("after", seconds(30)..=seconds(7 * 86_400)).unwrap_or(seconds(600));
    let (tls, sasl) = identity(&fields, base);
    Some(Fallback { brokers: brokers?, after, tls, sasl })
}

/// How a cluster is sure of us, and we of it.
fn identity(cluster: &Fields<'_>, base: &Path) -> (Option<Tls>, Option<Sasl>) {
    let (tls, sasl) = (tls(cluster, base), sasl(cluster));
    if let (Some(sasl), None) = (&sasl, &tls)
        && sasl.mechanism == "PLAIN"
        && !cluster.has("tls")
    {
        let span = cluster.entry("sasl").map_or(cluster.span, |entry| entry.key_span);
        let message = format!("{}: PLAIN sends the password in the clear", inner(cluster, "sasl"));
        let help = format!("add {}, or use SCRAM-SHA-512", inner(cluster, "tls"));
        cluster.ctx.report(cluster.ctx.warning("C0206", span, message).help(help));
    }
    (tls, sasl)
}

/// A text that `read` understands; `wanted` says what that is.
pub(super) fn text<T>(
    fields: &Fields<'_>,
    key: &str,
    read: impl Fn(&str) -> Option<T>,
    wanted: &str,
) -> Option<T> {
    let text = fields.text(key)?.text;
    let read = read(&text);
    if read.is_none() {
        let message = format!("`{key}` cannot be \"{}\"", text.escape_debug());
        fields.refuse_value("P0104", key, &message, format!("write {wanted}"));
    }
    read
}

pub(super) fn percent(text: &str) -> Option<f64> {
    let number: u8 = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (1..=100).contains(&number).then(|| f64::from(number) / 100.0)
}

fn bandwidth(text: &str) -> Option<u64> {
    let bits = crate::document::scaled(text, &BANDWIDTH_UNITS)?;
    (bits >= BANDWIDTH_MIN_BITS_PER_S).then_some(bits)
}

fn brokers(fields: &Fields<'_>, list: &[TextValue]) -> Vec<String> {
    if list.is_empty() {
        fields.refuse("C0202", "brokers", "`brokers` is empty", "write at least one \"host:port\"");
    }
    too_many(fields, "brokers", list.len());
    for broker in list {
        let fits = broker.text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !is_broken_ipv4(host)
                && !host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | ','))
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !fits {
            let message = format!("{}: \"{}\" is no broker", fields.subject, broker.text.escape_debug());
            let fault = fields.ctx.error("C0202", broker.span, message);
            let host = broker.text.rsplit_once(':').map_or("", |(host, _)| host);
            if is_broken_ipv4(host) {
                fields.ctx.report(fault.help("an IPv4 address is four numbers from 0 to 255"));
                continue;
            }
            fields
                .ctx
                .report(fault.help("write host:port without a scheme, for example kafka1.example.com:9092"));
        }
    }
    list.iter().map(|broker| broker.text.clone()).collect()
}

fn tls(cluster: &Fields<'_>, base: &Path) -> Option<Tls> {
    let fields = cluster.table("tls", inner(cluster, "tls"), &keys::TLS)?;
    let ca = fields.text("ca").map(|path| base.join(path.text));
    if fields.has("certificate") != fields.has("key") {
        let (key, other) = if fields.has("key") { ("key", "certificate") } else { ("certificate", "key") };
        fields.refuse(
            "C0208",
            key,
            &format!("`{key}` needs `{other}`"),
            "a certificate is of use only with its key",
        );
    }
    let certificate = fields.text("certificate").map(|path| base.join(path.text));
    let key = fields.text("key").and_then(|text| key_source(&fields, &text, base));
    Some(Tls { ca, identity: certificate.zip(key) })
}

fn key_source(fields: &Fields<'_>, text: &TextValue, base: &Path) -> Option<KeySource> {
    if text.text.starts_with(PREFIX) {
        return credential(fields, "key").map(KeySource::Credential);
    }
    if text.text.contains("-----BEGIN") {
        let help = "put it into a file that only the service can read and write key = \"credential:NAME\"";
        fields.refuse("C0201", "key", "a private key must not stand in this file", help);
        return None;
    }
    Some(KeySource::File(base.join(&text.text)))
}

/// The name behind `credential:`; a secret itself is refused and not shown.
pub(super) fn credential(fields: &Fields<'_>, key: &str) -> Option<String> {
    let text = fields.text(key)?.text;
    let name = text.strip_prefix(PREFIX);
    match name {
        Some(name) if is_credential_name(name) => Some(name.to_owned()),
        Some(name) => {
            let message = format!("\"{}\" cannot be the name of a credential", name.escape_debug());
            fields.refuse("C0201", key, &message, "use letters, digits, _, - and .");
            None
        }
        None => {
            let help = format!(
                "write {key} = \"credential:NAME\" and put the secret into the file NAME: by LoadCredential= in \
                 the systemd unit, or in the folder `credentials` under [paths]"
            );
            fields.refuse("C0201", key, &format!("`{key}` must not stand in this file"), help);
            None
        }
    }
}

/// Name of a table in that of a cluster: `[kafka.tls]`.
fn inner(cluster: &Fields<'_>, key: &str) -> String {
    format!("{}.{key}]", cluster.subject.trim_end_matches(']'))
}

fn sasl(cluster: &Fields<'_>) -> Option<Sasl> {
    let fields = cluster.table("sasl", inner(cluster, "sasl"), &keys::SASL)?;
    fields.require("mechanism", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
    fields.require("username", "the user your IT gave to this box");
    fields.require("password", "password = \"credential:NAME\"");
    let mechanism = fields.choice("mechanism", &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
    let username = fields.text("username").map(|text| text.text);
    let password = credential(&fields, "password");
    Some(Sasl { mechanism: mechanism?.to_owned(), username: username?, password: password? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_bandwidths_need_their_unit() {
        assert_eq!((percent("50%"), percent("100 %"), percent("1%")), (Some(0.5), Some(1.0), Some(0.01)));
        for text in ["", "50", "0%", "101%", "-5%", "5.5%"] {
            assert_eq!(percent(text), None, "{text}");
        }
        assert_eq!(bandwidth("1Mbit/s"), Some(1_000_000));
        assert_eq!(bandwidth("1.5 Mbit/s"), Some(1_500_000));
        assert_eq!(bandwidth("64kbit/s"), Some(64_000));
        for text in ["", "1", "1MB/s", "8kbit/s", "1bit/s"] {
            assert_eq!(bandwidth(text), None, "{text}");
        }
    }
}
