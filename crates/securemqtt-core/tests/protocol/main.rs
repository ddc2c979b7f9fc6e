//! Protocol behaviour, with peers in memory and an adversarial network: no socket, no sleep.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub, reason = "tests")]

// The world of a test, the attackers in it, a publisher's disk, and one that does as it is told.
mod by_hand;
mod disk;
mod insider;
mod network;

/// Several readings in one message.
mod batches;
/// Many publishers and many subscribers.
mod crowds;
/// Points, suites, challenges and keys that are not what they claim to be.
mod downgrades;
mod durable;
/// The frame that is expected, and what looks like it.
mod expected;
/// Floods of junk.
mod floods;
/// What another subscriber can forge, and how it is found.
mod forgeries;
/// Missing, withheld and late readings.
mod gaps;
/// Steps of the ratchet, late frames and forged generations.
mod generations;
/// Duplicated, replayed, forged and lost handshake messages.
mod handshakes;
/// A publisher that keeps what it sealed: restarts, crashes, restored copies, twins.
mod keeping;
/// What leaked keys open.
mod leaks;
/// A publisher that is started again and again.
mod many_runs;
/// Records that an earlier version wrote.
mod old_records;
/// Frames that arrive before their key.
mod parking;
/// Silence, return and the end of a run.
mod pulse;
/// Who is refused, and what each side is told.
mod refusals;
/// What is missing is asked for again.
mod repairs;
/// What a revoked subscriber still can do.
mod revocations;
/// A subscriber whose state was restored.
mod rollbacks;
/// New streams: when they start, and who gets them.
mod rotations;
/// Random schedules.
mod schedules;
/// Who reads what, in which order things may start.
mod sessions;
/// What is missing is asked for and sent again; a full spool.
mod spools;
/// What a person may ask of either side.
mod status;
/// Random and mutated messages.
mod totality;
/// Strangers, first peers and a person's decision.
mod trust;
