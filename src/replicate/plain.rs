//! What librdkafka and the brokers say, in words for whoever has to do something about it. Their own
//! words go to the log, as a detail.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::options::Options;

const MOVING: &str = "Kafka is just moving work from one broker to another";
const SLOW: &str = "Kafka does not answer in time";
const FORGOTTEN: &str = "Kafka no longer knows what this box had begun to send, for example after a long outage; it is \
                         sent again";
const COPIES: &str = "too few brokers are there to keep as many copies of a record as the topic wants \
                      (min.insync.replicas): the IT department must look at the brokers";
const NO_TOPIC: &str = "Kafka does not know the topic";
const DAMAGED: &str = "a record was damaged on its way";

/// Code, its name in Kafka and librdkafka, and what it means.
const CODES: &[(Code, &str, &str)] = &[
    (Code::BrokerTransportFailure, "_TRANSPORT", "the connection to Kafka was lost"),
    (Code::NetworkException, "NETWORK_EXCEPTION", "the connection to Kafka was lost"),
    (Code::Resolve, "_RESOLVE", "the name of a broker is not known to the network (DNS)"),
    (Code::AllBrokersDown, "_ALL_BROKERS_DOWN", "no broker can be reached"),
    (Code::OperationTimedOut, "_TIMED_OUT", SLOW),
    (Code::MessageTimedOut, "_MSG_TIMED_OUT", SLOW),
    (Code::TimedOutQueue, "_TIMED_OUT_QUEUE", SLOW),
    (Code::RequestTimedOut, "REQUEST_TIMED_OUT", SLOW),
    (Code::NotEnoughReplicas, "NOT_ENOUGH_REPLICAS", COPIES),
    (Code::NotEnoughReplicasAfterAppend, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", COPIES),
    (Code::LeaderNotAvailable, "LEADER_NOT_AVAILABLE", MOVING),
    (Code::NotLeaderForPartition, "NOT_LEADER_FOR_PARTITION", MOVING),
    (Code::BrokerNotAvailable, "BROKER_NOT_AVAILABLE", MOVING),
    (Code::ReplicaNotAvailable, "REPLICA_NOT_AVAILABLE", MOVING),
    (Code::CoordinatorLoadInProgress, "COORDINATOR_LOAD_IN_PROGRESS", MOVING),
    (Code::CoordinatorNotAvailable, "COORDINATOR_NOT_AVAILABLE", MOVING),
    (Code::NotCoordinator, "NOT_COORDINATOR", MOVING),
    (Code::NotController, "NOT_CONTROLLER", MOVING),
    (Code::WaitingForCoordinator, "_WAIT_COORD", MOVING),
    (Code::FencedLeaderEpoch, "FENCED_LEADER_EPOCH", MOVING),
    (Code::UnknownLeaderEpoch, "UNKNOWN_LEADER_EPOCH", MOVING),
    (Code::PreferredLeaderNotAvailable, "PREFERRED_LEADER_NOT_AVAILABLE", MOVING),
    (Code::ReassignmentInProgress, "REASSIGNMENT_IN_PROGRESS", MOVING),
    (Code::UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PART", NO_TOPIC),
    (Code::UnknownTopic, "_UNKNOWN_TOPIC", NO_TOPIC),
    (Code::UnknownPartition, "_UNKNOWN_PARTITION", NO_TOPIC),
    (Code::UnknownTopicId, "UNKNOWN_TOPIC_ID", NO_TOPIC),
    (
        Code::KafkaStorageError,
        "KAFKA_STORAGE_ERROR",
        "a broker cannot write to its disk: the IT department must look at the brokers",
    ),
    (
        Code::ConcurrentTransactions,
        "CONCURRENT_TRANSACTIONS",
        "Kafka has not finished yet what this box sent last",
    ),
    (Code::InvalidTransactionalState, "INVALID_TXN_STATE", FORGOTTEN),
    (Code::InvalidProducerIdMapping, "INVALID_PRODUCER_ID_MAPPING", FORGOTTEN),
    (Code::UnknownProducerId, "UNKNOWN_PRODUCER_ID", FORGOTTEN),
    (Code::OutOfOrderSequenceNumber, "OUT_OF_ORDER_SEQUENCE_NUMBER", FORGOTTEN),
    (Code::DuplicateSequenceNumber, "DUPLICATE_SEQUENCE_NUMBER", FORGOTTEN),
    (Code::State, "_STATE", FORGOTTEN),
    (Code::Inconsistent, "_INCONSISTENT", FORGOTTEN),
    (Code::GaplessGuarantee, "_GAPLESS_GUARANTEE", FORGOTTEN),
    (Code::TransactionCoordinatorFenced, "TRANSACTION_COORDINATOR_FENCED", MOVING),
    (
        Code::ThrottlingQuotaExceeded,
        "THROTTLING_QUOTA_EXCEEDED",
        "Kafka lets this box send only so much (quota)",
    ),
    (Code::PolicyViolation, "POLICY_VIOLATION", "a rule of the brokers forbids it"),
    (
        Code::InvalidReplicationFactor,
        "INVALID_REPLICATION_FACTOR",
        "there are fewer brokers than copies are wanted",
    ),
    (Code::InvalidPartitions, "INVALID_PARTITIONS", "the brokers do not take this number of partitions"),
    (Code::InvalidConfig, "INVALID_CONFIG", "the brokers do not take its settings"),
    (Code::InvalidTopic, "TOPIC_EXCEPTION", "Kafka does not allow this name of a topic"),
    (Code::InvalidRecord, "INVALID_RECORD", "a rule of the topic forbids the record"),
    (Code::InvalidTimestamp, "INVALID_TIMESTAMP", "the topic does not take records of this time"),
    (Code::MessageSizeTooLarge, "MSG_SIZE_TOO_LARGE", "the record is too large for the topic"),
    (Code::MessageBatchTooLarge, "RECORD_LIST_TOO_LARGE", "the records are too large for the topic"),
    (Code::InvalidMessage, "INVALID_MSG", DAMAGED),
    (Code::InvalidMessageSize, "INVALID_MSG_SIZE", DAMAGED),
    (Code::BadMessage, "_BAD_MSG", DAMAGED),
    (Code::TopicAuthorizationFailed, "TOPIC_AUTHORIZATION_FAILED", "this box may not use the topic"),
    (
        Code::ClusterAuthorizationFailed,
        "CLUSTER_AUTHORIZATION_FAILED",
        "this box may not do this in the cluster",
    ),
    (
        Code::TransactionalIdAuthorizationFailed,
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        "this box may not use its TransactionalId",
    ),
    (Code::Authentication, "_AUTHENTICATION", "this box is not let in"),
    (Code::SaslAuthenticationFailed, "SASL_AUTHENTICATION_FAILED", "this box is not let in"),
    (Code::SSL, "_SSL", "no secure connection (TLS) can be made"),
    (Code::UnsupportedVersion, "UNSUPPORTED_VERSION", "the brokers are too old for this"),
    (Code::UnsupportedFeature, "_UNSUPPORTED_FEATURE", "the brokers are too old for this"),
    (Code::Unknown, "UNKNOWN", "Kafka says that something went wrong, and not what"),
];

/// What a code means.
pub(super) fn code(code: Code) -> String {
    let known = CODES.iter().find(|(known, ..)| *known == code);
    known.map_or_else(|| format!("Kafka answers with its error {code:?}"), |(.., words)| (*words).to_owned())
}

/// What an error of librdkafka means.
pub(super) fn error(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| "the connection to Kafka does not work".to_owned(), code)
}

/// What librdkafka's log says of a transaction that must be given up: the name of the error stands in
/// the last brackets.
pub(super) fn transaction(text: &str) -> String {
    let name = text.rsplit_once('(').and_then(|(_, name)| name.split([',', ')']).next()).unwrap_or_default();
    match CODES.iter().find(|(_, known, _)| *known == name) {
        Some((.., words)) => (*words).to_owned(),
        None if is_name(name) => format!("Kafka answers with its error {name}"),
        None => "Kafka has given up what was being sent".to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_uppercase() || it == b'_')
}

/// Why librdkafka does not take the settings.
pub(super) fn settings(error: &KafkaError) -> String {
    let said = error.to_string().to_ascii_lowercase();
    let what =
        if said.contains("ssl.key") || said.contains("key values mismatch") || said.contains("private key") {
            "the key cannot be used: it does not belong to the certificate, or its password is wrong"
        } else if said.contains("ssl.ca") {
            "the authority (ca) cannot be used: it is no certificate in PEM"
        } else if said.contains("certificate") {
            "the certificate cannot be used: it is no certificate in PEM"
        } else {
            return "[kafka] in forebay.toml cannot work, the log says why".to_owned();
        };
    format!("{what} ([kafka.tls] in forebay.toml)")
}

/// The brokers ended the handshake over our certificate (alerts of RFC 8446, section 6.2).
pub(super) fn is_our_certificate(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    reason.contains("alert") && (reason.contains("certificate") || reason.contains("unknown ca"))
}

/// Why there is no connection.
pub(super) fn connection(code: Code, reason: &str, options: &Options) -> String {
    let who = broker(reason).unwrap_or(&options.brokers);
    let said = reason.to_ascii_lowercase();
    match code {
        Code::Resolve => {
            format!(
                "the name {} is not known to the network (DNS)",
                who.rsplit_once(':').map_or(who, |it| it.0)
            )
        }
        // With TLS 1.3 it comes after the handshake, so not as an error of TLS.
        _ if is_our_certificate(&said) => {
            format!("{who} does not accept the certificate of this box{}", alert(&said))
        }
        Code::SSL => secure(who, &said),
        Code::Authentication | Code::SaslAuthenticationFailed => not_let_in(who, reason, options),
        Code::BrokerTransportFailure => transport(who, &said),
        Code::AllBrokersDown => format!("none of {} can be reached", options.brokers),
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut => {
            format!("{who} does not answer in time")
        }
        _ => format!("no answer from {who}"),
    }
}

/// `host:port` in front of what librdkafka says: `sasl_ssl://kafka-1:9093/bootstrap: …`. It may be
/// another one than is configured: brokers name each other.
fn broker(reason: &str) -> Option<&str> {
    let (name, _) = reason.split_once(": ")?;
    let name = name.rsplit_once("://").map_or(name, |(_, name)| name);
    let name = name.split('/').next()?;
    let (host, port) = name.rsplit_once(':')?;
    (!host.is_empty() && !host.contains(' ') && port.parse::<u16>().is_ok()).then_some(name)
}

fn alert(said: &str) -> &'static str {
    if said.contains("unknown ca") {
        ": it does not know the authority that has signed it"
    } else if said.contains("expired") {
        ": it has expired"
    } else if said.contains("revoked") {
        ": it was revoked"
    } else if said.contains("required") {
        ": it wants one, and [kafka.tls] names none"
    } else {
        ""
    }
}

