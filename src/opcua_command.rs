//! `forebay opcua …`: which OPC UA servers are trusted.
//!
//! Works beside the running box: the decision is a file that the connector looks for at each
//! connection.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use forebay_opcua::{CertificateFacts, TrustList};

use crate::config;
use crate::device::Device;
use crate::diagnostic::Format;

/// Digits of a fingerprint that must be given at least to choose by them.
const DIGITS_MIN: usize = 8;

/// Commands of `forebay opcua`.
#[derive(Debug, Subcommand)]
pub enum OpcUaCommand {
    /// Shows which certificates wait for a decision, which are trusted, and Forebay's own.
    List(List),
    /// Trusts the certificate of a server, after somebody has compared its fingerprint.
    Trust(Decision),
    /// Trusts a certificate no longer; one that waits is forgotten until the server shows it again.
    Reject(Decision),
}

/// `forebay opcua list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only this device.
    device: Option<String>,
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
}

/// A device and its certificate.
#[derive(Debug, Args)]
pub struct Decision {
    /// Name of the device.
    device: String,
    /// Which certificate, when there are several: its fingerprint or the first 8 digits of it.
    fingerprint: Option<String>,
    /// The box's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/forebay/forebay.toml")]
    config: PathBuf,
}

/// Runs one command.
///
/// # Errors
/// What keeps it from being done, in words for a plant engineer.
pub fn run(command: &OpcUaCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        OpcUaCommand::List(list) => show(list, out)?,
        OpcUaCommand::Trust(decision) => trust(decision, out)?,
        OpcUaCommand::Reject(decision) => reject(decision, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(list: &List, out: &mut impl Write) -> anyhow::Result<()> {
    let devices = devices(&list.config, list.device.as_deref())?;
    if devices.is_empty() {
        writeln!(out, "No device of {} speaks OPC UA.", list.config.display())?;
    }
    for (position, device) in devices.iter().enumerate() {
        if position > 0 {
            writeln!(out)?;
        }
        show_device(device, out).with_context(|| format!("certificates of {}", device.name))?;
    }
    Ok(())
}

fn show_device(device: &Device, out: &mut impl Write) -> anyhow::Result<()> {
    let list = TrustList::new(&device.spec.state_directory);
    writeln!(out, "{}  {}", device.name, device.spec.endpoint)?;
    let waiting = list.waiting()?;
    for facts in &waiting {
        let state = if device.spec.trust.is_some() { "refused" } else { "waits for a decision" };
        show_certificate(state, facts, out)?;
    }
    match &device.spec.trust {
        Some(pin) => writeln!(out, "  trusted in {}: {pin}", device.source)?,
        None => {
            let trusted = list.trusted()?;
            for facts in &trusted {
                show_certificate("trusted", facts, out)?;
            }
            if !waiting.is_empty() {
                writeln!(
                    out,
                    "  Compare the fingerprint on the server, then: forebay opcua trust {}",
                    device.name
                )?;
            } else if trusted.is_empty() {
                writeln!(
                    out,
                    "  no certificate seen yet; the first connection with `security` brings it here"
                )?;
            }
        }
    }
    match list.own()? {
        Some((path, facts)) => {
            show_certificate("Forebay's own, for the server to trust", &facts, out)?;
            writeln!(out, "    file         {}", path.display())?;
        }
        None => writeln!(out, "  Forebay's own certificate is made at the first connection with `security`")?,
    }
    Ok(())
}

fn show_certificate(state: &str, facts: &CertificateFacts, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "  {state}")?;
    writeln!(out, "    subject      {}", facts.subject)?;
    writeln!(out, "    fingerprint  {}", facts.fingerprint)?;
    let over = if facts.expired { "  EXPIRED" } else { "" };
    writeln!(out, "    valid        {} to {}{over}", facts.from, facts.to)?;
    let names = if facts.names.is_empty() { "none".to_owned() } else { facts.names.join(", ") };
    writeln!(out, "    names        {names}")
}

fn trust(decision: &Decision, out: &mut impl Write) -> anyhow::Result<()> {
    let (device, list) = decision.open()?;
    if let Some(pin) = &device.spec.trust {
        bail!(
            "trust = \"{pin}\" at {} decides for {}; write the new fingerprint there, or remove it and run this again",
            device.source,
            device.name
        );
    }
    let waiting = list.waiting()?;
    if waiting.is_empty() {
        bail!(
            "no certificate of {} waits for a decision; it does once the box has tried to connect with `security` \
             (forebay opcua list {} shows what is known)",
            device.name,
            device.name
        );
    }
    let chosen = decision.choose(&waiting, "trust")?;
    list.trust(chosen.fingerprint).context("the certificate cannot be moved")?;
    show_certificate("trusted now", chosen, out)?;
    if chosen.expired {
        writeln!(out, "It has expired, so that the server is not read before it has a new one.")?;
    } else {
        writeln!(out, "The box connects at its next try, within a minute or so.")?;
    }
    Ok(())
}

fn reject(decision: &Decision, out: &mut impl Write) -> anyhow::Result<()> {
    let (device, list) = decision.open()?;
    let (trusted, waiting) = (list.trusted()?, list.waiting()?);
    let known: Vec<CertificateFacts> = trusted.iter().chain(&waiting).cloned().collect();
    if known.is_empty() {
        bail!("no certificate of {} is known", device.name);
    }
    let chosen = decision.choose(&known, "reject")?;
    list.reject(chosen.fingerprint).context("the certificate cannot be moved")?;
    if trusted.contains(chosen) {
        show_certificate("trusted no longer", chosen, out)?;
        writeln!(out, "A connection that is open is ended within seconds.")?;
    } else {
        show_certificate("forgotten", chosen, out)?;
        writeln!(out, "It waits here again when the server shows it again.")?;
    }
    if let Some(pin) = &device.spec.trust {
        writeln!(out, "trust = \"{pin}\" at {} still holds.", device.source)?;
    }
    Ok(())
}

impl Decision {
    fn open(&self) -> anyhow::Result<(Arc<Device>, TrustList)> {
        let found = devices(&self.config, Some(&self.device))?.into_iter().next();
        let device = found.context("the device is gone")?;
        let list = TrustList::new(&device.spec.state_directory);
        Ok((device, list))
    }

    /// The certificate that is meant.
    fn choose<'a>(&self, known: &'a [CertificateFacts], verb: &str) -> anyhow::Result<&'a CertificateFacts> {
        let Some(written) = &self.fingerprint else {
            let [only] = known else {
                let all: Vec<_> = known.iter().map(|facts| facts.fingerprint.to_string()).collect();
                bail!(
                    "there are several certificates; name one: forebay opcua {verb} {} <fingerprint>\n  {}",
                    self.device,
                    all.join("\n  ")
                );
            };
            return Ok(only);
        };
        let digits = written.trim_start_matches("sha256:").replace(':', "").to_lowercase();
        if digits.len() < DIGITS_MIN {
            bail!("`{written}` is too short for a fingerprint, write at least {DIGITS_MIN} digits");
        }
        let fits =
            |facts: &&CertificateFacts| facts.fingerprint.to_string()["sha256:".len()..].starts_with(&digits);
        known.iter().find(fits).with_context(|| {
            format!("no certificate of {} has the fingerprint {written}; see forebay opcua list", self.device)
        })
    }
}

/// The devices that speak OPC UA, or the named one.
fn devices(path: &std::path::Path, name: Option<&str>) -> anyhow::Result<Vec<Arc<Device>>> {
    let loaded = config::load(path);
    if loaded.config.is_none() {
        let said = loaded.render(Format::Text, std::io::stderr().is_terminal());
        bail!("{} cannot be used:\n{said}", path.display());
    }
    let spoken: Vec<Arc<Device>> =
        loaded.devices.iter().filter(|device| device.protocol.name() == "opcua").cloned().collect();
    let Some(name) = name else { return Ok(spoken) };
    if let Some(found) = spoken.iter().find(|device| device.name == name) {
        return Ok(vec![Arc::clone(found)]);
    }
    if let Some(refused) = loaded.refused.iter().find(|refused| refused.name == name) {
        bail!("{name} at {} has faults: forebay check {}", refused.source, path.display());
    }
    if loaded.devices.iter().any(|device| device.name == name) {
        bail!("{name} does not speak OPC UA, so that it has no certificates");
    }
    let names: Vec<_> = spoken.iter().map(|device| device.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    bail!("{} has no device `{name}`; those with OPC UA: {names}", path.display())
}

#[cfg(test)]
mod tests;
