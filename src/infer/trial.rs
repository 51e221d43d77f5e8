//! A model is tried in a process of its own before it may score in ours.
//!
//! The gate holds back what is wrong; here is held back what is right and too much: memory is
//! limited by `RLIMIT_AS`, time by `RLIMIT_CPU` and by a clock of ours (setrlimit(2)). A graph that
//! makes the library overflow its stack ends the child, not the box.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value as Json, json};

use super::detector::Detector;
use super::folder::{Content, Folder};
use super::registry::Trial;
use crate::amount::bytes;
use crate::clock;

/// Memory a model may take, beside that of the program. Bytes.
pub const MEMORY_MAX: u64 = 256 * 1024 * 1024;
/// Processor time for loading, golden cases and measured scores. Seconds.
const CPU_MAX_S: u64 = 20;
/// Time for all that, however busy the box is.
const WALL_MAX: Duration = Duration::from_secs(120);
/// How often the child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// Scores that are measured at most, and for how long.
const SCORES_MAX: usize = 50;
const MEASURE_MAX: Duration = Duration::from_millis(500);
/// Rows that are given at most: with a long stride few of them score.
const ROWS_MAX: usize = 20_000;

/// Why a model is not let in.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Its files, or its gate, say no.
    #[error("{0}")]
    Refused(String),
    /// It ended the child.
    #[error("it was tried in a process of its own, and {0}: use a smaller model")]
    Died(String),
    /// There is no child.
    #[error("it cannot be tried: {0}")]
    NotStarted(io::Error),
}

/// The program that tries models; none in tests and tools that are no `forebay`.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// From now on models are tried by `PROGRAM model trial FOLDER`. Until then they are tried in this
/// process, without limits.
pub fn try_with(program: PathBuf) {
    // Said once, by main.
    let _before = PROGRAM.set(program);
}

/// The program that runs here, also when its file has been replaced meanwhile.
pub fn this_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Tries the model in `folder`.
///
/// # Errors
/// [`TrialError`]; the model must not score.
pub fn try_out(folder: &Path) -> Result<Trial, TrialError> {
    match PROGRAM.get() {
        Some(program) => try_apart(program, folder),
        None => read_and_measure(folder).map_err(TrialError::Refused),
    }
}

fn try_apart(program: &Path, folder: &Path) -> Result<Trial, TrialError> {
    let child = Command::new(program)
        .args(["model", "trial"])
        .arg(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(TrialError::NotStarted)?;
    let answer = child.stdout.take().map(read_apart);
    let status = wait(&mut child).map_err(TrialError::NotStarted)?;
    let Some(status) = status else {
        return Err(TrialError::Died(format!("did not finish within {} s", WALL_MAX.as_secs())));
    };
    // posix_spawn(3) of some systems, and emulators, say only so that the program was not started.
    if let Some(code @ (126 | 127)) = status.code() {
        let why = format!("a second process of this program cannot be started here (code {code})");
        return Err(TrialError::NotStarted(io::Error::other(why)));
    }
    let answer = answer.and_then(|answer| answer.recv_timeout(Duration::from_secs(1)).ok());
    let answer: Json = answer.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    if let Some(why) = answer["error"].as_str() {
        return Err(TrialError::Refused(why.to_owned()));
    }
    match serde_json::from_value(answer) {
        Ok(trial) if status.success() => Ok(trial),
        _ => Err(TrialError::Died(how_it_ended(status))),
    }
}

/// Reads what the child says, on a thread: a full pipe must not hold it up.
fn read_apart(pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What is cut short is no answer.
        let _read = pipe.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        let _gone = sender.send(bytes);
    });
    receiver
}

