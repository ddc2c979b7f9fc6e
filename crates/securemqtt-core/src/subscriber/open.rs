//! Opening a FRAME or BATCH: look cheaply, decrypt, then mark. A call that fails leaves the topic as it was.

use std::sync::Arc;

use crate::Delivery;
use crate::identity::PeerId;
use crate::kdf;
use crate::ledger::leaf;
use crate::primitives::{AeadKey, SIGNATURE_LEN};
use crate::stream::Signed;
use crate::wire::{BatchReadings, FrameHeader, Kind};

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

/// The readings of a frame. One alone stays in the buffer that it was decrypted in.
pub(super) enum Readings {
    One(Vec<u8>),
    Batch(Vec<u8>),
}

impl Readings {
    fn of(kind: Kind, plain: Vec<u8>) -> Self {
        if kind == Kind::Batch { Self::Batch(plain) } else { Self::One(plain) }
    }

    /// How many there are: at least one.
    fn count(&self) -> Result<u32, Reject> {
        let Self::Batch(plain) = self else { return Ok(1) };
        let count = BatchReadings::new(plain).try_fold(0_u32, |count, reading| reading.ok().and(count.checked_add(1)));
        count.filter(|&count| count > 0).ok_or(Reject::NotAuthentic)
    }

    /// Gives each to `take`, in their order.
    pub(super) fn for_each(self, mut take: impl FnMut(Vec<u8>)) {
        match self {
            Self::One(reading) => take(reading),
            Self::Batch(plain) => BatchReadings::new(&plain).flatten().for_each(|reading| take(reading.to_vec())),
        }
    }
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
        let plain = self.decrypt(publisher, stream, frame, aad)?;
        let readings = Readings::of(frame.header.kind, plain);
        let to = from.checked_add(readings.count()?).ok_or(Reject::NotAuthentic)?;
        if is_other || self.window.intersects(from, to) {
            return Err(Reject::Conflict);
        }
        let mut seq = from..to;
        readings.for_each(|payload| {
            let (topic, seq) = (Arc::clone(&self.name), seq.next().unwrap_or(to));
            deliveries.push(Delivery { topic, publisher, run: frame.header.run, stream: stream.id, seq, payload });
        });
        Ok(self.mark(from, to, leaf(frame.message)))
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

    /// Verifies and decrypts into the buffer that is delivered.
    fn decrypt(
        &mut self,
        publisher: PeerId,
        stream: &mut HeldStream,
        frame: &SealedFrame<'_>,
        aad: &mut Vec<u8>,
    ) -> Result<Vec<u8>, Reject> {
        let (head, sealed) = frame.message.split_at_checked(frame.header_len).ok_or(Reject::NotAuthentic)?;
        aad.clear();
        aad.extend_from_slice(head);
        aad.extend_from_slice(frame.topic.as_bytes());
        let open = |key: &AeadKey| key.open(frame.header.seq.into(), aad, sealed).map_err(|_| Reject::NotAuthentic);
        let mut plain = match self.key.as_deref() {
            Some((generation, key)) if *generation == frame.header.generation => open(key)?,
            _ => self.decrypt_with_new_key(stream, frame, open)?,
        };
        if stream.signed_frames {
            let (body, signature) = plain.split_last_chunk::<SIGNATURE_LEN>().ok_or(Reject::BadSignature)?;
            let signed = Signed::Frame { header: head, topic: frame.topic, body };
            stream.verifier.verify(publisher, &signed, signature).map_err(|_| Reject::BadSignature)?;
            plain.truncate(body.len());
        }
        Ok(plain)
    }

    /// The first frame of a generation, or a late one of an older: the key and the generation are kept only when the tag
    /// verifies.
    fn decrypt_with_new_key(
        &mut self,
        stream: &mut HeldStream,
        frame: &SealedFrame<'_>,
        open: impl FnOnce(&AeadKey) -> Result<Vec<u8>, Reject>,
    ) -> Result<Vec<u8>, Reject> {
        let generation = frame.header.generation;
        let derived = stream.derive(generation, FRAME_STEPS).map_err(|error| match error {
            NoSecret::BeforeGrant => Reject::BeforeGrant,
            NoSecret::TooFar => Reject::NotAuthentic,
        })?;
        let context = stream.context(frame.header.run, generation);
        let key = kdf::traffic_key(&derived.secret, &context, frame.topic);
        let plain = open(&key)?;
        stream.commit(derived);
        // A late frame does not push out the current key.
        if self.key.as_ref().is_none_or(|held| held.0 < generation) {
            self.key = Some(Box::new((generation, key)));
        }
        Ok(plain)
    }
}
