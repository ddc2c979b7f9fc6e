//! Frames of runs that no tick has opened yet, and of publishers that we wait for after a restart. Bounded in all and for each topic; the oldest gives way.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use zeroize::Zeroizing;

use super::records::{push_bytes, read_bytes, version_of};
use crate::primitives::sha256_prefix;
use crate::record::{Change, Table};
use crate::wire::{Reader, WireError};

/// Frames in all.
const MAX_FRAMES: usize = 8192;
/// Frames of one topic.
const MAX_OF_TOPIC: usize = 2048;
/// Bytes in all, topics included.
const MAX_BYTES: usize = 16 << 20;
/// How long a frame waits.
const MAX_AGE_MS: u64 = 600_000;

#[derive(Debug)]
pub(super) struct Parked {
    pub(super) topic: String,
    pub(super) message: Vec<u8>,
    run: [u8; 5],
    /// When it came, in milliseconds since 1970: it may wait over a restart.
    at_ms: u64,
    /// Its place in the order of arrival, and its key on disk.
    number: u64,
    fingerprint: [u8; 16],
}

/// The parked frames, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Parking {
    queue: VecDeque<Parked>,
    of_topic: HashMap<String, usize>,
    /// Fingerprints of them all: what a broker delivers again, after a kill say, is not parked again.
    held: HashSet<[u8; 16]>,
    bytes: usize,
    next: u64,
    /// By number, what is to be stored, or removed where there is nothing.
    changes: BTreeMap<u64, Option<Vec<u8>>>,
}

impl Parking {
    /// Parks a frame, and says how many were dropped for it (itself, where its topic has had its share).
    pub(super) fn park(&mut self, topic: &str, run: [u8; 5], message: &[u8], now_ms: u64) -> u64 {
        let size = topic.len() + message.len();
        let fingerprint = fingerprint(topic, message);
        if self.held.contains(&fingerprint) {
            return 0;
        }
        if self.of_topic.get(topic).is_some_and(|&count| count >= MAX_OF_TOPIC) || size > MAX_BYTES {
            return 1;
        }
        let mut dropped = 0;
        while self.queue.len() >= MAX_FRAMES || self.bytes + size > MAX_BYTES {
            if self.pop_oldest().is_none() {
                break;
            }
            dropped += 1;
        }
        let number = self.next;
        self.next += 1;
        let (topic, message) = (topic.to_owned(), message.to_vec());
        let parked = Parked { topic, message, run, at_ms: now_ms, number, fingerprint };
        self.changes.insert(number, Some(encode(&parked)));
        self.keep(parked);
        dropped
    }

    /// Puts it behind the others, and into the accounts that [`Parking::forget`] takes it out of.
    fn keep(&mut self, parked: Parked) {
        self.bytes += parked.topic.len() + parked.message.len();
        self.held.insert(parked.fingerprint);
        *self.of_topic.entry(parked.topic.clone()).or_default() += 1;
        self.queue.push_back(parked);
    }

    /// Whether a frame is parked already, byte for byte.
    pub(super) fn holds(&self, topic: &str, message: &[u8]) -> bool {
        !self.held.is_empty() && self.held.contains(&fingerprint(topic, message))
    }

    /// Whether a frame can be parked without one being dropped.
    pub(super) fn has_room(&self, topic: &str, message: &[u8]) -> bool {
        self.of_topic.get(topic).is_none_or(|&count| count < MAX_OF_TOPIC)
            && self.queue.len() < MAX_FRAMES
            && self.bytes + topic.len() + message.len() <= MAX_BYTES
    }

    /// Takes out the frames of some runs, in the order of their arrival.
    pub(super) fn take(&mut self, of: impl Fn([u8; 5]) -> bool) -> Vec<Parked> {
        if !self.queue.iter().any(|parked| of(parked.run)) {
            return Vec::new();
        }
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|parked| of(parked.run));
        self.queue = kept;
        for parked in &taken {
            self.forget(parked);
        }
        taken.into()
    }

    /// Drops what has waited too long, and says how many.
    pub(super) fn expire(&mut self, now_ms: u64) -> u64 {
        let mut dropped = 0;
        while self.queue.front().is_some_and(|parked| parked.at_ms + MAX_AGE_MS < now_ms) {
            self.pop_oldest();
            dropped += 1;
        }
        dropped
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn pop_oldest(&mut self) -> Option<Parked> {
        let parked = self.queue.pop_front()?;
        self.forget(&parked);
        Some(parked)
    }

    fn forget(&mut self, parked: &Parked) {
        self.bytes -= parked.topic.len() + parked.message.len();
        self.held.remove(&parked.fingerprint);
        if let Some(count) = self.of_topic.get_mut(&parked.topic) {
            *count -= 1;
            if *count == 0 {
                self.of_topic.remove(&parked.topic);
            }
        }
        self.changes.insert(parked.number, None);
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What has changed since the last call.
    pub(super) fn take_changes(&mut self) -> impl Iterator<Item = Change> + use<> {
        let change = |(number, bytes): (u64, Option<Vec<u8>>)| Change {
            table: Table::Parked,
            key: number.to_be_bytes().to_vec(),
            value: bytes.map(Zeroizing::new),
        };
        std::mem::take(&mut self.changes).into_iter().map(change)
    }

    /// Takes up a frame that was stored, in the order of the numbers.
    pub(super) fn restore(&mut self, number: u64, reader: &mut Reader<'_>) -> Result<(), WireError> {
        let (run, at_ms) = (reader.array()?, reader.u64()?);
        let topic = std::str::from_utf8(read_bytes(reader)?).map_err(|_| WireError::Text)?.to_owned();
        let message = reader.rest().to_vec();
        self.next = number.checked_add(1).ok_or(WireError::Range)?;
        let fingerprint = fingerprint(&topic, &message);
        self.keep(Parked { topic, message, run, at_ms, number, fingerprint });
        Ok(())
    }
}

/// A topic has no byte 0.
fn fingerprint(topic: &str, message: &[u8]) -> [u8; 16] {
    sha256_prefix(&[topic.as_bytes(), &[0], message])
}

/// `version | run 5 | at 8 | topic length 2 | topic | message`.
fn encode(parked: &Parked) -> Vec<u8> {
    let mut out = vec![version_of(Table::Parked)];
    out.extend_from_slice(&parked.run);
    out.extend_from_slice(&parked.at_ms.to_be_bytes());
    push_bytes(&mut out, parked.topic.as_bytes());
    out.extend_from_slice(&parked.message);
    out
}
