//! A run that a subscriber follows: one replay window and one ledger for each of its topics.

use std::collections::HashMap;

use crate::identity::PeerId;
use crate::kdf;
use crate::ledger::{Leaf, Ledger, leaf};
use crate::primitives::{AeadKey, SIGNATURE_LEN};
use crate::ranges::RangeSet;
use crate::stream::Signed;
use crate::wire::{FrameHeader, Kind, batch_readings};

use super::event::Reject;
use super::streams::{FRAME_STEPS, HeldStream, NoSecret};

/// Topics that are followed in one run.
const MAX_TOPICS: usize = 4096;

/// One topic of a run.
#[derive(Debug, Default)]
pub(super) struct TopicState {
    /// What was accepted.
    pub(super) window: RangeSet,
    /// What was accepted lately, byte for byte.
    pub(super) ledger: Ledger,
    /// What was reported missing and has not come.
    pub(super) reported: RangeSet,
    /// Below this nothing is missed: it was sent before we could read it.
    pub(super) baseline: u32,
    /// A gap that a tick has shown: (report at, up to this number).
    pub(super) gap: Option<(u64, u32)>,
    /// The window's end when the tick before was checked, and when that was.
    pub(super) ahead: Option<Ahead>,
    /// What the last signed tick said: everything below has been sealed.
    pub(super) announced: u32,
    /// Whether it is in the list of what has changed.
    pub(super) dirty: bool,
    /// Up to here forgeries have been reported.
    pub(super) forged_to: u32,
    pub(super) key: Option<Box<(u8, AeadKey)>>,
}

/// Frames that were accepted and not announced yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) end: u32,
    pub(super) at_ms: u64,
}

/// A run: which stream it belongs to was learned from a verified tick.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) publisher: PeerId,
    pub(super) stream: u32,
    pub(super) topics: HashMap<String, TopicState>,
    /// The last tick whose signature verified: its number and when it came.
    pub(super) tick: Option<(u32, u64)>,
    /// The highest number of its ticks that verified under the stream's key, and whether there was one.
    pub(super) seen: u32,
    pub(super) beaten: bool,
}

/// The run of this number that is this publisher's, among those that claim it.
pub(super) fn run_mut(runs: &mut HashMap<[u8; 5], Vec<Run>>, id: PeerId, number: [u8; 5]) -> Option<&mut Run> {
    runs.get_mut(&number)?.iter_mut().find(|run| run.publisher == id)
}

/// A frame that verified.
pub(super) struct OpenedFrame {
    pub(super) from: u32,
    pub(super) readings: Vec<Vec<u8>>,
    /// The part of a reported gap that it fills.
    pub(super) late: bool,
    /// Whether its topic has to go on the list of what has changed.
    pub(super) first_change: bool,
    /// A gap that had to be closed to bound the window.
    pub(super) closed: Option<(u32, u32)>,
}

impl Run {
    pub(super) fn new(publisher: PeerId, stream: u32) -> Self {
        Self { publisher, stream, topics: HashMap::new(), tick: None, seen: 0, beaten: false }
    }

    /// Opens a FRAME or BATCH. Look cheaply, decrypt, then mark.
    pub(super) fn open(
        &mut self,
        stream: &mut HeldStream,
        topic: &str,
        header: &FrameHeader,
        message: &[u8],
        header_len: usize,
    ) -> Result<OpenedFrame, Reject> {
        let seen = match self.topics.get(topic) {
            Some(state) if state.window.intersects(header.seq, header.seq.saturating_add(1)) => {
                let leaf = leaf(message);
                match state.ledger.leaf_of(header.seq) {
                    Some(known) if known == leaf => return Err(Reject::Duplicate),
                    None => return Err(Reject::Replay),
                    // Other bytes for a number that was accepted: an insider, if they verify.
                    Some(_) => true,
                }
            }
            None if self.topics.len() >= MAX_TOPICS => return Err(Reject::ParkingFull),
            _ => false,
        };
        let body = self.decrypt(stream, topic, header, message, header_len)?;
        let readings = split_readings(header.kind, body)?;
        let count = u32::try_from(readings.len()).map_err(|_| Reject::NotAuthentic)?;
        let to = header.seq.checked_add(count).ok_or(Reject::NotAuthentic)?;
        let state = self.topics.entry(topic.to_owned()).or_default();
        if seen || state.window.intersects(header.seq, to) {
            return Err(Reject::Conflict);
        }
        Ok(state.mark(header.seq, to, leaf(message), readings))
    }

    /// Verifies and decrypts; the generation is committed only when the tag verifies.
    fn decrypt(
        &mut self,
        stream: &mut HeldStream,
        topic: &str,
        header: &FrameHeader,
        message: &[u8],
        header_len: usize,
    ) -> Result<Vec<u8>, Reject> {
        let (head, sealed) = message.split_at_checked(header_len).ok_or(Reject::NotAuthentic)?;
        let mut aad = Vec::with_capacity(head.len() + topic.len());
        aad.extend_from_slice(head);
        aad.extend_from_slice(topic.as_bytes());
        let seq = u64::from(header.seq);
        let cached = self.topics.get(topic).and_then(|state| state.key.as_deref());
        let mut plain = match cached {
            Some((generation, key)) if *generation == header.generation => {
                key.open(seq, &aad, sealed).map_err(|_| Reject::NotAuthentic)?
            }
            _ => {
                let derived = stream.derive(header.generation, FRAME_STEPS).map_err(|error| match error {
                    NoSecret::BeforeGrant => Reject::BeforeGrant,
                    NoSecret::TooFar => Reject::NotAuthentic,
                })?;
                let context = stream.context(header.run, header.generation);
                let key = kdf::traffic_key(&derived.secret, &context, topic);
                let plain = key.open(seq, &aad, sealed).map_err(|_| Reject::NotAuthentic)?;
                stream.commit(derived);
                let state = self.topics.entry(topic.to_owned()).or_default();
                // A late frame of an older generation does not push out the current key.
                if state.key.as_ref().is_none_or(|held| held.0 < header.generation) {
                    state.key = Some(Box::new((header.generation, key)));
                }
                plain
            }
        };
        if stream.signed_frames {
            let split = plain.len().checked_sub(SIGNATURE_LEN).ok_or(Reject::BadSignature)?;
            let signature = plain.split_off(split);
            let signature = signature.first_chunk().ok_or(Reject::BadSignature)?;
            let signed = Signed::Frame { header: head, topic, body: &plain };
            stream.verifier.verify(self.publisher, &signed, signature).map_err(|_| Reject::BadSignature)?;
        }
        Ok(plain)
    }
}

fn split_readings(kind: Kind, body: Vec<u8>) -> Result<Vec<Vec<u8>>, Reject> {
    match kind {
        Kind::Batch => {
            let readings = batch_readings(&body).map_err(|_| Reject::NotAuthentic)?;
            Ok(readings.into_iter().map(<[u8]>::to_vec).collect())
        }
        _ => Ok(vec![body]),
    }
}

impl TopicState {
    /// Marks it as changed; whether it has to go on the list.
    pub(super) fn note_change(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    fn mark(&mut self, from: u32, to: u32, leaf: Leaf, readings: Vec<Vec<u8>>) -> OpenedFrame {
        let closed = self.window.insert(from, to);
        self.ledger.note(from, to, leaf);
        let late = self.reported.intersects(from, to);
        OpenedFrame { from, readings, late, first_change: self.note_change(), closed }
    }
}
