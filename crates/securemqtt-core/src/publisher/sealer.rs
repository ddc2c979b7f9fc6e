//! A run that seals: one stream's current generation, a key and a counter for each topic.

mod ticks;
mod topics;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand_core::CryptoRng;

use crate::chunk::Chunk;
use crate::kdf;
use crate::ledger::{MAX_FRAMES, leaf};
use crate::primitives::{NotAuthentic, SIGNATURE_LEN, TAG_LEN};
use crate::stream::{Signed, StreamSecret};
use crate::topic::{InvalidTopic, validate_topic};
use crate::wire::{FrameHeader, Kind, MAX_TICK_LEN, NextFrame, TopicPosition, push_reading, reading_len};

/// Sequence numbers after which a new run is due (2^31); the hard limit is 2^32 − 1.
const SOFT_LIMIT: u32 = 1 << 31;
/// Bytes of a tick besides its topics, generously.
const TICK_FIXED_LEN: usize = 256;
/// Topics that one publisher may seal for.
pub const MAX_TOPICS: usize = 4096;

/// Why a reading is not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The topic cannot be used.
    Topic(InvalidTopic),
    /// Too many topics.
    TooManyTopics,
    /// The counter of this topic is at its end; a new run is needed.
    Exhausted,
    /// A batch of no readings, or of more than fit.
    Batch,
    /// The reading is too long for AES-GCM.
    TooLong,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => write!(f, "the topic cannot be used: {error}"),
            Self::TooManyTopics => write!(f, "more than {MAX_TOPICS} topics in one run"),
            Self::Exhausted => f.write_str("the counter of this topic is exhausted; restart the publisher"),
            Self::Batch => f.write_str("a batch holds at least one reading"),
            Self::TooLong => f.write_str("the reading is too long to be sealed"),
        }
    }
}

impl std::error::Error for SealError {}

impl From<NotAuthentic> for SealError {
    fn from(_: NotAuthentic) -> Self {
        Self::TooLong
    }
}

pub(crate) use ticks::{Reach, TickKind};
use topics::{TopicSealer, Topics};

/// A run: it can only seal.
pub(crate) struct Sealer {
    stream: StreamSecret,
    run: [u8; 5],
    topics: Topics,
    frames_in_generation: u64,
    unannounced: usize,
    exhausting: bool,
    tick_topic: String,
    tick_seq: u32,
    tick_cursor: usize,
    /// The next frame of the topic at a place; all are of this run.
    next: NextFrame,
    next_at: usize,
    frames: Chunk,
}

impl Sealer {
    /// A new run of `stream`. The run is random: 5 bytes, and none of those that the stream has had.
    pub(crate) fn new<R: CryptoRng + ?Sized>(
        stream: StreamSecret,
        tick_topic: String,
        used: &[[u8; 5]],
        rng: &mut R,
    ) -> Self {
        let mut run = [0; 5];
        rng.fill_bytes(&mut run);
        while used.contains(&run) {
            rng.fill_bytes(&mut run);
        }
        Self {
            stream,
            run,
            topics: Topics::default(),
            frames_in_generation: 0,
            unannounced: 0,
            exhausting: false,
            tick_topic,
            tick_seq: 0,
            tick_cursor: 0,
            next: NextFrame::default(),
            next_at: 0,
            frames: Chunk::default(),
        }
    }

    pub(crate) fn stream(&self) -> &StreamSecret {
        &self.stream
    }

    pub(crate) fn run(&self) -> [u8; 5] {
        self.run
    }

    pub(crate) fn frames_in_generation(&self) -> u64 {
        self.frames_in_generation
    }

    /// Whether a tick is due before its time, since a ledger fills.
    pub(crate) fn tick_is_due(&self) -> bool {
        self.unannounced >= MAX_FRAMES / 4
    }

    /// Whether a counter has passed half of its range.
    pub(crate) fn is_exhausting(&self) -> bool {
        self.exhausting
    }

    /// Steps the ratchet; false at the last generation.
    pub(crate) fn step(&mut self) -> bool {
        self.frames_in_generation = 0;
        self.stream.step()
    }

    /// Seals one reading as a FRAME, and returns it with its sequence number.
    #[expect(clippy::inline_always, reason = "twice in all; as a call, its result is moved through memory")]
    #[inline(always)]
    pub(crate) fn seal(&mut self, topic: &str, reading: &[u8]) -> Result<(u32, Bytes), SealError> {
        self.seal_body(Kind::Frame, topic, 1, reading.len(), |frame| frame.extend_from_slice(reading))
    }

    /// Seals several readings as one BATCH, and returns it with its first sequence number.
    pub(crate) fn seal_batch(&mut self, topic: &str, readings: &[&[u8]]) -> Result<(u32, Bytes), SealError> {
        let count = u32::try_from(readings.len()).ok().filter(|&n| n > 0).ok_or(SealError::Batch)?;
        let len = readings.iter().map(|reading| reading_len(reading)).sum();
        self.seal_body(Kind::Batch, topic, count, len, |frame| {
            for reading in readings {
                push_reading(frame, reading);
            }
        })
    }

