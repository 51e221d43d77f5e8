//! A real Apache Kafka on loopback, made of the libraries that tests/setup fetched.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::network::Network;
use crate::support::{PATIENCE, Port, root, tool, wait_for};

/// Brokers that are controllers too, in one KRaft quorum.
pub struct Cluster {
    nodes: Vec<Node>,
    folder: PathBuf,
}

/// Three Java machines start side by side on the cores that other tests use, too.
const START_MAX: Duration = Duration::from_secs(180);

/// What kind of cluster.
#[derive(Clone, Copy, Default)]
pub struct Plan<'a> {
    /// How many brokers.
    pub brokers: usize,
    /// A listener that demands TLS, SASL and permissions.
    pub security: Option<&'a Security>,
    /// Each broker on a cable of its own instead of loopback.
    pub network: Option<&'a Network>,
    /// Each broker on a disk of its own of this size, which is memory.
    pub disk_mib: Option<u32>,
    /// Lines added to `server.properties`.
    pub settings: &'a str,
}

/// Where one broker listens: for clients without encryption or password, for the other controllers,
/// and for clients with TLS and SASL.
struct Place {
    host: String,
    plain: u16,
    controller: u16,
    secure: u16,
    /// Keeps the ports ours.
    _ports: Vec<Port>,
    /// Runs a program at this place.
    within: Vec<String>,
}

struct Node {
    place: Place,
    folder: PathBuf,
    /// `None` = not running.
    process: Option<Process>,
}

/// Java below a shell that kills it as soon as our end of its input closes, so that no broker
/// outlives the tests, however they end.
struct Process {
    shell: Child,
    java_pid: u32,
}

/// What the secured listener wants.
pub struct Security {
    /// PEM file with key and certificate of the broker.
    pub keystore: PathBuf,
    /// User and password, for SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN.
    pub users: Vec<(&'static str, &'static str)>,
    /// Port of one more listener, which wants a certificate that this authority vouches for.
    pub certificates: Option<(u16, PathBuf)>,
}

