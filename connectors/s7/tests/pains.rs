//! What users of other collectors suffer from, each as a test: a driver that hangs until it is
//! restarted, a block that cannot be read, a CPU without a free connection.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use forebay_connector::{Connector, OptionValue, PollError, Protocol, Quality, Value};
use forebay_s7::S7;
use support::double::{Double, Mode};
use support::{device, good};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest time a connector may need to say that something is wrong, or to be right again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pain 2: the CPU is restarted again and again while it is read as fast as it answers. A counter
/// is read that only grows: a value of an earlier answer would show as one that went back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plc_that_restarts_under_load_is_read_again() {
    let mut device = device([("DB1.DBB0", "LINT"), ("DB2.DBB0", "LINT"), ("DB1.DBB8", "USINT[900]")]);
    let simulator: Arc<dyn forebay_connector::Simulator> = Arc::from(S7.simulate(&device).await.unwrap());
    device.endpoint = simulator.endpoint();
    let mut connector = S7.open(device).unwrap();
    let (count, ended) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let plant = {
        let (simulator, count, ended) = (Arc::clone(&simulator), Arc::clone(&count), Arc::clone(&ended));
        tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let now = count.fetch_add(1, Ordering::Relaxed) + 1;
                // The second follows the first, so it is never the larger one.
                simulator.set(0, &Value::Int(now));
                simulator.set(1, &Value::Int(now));
                tokio::task::yield_now().await;
            }
        })
    };
    let begun = Instant::now();
    let mut last = 0;
    for _ in 0..30 {
        while connector.connect().await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "not connected again");
        }
        let before = last;
        // After some scans, in the middle of a request.
        let unplug = async {
            while count.load(Ordering::Relaxed) <= before + 20 || count.load(Ordering::Relaxed) % 7 != 0 {
                tokio::task::yield_now().await;
            }
            simulator.unplug(true).await;
        };
        let load = async {
            loop {
                let mut samples = Vec::new();
                match connector.poll(&[0], &mut samples).await {
                    Ok(()) => {
                        let [Value::Int(first), Value::Int(second), _] =
                            [0, 1, 2].map(|tag: usize| samples[tag].value.clone())
                        else {
                            panic!("{samples:?}")
                        };
                        assert!(last <= first && first <= count.load(Ordering::Relaxed), "{last}, {first}");
                        assert!(second + 1 >= last, "{last}, {second}");
                        last = first;
                    }
                    Err(error) => break error,
                }
            }
        };
        let (error, ()) = tokio::join!(load, unplug);
        assert!(matches!(error, PollError::Lost { .. }), "{error}");
        simulator.unplug(false).await;
    }
    ended.store(true, Ordering::Relaxed);
    plant.await.unwrap();
    assert!(last > 0 && connector.requests() >= 60, "{last}, {}", connector.requests());
}

/// A cable: carries bytes both ways until it is cut, and then swallows them without a word.
struct Cable {
    endpoint: String,
    cut: Arc<AtomicBool>,
}

impl Cable {
    async fn to(device: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = listener.local_addr().expect("an address").to_string();
        let cut = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&device).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near_in, far_out, Arc::clone(&now)));
                tokio::spawn(carry(far_in, near_out, Arc::clone(&now)));
            }
        });
        Self { endpoint, cut }
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    cut: Arc<AtomicBool>,
) {
    let mut bytes = [0; 4096];
    let mut lost = false;
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // What was cut once stays silent: neither bytes nor the end of the connection get through.
        lost |= cut.load(Ordering::Relaxed);
        if !lost && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    if lost {
        std::future::pending::<()>().await;
    }
}

/// Pain 2: the other side is gone without a word. The connection still looks open.
#[tokio::test]
async fn a_half_open_connection_is_noticed_and_replaced() {
    let mut device = device([("DB1.DBW0", "INT")]);
    let simulator = S7.simulate(&device).await.unwrap();
    simulator.set(0, &Value::Int(1));
    let cable = Cable::to(simulator.endpoint()).await;
    device.endpoint.clone_from(&cable.endpoint);
    let timeout = Duration::from_millis(700);
    device.options.insert("timeout".into(), OptionValue::Duration(timeout));
    let mut connector = S7.open(device).unwrap();
    for round in 1..=3 {
        connector.connect().await.unwrap();
        simulator.set(0, &Value::Int(round));
        assert_eq!(good(connector.as_mut(), &[0]).await, [Value::Int(round)]);
        cable.cut.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let error = connector.poll(&[0], &mut Vec::new()).await.unwrap_err();
        assert_eq!(error, PollError::Timeout { waited: timeout });
        assert!(begun.elapsed() >= timeout);
        let again = connector.connect().await.unwrap_err();
        assert!(matches!(again, PollError::Timeout { .. }), "{again}");
        cable.cut.store(false, Ordering::Relaxed);
    }
}

