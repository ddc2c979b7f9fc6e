//! Opening a FRAME or BATCH: look cheaply, decrypt, then mark. A call that fails leaves the topic as it was.

use std::sync::Arc;

use crate::Delivery;
use crate::identity::PeerId;
use crate::kdf;
use crate::ledger::leaf;
use crate::primitives::{AeadKey, SIGNATURE_LEN};
use crate::stream::Signed;
use crate::wire::{BatchReadings, FrameHeader, Kind, associated_data};

use super::event::Reject;
use super::streams::{FRAME_STEPS, HeldStream, NoSecret};
use super::topics::{OpenedFrame, TopicState};

/// A FRAME or BATCH as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealedFrame<'a> {
    pub(super) topic: &'a str,
    pub(super) header: FrameHeader,
    /// All of it, and where its header ends.
    pub(super) message: &'a [u8],
    pub(super) header_len: usize,
}

/// How many readings a BATCH holds: at least one.
fn batch_count(plain: &[u8]) -> Option<u32> {
    let count = BatchReadings::new(plain).try_fold(0_u32, |count, reading| reading.ok().and(count.checked_add(1)));
    count.filter(|&count| count > 0)
}

/// Delivers each reading of a batch, which is given as one.
fn deliver_batch(batch: &Delivery, deliveries: &mut Vec<Delivery>) {
    let readings = BatchReadings::new(&batch.payload).flatten().zip(batch.seq..);
    deliveries.extend(readings.map(|(reading, seq)| Delivery {
        topic: Arc::clone(&batch.topic),
        seq,
        payload: reading.to_vec(),
        ..*batch
    }));
}

impl TopicState {
    /// Opens a frame of this topic, and delivers its readings. `aad` is a buffer to be used again.
    pub(super) fn open(
        &mut self,
        publisher: PeerId,
        stream: &mut HeldStream,
        frame: &SealedFrame<'_>,
        aad: &mut Vec<u8>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<OpenedFrame, Reject> {
        let from = frame.header.seq;
        let is_other = self.is_other(frame)?;
        let (plain, stepped) = self.decrypt(publisher, stream, frame, aad)?;
        let is_batch = frame.header.kind == Kind::Batch;
        let count = if is_batch { batch_count(&plain) } else { Some(1) };
        let to = count.and_then(|count| from.checked_add(count)).ok_or(Reject::NotAuthentic)?;
        if is_other || self.window.intersects(from, to) {
            return Err(Reject::Conflict);
        }
        let (topic, run, stream) = (Arc::clone(&self.name), frame.header.run, stream.id);
        // One alone stays in the buffer that it was decrypted in.
        let first = Delivery { topic, publisher, run, stream, seq: from, payload: plain };
        if is_batch {
            deliver_batch(&first, deliveries);
        } else {
            deliveries.push(first);
        }
        Ok(OpenedFrame { stepped, ..self.mark(from, to, leaf(frame.message)) })
    }

    /// Whether a frame has a number that was accepted with other bytes: an insider, if it verifies.
    fn is_other(&self, frame: &SealedFrame<'_>) -> Result<bool, Reject> {
        let seq = frame.header.seq;
        if !self.window.intersects(seq, seq.saturating_add(1)) {
            return Ok(false);
        }
        match self.ledger.leaf_of(seq) {
            Some(known) if known == leaf(frame.message) => Err(Reject::Duplicate),
            Some(_) => Ok(true),
            None => Err(Reject::Replay),
        }
    }

    /// Verifies and decrypts into the buffer that is delivered. Beside it: whether the stream's ratchet was stepped for it.
    fn decrypt(
        &mut self,
        publisher: PeerId,
        stream: &mut HeldStream,
        frame: &SealedFrame<'_>,
        aad: &mut Vec<u8>,
    ) -> Result<(Vec<u8>, bool), Reject> {
        let (head, sealed) = frame.message.split_at_checked(frame.header_len).ok_or(Reject::NotAuthentic)?;
        let aad = associated_data(aad, head, frame.topic);
        let open = |key: &AeadKey| key.open(frame.header.seq.into(), aad, sealed).map_err(|_| Reject::NotAuthentic);
        let (mut plain, stepped) = match self.key.as_deref() {
            Some((generation, key)) if *generation == frame.header.generation => (open(key)?, false),
            _ => self.decrypt_with_new_key(stream, frame, open)?,
        };
        if stream.signed_frames {
            let (body, signature) = plain.split_last_chunk::<SIGNATURE_LEN>().ok_or(Reject::BadSignature)?;
            let signed = Signed::Frame { header: head, topic: frame.topic, body };
            stream.verifier.verify(publisher, &signed, signature).map_err(|_| Reject::BadSignature)?;
            plain.truncate(body.len());
        }
        Ok((plain, stepped))
    }

    /// The first frame of a generation, or a late one of an older: the key and the generation are kept only when the tag
    /// verifies.
    fn decrypt_with_new_key(
        &mut self,
        stream: &mut HeldStream,
        frame: &SealedFrame<'_>,
        open: impl FnOnce(&AeadKey) -> Result<Vec<u8>, Reject>,
    ) -> Result<(Vec<u8>, bool), Reject> {
        let generation = frame.header.generation;
        let derived = stream.derive(generation, FRAME_STEPS).map_err(|error| match error {
            NoSecret::BeforeGrant => Reject::BeforeGrant,
            NoSecret::TooFar => Reject::NotAuthentic,
        })?;
        let context = stream.context(frame.header.run, generation);
        let key = kdf::traffic_key(&derived.secret, &context, frame.topic);
        let plain = open(&key)?;
        let stepped = stream.commit(derived);
        // A late frame does not push out the current key.
        if self.key.as_ref().is_none_or(|held| held.0 < generation) {
            self.key = Some(Box::new((generation, key)));
        }
        Ok((plain, stepped))
    }
}