static SHARED: Mutex<Option<Cluster>> = Mutex::new(None);
static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Cluster {
    /// The three brokers that the tests of this binary share, all running. One test at a time.
    pub fn shared() -> SharedCluster {
        let mut guard = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = guard.get_or_insert_with(|| Self::start(3));
        for index in 0..cluster.nodes.len() {
            cluster.resume(index);
            if cluster.nodes[index].process.is_none() {
                cluster.restart(index);
            }
        }
        cluster.wait_complete();
        SharedCluster(guard)
    }

    /// Keeps the tests that share a cluster waiting, for a test that needs the cores for its own.
    pub fn no_other() -> MutexGuard<'static, Option<Self>> {
        SHARED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts this many brokers and waits until they serve.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, None)
    }

    /// The same with a listener that demands TLS, SASL and permissions.
    pub fn start_with(count: usize, security: Option<&Security>) -> Self {
        Self::start_by(Plan { brokers: count, security, ..Plan::default() })
    }

    /// Starts what the plan says and waits until it serves.
    pub fn start_by(plan: Plan<'_>) -> Self {
        let parent = root().join("target/kafka-tests");
        sweep(&parent);
        let name = format!("{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let folder = parent.join(name);
        let count = plan.brokers;
        let places: Vec<Place> = (0..count).map(|index| Place::new(index, plan.network)).collect();
        let voters: Vec<String> = (1..)
            .zip(&places)
            .map(|(id, place)| format!("{id}@{}:{}", place.host, place.controller))
            .collect();
        let mut nodes = Vec::new();
        for (index, place) in places.into_iter().enumerate() {
            let folder = folder.join(format!("node-{}", index + 1));
            std::fs::create_dir_all(folder.join("data")).expect("target is writable");
            if let Some(mib) = plan.disk_mib {
                mount_disk(&folder.join("data"), mib, false);
            }
            let settings = settings(index + 1, &place, &voters.join(","), &folder, plan);
            std::fs::write(folder.join("server.properties"), settings).expect("target is writable");
            nodes.push(Node { place, folder, process: None });
        }
        let mut formats: Vec<Child> = nodes.iter().map(|node| node.format(plan.security)).collect();
        for format in &mut formats {
            assert!(
                format.wait().expect("java runs").success(),
                "StorageTool failed, see {}",
                folder.display()
            );
        }
        let mut cluster = Self { nodes, folder };
        (0..count).for_each(|index| cluster.restart(index));
        cluster.wait_complete();
        cluster
    }

    /// `bootstrap.servers` of all brokers.
    pub fn brokers(&self) -> String {
        self.nodes.iter().map(Node::broker).collect::<Vec<_>>().join(",")
    }

    /// `bootstrap.servers` with TLS and SASL.
    pub fn secure_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.nodes[0].place.secure)
    }

    /// `bootstrap.servers` of one broker.
    pub fn broker(&self, index: usize) -> String {
        self.nodes[index].broker()
    }

    /// A program of Kafka, run where broker `index` is, with `--bootstrap-server` of that broker;
    /// what it printed.
    pub fn tool(&self, index: usize, class: &str, words: &[&str]) -> String {
        let node = &self.nodes[index];
        let mut command = node.command(&node.java());
        command.args([class, "--bootstrap-server", &node.broker()]).args(words);
        let done = command.output().expect("java is installed, see tests/setup");
        let [said, complaints] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(done.status.success(), "{class} {words:?}: {said}{complaints}");
        said.into_owned()
    }

    /// kill -9.
    pub fn kill(&mut self, index: usize) {
        if let Some(process) = self.nodes[index].process.take() {
            process.end();
        }
    }

    /// SIGTERM, as an upgrade does it: the broker hands over what it leads, and ends.
    pub fn shut_down(&mut self, index: usize) {
        self.nodes[index].signal("TERM");
        wait_for("end of the broker", START_MAX, || self.has_ended(index).then_some(()));
        self.kill(index);
    }

    /// True when the broker has ended by itself.
    pub fn has_ended(&self, index: usize) -> bool {
        self.nodes[index].process.as_ref().is_none_or(Process::has_ended)
    }

    /// Changes the size of a broker's own disk.
    pub fn resize_disk(&self, index: usize, mib: u32) {
        mount_disk(&self.nodes[index].data(), mib, true);
    }

    /// Bytes that a broker holds on its disk.
    pub fn disk_bytes(&self, index: usize) -> u64 {
        let done = Command::new("du").args(["-s", "-B1"]).arg(self.nodes[index].data()).output();
        let text = String::from_utf8(done.expect("du runs").stdout).expect("numbers");
        text.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number")
    }

    /// SIGSTOP: the port stays open and nobody answers.
    pub fn pause(&self, index: usize) {
        self.nodes[index].signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) {
        self.nodes[index].signal("CONT");
    }

    /// Starts a broker that was killed, on its old port with its old data.
    pub fn restart(&mut self, index: usize) {
        self.kill(index);
        let process = self.nodes[index].run();
        self.nodes[index].process = Some(process);
    }

    /// Creates a topic, compacted when it is for checkpoints.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topic_with(topic, partitions, &[]);
    }

    /// Creates a topic with these settings.
    pub fn create_topic_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().expect("a client");
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        if topic.ends_with(".checkpoints") {
            new = new.set("cleanup.policy", "compact");
        }
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let limit = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let answers = runtime.block_on(admin.create_topics([&new], &limit)).expect("the cluster answers");
        answers.into_iter().for_each(|answer| assert!(answer.is_ok(), "{answer:?}"));
        wait_for(&format!("leader of {topic}"), PATIENCE, || {
            let consumer: BaseConsumer = self.client().create().ok()?;
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(2)).ok()?;
            let found = metadata.topics().first()?;
            (!found.partitions().is_empty() && found.partitions().iter().all(|one| one.leader() > 0))
                .then_some(())
        });
    }

    /// Topics of a prefix as the IT department would make them.
    pub fn create_topics(&self, prefix: &str) {
        for (name, partitions) in [("telemetry", 4), ("events", 1), ("checkpoints", 4)] {
            self.create_topic(&format!("{prefix}.{name}"), partitions);
        }
    }

    /// Waits until every broker has all of a topic.
    pub fn wait_in_sync(&self, topic: &str) {
        self.wait_complete();
        let consumer: BaseConsumer = self.client().create().expect("a client");
        wait_for(&format!("all copies of {topic}"), START_MAX, || {
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(2)).ok()?;
            let partitions = metadata.topics().first()?.partitions();
            partitions.iter().all(|one| one.isr().len() == one.replicas().len()).then_some(())
        });
    }

    /// Waits until every broker serves and knows all others.
    pub fn wait_complete(&self) {
        for node in &self.nodes {
            wait_for("complete cluster", START_MAX, || {
                let mut config = ClientConfig::new();
                config.set("bootstrap.servers", node.broker());
                let consumer: BaseConsumer = config.create().ok()?;
                let metadata = consumer.fetch_metadata(None, Duration::from_secs(2)).ok()?;
                (metadata.brokers().len() == self.nodes.len()).then_some(())
            });
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.nodes.len()).for_each(|index| self.kill(index));
        unmount_below(&self.folder);
        if !std::thread::panicking() {
            // What is left is swept by the next start.
            let _left = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The shared cluster, for one test.
pub struct SharedCluster(MutexGuard<'static, Option<Cluster>>);

impl std::ops::Deref for SharedCluster {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect("started by shared()")
    }
}

impl std::ops::DerefMut for SharedCluster {
    fn deref_mut(&mut self) -> &mut Cluster {
        self.0.as_mut().expect("started by shared()")
    }
}

impl Place {
    fn new(index: usize, network: Option<&Network>) -> Self {
        let Some(network) = network else {
            let ports: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
            let [plain, controller, secure] = [0, 1, 2].map(|index: usize| ports[index].number);
            let host = "127.0.0.1".to_owned();
            return Self { host, plain, controller, secure, _ports: ports, within: Vec::new() };
        };
        let within = ["ip", "netns", "exec", &network.namespace(index)].map(str::to_owned).to_vec();
        // Nobody else is there.
        let (plain, controller, secure) = (9092, 9093, 9094);
        Self { host: network.address(index), plain, controller, secure, _ports: Vec::new(), within }
    }
}

impl Node {
    fn broker(&self) -> String {
        format!("{}:{}", self.place.host, self.place.plain)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// These words as a command at the broker's place.
    fn command(&self, words: &[String]) -> Command {
        let words: Vec<&String> = self.place.within.iter().chain(words).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }

    fn java(&self) -> Vec<String> {
        let libraries = tool("kafka/libs");
        let log = "org.slf4j.simpleLogger";
        [
            "java",
            "-Xms64m",
            "-Xmx320m",
            // Two cores for three brokers and the tests: start fast, few threads.
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            &format!("-D{log}.defaultLogLevel=warn"),
            &format!("-D{log}.showDateTime=true"),
            "-cp",
            &format!("{}/*", libraries.display()),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn log(&self) -> std::fs::File {
        let path = self.folder.join("broker.log");
        std::fs::File::options().create(true).append(true).open(path).expect("target is writable")
    }

    fn format(&self, security: Option<&Security>) -> Child {
        let mut command = self.command(&self.java());
        command
            .args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(self.folder.join("server.properties"));
        for (user, password) in security.iter().flat_map(|security| &security.users) {
            for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256"] {
                command.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={password}]"));
            }
        }
        command.stdout(self.log()).stderr(self.log()).spawn().expect("java is installed, see tests/setup")
    }

    fn run(&self) -> Process {
        let script = "log=$1; shift; \"$@\" >>\"$log\" 2>&1 </dev/null & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null";
        let mut shell = self
            .command(&["sh", "-c", script, "sh"].map(str::to_owned))
            .arg(self.folder.join("broker.log"))
            .args(self.java())
            .arg("kafka.Kafka")
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut line = String::new();
        let output = shell.stdout.take().expect("stdout is piped");
        BufReader::new(output).read_line(&mut line).expect("the shell writes");
        Process { java_pid: line.trim().parse().expect("a process id"), shell }
    }

    fn signal(&self, signal: &str) {
        if let Some(process) = &self.process {
            signal_pid(signal, process.java_pid);
        }
    }
}

impl Process {
    fn has_ended(&self) -> bool {
        // The shell has not asked for its child's end yet, so it stays as a zombie.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.java_pid));
        stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
    }

    fn end(mut self) {
        if !self.has_ended() {
            signal_pid("KILL", self.java_pid);
        }
        drop(self.shell.stdin.take());
        self.shell.wait().expect("the shell ends");
    }
}

/// Sends a signal to a process.
pub fn signal_pid(signal: &str, pid: u32) {
    let command = format!("kill -{signal} {pid}");
    Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status().expect("sh runs");
}

fn settings(id: usize, place: &Place, voters: &str, folder: &Path, plan: Plan<'_>) -> String {
    let count = plan.brokers;
    let Place { host, plain, controller, secure, .. } = place;
    let min_isr = count.div_ceil(2);
    let data = folder.join("data");
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
log.dirs={}
num.partitions=4
default.replication.factor={count}
min.insync.replicas={min_isr}
offsets.topic.replication.factor={count}
offsets.topic.num.partitions=2
transaction.state.log.replication.factor={count}
transaction.state.log.min.isr={min_isr}
transaction.state.log.num.partitions=3
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
replica.lag.time.max.ms=5000
num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
",
        data.display()
    );
    let mut listeners = format!("PLAIN://{host}:{plain},CONTROLLER://{host}:{controller}");
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT".to_owned();
    if let Some(security) = plan.security {
        listeners += &format!(",SECURE://{host}:{secure}");
        protocols += ",SECURE:SASL_SSL";
        let users = security.users.iter().map(|(user, password)| format!(" user_{user}=\"{password}\""));
        let users: String = users.collect();
        if let Some((port, authority)) = &security.certificates {
            listeners += &format!(",CERTIFICATE://127.0.0.1:{port}");
            protocols += ",CERTIFICATE:SSL";
            text += &format!(
                "listener.name.certificate.ssl.client.auth=required
listener.name.certificate.ssl.truststore.type=PEM
listener.name.certificate.ssl.truststore.location={}
",
                authority.display()
            );
        }
        text += &format!(
            "sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{users};
ssl.keystore.type=PEM
ssl.keystore.location={}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
            security.keystore.display()
        );
    }
    text += &format!("listeners={listeners}\nlistener.security.protocol.map={protocols}\n");
    text + plan.settings
}

/// A disk of this size at `folder`, in memory; `again` changes its size.
fn mount_disk(folder: &Path, mib: u32, again: bool) {
    let options = format!("{}size={mib}m", if again { "remount," } else { "" });
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "forebay"]).arg(folder).status();
    assert!(done.expect("mount runs").success(), "mount {options} {}: root is needed", folder.display());
}

fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for place in places.filter(|place| Path::new(place).starts_with(folder)) {
        let _busy = Command::new("umount").args(["-l", place]).status();
    }
}

/// Removes what earlier runs left behind.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            unmount_below(&entry.path());
            let _other_swept_it = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// One record as the foreign consumer saw it.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Consumed {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset in Kafka.
    pub kafka_offset: i64,
    /// Key.
    pub key: Option<String>,
    /// Headers.
    pub headers: HashMap<String, String>,
    /// Value.
    pub value: String,
    /// Milliseconds since 1970 UTC.
    pub timestamp: i64,
}

impl Consumed {
    /// The `offset` header.
    pub fn offset(&self) -> u64 {
        self.headers["offset"].parse().expect("a number")
    }

    /// The value as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.value).expect("the value is JSON")
    }
}

/// Everything in these topics, read by confluent-kafka from the beginning to the end of each
/// partition, and on until nothing has come for `idle`.
pub fn consume(brokers: &str, topics: &[&str], committed: bool, idle: Duration) -> Vec<Consumed> {
    let mut read = Vec::new();
    consume_each(brokers, topics, committed, idle, |record| read.push(record));
    read
}

/// The same, for more than memory should hold.
pub fn consume_each(
    brokers: &str,
    topics: &[&str],
    committed: bool,
    idle: Duration,
    mut take: impl FnMut(Consumed),
) {
    let mut child = Command::new(tool("python/bin/python"))
        .arg(root().join("tests/peers/consume.py"))
        .args(["--brokers", brokers, "--idle", &idle.as_secs_f64().to_string()])
        .args(["--isolation", if committed { "read_committed" } else { "read_uncommitted" }])
        .args(topics)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter starts");
    let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
    for line in output.lines() {
        take(serde_json::from_str(&line.expect("the consumer writes")).expect("one record a line"));
    }
    assert!(child.wait().expect("the consumer ends").success());
}

/// Grants permissions, each `<operation>:<topic|transactional_id|group>:<name>`, as superuser.
pub fn grant(brokers: &str, user: &str, permissions: &[&str]) {
    let done = Command::new(tool("python/bin/python"))
        .arg(root().join("tests/peers/kafka_grant.py"))
        .args([brokers, user])
        .args(permissions)
        .status();
    assert!(done.expect("the interpreter starts").success());
}

/// A certificate for 127.0.0.1 that vouches for itself: (certificate, keystore for the broker).
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let [key, certificate, keystore] =
        ["key.pem", "certificate.pem", "keystore.pem"].map(|name| folder.join(name));
    let done = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kafka"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(done.expect("openssl is installed, see tests/setup").success());
    let mut file = std::fs::File::create(&keystore).expect("the folder is writable");
    for part in [&key, &certificate] {
        file.write_all(&std::fs::read(part).expect("openssl wrote it")).expect("the folder is writable");
    }
    (certificate, keystore)
}
