//! ACK: a subscriber confirms the handshake (index 0) or the entries up to an index.

use super::report::verify_tag;
use super::{Kind, Reader, WireError};
use crate::kdf::AckKey;
use crate::primitives::{NotAuthentic, TAG_LEN, hmac16};

/// Bytes of an ACK.
pub const ACK_LEN: usize = 1 + 8 + 4 + 8 + TAG_LEN;

/// An ACK. A MAC, not a ciphertext: there is no nonce to reuse.
///
/// ```text
///  type 1 | sid 8 | idx 4 | sctr 8 | tag 16        tag = HMAC-SHA256(ka, preceding bytes)[..16]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The session.
    pub sid: [u8; 8],
    /// The last entry that the subscriber has opened; 0 confirms the handshake.
    pub idx: u32,
    /// The subscriber's counter.
    pub sctr: u64,
}

impl Ack {
    /// The bytes of the message.
    pub fn seal(&self, ka: &AckKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(ACK_LEN);
        out.push(Kind::Ack.type_byte());
        out.extend_from_slice(&self.sid);
        out.extend_from_slice(&self.idx.to_be_bytes());
        out.extend_from_slice(&self.sctr.to_be_bytes());
        let tag = hmac16(ka.expose(), &[&out]);
        out.extend_from_slice(&tag);
        out
    }

    /// Reads the message, to find the session; nothing in it is authentic yet.
    ///
    /// # Errors
    /// [`WireError`] when it does not have its exact length.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_kind(bytes, Kind::Ack)?;
        let ack = Self { sid: reader.array()?, idx: reader.u32()?, sctr: reader.u64()? };
        reader.take(TAG_LEN)?;
        reader.finish()?;
        Ok(ack)
    }

    /// Verifies the tag of a message that [`Ack::decode`] has read.
    ///
    /// # Errors
    /// [`NotAuthentic`] when the session's key does not give this tag.
    pub fn verify(bytes: &[u8], ka: &AckKey) -> Result<(), NotAuthentic> {
        verify_tag(bytes, ka)
    }
}
