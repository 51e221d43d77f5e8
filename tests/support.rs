//! Foreign programs as children of the tests: start, talk, stop.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

/// Longer than any single step of a test takes, also on a slow machine with other tests beside it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file that `tests/setup` makes under `target/peers`; its absence fails the test.
pub fn tool(path: &str) -> PathBuf {
    let tool = root().join("target/peers").join(path);
    assert!(tool.exists(), "{} is missing: run tests/setup", tool.display());
    tool
}

/// A port of 127.0.0.1 that stays ours until this is dropped, while servers on it come and go.
pub struct Port {
    pub number: u16,
    /// Bound, never listening: the system gives the port to nobody, and a server may share it.
    _bound: TcpSocket,
}

impl Port {
    pub fn reserve() -> Self {
        let bound = TcpSocket::new_v4().expect("a socket");
        bound.set_reuseaddr(true).expect("a socket option");
        bound.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let number = bound.local_addr().expect("it is bound").port();
        Self { number, _bound: bound }
    }
}

/// Which Python environment of `tests/setup`.
#[derive(Clone, Copy)]
pub enum Python {
    /// python-snap7 2.0.2 with the C library.
    Snap7v2,
    /// Current python-snap7, pymodbus, asyncua, confluent-kafka.
    Current,
}

/// A script of `tests/peers`, started. It prints `ready <port>` when it answers, takes one
/// command a line, answers `ok …` or `error …`, and ends when its input closes.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Port on 127.0.0.1.
    pub port: u16,
}

impl Peer {
    /// Starts `tests/peers/<script>` with these arguments and waits until it answers.
    pub fn start(python: Python, script: &str, arguments: &[&str]) -> Self {
        let interpreter = tool(match python {
            Python::Snap7v2 => "snap7-2/bin/python",
            Python::Current => "python/bin/python",
        });
        let mut command = Command::new(interpreter);
        command.arg(root().join("tests/peers").join(script)).args(arguments);
        Self::run(command, script)
    }

    /// The same for a script in JavaScript with the packages that `tests/setup` installs.
    pub fn start_node(script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("node");
        command.env("NODE_PATH", tool("node/node_modules"));
        command.arg(root().join("tests/peers").join(script)).args(arguments);
        Self::run(command, script)
    }

    /// Starts any program that speaks as the scripts do, and waits until it answers.
    pub fn run(mut command: Command, name: &str) -> Self {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child =
            spawned.unwrap_or_else(|error| panic!("{command:?} does not start: {error}; run tests/setup"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut peer = Self { child, input, output, port: 0 };
        let line = peer.line();
        let port = line.strip_prefix("ready ").and_then(|port| port.parse().ok());
        peer.port = port.unwrap_or_else(|| panic!("{name} said {line:?} instead of ready"));
        peer
    }

    /// Sends one command and returns what follows `ok`.
    pub fn command(&mut self, command: &str) -> String {
        let input = self.input.as_mut().expect("the peer runs");
        writeln!(input, "{command}").and_then(|()| input.flush()).expect("the peer reads");
        let line = self.line();
        line.strip_prefix("ok")
            .unwrap_or_else(|| panic!("{command:?} answered {line:?}"))
            .trim_start()
            .to_owned()
    }

    /// Process id, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the peer writes");
        line.trim_end().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended already; then there is nothing to kill.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits until `condition` gives a value, at most `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "no {what} within {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Body of `GET path` from a plain HTTP server at `address`, `None` when it does not answer 200.
pub fn get(address: &str, path: &str) -> Option<String> {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}
