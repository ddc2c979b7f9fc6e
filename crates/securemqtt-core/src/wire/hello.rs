//! HELLO: a publisher's key, its challenge and the suites it speaks.

use super::{Kind, Reader, WireError};
use crate::identity::IdentityPublic;
use crate::peers::PeerName;
use crate::primitives::{sha256, sha256_prefix};

/// Suites that a hello may list.
pub const MAX_SUITES: usize = 16;

/// A HELLO, unauthenticated in itself: the handshake binds its hash.
///
/// ```text
///  type 1 | n 1 | suites n | pkP 33 | challenge 16 | length 1 | name
/// ```
/// The name is the petname that the publisher proposes, 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The suites, in the publisher's order of preference.
    pub suites: Vec<u8>,
    /// The publisher's identity key.
    pub key: IdentityPublic,
    /// New at start and hourly; makes an old REQUEST worthless.
    pub challenge: [u8; 16],
    /// The proposed petname.
    pub name: PeerName,
}

impl Hello {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let mut out = vec![Kind::Hello.type_byte(), u8::try_from(self.suites.len()).unwrap_or(u8::MAX)];
        out.extend_from_slice(&self.suites);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.challenge);
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_kind(bytes, Kind::Hello)?;
        let count = usize::from(reader.u8()?);
        if !(1..=MAX_SUITES).contains(&count) {
            return Err(WireError::Range);
        }
        let suites = reader.take(count)?.to_vec();
        let key = reader.take(33)?;
        let challenge = reader.array()?;
        let length = usize::from(reader.u8()?);
        let name = std::str::from_utf8(reader.take(length)?).map_err(|_| WireError::Text)?;
        reader.finish()?;
        let name = name.parse().map_err(|_| WireError::Text)?;
        // The point last: it is the only check that costs anything.
        let key = IdentityPublic::from_bytes(key).map_err(|_| WireError::Point)?;
        Ok(Self { suites, key, challenge, name })
    }

    /// `H(hello)`, the 8 bytes by which a REQUEST names it.
    pub fn short_hash(bytes: &[u8]) -> [u8; 8] {
        sha256_prefix(&[bytes])
    }

    /// `SHA256(hello bytes)`, mixed into the transcript.
    pub fn hash(bytes: &[u8]) -> [u8; 32] {
        sha256(&[bytes])
    }
}
