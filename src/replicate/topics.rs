//! Before the first record: do the topics exist, and if not, may we make them?

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::fault::{Fault, unreachable};
use super::lane::Shared;
use super::options::{CreateTopics, Options};
use super::plain;
use super::reports::Reports;
use super::stop::Stop;

/// One question to Kafka takes at most this long.
const ASK: Duration = Duration::from_secs(5);
/// A created topic has a leader after this long at most.
const SETTLE: Duration = Duration::from_secs(15);

/// End of the name of the topic for records that Kafka refuses.
pub(super) const DEAD_LETTERS: &str = "dead-letter";
/// End of the name of the topic for the leases of active boxes.
pub(super) const LEASES: &str = "leases";

/// Number of partitions of `topic`, which is created when it is not there and we may. Notes when it
/// was not there.
pub(super) fn ensure(
    consumer: &BaseConsumer<Reports>,
    shared: &Shared,
    topic: &str,
    reports: &Reports,
    was_missing: &mut bool,
) -> Result<i32, Fault> {
    // Log lines and connection errors come with a poll; without one there would be no cause to show.
    let poll = |wait| drop(consumer.poll(wait));
    poll(Duration::ZERO);
    let ask = || partitions(consumer.client(), &shared.options, topic, reports, &poll);
    ensure_by(&ask, &shared.options, &shared.stop, topic, was_missing)
}

/// Makes sure that the dead-letter topic is there, created if we may.
pub(super) fn dead_letters(
    client: &Client<Reports>,
    shared: &Shared,
    reports: &Reports,
) -> Result<(), Fault> {
    let topic = shared.options.topic(DEAD_LETTERS);
    // A producer has a thread that polls.
    let ask = || partitions(client, &shared.options, &topic, reports, &std::thread::sleep);
    ensure_by(&ask, &shared.options, &shared.stop, &topic, &mut false).map(drop).map_err(
        |fault| match fault {
            Fault::Refused(cause) => Fault::NoDeadLetters { offset: None, cause },
            fault => fault,
        },
    )
}

/// As [`ensure`], where `ask` says how many partitions there are.
pub(super) fn ensure_by(
    ask: &dyn Fn() -> Result<Option<i32>, Fault>,
    options: &Options,
    stop: &Stop,
    topic: &str,
    was_missing: &mut bool,
) -> Result<i32, Fault> {
    if let Some(partitions) = ask()? {
        return Ok(partitions);
    }
    let made = match options.create_topics {
        Some(how) => create(options, topic, how),
        None => Err(missing(topic, "this box is told not to create topics")),
    };
    // A broker that has not heard of a topic is put right by the one that creates them.
    *was_missing |= matches!(made, Ok(true) | Err(Fault::Refused(_)));
    made?;
    let end = Instant::now() + SETTLE;
    while Instant::now() < end {
        if let Some(partitions) = ask()? {
            return Ok(partitions);
        }
        if stop.sleep(Duration::from_millis(100)) {
            return Err(Fault::Stopped);
        }
    }
    Err(Fault::Lost(format!("topic {topic} was created but no broker serves it yet")))
}

/// Says when Kafka deletes checkpoints by age: then a box that was away for longer sends what
/// its journal still holds a second time. Without the right to look (DescribeConfigs) nothing is
/// said. On a thread of its own: a broker that does not know the question leaves it unanswered.
pub(super) fn check_compacted(options: &Options, topic: &str) {
    let (options, topic) = (options.clone(), topic.to_owned());
    let look = move || {
        if let Some(policy) = policy(&options, &topic).filter(|policy| !policy.contains("compact")) {
            tracing::warn!(
                topic,
                "topic {topic} has cleanup.policy={policy}, so Kafka forgets in time how far this box has come: \
                 set cleanup.policy=compact"
            );
        }
    };
    if let Err(error) = std::thread::Builder::new().name("kafka-policy".into()).spawn(look) {
        tracing::debug!("the clean-up policy of the checkpoints is not looked at: {error}");
    }
}

fn policy(options: &Options, topic: &str) -> Option<String> {
    let admin: AdminClient<DefaultClientContext> = options.admin().create().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let ask = AdminOptions::new().request_timeout(Some(ASK));
    let which = ResourceSpecifier::Topic(topic);
    let answer = admin.describe_configs([&which], &ask);
    let config = runtime.block_on(answer).ok()?.into_iter().next()?.ok()?;
    config.get("cleanup.policy")?.value.clone()
}

/// What a topic is for, as its name says.
enum Kind {
    Checkpoints,
    Leases,
    Records,
}

fn kind(topic: &str) -> Kind {
    match topic.rsplit('.').next() {
        Some("checkpoints") => Kind::Checkpoints,
        Some(LEASES) => Kind::Leases,
        _ => Kind::Records,
    }
}

/// `None` = there is no such topic.
pub(super) fn partitions(
    client: &Client<Reports>,
    options: &Options,
    topic: &str,
    reports: &Reports,
    poll: &dyn Fn(Duration),
) -> Result<Option<i32>, Fault> {
    let metadata = client.fetch_metadata(Some(topic), ASK).map_err(|error| {
        poll(Duration::from_millis(10));
        match reports.connection() {
            Some(_) => unreachable(reports, options),
            None => Fault::Lost(format!("no answer from {}: {}", options.brokers, plain::error(&error))),
        }
    })?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match found.error().map(Code::from) {
        None => Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        // A leader is being elected.
        Some(Code::LeaderNotAvailable) => Ok(None),
        Some(Code::TopicAuthorizationFailed) => Err(Fault::Refused(format!(
            "{} may not see topic {topic}: grant {} on Topic {topic}",
            options.principal(),
            match kind(topic) {
                Kind::Checkpoints => "Write, Read and Describe",
                Kind::Leases => "Describe, and Write on the active box or Read on its standby,",
                Kind::Records => "Write and Describe",
            },
        ))),
        Some(code) => Err(Fault::Lost(format!("topic {topic}: {}", plain::code(code)))),
    }
}

/// False when it was there all the time.
fn create(options: &Options, topic: &str, how: CreateTopics) -> Result<bool, Fault> {
    let lost =
        |error: &dyn std::fmt::Display| Fault::Lost(format!("topic {topic} cannot be created: {error}"));
    let admin: AdminClient<DefaultClientContext> =
        options.admin().create().map_err(|error| lost(&plain::settings(&error)))?;
    // Leases stand in the first partition only.
    let partitions = if matches!(kind(topic), Kind::Leases) { 1 } else { how.partitions };
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(how.replication));
    if !matches!(kind(topic), Kind::Records) {
        // Small segments, because the one being written is never compacted.
        new = new.set("cleanup.policy", "compact").set("segment.bytes", "16777216");
    }
    let ask = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| lost(&error))?;
    let results =
        runtime.block_on(admin.create_topics([&new], &ask)).map_err(|error| lost(&plain::error(&error)))?;
    match results.into_iter().next() {
        Some(Ok(_)) => {
            tracing::info!(topic, "topic created");
            Ok(true)
        }
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
            Err(missing(topic, &format!("{} may not create it", options.principal())))
        }
        Some(Err((_, code))) => {
            Err(missing(topic, &format!("cannot be created, because {}", plain::code(code))))
        }
        None => Err(lost(&"no answer")),
    }
}

fn missing(topic: &str, why: &str) -> Fault {
    let how = if matches!(kind(topic), Kind::Records) { "" } else { " with cleanup.policy=compact" };
    Fault::Refused(format!(
        "topic {topic} does not exist and {why}: create it{how}, or grant Create on Topic {topic}"
    ))
}
