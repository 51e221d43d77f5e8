//! Certificates of servers: what a person has to compare, and the words to type. The page decides
//! nothing (ARCHITECTURE.md, "the page reads").

use maud::{Markup, html};
use serde::Serialize;

use super::draw::badge;
use super::facts::{Certificate, CertificateState, Facts};
use super::judge::Letter;
use super::speech::{Speech, plain};
use super::words::fill;

/// Digits of the fingerprint in a command: enough that no two are meant.
const DIGITS: usize = 16;

/// One certificate that a machine's server has shown.
#[derive(Serialize)]
pub(super) struct CertificateRow {
    pub(super) device: String,
    state: CertificateState,
    letter: Option<Letter>,
    /// The state in words.
    text: String,
    /// Whom it belongs to, as it says itself.
    subject: String,
    /// `sha256:` and 64 digits.
    fingerprint: String,
    valid_from: String,
    valid_to: String,
    expired: bool,
    /// When the server showed it first.
    #[serde(rename = "seen", serialize_with = "crate::clock::serialize_us")]
    seen_us: i64,
    /// Command that trusts it; `None` where it is trusted, or a file decides.
    trust: Option<String>,
    /// Command that trusts it no longer, or forgets it.
    reject: String,
}

impl CertificateRow {
    fn of(certificate: Certificate, speech: &Speech) -> Self {
        let words = speech.words;
        let (mut text, waits) = match certificate.state {
            CertificateState::Waiting => (words.certificate_waiting.to_owned(), true),
            CertificateState::Trusted => (words.certificate_trusted.to_owned(), false),
            CertificateState::Refused => (words.certificate_refused.to_owned(), true),
        };
        if certificate.expired {
            text = fill(words.certificate_expired, &[&text]);
        }
        let fingerprint = plain(&certificate.fingerprint);
        let digits: String = fingerprint.trim_start_matches("sha256:").chars().take(DIGITS).collect();
        let device = plain(&certificate.device);
        let command = |verb: &str| format!("forebay opcua {verb} {device} {digits}");
        Self {
            state: certificate.state,
            letter: (waits || certificate.expired).then_some(Letter::M),
            text,
            subject: plain(&certificate.subject),
            valid_from: plain(&certificate.valid_from),
            valid_to: plain(&certificate.valid_to),
            expired: certificate.expired,
            seen_us: certificate.seen_us,
            trust: (certificate.state == CertificateState::Waiting).then(|| command("trust")),
            reject: command("reject"),
            fingerprint,
            device,
        }
    }
}

/// All certificates that are known, of all machines.
pub(super) fn certificates(facts: &dyn Facts, speech: &Speech) -> Vec<CertificateRow> {
    facts.certificates().into_iter().map(|one| CertificateRow::of(one, speech)).collect()
}

/// Whether somebody has to look at one of them.
pub(super) fn wait(rows: &[CertificateRow]) -> bool {
    rows.iter().any(|row| row.letter.is_some())
}

/// What the page of a machine shows of its certificates; nothing where there are none.
pub(super) fn block(rows: &[CertificateRow], speech: &Speech) -> Markup {
    let words = speech.words;
    html! {
        @if !rows.is_empty() {
            section.group.pki {
                h2 { (words.certificates) }
                @for row in rows {
                    p { (badge(row.letter, words)) " " b { (row.text) } }
                    dl {
                        div { dt { (words.certificate_subject) } dd { (row.subject) } }
                        div { dt { (words.certificate_fingerprint) } dd { (row.fingerprint) } }
                        div { dt { (words.certificate_until) } dd { (row.valid_to.get(..10).unwrap_or(&row.valid_to)) } }
                        div { dt { (words.certificate_seen) } dd { (speech.moment(row.seen_us)) } }
                    }
                    p { (words.certificate_how) }
                    @for command in row.trust.iter().chain([&row.reject]) { p { code lang="en" { (command) } } }
                }
            }
        }
    }
}