fn secure(who: &str, said: &str) -> String {
    let plain = ["wrong version number", "unexpected message", "packet length too long", "http request"];
    if said.contains("hostname mismatch") || said.contains("ip address mismatch") {
        format!("the certificate of {who} is for another name")
    } else if said.contains("has expired") || said.contains("not yet valid") {
        format!(
            "the certificate of {who} is not valid today: it is too old, or the clock of this box is wrong"
        )
    } else if said.contains("verif") || said.contains("self-signed") || said.contains("issuer") {
        format!(
            "the certificate of {who} cannot be trusted: ca under [kafka.tls] must be the authority that has signed \
             it, and its name and date must be right"
        )
    } else if plain.iter().any(|words| said.contains(words)) {
        format!("{who} does not speak TLS at this port: it is another port, or [kafka.tls] is to be left out")
    } else {
        format!("no secure connection (TLS) to {who} can be made")
    }
}

fn not_let_in(who: &str, reason: &str, options: &Options) -> String {
    match reason.split_once("supported mechanisms: ") {
        Some((_, known)) if !known.trim().is_empty() => {
            format!(
                "{who} does not take this mechanism of logging in, only {}: see [kafka.sasl]",
                known.trim()
            )
        }
        _ => format!("{who} does not accept the password of {}, or does not know it", options.principal()),
    }
}

