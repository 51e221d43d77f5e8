//! The part of this box where two share a plant.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forebay_connector::Secrets;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, CredentialStore};
use crate::event::Events;
use crate::replicate::lease::{self, Lease};
use crate::replicate::{Options as KafkaOptions, stop::Stop};
use crate::standby::{
    self, Evidence, Gate, Heartbeat, Leases, Report, Standby, StandbyFor, Surroundings, WRITTEN_IN_VALID,
};

/// What runs, and what it gives.
pub struct Parts {
    /// Whether the machines of the active box are to be read; closed where this box stands by for nobody.
    pub gate: Gate,
    /// For the page; `None` where there is only one box.
    pub report: Option<watch::Receiver<Report>>,
    /// To wait for at the end.
    pub tasks: Vec<JoinHandle<()>>,
}

/// Starts what `[standby]` says.
pub fn start(
    config: &Config,
    kafka: &KafkaOptions,
    box_path: &str,
    events: &Events,
    stop: &CancellationToken,
) -> Parts {
    let (open, gate) = watch::channel(false);
    let store = CredentialStore::new(config.paths.credentials.clone());
    let surroundings = Surroundings {
        edge: config.edge.id.clone(),
        box_path: box_path.to_owned(),
        secret: Arc::new(move |name: &str| store.read(name)),
        events: events.clone(),
        stop: stop.clone(),
    };
    let (report, tasks) = match config.standby.clone() {
        None => return Parts { gate, report: None, tasks: Vec::new() },
        Some(Standby::Active { heartbeat, lease }) => active(heartbeat, lease, kafka, surroundings),
        Some(Standby::Standby(standby)) => stand_by(standby, kafka, open, surroundings),
    };
    Parts { gate, report: Some(report), tasks }
}

/// Answers the standby, and writes the lease.
fn active(
    heartbeat: Option<Heartbeat<SocketAddr>>,
    valid: Option<Duration>,
    kafka: &KafkaOptions,
    surroundings: Surroundings,
) -> (watch::Receiver<Report>, Vec<JoinHandle<()>>) {
    let (report, shown) = watch::channel(Report::Active { lease: None });
    let mut tasks = Vec::new();
    if let Some(valid) = valid {
        let failed = report.clone();
        let failed = move |why: &str| {
            failed.send_replace(Report::Active { lease: Some(Err(why.to_owned())) });
        };
        let mut kept = Kept { leases: Leases::new(&surroundings.edge, valid), report };
        let (options, every) = (kafka.clone(), valid / WRITTEN_IN_VALID);
        let work = move |stop: &Stop| lease::keep(&options, every, &mut kept, stop);
        tasks.push(tokio::spawn(on_a_thread(work, failed, surroundings.stop.clone())));
    }
    if let Some(heartbeat) = heartbeat {
        let answer = async move { standby::answer(heartbeat.at, &heartbeat.secret, &surroundings).await };
        tasks.push(tokio::spawn(answer));
    }
    (shown, tasks)
}

/// Asks the active box, reads its lease, and opens the gate.
fn stand_by(
    standby: StandbyFor,
    kafka: &KafkaOptions,
    open: watch::Sender<bool>,
    surroundings: Surroundings,
) -> (watch::Receiver<Report>, Vec<JoinHandle<()>>) {
    let (report, shown) = watch::channel(Report::Standby {
        of: standby.of.clone(),
        reads: false,
        heartbeat: None,
        lease: None,
        trouble: None,
    });
    let mut tasks = Vec::new();
    let evidence = standby.lease.map(|valid| {
        let evidence = Evidence::new(&standby.of, standby.after, valid, Instant::now());
        let evidence = Arc::new(Mutex::new(evidence));
        let (options, seen) = (kafka.clone(), Arc::clone(&evidence));
        let tell = move |look: lease::Look<'_>| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).take(&look, Instant::now());
        };
        let seen = Arc::clone(&evidence);
        let failed = move |why: &str| {
            let blind = lease::Look::Blind(why);
            seen.lock().unwrap_or_else(PoisonError::into_inner).take(&blind, Instant::now());
        };
        let work = move |stop: &Stop| lease::watch(&options, tell, stop);
        tasks.push(tokio::spawn(on_a_thread(work, failed, surroundings.stop.clone())));
        evidence
    });
    tasks.push(tokio::spawn(standby::stand_by(standby, evidence, open, report, surroundings)));
    (shown, tasks)
}

/// Does what blocks until `stop`; tells `failed` when it ends with a panic.
async fn on_a_thread(
    work: impl FnOnce(&Stop) + Send + 'static,
    failed: impl FnOnce(&str),
    stop: CancellationToken,
) {
    let flag = Arc::new(Stop::default());
    let its = Arc::clone(&flag);
    let mut thread = tokio::task::spawn_blocking(move || work(&its));
    let ended = tokio::select! {
        ended = &mut thread => ended,
        () = stop.cancelled() => {
            flag.set();
            thread.await
        }
    };
    if ended.is_err() {
        tracing::error!("the lease of [standby] has ended with a panic");
        failed("its part of this box has ended with a panic; start the box again");
    }
}

/// The lease of this box, and how it goes.
struct Kept {
    leases: Leases,
    report: watch::Sender<Report>,
}

impl Lease for Kept {
    fn value(&mut self, is_last: bool) -> Vec<u8> {
        self.leases.next(is_last)
    }

    fn told(&mut self, outcome: Result<(), String>) {
        let now = Report::Active { lease: Some(outcome) };
        let is_news = self.report.send_if_modified(|before| {
            let is_news = *before != now;
            before.clone_from(&now);
            is_news
        });
        match now {
            Report::Active { lease: Some(Err(why)) } if is_news => {
                tracing::warn!("Kafka does not take the lease of this box: {why}");
            }
            Report::Active { .. } if is_news => tracing::info!("Kafka takes the lease of this box"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_lease_is_told_and_a_stop_is_waited_for() {
        let mut told = None;
        let panics = |_: &Stop| panic!("a fault in the lease");
        on_a_thread(panics, |why| told = Some(why.to_owned()), CancellationToken::new()).await;
        assert!(told.unwrap().contains("start the box again"));

        let stop = CancellationToken::new();
        let (done, was_done) = std::sync::mpsc::channel();
        let works = move |flag: &Stop| {
            while !flag.is_set() {
                flag.sleep(Duration::from_millis(10));
            }
            done.send(()).unwrap();
        };
        let working = tokio::spawn(on_a_thread(works, |why| panic!("{why}"), stop.clone()));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!working.is_finished());
        stop.cancel();
        working.await.unwrap();
        was_done.try_recv().unwrap();
    }
}
