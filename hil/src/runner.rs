//! Runs all cases on all devices of a rig: first the rig is checked, then the product.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::cases::{CASES, Case, Stand, Trouble};
use crate::device::{Wanted, as_simulated, make};
use crate::line::Line;
use crate::lock::Lock;
use crate::rig::{Device, Entry, Kind, Rig};
use crate::{RigFault, bench, root};

/// How a case ended on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// The product is at fault.
    Failed,
    /// The rig broke on the way: nothing is known.
    Rig,
    /// Not run, for this reason. Never counted as passed.
    Skipped(String),
    /// Failed as this device is known to.
    KnownFault,
    /// Passed although this device is known to fail it: the rig file is out of date.
    Finding,
}

impl Outcome {
    /// True for what must not be.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Failed | Self::Rig | Self::Finding)
    }
}

/// One case on one device.
#[derive(Debug, Clone)]
pub struct Run {
    /// The case.
    pub case: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub words: String,
    /// How long it took.
    pub took: Duration,
}

/// All cases on one device.
#[derive(Debug, Clone)]
pub struct Report {
    /// Role in the cases.
    pub role: String,
    /// Profile file.
    pub profile: String,
    /// Protocol of the profile.
    pub protocol: String,
    /// What stands behind the role.
    pub kind: Kind,
    /// What the rig file says it is.
    pub identity: String,
    /// What it says itself.
    pub said: String,
    /// Faults of the rig before any case.
    pub fault: Option<RigFault>,
    /// The cases.
    pub runs: Vec<Run>,
}

/// Runs a rig file.
///
/// # Errors
/// [`RigFault`] when the file is wrong or the rig is in use.
pub async fn run(file: &Path) -> Result<(Rig, Vec<Report>), RigFault> {
    let rig = Arc::new(Rig::read(file)?);
    let _lock = Lock::take(&rig)?;
    let devices = rig.devices.iter().cloned();
    // Devices at once, the cases of each one after another.
    let tasks = devices.map(|device| tokio::spawn(one(Arc::clone(&rig), device)));
    let reports = join_all(tasks)
        .await
        .into_iter()
        .map(|ended| ended.map_err(|error| RigFault(format!("a task of the runner ended early: {error}"))));
    let reports: Result<Vec<Report>, RigFault> = reports.collect();
    Ok((Rig::clone(&rig), reports?))
}

async fn one(rig: Arc<Rig>, device: Device) -> Report {
    let Device { role, entry } = device;
    let mut report = Report {
        role: role.clone(),
        profile: entry.profile.display().to_string(),
        protocol: String::new(),
        kind: entry.kind,
        identity: entry.identity.clone(),
        said: String::new(),
        fault: None,
        runs: Vec::new(),
    };
    // Each device has a folder of its own for certificates and the like.
    let state = std::env::temp_dir().join(format!(
        "forebay-hil-{}-{}-{role}-{}",
        std::process::id(),
        rig.name,
        entry.kind.as_str()
    ));
    match set_up(&rig, &role, &entry, &state).await {
        Ok(mut stand) => {
            report.protocol = stand.device.protocol.name().to_owned();
            for case in CASES {
                report.runs.push(run_case(case, &rig, &entry, &mut stand).await);
            }
            report.said = stand.said;
        }
        Err(fault) => report.fault = Some(fault),
    }
    // Nothing may have been written there.
    let _removed = std::fs::remove_dir_all(&state);
    report
}

/// Makes the device, starts what answers, and sees that something listens.
async fn set_up(rig: &Rig, role: &str, entry: &Entry, state: &Path) -> Result<Stand, RigFault> {
    let file = root().join(&entry.profile);
    let text = std::fs::read_to_string(&file)
        .map_err(|error| RigFault(format!("{}: {error}", entry.profile.display())))?;
    let name = entry.profile.display().to_string();
    let device = make(&name, &text, &Wanted::of_role(role, entry), rig.credentials.clone(), state)?;
    let protocol = device.protocol.name();
    let bench = bench::start(entry, &device).await?;
    let mut spec = device.spec.clone();
    if entry.kind != Kind::Real {
        as_simulated(&mut spec, protocol);
    }
    bench.adapt(&mut spec);
    spec.endpoint = bench.endpoint();
    let line = match spec.endpoint.starts_with("serial:") {
        true => None,
        false => {
            let there = host_and_port(&spec.endpoint, protocol);
            let line = Line::to(&there).await?;
            tokio::net::TcpStream::connect(&there)
                .await
                .map_err(|error| RigFault(format!("{role}: nobody listens at {there}: {error}")))?;
            spec.endpoint = through(&spec.endpoint, protocol, &line.address());
            Some(line)
        }
    };
    let mut stand = Stand::new(device, spec, bench, line);
    stand.missing = entry.missing.clone();
    stand.identity = if entry.kind == Kind::Real { entry.identity.clone() } else { String::new() };
    Ok(stand)
}

