//! RECEIPT: a publisher's answer to a REPORT, with the highest counter that it has seen of the subscriber.

use super::report::verify_tag;
use super::{Kind, Reader, WireError};
use crate::kdf::AckKey;
use crate::primitives::{NotAuthentic, TAG_LEN, hmac16};

/// Bytes of a RECEIPT.
pub const RECEIPT_LEN: usize = 1 + 8 + 8 + TAG_LEN;

/// A RECEIPT: a subscriber whose own counter is lower learns that its state was rolled back.
///
/// ```text
///  type 1 | sid 8 | sctr 8 | tag 16        tag = HMAC-SHA256(ka, preceding bytes)[..16]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The session.
    pub sid: [u8; 8],
    /// The highest counter that the publisher has seen of this subscriber.
    pub sctr: u64,
}

impl Receipt {
    /// The bytes of the message.
    pub fn seal(&self, ka: &AckKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECEIPT_LEN);
        out.push(Kind::Receipt.type_byte());
        out.extend_from_slice(&self.sid);
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
        let mut reader = Reader::of_kind(bytes, Kind::Receipt)?;
        let receipt = Self { sid: reader.array()?, sctr: reader.u64()? };
        reader.take(TAG_LEN)?;
        reader.finish()?;
        Ok(receipt)
    }

    /// Verifies the tag of a message that [`Receipt::decode`] has read.
    ///
    /// # Errors
    /// [`NotAuthentic`] when the session's key does not give this tag.
    pub fn verify(bytes: &[u8], ka: &AckKey) -> Result<(), NotAuthentic> {
        verify_tag(bytes, ka)
    }
}
