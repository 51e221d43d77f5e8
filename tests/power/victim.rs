//! A process that writes until the power of its disk is cut: this test binary, started once more.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use crate::support::PATIENCE;

/// The writing process and what it says.
pub struct Victim {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    reader: Option<JoinHandle<()>>,
}

impl Victim {
    /// Starts `test` of this binary with this environment.
    pub fn start(test: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("it runs"))
            .args([test, "--exact", "--nocapture"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            // It ends by a panic when its disk is gone, or by a kill.
            .stderr(Stdio::null())
            .spawn()
            .expect("this test starts itself");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: Vec::new(), reader: Some(reader) }
    }

    /// Waits until it has said `count` lines, or has ended.
    pub fn wait_for_lines(&mut self, count: usize) {
        while self.said.len() < count {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(_) => panic!("the writing process says no more: {:?}", self.child.try_wait()),
            }
        }
    }

    /// The last number it has said behind `word` up to now. Only that is promised: a sync that is
    /// under way while ext4 is shut down may report success, which no process lives to see at a
    /// real power cut.
    pub fn last(&mut self, word: &str) -> u64 {
        self.said.extend(self.lines.try_iter());
        last(&self.said, word)
    }

    /// Waits until it ends by itself; whether it succeeded, and everything it has said.
    pub fn finish(mut self) -> (bool, Vec<String>) {
        self.said.extend(self.lines.iter());
        let status = self.child.wait().expect("it can be waited for");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        (status.success(), self.said)
    }

    /// kill -9; everything it has said, also after its disk was gone.
    pub fn end(mut self) -> Vec<String> {
        // It may have ended by itself.
        let _gone = self.child.kill();
        self.child.wait().expect("it can be waited for");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
        self.said.extend(self.lines.try_iter());
        self.said
    }
}

/// The last number behind `word` at the beginning of a line; 0 when there is none.
pub fn last(lines: &[String], word: &str) -> u64 {
    let number = |line: &String| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok();
    lines.iter().rev().find_map(number).unwrap_or(0)
}