/// Waits for the child; `None` when it took too long and was ended.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + WALL_MAX;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(LOOK_EVERY);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn how_it_ended(status: ExitStatus) -> String {
    // signal(7)
    match status.signal() {
        // The library aborts when it gets no more memory; the system kills when it has none.
        Some(6) => format!("it wanted more than {} of memory", bytes(MEMORY_MAX)),
        Some(9 | 24) => format!("it took more than {CPU_MAX_S} s of processor time, or too much memory"),
        Some(11 | 7) => "it made the ONNX library crash".to_owned(),
        Some(signal) => format!("it ended with signal {signal}"),
        None => format!("it ended with code {}", status.code().unwrap_or_default()),
    }
}

/// `forebay model trial FOLDER`: what [`try_out`] starts. Says what it has measured, or why not.
///
/// # Errors
/// When the answer cannot be written.
pub fn run(folder: &Path, out: &mut impl Write) -> io::Result<ExitCode> {
    let answer = limit().map_err(|error| format!("no limits for memory and time: {error}"));
    // What the library says when it gets no more memory; others abort.
    let in_words = |why: String| match why.contains("failed to allocate") {
        true => format!("it wanted more than {} of memory: use a smaller model", bytes(MEMORY_MAX)),
        false => why,
    };
    match answer.and_then(|()| read_and_measure(folder).map_err(in_words)) {
        Ok(trial) => {
            writeln!(out, "{}", json!(trial))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            writeln!(out, "{}", json!({ "error": why }))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Limits this process, for good.
fn limit() -> io::Result<()> {
    // The child is to go first when memory is short, not the box. Only a wish.
    let _refused = fs::write("/proc/self/oom_score_adj", "1000");
    let _refused = rustix::process::nice(10);
    let program = own_bytes("VmSize:").ok_or(io::ErrorKind::InvalidData)?;
    for (resource, most) in
        [(Resource::As, program.saturating_add(MEMORY_MAX)), (Resource::Cpu, CPU_MAX_S), (Resource::Core, 0)]
    {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn read_and_measure(folder: &Path) -> Result<Trial, String> {
    let content = Folder::read(folder).content;
    let content =
        content.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    measure(&content)
}

/// Loads a model through its gate and scores the rows of its golden cases.
fn measure(content: &Content) -> Result<Trial, String> {
    let (before, begun) = (peak_bytes(), Instant::now());
    let mut detector = Detector::load(content).map_err(|error| error.to_string())?;
    let load_us = micros(begun.elapsed());
    let rows = content.golden.cases.iter().flat_map(|case| &case.window);
    let (mut times, measuring) = (Vec::with_capacity(SCORES_MAX), Instant::now());
    for row in rows.cycle().take(ROWS_MAX) {
        let begun = Instant::now();
        let score = detector.push(row).map_err(|error| error.to_string())?;
        if score.is_some() {
            times.push(micros(begun.elapsed()));
        }
        if times.len() == SCORES_MAX || (!times.is_empty() && measuring.elapsed() > MEASURE_MAX) {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    let score_us = times.get(times.len() / 2).copied().unwrap_or(load_us);
    let memory_bytes = peak_bytes().saturating_sub(before);
    Ok(Trial { score_us, load_us, memory_bytes, at_us: clock::now_us() })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Most memory this process has had; 0 when it is not known.
fn peak_bytes() -> u64 {
    own_bytes("VmHWM:").unwrap_or(0)
}

/// A line of /proc/self/status, see proc_pid_status(5).
fn own_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().split(' ').next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_is_measured() {
        let folder = Folder::built_in().remove(0);
        let trial = measure(folder.content.as_ref().unwrap()).unwrap();
        assert!(trial.score_us > 0.0 && trial.load_us > trial.score_us && trial.at_us > 0, "{trial:?}");
    }

    #[test]
    fn every_end_of_a_child_has_words() {
        let said = |raw: i32| how_it_ended(ExitStatus::from_raw(raw));
        assert!(said(6).contains("256.0 MiB of memory") && said(24).contains("20 s of processor time"));
        assert!(said(11).contains("crash") && said(2 << 8).contains("code 2"));
    }
}
