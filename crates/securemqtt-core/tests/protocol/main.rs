//! Protocol behaviour, with peers in memory and an adversarial network: no socket, no sleep.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

// The world of a test, and the attackers in it.
mod insider;
mod network;

/// Who reads what, in which order things may start.
mod sessions;
/// Duplicated, replayed, forged and lost handshake messages.
mod handshakes;
/// Who is refused, and what each side is told.
mod refusals;
/// Strangers, first peers and a person's decision.
mod trust;
/// Points, suites, challenges and keys that are not what they claim to be.
mod downgrades;
/// New streams: when they start, and who gets them.
mod rotations;
/// What a revoked subscriber still can do.
mod revocations;
/// Steps of the ratchet, late frames and forged generations.
mod generations;
/// What another subscriber can forge, and how it is found.
mod forgeries;
/// What leaked keys open.
mod leaks;
/// Missing, withheld and late readings.
mod gaps;
/// Frames that arrive before their key.
mod parking;
/// Silence, return and the end of a run.
mod pulse;
/// Several readings in one message.
mod batches;
/// Floods of junk.
mod floods;
/// Many publishers and many subscribers.
mod crowds;
/// Random schedules.
mod schedules;
/// Random and mutated messages.
mod totality;
