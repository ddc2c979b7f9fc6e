//! The few plain types that cross the border between the engines and what drives them.

use std::sync::Arc;

use bytes::Bytes;

use crate::identity::PeerId;

/// The time of one call: the core has no clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Milliseconds of a monotonic clock, for every interval.
    pub mono_ms: u64,
    /// Milliseconds since 1970, for the clock in a tick only.
    pub unix_ms: u64,
}

/// The quality of service that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// QoS 0: repeats of hello and tick.
    AtMostOnce,
    /// QoS 1: everything that must arrive.
    AtLeastOnce,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The bytes, all of them ciphertext or public.
    pub payload: Vec<u8>,
    /// The quality of service.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
}

/// One reading that verified, in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The topic it was sealed for: one string for all readings of the topic.
    pub topic: Arc<str>,
    /// The publisher that sealed it.
    pub publisher: PeerId,
    /// The run.
    pub run: [u8; 5],
    /// The stream.
    pub stream: u32,
    /// Its sequence number within (run, topic).
    pub seq: u32,
    /// The reading. Kept for long, it may keep a few kilobytes of those beside it.
    pub payload: Bytes,
}

// A reading is the users' secret: it is shown by the output, never by a log.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Delivery({} from {} seq {}, {} bytes)", self.topic, self.publisher, self.seq, self.payload.len())
    }
}
