//! CPU time per million values: our read path beside the library's own read of the same nodes, and
//! a subscription beside both.
//!
//! `cargo bench -p forebay-opcua`. The simulated server runs in a process of its own, so that only
//! the client's CPU time counts. Without security: encryption costs the same in both.
#![allow(missing_docs)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_connector::{
    DataType, DeviceSpec, OptionValue, Protocol, Quality, ScanClass, Secrets, TagSpec, Value,
};
use forebay_opcua::OpcUa;
use opcua::client::{ClientBuilder, IdentityToken};
use opcua::types::{
    EndpointDescription, MessageSecurityMode, NodeId, ReadValueId, TimestampsToReturn, VariableId, Variant,
};

const NODES: usize = 500;
const ROUNDS: usize = 1000;
/// Turns of each, one after the other, so that both meet the same machine.
const TURNS: usize = 5;
const URI: &str = "urn:forebay:bench";

struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("none".into())
    }
}

fn device(endpoint: &str, read: &str) -> DeviceSpec {
    let tag = |number| TagSpec {
        path: format!("t{number}"),
        address: format!("ns=b;s=t{number}"),
        data_type: DataType::parse("REAL").expect("a type"),
        order: None,
        scan: 0,
        deadband: None,
    };
    DeviceSpec {
        name: "bench".into(),
        endpoint: endpoint.into(),
        options: [
            ("security".to_owned(), OptionValue::Text("None".into())),
            ("read".to_owned(), OptionValue::Text(read.into())),
            ("publishing".to_owned(), OptionValue::Duration(Duration::from_millis(100))),
            ("namespaces".to_owned(), OptionValue::Texts([("b".to_owned(), URI.to_owned())].into())),
        ]
        .into(),
        scans: vec![ScanClass { name: "fast".into(), interval: Duration::from_millis(100) }],
        tags: (0..NODES).map(tag).collect(),
        trust: None,
        allow_insecure: true,
        secrets: Arc::new(NoSecrets),
        state_directory: std::env::temp_dir().join(format!("forebay-bench-{}", std::process::id())),
    }
}

/// User and system time of this process so far, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let behind = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The simulated server, changing all values every 100 ms.
async fn serve() {
    let spec = device("opc.tcp://127.0.0.1:1", "poll");
    let simulator = OpcUa.simulate(&spec).await.expect("a server");
    println!("{}", simulator.endpoint());
    let mut round = 0u16;
    loop {
        round = round.wrapping_add(1);
        for tag in (0u32..).take(NODES) {
            simulator.set(tag, &Value::Real(f32::from(round)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if std::env::args().any(|word| word == "serve") {
        runtime.block_on(serve());
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let mut server =
        Command::new(own).arg("serve").stdout(Stdio::piped()).spawn().expect("the server starts");
    let mut endpoint = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut endpoint).expect("its endpoint");
    runtime.block_on(measure(endpoint.trim()));
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

async fn measure(endpoint: &str) {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        bare.push(library(endpoint).await);
        ours.push(connector(endpoint).await);
    }
    let subscribed = subscription(endpoint).await;
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (bare, ours) = (middle(bare), middle(ours));
    println!("CPU seconds per million values, {NODES} REAL in a request, median of {TURNS} turns:");
    println!("  library alone        {bare:.3}");
    println!("  connector, polled    {ours:.3}  ({:.2} times the library)", ours / bare);
    println!("  connector, subscribed {subscribed:.3}");
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn per_million(spent: Duration, values: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / values as f64
}

async fn library(endpoint: &str) -> f64 {
    let pki = std::env::temp_dir().join(format!("forebay-bench-bare-{}", std::process::id()));
    let client = ClientBuilder::new()
        .application_name("bench")
        .application_uri("urn:bench")
        .pki_dir(pki)
        .session_retry_limit(0)
        .client()
        .expect("a client");
    let mut description = EndpointDescription::from(endpoint);
    description.security_mode = MessageSecurityMode::None;
    description.security_policy_uri = "http://opcfoundation.org/UA/SecurityPolicy#None".into();
    let offered = client.get_server_endpoints_from_url(endpoint).await.expect("endpoints");
    description.user_identity_tokens = offered[0].user_identity_tokens.clone();
    let (session, events) = client
        .session_builder()
        .connect_to_endpoint_directly(description)
        .expect("an endpoint")
        .user_identity_token(IdentityToken::Anonymous)
        .build(client.certificate_store().clone())
        .expect("a session");
    let task = events.spawn();
    assert!(session.wait_for_connection().await);
    let array = ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray));
    let answer = session.read(&[array], TimestampsToReturn::Neither, 0.0).await.expect("read");
    let Some(Variant::Array(namespaces)) = &answer[0].value else { panic!("no namespaces") };
    let index = namespaces.values.iter().position(|uri| uri.to_string() == URI).expect("ours");
    let index = u16::try_from(index).expect("small");
    let nodes: Vec<ReadValueId> =
        (0..NODES).map(|number| NodeId::new(index, format!("t{number}")).into()).collect();
    let start = cpu();
    for _ in 0..ROUNDS {
        let values = session.read(&nodes, TimestampsToReturn::Both, 0.0).await.expect("read");
        assert!(values.len() == NODES && values[NODES - 1].value.is_some());
    }
    let spent = cpu() - start;
    session.disconnect().await.expect("closed");
    task.await.expect("ended");
    per_million(spent, NODES * ROUNDS)
}

async fn connector(endpoint: &str) -> f64 {
    let mut connector = OpcUa.open(device(endpoint, "poll")).expect("opened");
    connector.connect().await.expect("connected");
    let mut samples = Vec::new();
    let start = cpu();
    for _ in 0..ROUNDS {
        samples.clear();
        connector.poll(&[0], &mut samples).await.expect("read");
        assert!(samples.len() == NODES && samples[NODES - 1].quality == Quality::Good);
    }
    let spent = cpu() - start;
    connector.close().await;
    per_million(spent, NODES * ROUNDS)
}

async fn subscription(endpoint: &str) -> f64 {
    let mut connector = OpcUa.open(device(endpoint, "subscribe")).expect("opened");
    connector.connect().await.expect("connected");
    let (mut samples, mut values) = (Vec::new(), 0);
    let (start, began) = (cpu(), Instant::now());
    while began.elapsed() < Duration::from_secs(20) {
        samples.clear();
        connector.poll(&[0], &mut samples).await.expect("alive");
        values += samples.len();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spent = cpu() - start;
    connector.close().await;
    per_million(spent, values)
}
