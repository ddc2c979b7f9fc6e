//! One test binary over the real programs and a real broker. `cargo test --test tests tls::` runs one subject.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test is a panic")]
#![allow(dead_code, reason = "the harness offers every subject the same few verbs, and no subject needs them all")]

// The harness.

/// An attacker that runs both halves of the protocol with a key of its own.
mod attacker;
/// A Mosquitto of its own for each test (or the embedded broker where there is none).
mod broker;
/// A client that hears everything on the broker, and can publish anything.
mod eavesdropper;
/// The library's publisher, as somebody else's program would use it.
mod library;
/// An attacker between two brokers, who passes on what it likes.
mod mitm;
/// Publishers and subscribers with an identity each, and who of them knows whom.
mod parties;
/// The real programs as child processes, with or without a terminal.
mod process;
/// What a subscriber wrote to a file, and programs that die exactly at a durable write.
mod tail;
/// A private certificate authority and what it signs.
mod tls;

// The subjects.

/// Whoever stands in the middle, forges, replays or cuts: refused, and told of where there is somebody to tell.
mod attacks;
/// `bench` at the user's own broker: what it measures, and that it leaves nothing.
mod benches;
/// Command lines and what they say, as files.
mod cli;
/// Everything in one command, on a machine without a broker.
mod demo;
/// A state directory that is full or turns read-only under way: nothing lost, nothing twice, and it says so.
mod disk;
/// Who waits until the broker has everything is told.
mod drained;
/// A subscriber that is stopped and killed: each reading once in a file, nothing asked anew, nothing shown again.
mod durable;
/// What the network, the broker or the input can get wrong: each with its message and exit code.
mod errors;
/// Many to many, thousands in order, each reading sealed once; the stream changes under way.
mod fleets;
/// Every input as the other side reads it, every output, the filters, the time-out.
mod formats;
/// The harness itself: brokers that start and stop, certificates that are taken, lines that arrive.
mod harness;
/// The broker restarts, stays away or comes late; signals; closed pipes.
mod outages;
/// The terminals that the READMEs show.
mod readme;
/// A changed key, an unknown subscriber, a revoked one: told why, and what the remedy is.
mod refusals;
/// What is asked of running programs, and of stopped ones: status, rotate, a change of the peers.
mod running;
/// A subscriber of many topics that is killed with replay windows in its log: each reading once.
mod scattered;
/// What an eavesdropper with a whole session can find in it, and what a log tells: nothing.
mod secrecy;
/// The demo to the letter, both start orders, restarts of either side.
mod sessions;
/// A publisher that is stopped, killed and cut off: what it took is delivered once, or named.
mod spool;
/// What can be wrong with the state directory and the configuration: each with its message and exit code.
mod state;
/// Every way to a broker: versions, passwords, TLS, certificates, WebSocket, unix socket, the TLS example.
mod transports;
/// Pins, questions on a terminal, first contact.
mod trust;
