//! Peers that are not what they should be, and networks that fail in mid-session.
#![allow(missing_docs)]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{
    Line, PATIENCE, Proxy, device, impatient, open, poll_error, poll_until, reconnect, socket, tag,
};
use forebay_connector::{DeviceSpec, OptionValue, PollError, Protocol, Quality, Value};
use forebay_opcua::OpcUa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Longest time that any attempt to connect may take, with a timeout of one second, on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Silent,
    CloseAtOnce,
    CloseAfterHello,
    Garbage,
    Http,
    EndlessZeros,
    EndlessFrames,
    HugeFrame,
    TinyFrame,
    HalfAcknowledge,
    Trickle,
    AcknowledgeZeroSizes,
    AcknowledgeHugeSizes,
    AcknowledgeThenSilence,
    AcknowledgeThenGarbage,
    AcknowledgeThenShortChannel,
    AcknowledgeThenWrongChannel,
    ErrorMessage,
    Honest(SocketAddr),
}

const HOSTILE: &[Behaviour] = &[
    Behaviour::Silent,
    Behaviour::CloseAtOnce,
    Behaviour::CloseAfterHello,
    Behaviour::Garbage,
    Behaviour::Http,
    Behaviour::EndlessZeros,
    Behaviour::EndlessFrames,
    Behaviour::HugeFrame,
    Behaviour::TinyFrame,
    Behaviour::HalfAcknowledge,
    Behaviour::Trickle,
    Behaviour::AcknowledgeZeroSizes,
    Behaviour::AcknowledgeHugeSizes,
    Behaviour::AcknowledgeThenSilence,
    Behaviour::AcknowledgeThenGarbage,
    Behaviour::AcknowledgeThenShortChannel,
    Behaviour::AcknowledgeThenWrongChannel,
    Behaviour::ErrorMessage,
];

fn frame(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).expect("short");
    [&kind[..], &length.to_le_bytes(), body].concat()
}

fn acknowledge(size: u32) -> Vec<u8> {
    // Protocol version, receive buffer, send buffer, longest message, most chunks.
    frame(b"ACKF", &[0, size, size, size, size].map(u32::to_le_bytes).concat())
}

/// Answers one connection; an error means that the client has gone, which is what it should do.
async fn answer(mut client: TcpStream, behaviour: Behaviour) -> std::io::Result<()> {
    if matches!(behaviour, Behaviour::CloseAtOnce) {
        return Ok(());
    }
    let mut hello = [0; 4096];
    let length = client.read(&mut hello).await?;
    assert!(hello[..length].starts_with(b"HELF"), "no hello");
    let numbers: Vec<u8> = (0..=255).cycle().take(4000).collect();
    match behaviour {
        Behaviour::CloseAfterHello => return Ok(()),
        Behaviour::Garbage => client.write_all(&numbers).await?,
        Behaviour::Http => client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await?,
        Behaviour::EndlessZeros => loop {
            client.write_all(&[0; 65536]).await?;
        },
        Behaviour::EndlessFrames => loop {
            client.write_all(&frame(b"MSGC", &[7; 60_000])).await?;
        },
        Behaviour::HugeFrame => {
            client.write_all(b"ACKF\xFF\xFF\xFF\xFF").await?;
            loop {
                client.write_all(&[1; 65536]).await?;
            }
        }
        Behaviour::TinyFrame => client.write_all(b"ACKF\x04\0\0\0\0\0\0\0").await?,
        Behaviour::HalfAcknowledge => {
            client.write_all(&acknowledge(65536)[..14]).await?;
            return Ok(());
        }
        Behaviour::Trickle => {
            for byte in acknowledge(65536).iter().cycle() {
                client.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Behaviour::AcknowledgeZeroSizes => client.write_all(&acknowledge(0)).await?,
        Behaviour::AcknowledgeHugeSizes => client.write_all(&acknowledge(u32::MAX)).await?,
        Behaviour::ErrorMessage => {
            let text = b"Unknown TCP error";
            let body = [&0x8005_0000u32.to_le_bytes()[..], &[17, 0, 0, 0], text].concat();
            client.write_all(&frame(b"ERRF", &body)).await?;
        }
        Behaviour::AcknowledgeThenSilence
        | Behaviour::AcknowledgeThenGarbage
        | Behaviour::AcknowledgeThenShortChannel
        | Behaviour::AcknowledgeThenWrongChannel => {
            client.write_all(&acknowledge(65536)).await?;
            let _request = client.read(&mut hello).await?;
            let answer = match behaviour {
                Behaviour::AcknowledgeThenGarbage => numbers,
                Behaviour::AcknowledgeThenShortChannel => frame(b"OPNF", &[0]),
                Behaviour::AcknowledgeThenWrongChannel => {
                    let uri = b"http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256";
                    let body = [&[1, 0, 0, 0][..], &[57, 0, 0, 0], uri, &[0xFF; 8], &[9; 64]].concat();
                    frame(b"OPNF", &body)
                }
                _ => Vec::new(),
            };
            client.write_all(&answer).await?;
        }
        Behaviour::Honest(target) => {
            let mut server = TcpStream::connect(target).await?;
            server.write_all(&hello[..length]).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
        Behaviour::Silent | Behaviour::CloseAtOnce => {}
    }
    // Stays open until the client goes.
    while client.read(&mut hello).await? > 0 {}
    Ok(())
}

/// A port that behaves as it is told.
async fn front(behaviour: watch::Receiver<Behaviour>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let now = *behaviour.borrow();
            tokio::spawn(async move {
                let _gone = answer(client, now).await;
            });
        }
    });
    address
}

