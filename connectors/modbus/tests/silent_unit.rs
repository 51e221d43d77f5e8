//! Units that do not answer, behind an endpoint that others use too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use forebay_connector::{Connector, OptionValue, PollError, Value};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::double::{Asked, connect_and_poll, device, listen, ms, open, word};

const DEAD: u8 = 1;
/// Time limit of all units here: what a silent one costs each time.
const LIMIT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Gateway {
    /// Unit 1 has power.
    alive: AtomicBool,
    asked_in_vain: AtomicU32,
}

impl Gateway {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let gateway = Arc::clone(&self);
            tokio::spawn(async move {
                while let Some(asked) = Asked::next(&mut stream).await {
                    if asked.unit() == DEAD && !gateway.alive.load(SeqCst) {
                        gateway.asked_in_vain.fetch_add(1, SeqCst);
                        continue;
                    }
                    if stream.write_all(&asked.honest()).await.is_err() {
                        break;
                    }
                }
            });
        }
    }
}

fn unit(endpoint: &str, unit: u8) -> Box<dyn Connector> {
    let limit = u64::try_from(LIMIT.as_millis()).unwrap();
    let options = [("unit_id", OptionValue::Int(unit.into())), ("timeout", ms(limit))];
    open(device(endpoint, &options, &[("hr:0", "UINT", 0)]))
}

/// A dead unit is asked without pause by an impatient caller, and still its neighbours keep nine
/// tenths of the line; it is read again soon after it has come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dead_unit_behind_a_gateway_does_not_starve_the_others() {
    let (listener, endpoint) = listen().await;
    let gateway = Arc::new(Gateway::default());
    let server = tokio::spawn(Arc::clone(&gateway).serve(listener));
    let mut healthy = [2, 3].map(|number| unit(&endpoint, number));
    let mut dead = unit(&endpoint, DEAD);
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let impatient = tokio::spawn(async move {
        let (mut refused, mut promoted) = (String::new(), false);
        while !over.load(SeqCst) {
            match connect_and_poll(&mut dead, &[0]).await {
                Ok(samples) => {
                    assert_eq!(samples[0].value, Value::Uint(word(DEAD, 0).into()));
                    promoted = true;
                }
                Err(PollError::Refused { what }) => refused = what,
                Err(PollError::Timeout { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            tokio::task::yield_now().await;
        }
        (refused, promoted)
    });
    let start = Instant::now();
    let mut polls = 0;
    while start.elapsed() < 40 * LIMIT {
        for (number, connector) in (2u8..).zip(&mut healthy) {
            let samples = connect_and_poll(connector, &[0]).await.expect("a healthy unit is read");
            assert_eq!(samples[0].value, Value::Uint(word(number, 0).into()));
            polls += 1;
        }
    }
    let (vain, elapsed) = (gateway.asked_in_vain.load(SeqCst), start.elapsed());
    // Two silences until it is demoted, then one in ten.
    let allowed = 3 + elapsed.as_millis() / (9 * LIMIT.as_millis());
    assert!(u128::from(vain) <= allowed, "asked {vain} times in {elapsed:?}, {allowed} would be fair");
    assert!(vain >= 3, "a demoted unit is still asked now and then, not only {vain} times");
    assert!(polls > 40, "only {polls} polls of healthy units");

    gateway.alive.store(true, SeqCst);
    let revived = Instant::now();
    while revived.elapsed() < 12 * LIMIT {
        connect_and_poll(&mut healthy[0], &[0]).await.expect("a healthy unit is read");
    }
    is_over.store(true, SeqCst);
    let (refused, promoted) = impatient.await.unwrap();
    assert!(refused.contains("unit 1 was silent") && refused.contains("less often"), "{refused:?}");
    assert!(promoted, "not promoted when it answered again");
    server.abort();
}

/// Alone on its line nobody has to wait, so it is asked as often as the poller likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_unit_alone_on_its_line_is_not_demoted() {
    let (listener, endpoint) = listen().await;
    let gateway = Arc::new(Gateway::default());
    let server = tokio::spawn(Arc::clone(&gateway).serve(listener));
    let mut dead = unit(&endpoint, DEAD);
    for _ in 0..5 {
        let outcome = connect_and_poll(&mut dead, &[0]).await;
        assert!(matches!(outcome, Err(PollError::Timeout { .. })), "{outcome:?}");
    }
    server.abort();
}

/// Exception 0B says the same as silence, and costs the time that the gateway waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_its_gateway_calls_silent_is_demoted_too() {
    let (listener, endpoint) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(asked) = Asked::next(&mut stream).await {
            tokio::time::sleep(LIMIT).await;
            stream.write_all(&asked.exception(0x0B)).await.unwrap();
        }
    });
    let options = [("unit_id", OptionValue::Int(1))];
    let mut dead = open(device(&endpoint, &options, &[("hr:0", "UINT", 0)]));
    let neighbour = unit(&endpoint, 2);
    for words in ["does not answer (exception 0B)", "does not answer (exception 0B)", "less often"] {
        let outcome = connect_and_poll(&mut dead, &[0]).await;
        assert!(matches!(&outcome, Err(PollError::Refused { what }) if what.contains(words)), "{outcome:?}");
    }
    drop(neighbour);
    server.abort();
}
