//! FRAME, BATCH and TICK share one header.

use bytes::{BufMut, BytesMut};

use super::reader::{MAX_VARINT_LEN, encode_varint, varint_len};
use super::{Kind, Reader, WireError};
use crate::primitives::TAG_LEN;

/// The most that a frame adds to its plaintext, with `seq` below 2^21: 26 bytes (28 with a larger `seq`).
pub const MAX_FRAME_OVERHEAD: usize = 1 + 5 + 1 + 3 + TAG_LEN;

/// Bytes of a header before its sequence number, and the most that it has.
pub(super) const FIXED_LEN: usize = 1 + 5 + 1;
const MIN_HEADER_LEN: usize = FIXED_LEN + 1;
pub(super) const MAX_HEADER_LEN: usize = FIXED_LEN + MAX_VARINT_LEN;

/// The clear header of a sealed message; it is the start of the associated data.
///
/// ```text
///  type 1 | run 5 | generation 1 | seq varint 1..5 | ciphertext | tag 16
///  `------------------ header -------------------'
///  key, iv = Expand(gs, "frame" ‖ idP ‖ stream id ‖ run ‖ generation ‖ SHA256(topic), 28)
///  nonce = iv xor seq, associated data = header ‖ topic
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Frame, batch or tick.
    pub kind: Kind,
    /// The run.
    pub run: [u8; 5],
    /// The generation of the stream's ratchet.
    pub generation: u8,
    /// The (first) sequence number, counted per run and topic.
    pub seq: u32,
}

impl FrameHeader {
    /// Whether it is this one of its run.
    #[inline]
    pub(crate) fn is(&self, kind: Kind, generation: u8, seq: u32) -> bool {
        self.seq == seq && self.generation == generation && self.kind == kind
    }

    /// Appends the header: 8 to 12 bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.encode().as_bytes());
    }

    /// The header as bytes, without a buffer on the heap: there is one for each frame.
    #[inline]
    pub(crate) fn encode(&self) -> EncodedHeader {
        let mut bytes = [0; MAX_HEADER_LEN];
        (bytes[0], bytes[6]) = (self.kind.type_byte(), self.generation);
        bytes[1..FIXED_LEN - 1].copy_from_slice(&self.run);
        let (seq, seq_len) = encode_varint(self.seq);
        bytes[FIXED_LEN..].copy_from_slice(&seq);
        EncodedHeader { bytes, len: FIXED_LEN + seq_len, rest: (1 << (8 * (seq_len - 1))) - 1 }
    }

    /// Reads the header and returns it with its length and the sealed rest.
    ///
    /// # Errors
    /// [`WireError`] when the message is of another kind or too short to hold a tag.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize, &[u8]), WireError> {
        const FRAME: u8 = Kind::Frame.type_byte();
        const BATCH: u8 = Kind::Batch.type_byte();
        const TICK: u8 = Kind::Tick.type_byte();
        let kind = match bytes.first() {
            Some(&FRAME) => Kind::Frame,
            Some(&BATCH) => Kind::Batch,
            Some(&TICK) => Kind::Tick,
            _ => return Err(Kind::of(bytes).map_or_else(|error| error, |kind| WireError::Kind(kind as u8))),
        };
        let (&[_, r0, r1, r2, r3, r4, generation], rest) =
            bytes.split_first_chunk::<FIXED_LEN>().ok_or(WireError::Truncated)?;
        let mut reader = Reader::new(rest);
        let header = Self { kind, run: [r0, r1, r2, r3, r4], generation, seq: reader.varint()? };
        let sealed = reader.rest();
        if sealed.len() < TAG_LEN {
            return Err(WireError::Truncated);
        }
        Ok((header, bytes.len() - sealed.len(), sealed))
    }
}

/// A header as bytes, with zeros up to the length of the longest: a copy of fixed length is a cheap one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncodedHeader {
    bytes: [u8; MAX_HEADER_LEN],
    len: usize,
    /// Of the four bytes behind the shortest header, the bits of those that are header.
    rest: u64,
}

impl EncodedHeader {
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Replaces the first byte of the sequence number.
    #[inline]
    pub(super) fn set_low(&mut self, byte: u8) {
        self.bytes[FIXED_LEN] = byte;
    }

    /// Whether a message begins with it; none that is as long as a frame is shorter than the longest header.
    #[inline]
    pub(super) fn begins(&self, message: &[u8]) -> bool {
        let Some(head) = message.first_chunk::<MAX_HEADER_LEN>() else { return false };
        let halves = |bytes: &[u8; MAX_HEADER_LEN]| {
            let (first, rest) = (std::array::from_fn(|i| bytes[i]), std::array::from_fn(|i| bytes[MIN_HEADER_LEN + i]));
            (u64::from_le_bytes(first), u32::from_le_bytes(rest))
        };
        let ((own, own_rest), (first, rest)) = (halves(&self.bytes), halves(head));
        own == first && u64::from(own_rest ^ rest) & self.rest == 0
    }

    /// Appends the header to an empty message.
    #[inline]
    pub(crate) fn begin(&self, message: &mut BytesMut) {
        message.extend_from_slice(&self.bytes);
        message.truncate(self.len);
    }
}

/// Appends one reading of a BATCH's plaintext: `length varint ‖ bytes`.
pub fn push_reading(out: &mut impl BufMut, reading: &[u8]) {
    let (len, len_len) = encode_varint(u32::try_from(reading.len()).unwrap_or(u32::MAX));
    out.put_slice(&len[..len_len]);
    out.put_slice(reading);
}

/// Bytes that [`push_reading`] appends.
pub(crate) fn reading_len(reading: &[u8]) -> usize {
    varint_len(u32::try_from(reading.len()).unwrap_or(u32::MAX)) + reading.len()
}

/// The readings of a BATCH's plaintext, one after the other; an error, where the lengths do not add up, is the last.
#[derive(Clone, Debug)]
pub(crate) struct BatchReadings<'a> {
    reader: Reader<'a>,
}

impl<'a> BatchReadings<'a> {
    pub(crate) fn new(plain: &'a [u8]) -> Self {
        Self { reader: Reader::new(plain) }
    }

    fn read(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.reader.varint()?).map_err(|_| WireError::Range)?;
        self.reader.take(length)
    }
}

impl<'a> Iterator for BatchReadings<'a> {
    type Item = Result<&'a [u8], WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let reading = self.read();
        if reading.is_err() {
            self.reader.rest();
        }
        Some(reading)
    }
}

/// The readings of a BATCH's plaintext; at least one.
///
/// # Errors
/// [`WireError`] when the lengths do not add up.
pub fn batch_readings(plain: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    let readings = BatchReadings::new(plain).collect::<Result<Vec<_>, _>>()?;
    if readings.is_empty() { Err(WireError::Truncated) } else { Ok(readings) }
}