async fn wait_for_tasks(limit: usize) {
    let end = Instant::now() + PATIENCE;
    while Handle::current().metrics().num_alive_tasks() > limit {
        assert!(
            Instant::now() < end,
            "{} tasks, {limit} before",
            Handle::current().metrics().num_alive_tasks()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_peers_cost_one_attempt_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = impatient(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    // On a runtime of its own, so that only the connector's tasks are counted here.
    let servers = tokio::runtime::Runtime::new().expect("a runtime");
    let served = spec.clone();
    let starting = servers.spawn(async move { OpcUa.simulate(&served).await });
    let simulator = starting.await.expect("started").expect("a simulator");
    simulator.set(0, &Value::Int(42));
    let honest = Behaviour::Honest(socket(&simulator.endpoint()));
    let (tell, told) = watch::channel(Behaviour::Silent);
    spec.endpoint = format!("opc.tcp://{}", front(told).await);
    let mut connector = open(&spec);
    let before = Handle::current().metrics().num_alive_tasks();
    for behaviour in HOSTILE {
        tell.send(*behaviour).expect("the front runs");
        let start = Instant::now();
        let error = connector.connect().await.expect_err("not OPC UA");
        println!("{behaviour:?}: {:?}, {error}", start.elapsed());
        assert!(start.elapsed() < BOUND, "{behaviour:?} took {:?}", start.elapsed());
        assert!(
            !matches!(error, PollError::Security { .. } | PollError::Refused { .. }),
            "{behaviour:?}: {error}"
        );
        assert!(connector.poll(&[0], &mut Vec::new()).await.is_err(), "{behaviour:?}");
        wait_for_tasks(before).await;
    }
    tell.send(honest).expect("the front runs");
    reconnect(&mut connector).await;
    let samples = poll_until(&mut connector, "the value", |samples| !samples.is_empty()).await;
    assert_eq!(samples[0].value, Value::Int(42));
    drop(connector);
    wait_for_tasks(before).await;
    servers.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_hole_is_bounded() {
    let folder = tempfile::tempdir().expect("a folder");
    // A full accept queue swallows connections as an unreachable network does.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("an address");
    let mut held = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        held.push(stream);
    }
    let mut spec = impatient(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    spec.endpoint = format!("opc.tcp://{address}");
    let start = Instant::now();
    let error = open(&spec).connect().await.expect_err("a black hole");
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    assert!(matches!(error, PollError::Connect { .. } | PollError::Timeout { .. }), "{error}");
}

/// A proxy that breaks one byte of what the server sends.
async fn breaking_proxy(target: SocketAddr, position: watch::Receiver<(usize, u8)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut at, bits) = *position.borrow();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(target).await else { return };
                let (mut server_in, mut server_out) = server.into_split();
                let (mut client_in, mut client_out) = client.into_split();
                let broken = async move {
                    let mut buffer = vec![0; 16 * 1024];
                    while let Ok(length @ 1..) = server_in.read(&mut buffer).await {
                        if let Some(byte) = buffer[..length].get_mut(at) {
                            *byte ^= bits;
                        }
                        at = at.wrapping_sub(length);
                        if client_out.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = broken => {}
                    _ = tokio::io::copy(&mut client_in, &mut server_out) => {}
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_byte_anywhere_ends_in_an_error_or_a_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spec = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "STRING", 0)]);
    spec.options.insert("timeout".into(), OptionValue::Duration(Duration::from_millis(200)));
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    let (tell, position) = watch::channel((0, 0));
    let address = breaking_proxy(socket(&simulator.endpoint()), position).await;
    spec.endpoint = format!("opc.tcp://{address}");
    let (mut failed, mut opened) = (0, 0);
    for at in (0..2600).step_by(17) {
        tell.send((at, if at % 2 == 0 { 0xFF } else { 0x80 })).expect("the proxy runs");
        let mut connector = open(&spec);
        let start = Instant::now();
        match connector.connect().await {
            Ok(_) => {
                opened += 1;
                // The byte may still be on its way: into a keep-alive or a value.
                let end = Instant::now() + Duration::from_millis(150);
                while Instant::now() < end && connector.poll(&[0], &mut Vec::new()).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Err(_) => failed += 1,
        }
        assert!(start.elapsed() < BOUND, "byte {at} took {:?}", start.elapsed());
        connector.close().await;
    }
    println!("{failed} attempts failed, {opened} sessions opened all the same");
    assert!(failed > 0 && opened > 0);
}

async fn behind_proxy(mut spec: DeviceSpec) -> (Box<dyn forebay_connector::Simulator>, Proxy, DeviceSpec) {
    let simulator = OpcUa.simulate(&spec).await.expect("a simulator");
    let proxy = Proxy::start(socket(&simulator.endpoint())).await;
    spec.endpoint = format!("opc.tcp://{}", proxy.address);
    (simulator, proxy, spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_line_is_noticed_and_healed() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = impatient(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    let (simulator, proxy, spec) = behind_proxy(spec).await;
    let mut connector = open(&spec);
    for round in 1..=2i64 {
        simulator.set(0, &Value::Int(round));
        reconnect(&mut connector).await;
        let samples = poll_until(&mut connector, "the value", |samples| !samples.is_empty()).await;
        assert_eq!(samples[0].value, Value::Int(round));
        proxy.set(Line::Frozen);
        let start = Instant::now();
        let error = poll_error(&mut connector).await;
        println!("round {round}: {error} after {:?}", start.elapsed());
        assert!(matches!(error, PollError::Timeout { .. } | PollError::Lost { .. }), "{error}");
        // What the line held back belongs to the old session and must not appear in the new one.
        simulator.set(0, &Value::Int(-round));
        let start = Instant::now();
        let error = connector.connect().await.expect_err("still frozen");
        assert!(start.elapsed() < BOUND && !matches!(error, PollError::Security { .. }), "{error}");
        proxy.set(Line::Open);
        reconnect(&mut connector).await;
        let samples = poll_until(&mut connector, "the value", |samples| !samples.is_empty()).await;
        assert!(samples.iter().all(|sample| sample.value == Value::Int(-round)), "{samples:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_lines_do_not_fill_the_server_with_sessions() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = device(&folder, "opc.tcp://127.0.0.1:1", vec![tag("x", "ns=plc;s=x", "DINT", 0)]);
    let (simulator, proxy, spec) = behind_proxy(spec).await;
    let mut connector = open(&spec);
    for round in 1..=4i64 {
        connector.connect().await.expect("connected");
        simulator.set(0, &Value::Int(round));
        let last = Value::Int(round);
        let samples = poll_until(&mut connector, "the value", |samples| {
            samples.last().is_some_and(|sample| sample.value == last)
        })
        .await;
        let fresh = |value: &Value| *value == last || *value == Value::Int(round - 1);
        assert!(samples.iter().all(|sample| fresh(&sample.value) && sample.quality == Quality::Good));
        proxy.set(Line::Cut);
        let error = poll_error(&mut connector).await;
        assert!(matches!(error, PollError::Lost { .. }), "{error}");
        proxy.set(Line::Open);
    }
    // The server may still hold four sessions: it is not asked for more until they have ended.
    let before = proxy.connections();
    let error = connector.connect().await.expect_err("too early");
    assert!(matches!(&error, PollError::Refused { what } if what.contains("still hold")), "{error}");
    assert_eq!(proxy.connections(), before);
    reconnect(&mut connector).await;
    // The simulator takes 20 sessions; those closed properly must not count.
    for _ in 0..40 {
        connector.connect().await.expect("a session is free");
    }
    // Two connections for each session: one to ask for the endpoints.
    assert!(proxy.connections() <= 2 * (4 + 1 + 40), "{} connections", proxy.connections());
}
