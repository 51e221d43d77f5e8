//! From `[kafka]` to the replicator's options; the only place where Kafka's secrets are read.

use anyhow::{Context, anyhow};
use forebay_connector::Secrets;

use crate::config::{Config, CredentialStore, KeySource};
use crate::replicate::{CreateTopics, Mechanism, Options, Password, Sasl, Tls};

/// Options for the replicators.
///
/// # Errors
/// When a secret cannot be read; the message says where it was looked for.
pub fn options(config: &Config) -> anyhow::Result<Options> {
    let kafka = &config.kafka;
    let secrets = CredentialStore::new(config.paths.credentials.clone());
    let secret = |name: &str| secrets.read(name).map_err(|reason| anyhow!(reason));
    let mut options =
        Options::new(&kafka.brokers.join(","), &kafka.topic_prefix, &config.edge.site, &config.edge.id);
    options.transaction_timeout = kafka.transaction_timeout;
    options.commit_interval = kafka.commit_interval;
    options.transaction_records_max = kafka.transaction_records_max;
    options.create_topics = kafka.create_topics.then_some(CreateTopics { partitions: -1, replication: -1 });
    if let Some(tls) = &kafka.tls {
        let mut identity = Tls { ca: tls.ca.clone(), ..Tls::default() };
        if let Some((certificate, key)) = &tls.identity {
            identity.certificate = Some(certificate.clone());
            identity.key = Some(match key {
                KeySource::File(path) => path.clone(),
                KeySource::Credential(name) => secrets.path(name).map_err(|reason| anyhow!(reason))?,
            });
        }
        options.tls = Some(identity);
    }
    if let Some(sasl) = &kafka.sasl {
        let mechanism = Mechanism::parse(&sasl.mechanism).context("an unknown SASL mechanism")?;
        let password = Password::new(secret(&sasl.password)?);
        options.sasl = Some(Sasl { mechanism, username: sasl.username.clone(), password });
    }
    Ok(options)
}
