//! One test binary over the real programs and a real broker. `cargo test --test tests tls::` runs one subject.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test is a panic")]
#![allow(dead_code, reason = "the harness offers every subject the same few verbs, and no subject needs them all")]

// The harness.

/// A Mosquitto of its own for each test (or the embedded broker where there is none).
mod broker;
/// A client that hears everything on the broker, and can publish anything.
mod eavesdropper;
/// An attacker between two brokers, who passes on what it likes.
mod mitm;
/// The real programs as child processes, with or without a terminal.
mod process;
/// A private certificate authority and what it signs.
mod tls;

// The subjects.

/// The harness itself: brokers that start and stop, certificates that are taken, lines that arrive.
mod harness;
