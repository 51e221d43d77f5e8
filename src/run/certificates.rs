//! The certificates of servers for the page, read from their folders now and then.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use forebay_opcua::{Fingerprint, Known, TrustList};
use tokio_util::sync::CancellationToken;

use super::facts::{BoxFacts, lock};
use crate::device::Device;
use crate::status::facts::{Certificate, CertificateState};
use crate::twin::Twin;

/// Time from one look to the next: who has just decided sees it soon.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Certificates of one device at most: ten may wait, and more than a few trusted ones nobody compares.
const OF_DEVICE_MAX: usize = 15;

/// Looks until stopped.
pub async fn watch(facts: Arc<BoxFacts>, twin: Arc<Twin>, stop: CancellationToken) {
    loop {
        let devices: Vec<Arc<Device>> = twin
            .devices()
            .iter()
            .map(|twin| Arc::clone(&twin.device))
            .filter(|device| device.protocol.name() == "opcua")
            .collect();
        let read = || devices.into_iter().flat_map(|device| of_device(&device)).collect();
        // A panic there has been reported by the panic hook.
        if let Ok(certificates) = tokio::task::spawn_blocking(read).await {
            *lock(&facts.certificates) = certificates;
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}

/// Those of one device: first those that wait, the newest first.
fn of_device(device: &Device) -> Vec<Certificate> {
    let known = TrustList::new(&device.spec.state_directory).known();
    let known = known.unwrap_or_else(|error| {
        tracing::debug!("certificates of {} cannot be read: {error}", device.name);
        Vec::new()
    });
    let certificate = |known: Known| Certificate {
        device: device.name.clone(),
        state: match (known.is_trusted, &device.spec.trust) {
            // Its file names the only one that is trusted.
            (_, Some(pin)) if Fingerprint::parse(pin) != Some(known.facts.fingerprint) => {
                CertificateState::Refused
            }
            (_, Some(_)) | (true, None) => CertificateState::Trusted,
            (false, None) => CertificateState::Waiting,
        },
        subject: known.facts.subject,
        fingerprint: known.facts.fingerprint.to_string(),
        valid_from: known.facts.from,
        valid_to: known.facts.to,
        expired: known.facts.expired,
        seen_us: known
            .seen
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_micros()).ok())
            .unwrap_or_default(),
    };
    known.into_iter().take(OF_DEVICE_MAX).map(certificate).collect()
}
