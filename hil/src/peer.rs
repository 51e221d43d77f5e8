//! A foreign simulator as a child: a script of `tests/peers`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::{RigFault, root};

/// A running script. It prints `ready PORT`, takes one command a line, answers `ok …` or
/// `error …`, and ends when its input closes.
pub struct Peer {
    script: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// Port on 127.0.0.1.
    pub port: u16,
}

impl Peer {
    /// Starts `tests/peers/<script>` with the Python environment `python` of `tests/setup` and
    /// waits until it answers.
    ///
    /// # Errors
    /// [`RigFault`] when it is not installed or does not start.
    pub fn start(python: &str, script: &'static str, arguments: &[String]) -> Result<Self, RigFault> {
        let interpreter = root().join("target/peers").join(python).join("bin/python");
        if !interpreter.exists() {
            return Err(RigFault(format!("{} is missing: run tests/setup", interpreter.display())));
        }
        let mut child = Command::new(interpreter)
            .arg(root().join("tests/peers").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| RigFault(format!("{script} does not start: {error}")))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| RigFault(format!("{script} has no output")))?;
        let mut peer = Self { script, child, input, output: BufReader::new(output), port: 0 };
        let line = peer.line()?;
        let port = line.strip_prefix("ready ").and_then(|port| port.parse().ok());
        peer.port = port.ok_or_else(|| RigFault(format!("{script} said {line:?} instead of ready")))?;
        Ok(peer)
    }

    /// Sends one command.
    ///
    /// # Errors
    /// [`RigFault`] when it does not answer `ok`.
    pub fn command(&mut self, command: &str) -> Result<(), RigFault> {
        let gone = |error: std::io::Error| RigFault(format!("{} is gone: {error}", self.script));
        let input = self.input.as_mut().ok_or_else(|| RigFault(format!("{} was stopped", self.script)))?;
        writeln!(input, "{command}").and_then(|()| input.flush()).map_err(gone)?;
        let line = self.line()?;
        if line.starts_with("ok") {
            return Ok(());
        }
        Err(RigFault(format!("{}: {command:?} answered {line:?}", self.script)))
    }

    fn line(&mut self) -> Result<String, RigFault> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(1..) => Ok(line.trim_end().to_owned()),
            Ok(0) => Err(RigFault(format!("{} has ended", self.script))),
            Err(error) => Err(RigFault(format!("{}: {error}", self.script))),
        }
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
