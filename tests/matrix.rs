//! The same end-to-end set against every broker that this machine has, one broker at a time.
//!
//!     .ci/run matrix                                                     installs the brokers, then runs all of it
//!     SECUREMQTT_MATRIX=long .ci/run matrix                              builds rumqttd too (8 minutes)
//!     cargo test --test matrix -- --nocapture --test-threads 1 nats      one broker; what it has is printed as a table
//!
//! A broker that is not installed is skipped, and named on stderr. What a broker cannot do by its own nature stands in
//! `matrix/quirks.rs`, with the reason, and the test sees to it that it fails safe.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test is a panic")]
#![allow(dead_code, unused_imports, reason = "the harness offers more verbs than one subject needs")]

/// A Mosquitto of its own for each test; here for its ports.
mod broker;
/// Publishers and subscribers with an identity each.
mod parties;
/// The real programs as child processes.
mod process;
/// What a subscriber wrote to a file.
mod tail;
/// A private certificate authority; the broker's set-up knows it.
mod tls;

mod matrix {
    /// The brokers: how each is found, configured and started.
    mod brokers;
    /// A publisher and its subscribers at one of the brokers.
    mod cast;
    /// A connection by hand, to see that a broker is ready.
    mod connack;
    /// What a process listens on.
    mod loopback;
    /// What a broker does by its own nature, against what is asked of it.
    mod quirks;
    /// One test for each broker and version of MQTT.
    mod runs;
    /// A broker that runs: ready, killed, started again, and an end that cannot be missed.
    mod server;
    /// What is asked of every broker, step by step.
    mod set;
    /// One step under way: what its programs say and put out.
    mod stage;
    /// What was found, as rows of the README's table.
    mod table;
}