fn transport(who: &str, said: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|words| said.contains(words));
    if has(&["connection refused"]) {
        format!("nothing listens at {who}: Kafka does not run there, or the port is another one")
    } else if has(&["security.protocol", "apiversion", "sasl"]) {
        format!(
            "{who} ends the connection at once: it may want TLS or a password ([kafka.tls], [kafka.sasl])"
        )
    } else if has(&["unreachable", "no route"]) {
        format!("the network has no way to {who}: look at cables, switches and the gateway of this box")
    } else if has(&["timed out", "timeout"]) {
        format!("{who} does not answer")
    } else if has(&["invalid", "unexpected"]) {
        format!(
            "what answers at {who} does not speak as Kafka does: it may want TLS, or the port is another one"
        )
    } else if has(&["disconnect", "closed", "reset", "broken pipe"]) {
        format!("{who} has closed the connection")
    } else {
        format!("no connection to {who}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("kafka-1:9092,kafka-2:9092", "forebay", "werk1", "box-1")
    }

    #[test]
    fn connections_are_told_in_words() {
        let transport = Code::BrokerTransportFailure;
        for (code, said, words) in [
            (
                transport,
                "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state \
                 CONNECT)",
                "nothing listens at 127.0.0.1:9092: Kafka does not run there, or the port is another one",
            ),
            (
                transport,
                "kafka-7:9092/7: Connection setup timed out in state CONNECT (after 30029ms in state CONNECT)",
                "kafka-7:9092 does not answer",
            ),
            (
                transport,
                "plant:9093/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect \
                 security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10",
                "plant:9093 ends the connection at once: it may want TLS or a password ([kafka.tls], [kafka.sasl])",
            ),
            (
                transport,
                "plant:9093/1: Connect to ipv4#10.0.0.1:9093 failed: No route to host (after 3ms in state CONNECT)",
                "the network has no way to plant:9093: look at cables, switches and the gateway of this box",
            ),
            (
                transport,
                "GroupCoordinator: Disconnected",
                "kafka-1:9092,kafka-2:9092 has closed the connection",
            ),
            (
                Code::Resolve,
                "ssl://kafka.example:9093/bootstrap: Failed to resolve 'kafka.example:9093': Name or service not known",
                "the name kafka.example is not known to the network (DNS)",
            ),
            (
                Code::SSL,
                "ssl://kafka-1:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify \
                 failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured",
                "the certificate of kafka-1:9093 cannot be trusted: ca under [kafka.tls] must be the authority that has \
                 signed it, and its name and date must be right",
            ),
            (
                Code::SSL,
                "ssl://kafka-1:9092/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version number: \
                 client SSL authentication might be required",
                "kafka-1:9092 does not speak TLS at this port: it is another port, or [kafka.tls] is to be left out",
            ),
            (
                transport,
                "ssl://kafka-1:9093/1: Receive failed: error:0A000418:SSL routines::tlsv1 alert unknown ca: SSL alert \
                 number 48",
                "kafka-1:9093 does not accept the certificate of this box: it does not know the authority that has \
                 signed it",
            ),
            (
                Code::Authentication,
                "sasl_plaintext://kafka-1:9094/1: SASL authentication error: Authentication failed during authentication \
                 due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 9ms in state AUTH_REQ)",
                "kafka-1:9094 does not accept the password of this box (it logs in without a user), or does not know it",
            ),
            (
                Code::Authentication,
                "sasl_ssl://k:9094/1: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: \
                 broker's supported mechanisms: SCRAM-SHA-512",
                "k:9094 does not take this mechanism of logging in, only SCRAM-SHA-512: see [kafka.sasl]",
            ),
            (
                Code::AllBrokersDown,
                "3/3 brokers are down",
                "none of kafka-1:9092,kafka-2:9092 can be reached",
            ),
        ] {
            assert_eq!(connection(code, said, &options()), words);
        }
    }

    #[test]
    fn transactions_that_are_given_up_are_told_in_words() {
        for (said, words) in [
            (
                "Current transaction failed in state BeginCommit: ProduceRequest for forebay.telemetry [0] with 5 \
                 message(s) failed: Broker: Not enough in-sync replicas (broker 1 PID{Id:1,Epoch:0}, base seq 0): current \
                 transaction must be aborted (NOT_ENOUGH_REPLICAS)",
                COPIES,
            ),
            (
                "Current transaction failed in state InTransaction: unknown producer id (UNKNOWN_PRODUCER_ID, requires \
                 epoch bump)",
                FORGOTTEN,
            ),
            ("Fatal transaction error: what (SOMETHING_NEW)", "Kafka answers with its error SOMETHING_NEW"),
            ("no brackets", "Kafka has given up what was being sent"),
        ] {
            assert_eq!(transaction(said), words);
        }
    }

    #[test]
    fn no_code_is_told_in_the_words_of_the_library() {
        for (known, name, words) in CODES {
            assert_eq!(code(*known), *words);
            assert_eq!(transaction(&format!("Current transaction failed: {known} ({name})")), *words);
        }
        assert_eq!(code(Code::LogDirNotFound), "Kafka answers with its error LogDirNotFound");
        let error =
            KafkaError::ClientCreation("ssl.key.location failed: error:0B080074: key values mismatch".into());
        assert!(settings(&error).starts_with("the key cannot be used: it does not belong"));
        let other = KafkaError::ClientCreation("Configuration property \"x\" cannot be set".into());
        assert_eq!(settings(&other), "[kafka] in forebay.toml cannot work, the log says why");
    }
}
