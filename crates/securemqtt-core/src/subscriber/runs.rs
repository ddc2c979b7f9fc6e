//! A run that a subscriber follows: one replay window and one ledger for each of its topics.

use std::collections::HashMap;

use crate::identity::PeerId;
use crate::kdf;
use crate::ledger::leaf;
use crate::primitives::SIGNATURE_LEN;
use crate::stream::Signed;
use crate::wire::{FrameHeader, Kind, batch_readings};

use super::event::Reject;
use super::streams::{FRAME_STEPS, HeldStream, NoSecret};
use super::topics::{OpenedFrame, TopicState};

/// Topics that are followed in one run.
pub(super) const MAX_TOPICS: usize = 4096;

/// A run: which stream it belongs to was learned from a verified tick.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) publisher: PeerId,
    pub(super) stream: u32,
    /// Its place among the open runs of its publisher: a later run has a greater one.
    pub(super) order: u64,
    /// Whether a later run is open: what comes now of this one may come behind that one's readings.
    pub(super) followed: bool,
    pub(super) topics: HashMap<String, TopicState>,
    /// The last tick whose signature verified: its number and when it came.
    pub(super) tick: Option<(u32, u64)>,
    /// The highest number of its ticks that verified under the stream's key, and whether there was one.
    pub(super) seen: u32,
    pub(super) beaten: bool,
    /// Whether it is over: by its last tick, or since a later run has named it.
    pub(super) finished: bool,
}

/// The run of this number that is this publisher's, among those that claim it.
pub(super) fn run_mut(runs: &mut HashMap<[u8; 5], Vec<Run>>, id: PeerId, number: [u8; 5]) -> Option<&mut Run> {
    runs.get_mut(&number)?.iter_mut().find(|run| run.publisher == id)
}

impl Run {
    pub(super) fn new(publisher: PeerId, stream: u32, order: u64) -> Self {
        Self {
            publisher,
            stream,
            order,
            followed: false,
            topics: HashMap::new(),
            tick: None,
            seen: 0,
            beaten: false,
            finished: false,
        }
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
