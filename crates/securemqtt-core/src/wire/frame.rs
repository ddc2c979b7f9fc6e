//! FRAME, BATCH and TICK share one header.

use super::reader::varint_len;
use super::{Kind, Reader, WireError, push_varint};
use crate::primitives::TAG_LEN;

/// The most that a frame adds to its plaintext, with `seq` below 2^21: 26 bytes (28 with a larger `seq`).
pub const MAX_FRAME_OVERHEAD: usize = 1 + 5 + 1 + 3 + TAG_LEN;

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
    /// Appends the header: 8 to 12 bytes.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; 7];
        (fixed[0], fixed[6]) = (self.kind.type_byte(), self.generation);
        fixed[1..6].copy_from_slice(&self.run);
        out.extend_from_slice(&fixed);
        push_varint(out, self.seq);
    }

    /// Bytes of the encoding.
    pub(crate) fn encoded_len(&self) -> usize {
        1 + self.run.len() + 1 + varint_len(self.seq)
    }

    /// Reads the header and returns it with its length and the sealed rest.
    ///
    /// # Errors
    /// [`WireError`] when the message is of another kind or too short to hold a tag.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize, &[u8]), WireError> {
        let kind = Kind::of(bytes)?;
        if !matches!(kind, Kind::Frame | Kind::Batch | Kind::Tick) {
            return Err(WireError::Kind(kind as u8));
        }
        let mut reader = Reader::new(&bytes[1..]);
        let header = Self { kind, run: reader.array()?, generation: reader.u8()?, seq: reader.varint()? };
        let sealed = reader.rest();
        if sealed.len() < TAG_LEN {
            return Err(WireError::Truncated);
        }
        Ok((header, bytes.len() - sealed.len(), sealed))
    }
}

/// Appends one reading of a BATCH's plaintext: `length varint ‖ bytes`.
pub fn push_reading(out: &mut Vec<u8>, reading: &[u8]) {
    push_varint(out, u32::try_from(reading.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(reading);
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
