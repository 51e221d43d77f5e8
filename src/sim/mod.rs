//! Deterministic simulation of poller, journal, lane and replicator.
