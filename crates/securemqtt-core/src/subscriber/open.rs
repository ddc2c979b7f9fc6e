//! Opening a FRAME or BATCH: look cheaply, decrypt, then mark. A call that fails leaves the topic as it was.

use std::sync::Arc;

use crate::Delivery;
use crate::chunk::Chunk;
use crate::identity::PeerId;
use crate::kdf;
use crate::ledger::leaf;
use crate::primitives::{AeadKey, SIGNATURE_LEN, TAG_LEN};
use crate::stream::Signed;
use crate::wire::{BatchReadings, FrameHeader, Kind, NextFrame, WireError};

use super::event::Reject;
use super::held::HeldStreams;
use super::streams::{FRAME_STEPS, HeldStream, NoSecret};
use super::topics::{HeldKey, OpenedFrame, TopicState};

/// A FRAME or BATCH as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealedFrame<'a> {
    pub(super) topic: &'a str,
    pub(super) header: FrameHeader,
    /// All of it.
    pub(super) message: &'a [u8],
    header_len: usize,
    text: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> SealedFrame<'a> {
    /// Takes a message apart; it may be a tick.
    #[inline]
    pub(super) fn read(topic: &'a str, message: &'a [u8]) -> Result<Self, WireError> {
        let (header, header_len, sealed) = FrameHeader::decode(message)?;
        let (text, tag) = sealed.split_last_chunk().ok_or(WireError::Truncated)?;
        Ok(Self { topic, header, message, header_len, text, tag })
    }
}

/// What frames are opened in, one after the other.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Of the frame that is opened, and then of the one that is expected.
    pub(super) next: NextFrame,
    pub(super) readings: Chunk,
}

impl Room {
    /// Verifies and decrypts a frame.
    #[inline]
    fn decrypt(&mut self, key: &AeadKey, frame: &SealedFrame<'_>) -> Result<(), Reject> {
        self.next.set(frame.header, frame.topic);
        let plain = self.readings.begin(frame.text.len());
        plain.extend_from_slice(frame.text);
        let opened = key.open_in_place(frame.header.seq.into(), self.next.associated_data(), plain, frame.tag);
        opened.map_err(|_| Reject::NotAuthentic)
    }
}

/// A frame that was decrypted.
struct Decrypted {
    /// Whether the stream's ratchet was stepped for it.
    stepped: bool,
    /// Whether a signature must be behind its readings.
    signed_frames: bool,
}

/// Delivers a reading. It is made where it stays: a push would be given it, find room, and move it there.
#[inline]
pub(super) fn deliver(deliveries: &mut Vec<Delivery>, reading: impl FnOnce() -> Delivery) {
    deliveries.extend(std::iter::once_with(reading));
}

/// How many readings a BATCH holds: at least one.
fn batch_count(plain: &[u8]) -> Option<u32> {
    let count = BatchReadings::new(plain).try_fold(0_u32, |count, reading| reading.ok().and(count.checked_add(1)));
    count.filter(|&count| count > 0)
}

