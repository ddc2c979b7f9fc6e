//! A segment of the spool as bytes: sealed frames that were stored together, in the order of sealing.
//!
//! ```text
//!  version 1 | n x { flags 1 | count varint | topic length varint | topic | length varint | frame }
//! ```
//! `flags`: bit 0 is QoS 1, bit 1 is retain. A topic of length 0 is that of the frame before. `count` is how many sequence
//! numbers the frame takes. All of it is ciphertext, or as public as the topic that the broker sees.

use crate::Qos;
use crate::wire::{FrameHeader, Reader, WireError, push_varint};

const VERSION: u8 = 1;
const QOS_1: u8 = 1;
const RETAIN: u8 = 2;

/// A sealed frame as it is sent, and sent again: byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpooledFrame<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The sealed bytes.
    pub frame: &'a [u8],
    /// The quality of service that it was published with.
    pub qos: Qos,
    /// Whether the broker was asked to keep it.
    pub retain: bool,
    /// Its run.
    pub run: [u8; 5],
    /// Its first sequence number.
    pub from: u32,
    /// One past its last.
    pub to: u32,
}

/// Appends a frame. `same_topic` says that the one before had its topic.
pub(super) fn push(out: &mut Vec<u8>, frame: &SpooledFrame<'_>, same_topic: bool) {
    if out.is_empty() {
        out.push(VERSION);
    }
    let qos = if frame.qos == Qos::AtLeastOnce { QOS_1 } else { 0 };
    out.push(qos | if frame.retain { RETAIN } else { 0 });
    push_varint(out, frame.to - frame.from);
    push_bytes(out, if same_topic { b"" } else { frame.topic.as_bytes() });
    push_bytes(out, frame.frame);
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// The frames of a segment.
///
/// # Errors
/// [`WireError`] when it is damaged.
pub fn frames(segment: &[u8]) -> Result<Vec<SpooledFrame<'_>>, WireError> {
    let mut reader = Reader::new(segment);
    if reader.u8()? != VERSION {
        return Err(WireError::Range);
    }
    let (mut frames, mut topic) = (Vec::new(), "");
    while !reader.is_empty() {
        let (flags, count) = (reader.u8()?, reader.varint()?);
        let named = std::str::from_utf8(take(&mut reader)?).map_err(|_| WireError::Text)?;
        topic = if named.is_empty() { topic } else { named };
        let frame = take(&mut reader)?;
        let (header, ..) = FrameHeader::decode(frame)?;
        let to =
            header.seq.checked_add(count).filter(|_| count > 0 && flags <= QOS_1 | RETAIN).ok_or(WireError::Range)?;
        let qos = if flags & QOS_1 != 0 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let retain = flags & RETAIN != 0;
        frames.push(SpooledFrame { topic, frame, qos, retain, run: header.run, from: header.seq, to });
    }
    Ok(frames)
}

fn take<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(reader.varint()?).map_err(|_| WireError::Range)?;
    reader.take(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::wire::Kind;

    fn sealed(seq: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        FrameHeader { kind: Kind::Frame, run: [7; 5], generation: 3, seq }.encode_into(&mut frame);
        frame.extend_from_slice(&[seq.to_le_bytes()[0]; 20]);
        frame
    }

    #[test]
    fn frames_read_back_in_order_and_damage_is_an_error() {
        let sealed: Vec<Vec<u8>> = [0, 200, 201].map(sealed).to_vec();
        let frame = |index: usize, topic, retain, count| SpooledFrame {
            topic,
            frame: &sealed[index],
            qos: if retain { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            retain,
            run: [7; 5],
            from: [0_u32, 200, 201][index],
            to: [0_u32, 200, 201][index] + count,
        };
        let wanted = [frame(0, "a", false, 1), frame(1, "a", true, 200), frame(2, "b/ä", false, 1)];
        let mut bytes = Vec::new();
        let mut topic = "";
        for frame in &wanted {
            push(&mut bytes, frame, frame.topic == topic);
            topic = frame.topic;
        }
        assert_eq!(frames(&bytes).unwrap(), wanted);
        for cut in 1..bytes.len() {
            // A cut between two frames is a shorter segment; every other one is seen.
            assert!(frames(&bytes[..cut]).map_or(true, |frames| frames.len() < 3), "{cut}");
        }
        bytes[0] = 2;
        assert_eq!(frames(&bytes).err(), Some(WireError::Range));
    }
}
