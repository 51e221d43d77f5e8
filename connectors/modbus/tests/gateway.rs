//! Several devices behind one endpoint, and devices that say no.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay_connector::{Connector, OptionValue, PollError, Quality, RawSample, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::double::{Asked, connect_and_poll, device, listen, ms, open, poll, serve, word};

fn unit(
    endpoint: &str,
    unit: i64,
    more: &[(&str, OptionValue)],
    tags: &[(&str, &str, usize)],
) -> Box<dyn Connector> {
    let mut options = vec![("unit_id", OptionValue::Int(unit))];
    options.extend_from_slice(more);
    open(device(endpoint, &options, tags))
}

/// A device that answers as `answer` says, on every connection.
fn answering(
    listener: TcpListener,
    answer: impl Fn(Asked) -> Vec<u8> + Clone + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, answer.clone()));
        }
    })
}

fn qualities(samples: &[RawSample]) -> Vec<Quality> {
    samples.iter().map(|sample| sample.quality).collect()
}

/// What the gateway of the next test saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    overlapped: AtomicBool,
    shortest_pause: Mutex<Option<Duration>>,
}

/// Watches for a second request while one is open, on this or another connection.
async fn watching_gateway(listener: TcpListener, seen: Arc<Seen>) {
    let open = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(Mutex::new(None::<Instant>));
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        seen.connections.fetch_add(1, SeqCst);
        let (seen, open, last) = (Arc::clone(&seen), Arc::clone(&open), Arc::clone(&last));
        tokio::spawn(async move {
            while let Some(asked) = Asked::next(&mut stream).await {
                if open.fetch_add(1, SeqCst) > 0 {
                    seen.overlapped.store(true, SeqCst);
                }
                if let Some(last) = last.lock().unwrap().take() {
                    let mut shortest = seen.shortest_pause.lock().unwrap();
                    *shortest = Some(shortest.unwrap_or(Duration::MAX).min(last.elapsed()));
                }
                // As slow as a serial line, so that careless clients would overlap.
                tokio::time::sleep(Duration::from_millis(3)).await;
                open.fetch_sub(1, SeqCst);
                *last.lock().unwrap() = Some(Instant::now());
                if stream.write_all(&asked.honest()).await.is_err() {
                    break;
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_behind_a_gateway_take_turns_on_one_connection() {
    let (listener, endpoint) = listen().await;
    let seen = Arc::new(Seen::default());
    let gateway = tokio::spawn(watching_gateway(listener, Arc::clone(&seen)));
    let polls = (1..=4).map(|number| {
        let pause = [("request_pause", ms(4))];
        let mut connector = unit(&endpoint, number, &pause, &[("hr:0", "UINT", 0), ("hr:50", "UINT", 0)]);
        tokio::spawn(async move {
            connector.connect().await.unwrap();
            for _ in 0..10 {
                let samples = poll(&mut connector, &[0]).await.unwrap();
                let unit = u8::try_from(number).unwrap();
                let expected = [0, 50].map(|entry| Value::Uint(word(unit, entry).into()));
                assert_eq!(samples.iter().map(|s| s.value.clone()).collect::<Vec<_>>(), expected);
            }
        })
    });
    for poll in polls.collect::<Vec<_>>() {
        poll.await.unwrap();
    }
    assert_eq!(seen.connections.load(SeqCst), 1);
    assert!(!seen.overlapped.load(SeqCst), "two requests at once");
    let pause = seen.shortest_pause.lock().unwrap().unwrap();
    assert!(pause >= Duration::from_millis(4), "only {pause:?} between two requests");
    gateway.abort();
}

/// A gateway that went away may be another one when it is back: every device behind it connects
/// anew, so that the poller can verify it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_gone_is_noticed_by_all() {
    let (listener, endpoint) = listen().await;
    let gateway = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            let asked = Asked::next(&mut stream).await.unwrap();
            stream.write_all(&asked.honest()).await.unwrap();
        }
        drop(stream);
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, Asked::honest).await;
    });
    let [mut first, mut second] = [1, 2].map(|number| unit(&endpoint, number, &[], &[("hr:0", "UINT", 0)]));
    connect_and_poll(&mut first, &[0]).await.unwrap();
    connect_and_poll(&mut second, &[0]).await.unwrap();
    let outcome = poll(&mut first, &[0]).await;
    assert!(matches!(outcome, Err(PollError::Lost { .. })), "{outcome:?}");
    connect_and_poll(&mut first, &[0]).await.unwrap();
    let outcome = poll(&mut second, &[0]).await;
    assert!(matches!(outcome, Err(PollError::Lost { .. })), "{outcome:?}");
    connect_and_poll(&mut second, &[0]).await.unwrap();
    gateway.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_or_a_busy_device_says_is_put_in_words() {
    for (code, words) in [
        (0x05, "busy"),
        (0x06, "unit 7 is busy (exception 06)"),
        (0x0A, "no path to unit 7"),
        (0x0B, "unit 7 behind the gateway does not answer"),
    ] {
        let (listener, endpoint) = listen().await;
        let gateway = answering(listener, move |asked| asked.exception(code));
        let mut connector = unit(&endpoint, 7, &[], &[("hr:0", "UINT", 0)]);
        let outcome = connect_and_poll(&mut connector, &[0]).await;
        assert!(
            matches!(&outcome, Err(PollError::Refused { what }) if what.contains(words)),
            "{code:02X}: {outcome:?}"
        );
        gateway.abort();
    }
}

/// A gateway has no other words for a unit that is silent about one register than for one that is
/// off. It must cost that register only, whether or not other blocks show that the unit is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_for_which_the_gateway_has_no_answer_costs_only_itself() {
    let bad = 5;
    for (code, others) in [(0x0A, 0), (0x0B, 0), (0x0A, 2), (0x0B, 2)] {
        let what = format!("exception {code:02X}, {others} other tags");
        let (listener, endpoint) = listen().await;
        let gateway = answering(listener, move |asked| {
            let range = asked.start()..asked.start() + asked.count();
            if range.contains(&bad) { asked.exception(code) } else { asked.honest() }
        });
        let mut tags = EIGHT.to_vec();
        tags.extend([("hr:900", "UINT", 0), ("hr:901", "UINT", 0)].iter().take(others));
        // A neighbour on the line, so that a unit called silent is demoted too.
        let neighbour = unit(&endpoint, 2, &[], &[("hr:0", "UINT", 0)]);
        let mut connector = unit(&endpoint, 1, &[], &tags);
        let end = Instant::now() + Duration::from_secs(20);
        let samples = loop {
            match connect_and_poll(&mut connector, &[0]).await {
                Ok(samples) => break samples,
                Err(PollError::Refused { .. }) => assert!(Instant::now() < end, "{what}: still refused"),
                Err(other) => panic!("{what}: {other}"),
            }
        };
        for (tag, sample) in samples.iter().enumerate() {
            let wanted = if tag == usize::from(bad) { Quality::Refused } else { Quality::Good };
            assert_eq!(sample.quality, wanted, "{what}: tag {tag}");
        }
        let refusal = connector.refusal(bad.into()).unwrap();
        assert!(refusal.contains("does not answer when holding register 6"), "{what}: {refusal}");
        assert_eq!(connector.refusal(0), None, "{what}");
        let before = connector.requests();
        poll(&mut connector, &[0]).await.unwrap();
        assert!(connector.requests() - before <= 4, "{what}: still looked for");
        drop(neighbour);
        gateway.abort();
    }
}

