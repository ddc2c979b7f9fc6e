//! RETRY: the answer to a REQUEST for a hello that is no longer valid.

use super::{Kind, Reader, WireError};
use crate::primitives::sha256_prefix;

/// A RETRY: unauthenticated; it only brings a hello, which the handshake binds.
///
/// ```text
///  type 1 | H(request) 8 | hello
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry<'a> {
    /// `SHA-256(request)[..8]`.
    pub request: [u8; 8],
    /// The current HELLO, whole.
    pub hello: &'a [u8],
}

impl<'a> Retry<'a> {
    /// The hash by which a RETRY names a REQUEST.
    pub fn request_hash(request: &[u8]) -> [u8; 8] {
        sha256_prefix(&[request])
    }

    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Kind::Retry.type_byte()];
        out.extend_from_slice(&self.request);
        out.extend_from_slice(self.hello);
        out
    }

    /// Reads the message; the hello inside is not decoded yet.
    ///
    /// # Errors
    /// [`WireError`] when it is cut short.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_kind(bytes, Kind::Retry)?;
        Ok(Self { request: reader.array()?, hello: reader.rest() })
    }
}