    /// Seals the `len` bytes that `push_body` appends, where they are.
    #[expect(clippy::inline_always, reason = "once for each kind")]
    #[inline(always)]
    fn seal_body(
        &mut self,
        kind: Kind,
        topic: &str,
        count: u32,
        len: usize,
        push_body: impl FnOnce(&mut BytesMut),
    ) -> Result<(u32, Bytes), SealError> {
        let at = match self.topics.all.find(topic) {
            Some(at) => at,
            None => self.open_topic(topic)?,
        };
        let state = self.topics.all.at(at);
        let seq = state.next;
        let next = seq.checked_add(count).ok_or(SealError::Exhausted)?;
        let generation = self.stream.generation();
        if state.generation != generation {
            state.renew_key(&self.stream, self.run);
        }
        let signature_len = if self.stream.signed_frames() { SIGNATURE_LEN } else { 0 };
        if self.next_at != at || !self.next.header().is(kind, generation, seq) {
            self.next.set(FrameHeader { kind, run: self.run, generation, seq }, topic);
            self.next_at = at;
        }
        let header = self.next.encoded();
        let frame = self.frames.begin(header.len() + len + signature_len + TAG_LEN);
        header.begin(frame);
        push_body(frame);
        if signature_len > 0 {
            sign(&self.stream, header.as_bytes(), topic, frame);
        }
        let aad = self.next.associated_data();
        let tag = state.key.seal_in_place(seq.into(), aad, &mut frame[header.len()..])?;
        frame.extend_from_slice(&tag);
        let frame = self.frames.end();
        self.next.advance();
        state.next = next;
        state.ledger.push(seq, next, leaf(&frame));
        if !state.has_moved {
            self.topics.note_moved(at);
        }
        self.frames_in_generation += 1;
        self.exhausting |= next >= SOFT_LIMIT;
        Ok((seq, frame))
    }

    /// What was sealed for a topic below a number was handed to the broker.
    pub(crate) fn release(&mut self, topic: &str, to: u32) {
        if let Some(state) = self.topics.all.get_mut(topic) {
            self.unannounced += usize::from(state.release(to));
        }
    }

    /// So was everything that was sealed for the topic of the last frame.
    pub(crate) fn release_last(&mut self) {
        if let Some(state) = self.topics.all.last_mut() {
            self.unannounced += usize::from(state.release(u32::MAX));
        }
    }

    /// Whether something sealed was not handed to the broker yet.
    pub(crate) fn has_unreleased(&self) -> bool {
        self.topics.all.iter().any(|topic| topic.released < topic.next)
    }

    /// The topics that were sealed for since the last call, and how far.
    pub(crate) fn take_moved(&mut self) -> Vec<(Arc<str>, u32)> {
        self.topics.take_moved()
    }

    /// The run is over: its stream.
    pub(crate) fn into_stream(self) -> StreamSecret {
        self.stream
    }

    #[cold]
    fn open_topic(&mut self, topic: &str) -> Result<usize, SealError> {
        validate_topic(topic).map_err(SealError::Topic)?;
        if self.topics.all.len() == MAX_TOPICS {
            return Err(SealError::TooManyTopics);
        }
        // A tick must be able to name it.
        if TopicPosition::encoded_len(topic) + TICK_FIXED_LEN > MAX_TICK_LEN {
            return Err(SealError::Topic(InvalidTopic::TooLong));
        }
        let context = self.stream.context(self.run);
        let key = kdf::traffic_key(self.stream.secret(), &context, topic);
        Ok(self.topics.all.push(TopicSealer::new(topic, key, context.generation)))
    }
}

/// Appends the signature of a frame to its body.
#[cold]
fn sign(stream: &StreamSecret, header: &[u8], topic: &str, frame: &mut BytesMut) {
    let body = frame.get(header.len()..).unwrap_or_default();
    let signature = stream.sign(&Signed::Frame { header, topic, body });
    frame.extend_from_slice(&signature);
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, {} topics)", self.stream, self.topics.all.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::identity::PeerId;
    use crate::primitives::sha256;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    fn sealer() -> Sealer {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let stream = StreamSecret::generate(PeerId::from_bytes([1; 16]), false, &mut rng);
        Sealer::new(stream, "tick".to_owned(), &[], &mut rng)
    }

    #[test]
    fn a_digest_that_lost_leaves_claims_nothing() {
        let mut sealer = sealer();
        let count = u32::try_from(MAX_FRAMES).unwrap();
        for _ in 0..count {
            sealer.seal("t", b"").unwrap();
        }
        let position = sealer.positions(1_000, Reach::Sealed).remove(0);
        assert_eq!((position.from, position.next), (0, count));
        sealer.seal("t", b"").unwrap();
        let position = sealer.positions(1_000, Reach::Sealed).remove(0);
        assert_eq!((position.from, position.next), (count + 1, count + 1));
        assert_eq!(position.digest, sha256(&[]));
    }

    #[test]
    fn sealing_ends_with_an_error_before_a_number_repeats() {
        let mut sealer = sealer();
        sealer.seal("t", b"").unwrap();
        sealer.topics.all.get_mut("t").unwrap().next = u32::MAX - 1;
        assert_eq!(sealer.seal("t", b"").map(|(seq, _)| seq), Ok(u32::MAX - 1));
        assert!(sealer.is_exhausting());
        for _ in 0..2 {
            assert_eq!(sealer.seal("t", b"").err(), Some(SealError::Exhausted));
            assert_eq!(sealer.seal_batch("t", &[b"", b""]).err(), Some(SealError::Exhausted));
        }
        assert_eq!(sealer.seal_batch("u", &[]).err(), Some(SealError::Batch));
    }
}
