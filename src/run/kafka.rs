//! From `[kafka]` to the replicator's options.

use forebay_connector::Secrets;

use crate::config::{Config, CredentialStore, KeySource};
use crate::replicate::{CreateTopics, Located, Mechanism, Options, Password, Sasl, Tls};

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
    options.tls = kafka.tls.as_ref().map(|tls| {
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
    });
    options.sasl = kafka.sasl.as_ref().and_then(|sasl| {
        // The check of the configuration has refused any other name.
        let mechanism = Mechanism::parse(&sasl.mechanism)?;
        let (secrets, name) = (secrets.clone(), sasl.password.clone());
        let password = Password::read_by(move || secrets.read(&name));
        Some(Sasl { mechanism, username: sasl.username.clone(), password })
    });
    options
}