impl TopicState {
    /// Opens a frame of this topic, and delivers its readings.
    #[inline]
    pub(super) fn open(
        &mut self,
        (publisher, stream): (PeerId, u32),
        streams: &mut HeldStreams,
        frame: &SealedFrame<'_>,
        room: &mut Room,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<OpenedFrame, Reject> {
        let from = frame.header.seq;
        let is_other = from < self.window.end() && self.is_other(frame)?;
        let Decrypted { stepped, signed_frames } = match self.decrypt(frame, room) {
            Some(decrypted) => decrypted?,
            None => self.decrypt_with_new_key(streams.get_mut(publisher, stream), frame, room)?,
        };
        if signed_frames {
            verify(publisher, streams.get(publisher, stream), frame, room)?;
        }
        let to = if frame.header.kind == Kind::Batch {
            self.deliver_batch(publisher, stream, frame, is_other, room, deliveries)?
        } else {
            let to = from.checked_add(1).ok_or(Reject::NotAuthentic)?;
            if is_other {
                return Err(Reject::Conflict);
            }
            deliver(deliveries, || {
                let (payload, topic) = (room.readings.end(), Arc::clone(&self.name));
                Delivery { topic, publisher, run: frame.header.run, stream, seq: from, payload }
            });
            room.next.advance();
            to
        };
        Ok(OpenedFrame { stepped, ..self.mark(from, to, leaf(frame.message)) })
    }

    /// Whether a frame has a number that was accepted with other bytes: an insider, if it verifies.
    #[cold]
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

    /// Verifies and decrypts into the room with the key that is held; none, where that is of another generation.
    #[inline]
    fn decrypt(&mut self, frame: &SealedFrame<'_>, room: &mut Room) -> Option<Result<Decrypted, Reject>> {
        let held = self.key.as_ref().filter(|held| held.generation == frame.header.generation)?;
        let opened = room.decrypt(&held.key, frame);
        Some(opened.map(|()| Decrypted { stepped: false, signed_frames: held.signed_frames }))
    }

    /// The first frame of a generation, or a late one of an older: the key and the generation are kept only when the tag
    /// verifies.
    #[cold]
    fn decrypt_with_new_key(
        &mut self,
        stream: Option<&mut HeldStream>,
        frame: &SealedFrame<'_>,
        room: &mut Room,
    ) -> Result<Decrypted, Reject> {
        let stream = stream.ok_or(Reject::NotAuthentic)?;
        let (generation, signed_frames) = (frame.header.generation, stream.signed_frames);
        let derived = stream.derive(generation, FRAME_STEPS).map_err(|error| match error {
            NoSecret::BeforeGrant => Reject::BeforeGrant,
            NoSecret::TooFar => Reject::NotAuthentic,
        })?;
        let context = stream.context(frame.header.run, generation);
        let key = kdf::traffic_key(&derived.secret, &context, frame.topic);
        room.decrypt(&key, frame)?;
        let stepped = stream.commit(derived);
        // A late frame does not push out the current key.
        if self.key.as_ref().is_none_or(|held| held.generation < generation) {
            self.key = Some(Box::new(HeldKey { generation, signed_frames, key }));
        }
        Ok(Decrypted { stepped, signed_frames })
    }

    /// Delivers each reading of a batch that was decrypted into the room. Returns the number behind its last.
    #[inline(never)]
    fn deliver_batch(
        &self,
        publisher: PeerId,
        stream: u32,
        frame: &SealedFrame<'_>,
        is_other: bool,
        room: &mut Room,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<u32, Reject> {
        let (batch, FrameHeader { run, seq: from, .. }) = (room.readings.end(), frame.header);
        let count = batch_count(&batch).ok_or(Reject::NotAuthentic)?;
        let to = from.checked_add(count).ok_or(Reject::NotAuthentic)?;
        if is_other || self.window.intersects(from, to) {
            return Err(Reject::Conflict);
        }
        // Each is a copy: one that is kept keeps no batch.
        deliveries.extend(BatchReadings::new(&batch).flatten().zip(from..).map(|(reading, seq)| {
            let payload = room.readings.copy(reading);
            Delivery { topic: Arc::clone(&self.name), publisher, run, stream, seq, payload }
        }));
        Ok(to)
    }
}

/// Checks the signature behind what was decrypted into the room, and takes it off.
#[inline(never)]
fn verify(
    publisher: PeerId,
    stream: Option<&HeldStream>,
    frame: &SealedFrame<'_>,
    room: &mut Room,
) -> Result<(), Reject> {
    let stream = stream.ok_or(Reject::BadSignature)?;
    let plain = room.readings.begun();
    let (body, signature) = plain.split_last_chunk::<SIGNATURE_LEN>().ok_or(Reject::BadSignature)?;
    let signed = Signed::Frame { header: &frame.message[..frame.header_len], topic: frame.topic, body };
    stream.verifier.verify(publisher, &signed, signature).map_err(|_| Reject::BadSignature)?;
    plain.truncate(body.len());
    Ok(())
}
