//! Whole pages.

use super::*;

#[test]
fn hostile_names_and_texts_stay_text() {
    let evil = "<script>alert(1)</script>\"'&\u{202e}\u{0}";
    let device = plant::device(
        evil,
        evil,
        Text::plain(evil),
        "modbus",
        vec![plant::tag(evil, "STRING[9]", evil, None)],
    );
    let twin = Arc::new(Twin::new(&[device]));
    all_good(&twin, NOW_US, 0);
    twin.devices()[0].state().values[0].value = Value::Text(evil.into());
    twin.devices()[0].state().identity = evil.to_owned();
    take_away(&twin, evil, NOW_US, evil);
    let given = Given { twin, facts: FakeFacts::well() };
    given.facts.set(|a| {
        (a.identity.name, a.identity.site) = (evil.to_owned(), evil.to_owned());
        a.predictions[0].device = crate::status::speech::plain(evil);
        a.predictions[0].title = Text::plain(evil);
        a.events[1].text = evil.to_owned();
        let mut certificate = plant::certificate(evil, crate::status::facts::CertificateState::Waiting);
        certificate.subject = evil.to_owned();
        a.certificates = vec![certificate];
    });
    let speech = speech(Language::En);
    let view = given.view(Language::En);
    let part = crate::status::machine::Part::of(1, page::MACHINES_SHOWN_MAX, 1);
    let machine = machine(&given.twin.devices()[0], &*given.facts, 1, &speech);
    let events = crate::status::chronicle::events(&*given.facts, &speech);
    let html = [
        page::overview(&view, part, &place(), &speech).into_string(),
        page::machine(&machine, &place(), &speech).into_string(),
        page::events(&events, &speech).into_string(),
    ];
    for html in &html {
        assert!(html.contains("&lt;script&gt;"), "{html}");
        assert!(!html.contains("<script") && !html.contains('\u{202e}') && !html.contains('\0'), "{html}");
    }
    assert!(html[0].contains("href=\"/m/%3Cscript%3E"), "{}", html[0]);
    let metrics = crate::status::metrics::text(&view, &[]);
    assert!(metrics.contains("device=\"<script>alert(1)</script>\\\"'&"), "{metrics}");
}

#[test]
fn long_lists_are_shown_in_parts_under_60_kb() {
    let tags = (0..200).map(|at| {
        let mut tag = plant::tag(
            &format!("group{}.a_rather_long_tag_name_{at}", at / 9),
            "REAL",
            "mm/s",
            Some((0.0, 30.0)),
        );
        tag.desc = "What this tag means, in a sentence of the usual length".to_owned();
        tag
    });
    let big = plant::device("big", "Werk1", Text::plain("Big machine"), "s7", tags.collect());
    let mut devices = vec![big];
    for at in 0..120 {
        let name = format!("a-machine-with-a-long-name-{at:03}");
        let tags = vec![plant::tag("a.b", "REAL", "bar", None)];
        devices.push(plant::device(&name, "Werk1/Halle", Text::plain("Mechanical press 630 t"), "s7", tags));
    }
    let twin = Arc::new(Twin::new(&devices));
    all_good(&twin, NOW_US, 60_000_000);
    let given = Given { twin, facts: FakeFacts::well() };
    let speech = speech(Language::Stretched);
    let view = given.view(Language::Stretched);
    let frame = |body: &maud::Markup| {
        let clock = frame::clock(&view.time, view.clock, false, &speech);
        frame::frame(&view.identity, &clock, "title", body, &place(), &speech).into_string()
    };
    let part = crate::status::machine::Part::of(view.machines.len(), page::MACHINES_SHOWN_MAX, 2);
    assert_eq!((part.from, part.to, part.parts), (40, 80, 4));
    let overview = frame(&page::overview(&view, part, &place(), &speech));
    assert!(overview.len() < 60_000, "{} bytes", overview.len());
    assert!(overview.contains("part=3") && overview.contains("rel=\"prev\""), "{overview}");
    let machine = machine(&given.twin.devices()[0], &*given.facts, 9, &speech);
    assert_eq!(machine.part.number, 4, "the nearest part");
    let machine = crate::status::machine::machine(&given.twin.devices()[0], &*given.facts, 1, &speech);
    let page = frame(&page::machine(&machine, &place(), &speech));
    assert!(page.len() < 60_000, "{} bytes", page.len());
}
