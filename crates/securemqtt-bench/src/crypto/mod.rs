//! The protocol's cryptography beside its bare primitives: the two engines in memory, and the same AEAD and the same
//! curve alone in three libraries. Used by `benches/core.rs` (criterion) and by the `crypto` and `handshake` sections.

mod aead;
mod curve;
mod pair;
mod stopwatch;

pub use aead::{Aead, Named as NamedAead, aeads};
pub use curve::{Curve, Named as NamedCurve, curves};
pub use pair::{Pair, READING, TOPIC};
pub use stopwatch::Stopwatch;

/// A library that refuses its own output; then there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a primitive failed on its own output")
    }
}

impl std::error::Error for Broken {}

/// The header of a frame and the topic, as associated data.
pub const ASSOCIATED: &[u8] = b"header78hospital/ward-7/bed-3/vitals";
