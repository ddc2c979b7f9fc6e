//! How a publisher behaves, and the defaults of the protocol.

use crate::peers::PeerName;

/// How a publisher behaves; every interval in milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The petname that it proposes.
    pub name: PeerName,
    /// Whether every frame is signed, for those who must prevent forgery by another subscriber.
    pub signed_frames: bool,
    /// Between ticks.
    pub tick_ms: u64,
    /// Between generations, by time.
    pub ratchet_ms: u64,
    /// Between generations, by frames.
    pub ratchet_frames: u64,
    /// Between streams.
    pub rotate_ms: u64,
    /// Between challenges.
    pub challenge_ms: u64,
    /// How long a rotation waits for confirmations.
    pub rotation_wait_ms: u64,
    /// Bytes of sealed frames that are kept to be sent again; 0 keeps none.
    pub spool_max: usize,
}

impl Config {
    /// The defaults of the protocol.
    pub fn new(name: PeerName) -> Self {
        Self {
            name,
            signed_frames: false,
            tick_ms: 10_000,
            ratchet_ms: 3_600_000,
            ratchet_frames: 1 << 20,
            rotate_ms: 24 * 3_600_000,
            challenge_ms: 3_600_000,
            rotation_wait_ms: 10_000,
            spool_max: 0,
        }
    }
}
