//! The header of the frame that comes next, and its associated data: of one frame and the next in its topic mostly one byte
//! differs, the last of the sequence number's low bits.

use super::frame::{EncodedHeader, FIXED_LEN};
use super::{FrameHeader, Kind};

/// A header with the associated data that it makes, `header ‖ topic`.
#[derive(Debug)]
pub(crate) struct NextFrame {
    header: FrameHeader,
    encoded: EncodedHeader,
    aad: Vec<u8>,
}

impl Default for NextFrame {
    fn default() -> Self {
        // A tick is what nobody expects as a frame.
        let header = FrameHeader { kind: Kind::Tick, run: [0; 5], generation: 0, seq: 0 };
        let encoded = header.encode();
        Self { header, encoded, aad: encoded.as_bytes().to_vec() }
    }
}

impl NextFrame {
    #[cold]
    pub(crate) fn set(&mut self, header: FrameHeader, topic: &str) {
        (self.header, self.encoded) = (header, header.encode());
        self.aad.clear();
        self.aad.extend_from_slice(self.encoded.as_bytes());
        self.aad.extend_from_slice(topic.as_bytes());
    }

    /// The same for the next number.
    #[expect(clippy::inline_always, reason = "two bytes mostly; as a call, twice as much")]
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        self.header.seq = self.header.seq.wrapping_add(1);
        match self.aad.get_mut(FIXED_LEN) {
            // Within the seven low bits there is no carry.
            Some(low) if *low & 0x7f != 0x7f => {
                *low += 1;
                self.encoded.set_low(*low);
            }
            _ => self.carry(),
        }
    }

    /// The number may take another byte: what is before the topic is replaced.
    #[cold]
    fn carry(&mut self) {
        let before = std::mem::replace(&mut self.encoded, self.header.encode());
        self.aad.splice(..before.len(), self.encoded.as_bytes().iter().copied());
    }

    #[inline]
    pub(crate) fn header(&self) -> &FrameHeader {
        &self.header
    }

    #[inline]
    pub(crate) fn encoded(&self) -> &EncodedHeader {
        &self.encoded
    }

    /// `header ‖ topic`.
    #[inline]
    pub(crate) fn associated_data(&self) -> &[u8] {
        &self.aad
    }

    /// Whether a message of a topic begins with this header.
    #[inline]
    pub(crate) fn is_of(&self, topic: &str, message: &[u8]) -> bool {
        self.encoded.begins(message) && self.aad.get(self.encoded.len()..).is_some_and(|own| own == topic.as_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::primitives::TAG_LEN;

    const TOPIC: &str = "a/long/topic/of/a/ward/and/its/bed";

    fn header(seq: u32) -> FrameHeader {
        FrameHeader { kind: Kind::Frame, run: [7; 5], generation: 3, seq }
    }

    /// A frame of a number, and its associated data.
    fn frame(seq: u32, topic: &str) -> (Vec<u8>, Vec<u8>) {
        let mut message = Vec::new();
        header(seq).encode_into(&mut message);
        let aad = [&message, topic.as_bytes()].concat();
        message.extend_from_slice(&[seq.to_le_bytes()[0] | 1; TAG_LEN]);
        (message, aad)
    }

    #[test]
    fn it_is_the_header_and_the_topic_whatever_was_before() {
        let mut next = NextFrame::default();
        assert!(!next.is_of("", &frame(0, "").0));
        for (seq, len) in [(0, 1), (300, 34), (u32::MAX, 2), (1 << 20, 11), (1, 0), (300, 13)] {
            let topic = &TOPIC[..len];
            next.set(header(seq), topic);
            let (message, aad) = frame(seq, topic);
            assert_eq!(next.associated_data(), aad);
            assert!(next.is_of(topic, &message));
            assert!(!next.is_of("another", &message) && !next.is_of(topic, &message[..7]));
            for at in 0..header(seq).encode().len() {
                let mut other = message.clone();
                other[at] ^= 0x01;
                assert!(!next.is_of(topic, &other), "{at}");
            }
        }
    }

    #[test]
    fn it_advances_as_if_it_were_made_anew() {
        for start in [0, 100, 16_300, (1 << 21) - 3, (1 << 28) - 2, u32::MAX - 9] {
            let mut next = NextFrame::default();
            next.set(header(start), TOPIC);
            for seq in (start..u32::MAX).take(300) {
                let (message, aad) = frame(seq, TOPIC);
                assert_eq!((next.header(), next.associated_data()), (&header(seq), &aad[..]));
                assert_eq!(next.encoded().as_bytes(), header(seq).encode().as_bytes());
                assert!(next.is_of(TOPIC, &message) && !next.is_of(TOPIC, &frame(seq + 1, TOPIC).0));
                next.advance();
            }
        }
    }
}