/// Pain 10 and 16, seen from the box: the CPU has no connection left. It says so in words and reads
/// as soon as there is one.
#[tokio::test]
async fn a_cpu_without_a_free_connection_is_told_in_words() {
    let double = Double::start().await;
    let mut connector = S7.open(double.device([("DB1.DBW0", "UINT")])).unwrap();
    let disconnect = |reason| Mode::Confirm(vec![3, 0, 0, 11, 6, 0x80, 0, 1, 0, 0, reason]);
    for (mode, words, others) in [
        (disconnect(0x01), "all its communication resources are taken", "rack 0"),
        (disconnect(0x81), "all its communication resources are taken", "rack 0"),
        (disconnect(0x03), "no CPU in rack 0, slot 1", "resources"),
        (disconnect(0x00), "rack 0, slot 1 (S7-300: slot 2", "nothing"),
        (Mode::Confirm(vec![]), "no free connection", "nothing"),
    ] {
        double.set(mode);
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(error, PollError::Refused { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(words) && !said.contains(others), "{said}");
    }
    double.set(Mode::Honest);
    connector.connect().await.unwrap();
    good(connector.as_mut(), &[0]).await;

    let mut logo = double.device([("VW0", "UINT")]);
    logo.options.insert("cpu".into(), OptionValue::Text("logo".into()));
    let mut connector = S7.open(logo).unwrap();
    double.set(disconnect(0x03));
    let said = connector.connect().await.unwrap_err().to_string();
    assert!(said.contains("selectors 01.00 (ours) and 02.00 (its own): in LOGO!Soft Comfort"), "{said}");
}

/// Pain 11 and 15: one block is missing or optimised. It costs only its tags, and each says why.
#[tokio::test]
async fn an_optimised_or_missing_block_costs_only_its_tags() {
    let served = device([("DB1.DBW0", "INT"), ("DB3.DBW0", "INT"), ("T5", "S5TIME")]);
    let simulator = S7.simulate(&served).await.unwrap();
    (0..3).for_each(|tag| simulator.set(tag, &Value::Int(10)));
    let tags = [
        ("DB1.DBW0", "INT"),
        ("DB2.DBW0", "INT"),
        ("DB3.DBW0", "INT"),
        ("DB3.DBW2", "INT"),
        ("T5", "S5TIME"),
        ("T1500", "S5TIME"),
    ];
    let mut asked = device(tags);
    asked.endpoint = simulator.endpoint();
    for (cpu, block, end) in [
        ("s7-1500", "untick 'Optimized block access'", "Or DB3 is an optimised block"),
        ("s7-300", "DB2 does not exist in the CPU: check the number", "or download the newer block"),
    ] {
        let mut asked = asked.clone();
        asked.options.insert("cpu".into(), OptionValue::Text(cpu.into()));
        let mut connector = S7.open(asked).unwrap();
        connector.connect().await.unwrap();
        for _ in 0..3 {
            let mut samples = Vec::new();
            connector.poll(&[0], &mut samples).await.unwrap();
            let good: Vec<bool> = samples.iter().map(|sample| sample.quality == Quality::Good).collect();
            assert_eq!(good, [true, false, true, false, true, false], "{cpu}");
            assert!(samples.iter().all(|sample| sample.quality.is_good() || sample.value == Value::Null));
        }
        let why = |tag| connector.refusal(tag).unwrap_or_default();
        assert!(why(1).contains(block), "{}", why(1));
        assert!(why(3).contains(end), "{}", why(3));
        assert!(why(5).contains("T1500 does not exist in this CPU"), "{}", why(5));
        assert_eq!(why(0), "");
    }
}

/// What looks at one tag sees its bytes also when it is refused now, and disturbs nothing.
#[tokio::test]
async fn looking_at_a_refused_tag_asks_again() {
    let served = device([("DB1.DBW0", "INT")]);
    let simulator = S7.simulate(&served).await.unwrap();
    simulator.set(0, &Value::Int(-2));
    let mut asked = device([("DB1.DBW0", "INT"), ("DB2.DBW0", "INT")]);
    asked.endpoint = simulator.endpoint();
    let mut connector: Box<dyn Connector> = S7.open(asked).unwrap();
    connector.connect().await.unwrap();
    for _ in 0..2 {
        connector.poll(&[0], &mut Vec::new()).await.unwrap();
        let before = connector.requests();
        let look = connector.look(1).await.unwrap();
        assert_eq!((look.bytes, look.sample.quality), (None, Quality::Refused));
        assert_eq!(connector.requests(), before + 2, "asked, and asked alone");
        let look = connector.look(0).await.unwrap();
        assert_eq!((look.bytes, look.sample.value), (Some(vec![0xFF, 0xFE]), Value::Int(-2)));
    }
}
