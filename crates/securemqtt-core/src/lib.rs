//! The securemqtt protocol, version 1, without I/O: bytes in, bytes out; randomness and time are arguments.
//!
//! PROTOCOL.md is the specification. [`publisher::Publisher`] and [`subscriber::Subscriber`] are the two engines;
//! everything below them is one file an object of the specification.

pub mod bucket;
mod by_topic;
pub mod chain;
mod chunk;
pub mod handshake;
pub mod identity;
pub mod kdf;
pub mod ledger;
pub mod packed;
pub mod peers;
pub mod primitives;
pub mod publisher;
pub mod ranges;
pub mod record;
mod secret;
pub mod stream;
pub mod subscriber;
pub mod topic;
pub mod trust;
mod types;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod vectors;
pub mod wire;

/// What a frame or a reading is handed over in: `bytes`.
pub use bytes::Bytes;
pub use types::{Delivery, Now, Outgoing, Qos};