const EIGHT: [(&str, &str, usize); 8] = [
    ("hr:0", "UINT", 0),
    ("hr:1", "UINT", 0),
    ("hr:2", "UINT", 0),
    ("hr:3", "UINT", 0),
    ("hr:4", "UINT", 0),
    ("hr:5", "UINT", 0),
    ("hr:6", "UINT", 0),
    ("hr:7", "UINT", 0),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_register_costs_only_itself_and_is_remembered() {
    for code in [0x02, 0x03, 0x04] {
        let (listener, endpoint) = listen().await;
        let bad = 5;
        let gateway = answering(listener, move |asked| {
            let range = asked.start()..asked.start() + asked.count();
            if range.contains(&bad) { asked.exception(code) } else { asked.honest() }
        });
        let mut connector = unit(&endpoint, 1, &[], &EIGHT);
        let check = |samples: &[RawSample]| {
            for (entry, sample) in (0u16..).zip(samples) {
                let value = if entry == bad { Value::Null } else { Value::Uint(word(1, entry).into()) };
                let quality = if entry == bad { Quality::Refused } else { Quality::Good };
                assert_eq!((&sample.value, sample.quality), (&value, quality), "register {entry}");
            }
            assert_eq!(samples.len(), 8);
        };
        check(&connect_and_poll(&mut connector, &[0]).await.unwrap());
        // 0-7 no, 0-3, 4-7 no, 4-5 no, 4, 5 no, 6-7.
        assert_eq!(connector.requests(), 7);
        check(&poll(&mut connector, &[0]).await.unwrap());
        // 0-3, 4, 6-7: what is known to be refused is not asked for.
        assert_eq!(connector.requests(), 10);
        connector.connect().await.unwrap();
        check(&poll(&mut connector, &[0]).await.unwrap());
        assert_eq!(connector.requests(), 17, "a new connection asks again");
        gateway.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_the_device_does_not_have_is_asked_for_once() {
    let (listener, endpoint) = listen().await;
    let gateway =
        answering(listener, |asked| if asked.function() == 4 { asked.exception(1) } else { asked.honest() });
    let tags = [("ir:0", "UINT", 0), ("hr:0", "UINT", 0), ("ir:1", "UINT", 0)];
    let mut connector = unit(&endpoint, 1, &[], &tags);
    let samples = connect_and_poll(&mut connector, &[0]).await.unwrap();
    assert_eq!(qualities(&samples), [Quality::Refused, Quality::Good, Quality::Refused]);
    assert_eq!(connector.requests(), 2);
    gateway.abort();
}

/// Reading over holes pays until a device refuses one: then every tag must still be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_that_is_refused_costs_no_tag() {
    let (listener, endpoint) = listen().await;
    let gateway = answering(listener, |asked| {
        let range = asked.start()..asked.start() + asked.count();
        if range.contains(&3) { asked.exception(2) } else { asked.honest() }
    });
    let tags = [("hr:0", "UINT", 0), ("hr:1", "UINT", 0), ("hr:4", "UINT", 0), ("hr:5", "UINT", 0)];
    let mut connector = unit(&endpoint, 1, &[("max_gap", OptionValue::Int(8))], &tags);
    let samples = connect_and_poll(&mut connector, &[0]).await.unwrap();
    assert_eq!((qualities(&samples), connector.requests()), (vec![Quality::Good; 4], 3));
    let samples = poll(&mut connector, &[0]).await.unwrap();
    assert_eq!((qualities(&samples), connector.requests()), (vec![Quality::Good; 4], 5));
    gateway.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_is_invalid_and_verify_reads_single_tags() {
    let (listener, endpoint) = listen().await;
    let gateway = answering(listener, |asked| {
        if asked.count() == 2 { asked.frame(&[4, 0x7F, 0xC0, 0, 0]) } else { asked.honest() }
    });
    let tags = [("hr:0", "REAL", 0), ("hr:9", "UINT", 1), ("hr:7", "UINT", 1)];
    let mut connector = unit(&endpoint, 1, &[], &tags);
    let samples = connect_and_poll(&mut connector, &[0]).await.unwrap();
    assert_eq!((&samples[0].value, samples[0].quality), (&Value::Null, Quality::Invalid));
    let mut samples = Vec::new();
    connector.read(&[2, 1], &mut samples).await.unwrap();
    let read: Vec<_> = samples.iter().map(|sample| (sample.tag, sample.value.clone())).collect();
    assert_eq!(read, [(2, Value::Uint(word(1, 7).into())), (1, Value::Uint(word(1, 9).into()))]);
    gateway.abort();
}