async fn run_case(case: &'static Case, rig: &Rig, entry: &Entry, stand: &mut Stand) -> Run {
    let begun = Instant::now();
    let known = entry.known_faults.iter().any(|fault| fault == case.id);
    let (outcome, words) = match lacking(case, rig, entry, stand) {
        Some(reason) => (Outcome::Skipped(reason.clone()), reason),
        None => match ((case.run)(stand).await, known) {
            (Ok(words), false) => (Outcome::Passed, words),
            (Ok(words), true) => (Outcome::Finding, format!("a known fault is gone: {words}")),
            (Err(Trouble::Rig(fault)), _) => (Outcome::Rig, fault.to_string()),
            (Err(trouble), true) => (Outcome::KnownFault, trouble.to_string()),
            (Err(trouble), false) => (Outcome::Failed, trouble.to_string()),
        },
    };
    Run { case: case.id, outcome, words, took: begun.elapsed() }
}

/// Why the case cannot run here.
fn lacking(case: &Case, rig: &Rig, entry: &Entry, stand: &Stand) -> Option<String> {
    let protocol = stand.device.protocol.name();
    let own = if entry.kind == Kind::Real { format!("{protocol}.real") } else { protocol.to_owned() };
    let wanted = case.needs.iter().map(|need| need.replace("{protocol}", protocol));
    for need in std::iter::once(own).chain(wanted) {
        if need == "missing" {
            if entry.missing.is_none() {
                return Some("the rig file names no missing address".into());
            }
        } else if need == "checks" {
            if stand.device.verify.is_empty() {
                return Some("the profile has no [[verify]]".into());
            }
        } else if need == "seed" && stand.known() == 0 && entry.kind != Kind::Real {
            return Some("no value of this device can be chosen".into());
        } else if let Some((_, why)) = stand.bench.lacks().iter().find(|(lacks, _)| *lacks == need) {
            return Some((*why).to_owned());
        } else if !rig.has(&need) {
            return Some(format!("the rig has no feature `{need}`"));
        } else if need == "net-impair" && stand.line.is_none() {
            return Some("a serial line cannot be cut from here".into());
        }
    }
    None
}

/// `host:port` of an endpoint.
pub fn host_and_port(endpoint: &str, protocol: &str) -> String {
    let (_, authority, _) = parts(endpoint);
    let port = match protocol {
        "s7" => 102,
        "opcua" => 4840,
        _ => 502,
    };
    let has_port =
        authority.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    if has_port { authority.to_owned() } else { format!("{authority}:{port}") }
}

/// The endpoint with another host and port.
fn through(endpoint: &str, protocol: &str, address: &str) -> String {
    let (scheme, _, path) = parts(endpoint);
    let scheme = if scheme.is_empty() && protocol != "s7" { "tcp://" } else { scheme };
    format!("{scheme}{address}{path}")
}

/// Scheme with `://`, host and port, path.
fn parts(endpoint: &str) -> (&str, &str, &str) {
    let (scheme, rest) = match endpoint.find("://") {
        Some(at) => endpoint.split_at(at + 3),
        None => ("", endpoint),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (scheme, authority, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_lead_through_the_line() {
        for (endpoint, protocol, there, through_line) in [
            ("192.168.10.33", "s7", "192.168.10.33:102", "127.0.0.1:9"),
            ("tcp://meter:1502", "modbus", "meter:1502", "tcp://127.0.0.1:9"),
            ("opc.tcp://10.0.0.1/path", "opcua", "10.0.0.1:4840", "opc.tcp://127.0.0.1:9/path"),
            ("tcp://[fe80::1]:502", "modbus", "[fe80::1]:502", "tcp://127.0.0.1:9"),
        ] {
            assert_eq!(host_and_port(endpoint, protocol), there);
            assert_eq!(through(endpoint, protocol, "127.0.0.1:9"), through_line);
        }
    }
}
