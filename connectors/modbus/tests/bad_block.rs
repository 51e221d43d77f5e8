//! Devices that answer a bad register with no exception: they stay silent, hang up or babble. It
//! must cost that register only, and a device that is just switched off must not be blamed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_connector::{Connector, OptionValue, Quality, RawSample, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::double::{Asked, connect_and_poll, device, listen, ms, open, poll, word};

/// When the poller gives up a poll.
const POLL_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bad {
    Silent,
    HangsUp,
    Babbles,
}

/// A device with registers it does not like to be asked for.
#[derive(Default)]
struct Touchy {
    bad: Mutex<BTreeSet<u16>>,
    off: AtomicBool,
    /// Answers until it switches itself off.
    answers_left: AtomicU32,
    connections: AtomicU32,
    vain: AtomicU32,
}

impl Touchy {
    fn with(bad: &[u16]) -> Arc<Self> {
        let (bad, answers_left) = (Mutex::new(bad.iter().copied().collect()), AtomicU32::new(u32::MAX));
        Arc::new(Self { bad, answers_left, ..Self::default() })
    }

    async fn serve(self: Arc<Self>, listener: TcpListener, how: Bad) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            self.connections.fetch_add(1, SeqCst);
            let device = Arc::clone(&self);
            tokio::spawn(async move {
                while let Some(asked) = Asked::next(&mut stream).await {
                    if device.off.load(SeqCst) {
                        continue;
                    }
                    if device.answers_left.fetch_sub(1, SeqCst) == 1 {
                        device.off.store(true, SeqCst);
                    }
                    let range = asked.start()..asked.start() + asked.count();
                    let touched = device.bad.lock().unwrap().range(range).next().is_some();
                    let mut answer = asked.honest();
                    if touched {
                        device.vain.fetch_add(1, SeqCst);
                        match how {
                            Bad::Silent => continue,
                            Bad::HangsUp => break,
                            Bad::Babbles => answer = asked.frame(&[2, 0, 0, 0]),
                        }
                    }
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    }
}

fn connector(endpoint: &str, offsets: &[u16], gap: i64) -> Box<dyn Connector> {
    let addresses: Vec<String> = offsets.iter().map(|offset| format!("hr:{offset}")).collect();
    let tags: Vec<(&str, &str, usize)> =
        addresses.iter().map(|address| (address.as_str(), "UINT", 0)).collect();
    open(device(endpoint, &[("timeout", ms(150)), ("max_gap", OptionValue::Int(gap))], &tags))
}

/// Polls as the poller does, connecting after errors, until a poll succeeds whose samples are
/// `wanted`; gives the polls that took.
async fn polls_until(
    what: &str,
    connector: &mut Box<dyn Connector>,
    wanted: impl Fn(&[RawSample]) -> bool,
) -> u32 {
    let mut connected = false;
    for polls in 1..40 {
        let outcome =
            if connected { poll(connector, &[0]).await } else { connect_and_poll(connector, &[0]).await };
        connected = outcome.is_ok();
        if outcome.is_ok_and(|samples| wanted(&samples)) {
            return polls;
        }
    }
    panic!("{what}: not in 40 polls");
}

fn is_right(offsets: &[u16], bad: &[u16], samples: &[RawSample]) -> bool {
    offsets.iter().zip(samples).all(|(offset, sample)| {
        let value = Value::Uint(word(1, *offset).into());
        match sample.quality {
            Quality::Refused => bad.contains(offset),
            quality => quality == Quality::Good && !bad.contains(offset) && sample.value == value,
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_register_in_a_block_costs_only_itself() {
    let offsets: Vec<u16> = (0..40).collect();
    for (how, words) in [
        (Bad::Silent, "does not answer when holding register 18"),
        (Bad::HangsUp, "closes the connection when holding register 18"),
        (Bad::Babbles, "answers something else when holding register 18"),
    ] {
        let what = format!("{how:?}");
        let (listener, endpoint) = listen().await;
        let touchy = Touchy::with(&[17]);
        let server = tokio::spawn(Arc::clone(&touchy).serve(listener, how));
        let mut connector = connector(&endpoint, &offsets, 0);
        let polls = polls_until(&what, &mut connector, |samples| is_right(&offsets, &[17], samples)).await;
        assert!(polls <= 4, "{what}: {polls} polls");
        let refusal = connector.refusal(17).unwrap();
        assert!(refusal.contains(words), "{what}: {refusal}");
        assert_eq!(connector.refusal(16), None);
        // From now on the bad register is left alone, and the others are few requests.
        let (vain, before) = (touchy.vain.load(SeqCst), connector.requests());
        let connections = touchy.connections.load(SeqCst);
        for _ in 0..5 {
            assert!(is_right(&offsets, &[17], &poll(&mut connector, &[0]).await.unwrap()), "{what}");
        }
        assert_eq!(touchy.vain.load(SeqCst), vain, "{what}: asked again");
        // One more connection at most: the one that finding out had closed is opened again.
        assert!(touchy.connections.load(SeqCst) <= connections + 1, "{what}");
        assert!(connector.requests() - before <= 5 * 7, "{what}: {} requests", connector.requests() - before);
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_bad_registers_are_found_a_few_at_a_time() {
    let offsets: Vec<u16> = (0..30).collect();
    let bad = [0, 1, 5, 6, 7, 29];
    let (listener, endpoint) = listen().await;
    let server = tokio::spawn(Touchy::with(&bad).serve(listener, Bad::Silent));
    let mut connector = connector(&endpoint, &offsets, 0);
    let polls = polls_until("many", &mut connector, |samples| is_right(&offsets, &bad, samples)).await;
    assert!(polls <= 10, "{polls} polls");
    // While it was being found out, what was not asked yet said so; now all reasons are known.
    for offset in bad {
        assert!(connector.refusal(offset.into()).unwrap().contains("does not answer"), "{offset}");
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_that_is_not_answered_costs_no_tag() {
    let offsets = [0, 1, 2, 6, 7, 8];
    for how in [Bad::Silent, Bad::HangsUp, Bad::Babbles] {
        let (listener, endpoint) = listen().await;
        let touchy = Touchy::with(&[4]);
        let server = tokio::spawn(Arc::clone(&touchy).serve(listener, how));
        let mut connector = connector(&endpoint, &offsets, 8);
        polls_until("hole", &mut connector, |samples| is_right(&offsets, &[], samples)).await;
        let (vain, before) = (touchy.vain.load(SeqCst), connector.requests());
        for _ in 0..3 {
            assert!(is_right(&offsets, &[], &poll(&mut connector, &[0]).await.unwrap()), "{how:?}");
        }
        assert_eq!((touchy.vain.load(SeqCst), connector.requests() - before), (vain, 6), "{how:?}");
        server.abort();
    }
}

/// A device that was switched off in the middle is not blamed for it: afterwards every tag is read,
/// in as few requests as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_off_for_a_while_is_read_as_before() {
    let offsets: Vec<u16> = (0..20).chain(100..120).collect();
    let (listener, endpoint) = listen().await;
    let touchy = Touchy::with(&[]);
    let server = tokio::spawn(Arc::clone(&touchy).serve(listener, Bad::Silent));
    let mut connector = connector(&endpoint, &offsets, 0);
    connect_and_poll(&mut connector, &[0]).await.unwrap();
    assert_eq!(connector.requests(), 2);
    for _ in 0..3 {
        touchy.off.store(true, SeqCst);
        for _ in 0..4 {
            connect_and_poll(&mut connector, &[0]).await.unwrap_err();
        }
        touchy.off.store(false, SeqCst);
        polls_until("on again", &mut connector, |samples| is_right(&offsets, &[], samples)).await;
        polls_until("as before", &mut connector, |samples| is_right(&offsets, &[], samples)).await;
    }
    let before = connector.requests();
    assert!(is_right(&offsets, &[], &poll(&mut connector, &[0]).await.unwrap()));
    assert_eq!(connector.requests() - before, 2);
    server.abort();
}

/// The device is switched off while its tags are asked one by one: none of them is blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_goes_off_while_it_is_examined_is_not_blamed() {
    let offsets: Vec<u16> = (0..20).chain(100..120).collect();
    for after in [1, 3, 10, 21] {
        let (listener, endpoint) = listen().await;
        let touchy = Touchy::with(&[]);
        let server = tokio::spawn(Arc::clone(&touchy).serve(listener, Bad::Silent));
        let mut connector = connector(&endpoint, &offsets, 0);
        touchy.off.store(true, SeqCst);
        for _ in 0..3 {
            connect_and_poll(&mut connector, &[0]).await.unwrap_err();
        }
        touchy.answers_left.store(after, SeqCst);
        touchy.off.store(false, SeqCst);
        connect_and_poll(&mut connector, &[0]).await.unwrap_err();
        touchy.answers_left.store(u32::MAX, SeqCst);
        touchy.off.store(false, SeqCst);
        let polls = polls_until("on again", &mut connector, |samples| is_right(&offsets, &[], samples)).await;
        assert!(polls <= 2, "off after {after} answers: {polls} polls");
        for tag in 0..40 {
            assert_eq!(connector.refusal(tag), None, "off after {after} answers");
        }
        server.abort();
    }
}

/// On the test's own clock: a register that was repaired is read again.
#[tokio::test]
async fn a_muted_register_is_asked_again_after_a_minute() {
    let offsets: Vec<u16> = (0..8).collect();
    let (listener, endpoint) = listen().await;
    let touchy = Touchy::with(&[3]);
    let server = tokio::spawn(Arc::clone(&touchy).serve(listener, Bad::HangsUp));
    let mut connector = connector(&endpoint, &offsets, 0);
    polls_until("muted", &mut connector, |samples| is_right(&offsets, &[3], samples)).await;
    touchy.bad.lock().unwrap().clear();
    assert!(is_right(&offsets, &[3], &poll(&mut connector, &[0]).await.unwrap()), "too early");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let polls = polls_until("repaired", &mut connector, |samples| is_right(&offsets, &[], samples)).await;
    assert!(polls <= 2, "{polls} polls");
    assert_eq!(connector.refusal(3), None);
    server.abort();
}

/// On the test's own clock: with a long time limit the bad registers are found too, although the
/// poller gives up a poll after a minute and not all of them can be asked twice in one.
#[tokio::test(start_paused = true)]
async fn bad_registers_are_found_whatever_the_time_limit() {
    let bad = [3, 4];
    for (limit_ms, others) in
        [15_000, 20_000, 35_000, 50_000, 60_000].into_iter().flat_map(|limit| [(limit, 0), (limit, 3)])
    {
        let what = format!("{limit_ms} ms, {others} others");
        let offsets: Vec<u16> = (0..8).chain(100..100 + others).collect();
        let (listener, endpoint) = listen().await;
        let server = tokio::spawn(Touchy::with(&bad).serve(listener, Bad::Silent));
        let addresses: Vec<String> = offsets.iter().map(|offset| format!("hr:{offset}")).collect();
        let tags: Vec<_> = addresses.iter().map(|address| (address.as_str(), "UINT", 0)).collect();
        let mut connector = open(device(&endpoint, &[("timeout", ms(limit_ms))], &tags));
        let (mut polls, mut given_up) = (0, 0);
        loop {
            polls += 1;
            assert!(polls < 16, "{what}: not found, {given_up} polls given up");
            connector.connect().await.unwrap();
            match tokio::time::timeout(POLL_MAX, poll(&mut connector, &[0])).await {
                Ok(Ok(samples)) if is_right(&offsets, &bad, &samples) => break,
                Ok(_) => {}
                Err(_) => given_up += 1,
            }
        }
        assert!(limit_ms > 50_000 || given_up == 0, "{what}: {given_up} polls given up");
        // Once they are found, every poll is quick, and the reason is told.
        let began = tokio::time::Instant::now();
        assert!(is_right(&offsets, &bad, &poll(&mut connector, &[0]).await.unwrap()), "{what}");
        assert!(began.elapsed() < Duration::from_secs(1), "{what}");
        for tag in 3..5 {
            assert!(connector.refusal(tag).unwrap().contains("does not answer"), "{what}");
        }
        server.abort();
    }
}

/// On the test's own clock: the device goes off when its bad registers have been tried once each.
#[tokio::test(start_paused = true)]
async fn the_search_goes_on_after_the_device_was_off() {
    let (offsets, bad): (Vec<u16>, _) = ((0..8).collect(), [3, 4]);
    for off in 1..5 {
        let (listener, endpoint) = listen().await;
        let touchy = Touchy::with(&bad);
        let server = tokio::spawn(Arc::clone(&touchy).serve(listener, Bad::Silent));
        let addresses: Vec<String> = offsets.iter().map(|offset| format!("hr:{offset}")).collect();
        let tags: Vec<_> = addresses.iter().map(|address| (address.as_str(), "UINT", 0)).collect();
        let mut connector = open(device(&endpoint, &[("timeout", ms(35_000))], &tags));
        // Two failures of the block, then one of each bad register.
        for polls in 0..4 + off {
            touchy.off.store(polls >= 4, SeqCst);
            let outcome = connect_and_poll(&mut connector, &[0]).await;
            assert_eq!(outcome.is_ok(), (2..4).contains(&polls), "poll {polls}: {outcome:?}");
        }
        touchy.off.store(false, SeqCst);
        polls_until("on again", &mut connector, |samples| is_right(&offsets, &bad, samples)).await;
        server.abort();
    }
}
