//! Two boxes, and certificates of servers, in the words of the page.

use super::*;
use crate::standby::{Report, Says};
use crate::status::facts::CertificateState;

fn report(reads: bool, heartbeat: Option<Says>, lease: Option<Says>) -> Report {
    let trouble = (lease == Some(Says::Nothing)).then(|| "nothing listens at kafka:9092".to_owned());
    Report::Standby { of: "box-a".to_owned(), reads, heartbeat, lease, trouble }
}

fn said(report: Report, language: Language) -> (Option<Letter>, String) {
    let given = given();
    given.facts.set(|a| a.standby = Some(report));
    let standby = given.view(language).standby.expect("two boxes");
    (standby.letter, standby.text)
}

#[test]
fn what_is_known_of_the_active_box_is_said_in_words() {
    use Says::{Gone, IsBack, Lives, Nothing};
    for (report, language, letter, text) in [
        (
            report(false, Some(IsBack), Some(Lives)),
            Language::En,
            None,
            "This box stands by for box-a: it answers on the local network, its lease in Kafka holds.",
        ),
        (
            report(false, Some(Gone), Some(Lives)),
            Language::De,
            None,
            "Diese Box steht für box-a bereit: sie antwortet im örtlichen Netz nicht, ihr Lebenszeichen in \
             Kafka gilt.",
        ),
        (
            report(true, None, Some(Gone)),
            Language::En,
            Some(Letter::M),
            "This box reads the machines of box-a and marks what it writes: its lease in Kafka has run out.",
        ),
        (
            report(false, None, Some(Nothing)),
            Language::En,
            Some(Letter::M),
            "This box stands by for box-a: its lease in Kafka cannot be looked at (nothing listens at \
             kafka:9092).",
        ),
        (Report::Active { lease: Some(Ok(())) }, Language::En, None, ""),
        (
            Report::Active { lease: Some(Err("no right".to_owned())) },
            Language::De,
            Some(Letter::M),
            "Kafka nimmt das Lebenszeichen dieser Box nicht an, ihre Ersatzbox sieht sie nur noch im örtlichen \
             Netz: no right",
        ),
    ] {
        assert_eq!(said(report, language), (letter, text.to_owned()));
    }
    assert!(given().view(Language::En).standby.is_none());
}

#[test]
fn a_certificate_that_waits_is_shown_with_what_to_compare_and_to_type() {
    let given = given();
    given.facts.set(|a| {
        a.certificates = vec![
            plant::certificate("filler-1", CertificateState::Waiting),
            plant::certificate("filler-2", CertificateState::Trusted),
        ];
    });
    let page = |name: &str, language: Language| {
        let speech = speech(language);
        let device = given.twin.device(name).expect("a machine");
        let machine = machine(&device, &*given.facts, 1, &speech);
        page::machine(&machine, &place(), &speech).into_string()
    };
    let waiting = page("filler-1", Language::En);
    for part in [
        "waits for a decision",
        "CN=Filler 1,O=Acme Bottling Machines GmbH &amp; Co. KG",
        &format!("sha256:{}", "9f86d081884c7d65".repeat(4)),
        "2031-01-01",
        "forebay opcua trust filler-1 9f86d081884c7d65<",
        "forebay opcua reject filler-1 9f86d081884c7d65<",
    ] {
        assert!(waiting.contains(part), "{part} is not in {waiting}");
    }
    assert!(!waiting.contains("<form") && !waiting.contains("<button"), "the page only reads");
    let trusted = page("filler-2", Language::De);
    assert!(trusted.contains("vertraut") && trusted.contains("opcua reject filler-2"), "{trusted}");
    assert!(!trusted.contains("opcua trust"), "{trusted}");
    assert!(!page("press-3", Language::En).contains("opcua"));
}
