//! From `[kafka]` to the replicator's options.

use std::sync::Arc;

use forebay_connector::Secrets;
use tokio::sync::SetOnce;

use crate::config::{self, Config, CredentialStore, KeySource};
use crate::control::Switches;
use crate::lane::LaneWriter;
use crate::replicate::{
    Backfill, CreateTopics, Fallback, Line, Located, Mechanism, Memory, Mode, Options, Password,
    ReplicationControl, Sasl, Tls,
};
use crate::state::{State, Table};

/// Options for the replicators. A secret that cannot be read is said and asked for again when the
/// replicators connect: without it nothing goes to Kafka, but everything else works.
pub fn options(config: &Config) -> Options {
    let kafka = &config.kafka;
    let secrets = CredentialStore::new(config.paths.credentials.clone());
    let mut options =
        Options::new(&kafka.brokers.join(","), &kafka.topic_prefix, &config.edge.site, &config.edge.id);
    options.transaction_timeout = kafka.transaction_timeout;
    options.commit_interval = kafka.commit_interval;
    options.transaction_records_max = kafka.transaction_records_max;
    options.create_topics = kafka.create_topics.then_some(CreateTopics { partitions: -1, replication: -1 });
    options.mode = if kafka.exactly_once { Mode::ExactlyOnce } else { Mode::AtLeastOnce };
    if kafka.live_first {
        options.backfill = Backfill::LiveFirst { after: kafka.live_after, window: kafka.backfill_window };
    }
    options.line = Arc::new(Line::new(kafka.bandwidth_bits_per_s, kafka.backfill_share));
    options.tls = kafka.tls.as_ref().map(|tls| self::tls(tls, &secrets));
    options.sasl = kafka.sasl.as_ref().and_then(|sasl| self::sasl(sasl, &secrets));
    options.fallback = kafka.fallback.as_ref().map(|second| {
        let mut there = Options { brokers: second.brokers.join(","), ..options.clone() };
        if let Some(tls) = &second.tls {
            there.tls = Some(self::tls(tls, &secrets));
        }
        if let Some(sasl) = &second.sasl {
            there.sasl = self::sasl(sasl, &secrets);
        }
        Fallback { options: Box::new(there), after: second.after }
    });
    options
}

fn tls(tls: &config::Tls, secrets: &CredentialStore) -> Tls {
    let mut made = Tls { ca: tls.ca.clone(), ..Tls::default() };
    if let Some((certificate, key)) = &tls.identity {
        made.certificate = Some(certificate.clone());
        made.key = Some(match key {
            KeySource::File(path) => Located::at(path),
            KeySource::Credential(name) => {
                let (secrets, name) = (secrets.clone(), name.clone());
                Located::found_by(move || secrets.path(&name))
            }
        });
    }
    made
}

/// The check of the configuration has refused any other mechanism.
fn sasl(sasl: &config::Sasl, secrets: &CredentialStore) -> Option<Sasl> {
    let mechanism = Mechanism::parse(&sasl.mechanism)?;
    let (secrets, name) = (secrets.clone(), sasl.password.clone());
    let password = Password::read_by(move || secrets.read(&name));
    Some(Sasl { mechanism, username: sasl.username.clone(), password })
}

/// To pause and resume each lane. Pauses, and what a second cluster must know, outlive a restart.
pub fn switches(state: &Arc<SetOnce<State>>) -> Switches {
    let switch = |lane| {
        let memory = InState { lane, state: Arc::clone(state) };
        (lane, Arc::new(ReplicationControl::remembering(Arc::new(memory))))
    };
    ["telemetry", "events"].map(switch).to_vec()
}

/// The same of a box that does not run, as its state remembers it; nothing is changed by that. `None`
/// when it remembers nothing.
pub fn remembered(config: &Config) -> Option<Switches> {
    let state = State::peek(&config.paths.state.join("state"))?;
    Some(switches(&Arc::new(SetOnce::new_with(Some(state)))))
}

/// Tells a lane what Kafka had confirmed when it was last heard. When the journal has fewer records
/// than that, it has lost its end or was put back from a copy: what follows gets the same offsets
/// again, so it is remembered that these are not confirmed.
pub fn remember_confirmed(writer: &LaneWriter, lane: &str, switch: &ReplicationControl) {
    let (epoch, opened_at) = {
        let status = writer.status();
        let status = status.borrow();
        (status.epoch.clone(), status.opened_at)
    };
    let Some(confirmed) = switch.recall_complete(lane, &epoch) else { return };
    if confirmed > opened_at {
        switch.keep_complete(lane, &epoch, opened_at);
    }
    writer.remember_confirmed(confirmed.min(opened_at));
}

/// Lets `control` pause both clusters.
pub fn controlled(mut options: Options, control: &Arc<ReplicationControl>) -> Options {
    if let Some(second) = &mut options.fallback {
        second.options.control = Arc::clone(control);
    }
    options.control = Arc::clone(control);
    options
}

/// The small state as the memory of one lane's replicators.
struct InState {
    lane: &'static str,
    state: Arc<SetOnce<State>>,
}

impl InState {
    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.lane)
    }
}

impl Memory for InState {
    fn is_ready(&self) -> bool {
        self.state.get().is_some()
    }

    fn recall(&self, key: &str) -> Option<Vec<u8>> {
        self.state.get()?.get(Table::Replication, &self.key(key)).filter(|value| !value.is_empty())
    }

    fn keep(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let Some(state) = self.state.get() else {
            return Err("the small state is not open: it holds until the next restart".to_owned());
        };
        let key = self.key(key);
        let entry = [(key.as_str(), value.to_vec())];
        state.save(Table::Replication, entry.into_iter()).map_err(|error| error.to_string())
    }
}
