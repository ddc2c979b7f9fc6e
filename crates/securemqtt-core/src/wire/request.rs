//! REQUEST: the first handshake message.

use std::fmt;

use super::{Kind, Reader, SUITE_1, WireError};
use crate::identity::PeerId;
use crate::peers::PeerName;
use crate::primitives::{POINT_LEN, TAG_LEN};

/// Bytes of the mac at the end of a REQUEST.
pub const REQUEST_MAC_LEN: usize = TAG_LEN;
const HEADER_LEN: usize = 1 + 1 + 16 + 8;
const SEALED_KEY_LEN: usize = POINT_LEN + TAG_LEN;
/// A credential's limit in bytes; none is defined in version 1, so it is empty.
const MAX_CREDENTIAL_LEN: usize = 1024;

/// A REQUEST, taken apart.
///
/// ```text
///  type 1 | suite 1 | idS 16 | H(hello) 8 | e 33 | {s} 49 | {payload}+16 | mac 16
///  `------------ clear header -----------'
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks, to find its mac key; proved by `s`.
    pub subscriber: PeerId,
    /// The hello that it answers.
    pub hello: [u8; 8],
    /// The ephemeral key, not validated yet.
    pub e: &'a [u8],
    /// The sealed identity key.
    pub sealed_key: &'a [u8],
    /// The sealed payload.
    pub sealed_payload: &'a [u8],
    /// The mac over everything before it.
    pub mac: [u8; REQUEST_MAC_LEN],
    /// The clear header: type, suite, idS, H(hello).
    pub header: &'a [u8],
    /// All that the mac covers.
    pub maced: &'a [u8],
}

impl<'a> Request<'a> {
    /// The clear header: 26 bytes.
    pub fn encode_header(subscriber: PeerId, hello: [u8; 8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&[Kind::Request.type_byte(), SUITE_1]);
        out.extend_from_slice(subscriber.as_bytes());
        out.extend_from_slice(&hello);
        out
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_kind(bytes, Kind::Request)?;
        let suite = reader.u8()?;
        if suite != SUITE_1 {
            return Err(WireError::Suite(suite));
        }
        let subscriber = PeerId::from_bytes(reader.array()?);
        let hello = reader.array()?;
        let e = reader.take(POINT_LEN)?;
        let sealed_key = reader.take(SEALED_KEY_LEN)?;
        let tail = reader.rest();
        let (sealed_payload, mac) = tail.split_last_chunk().ok_or(WireError::Truncated)?;
        if sealed_payload.len() < RequestPayload::MIN_LEN + TAG_LEN {
            return Err(WireError::Truncated);
        }
        if sealed_payload.len() > RequestPayload::MAX_LEN + TAG_LEN {
            return Err(WireError::Oversized);
        }
        Ok(Self {
            subscriber,
            hello,
            e,
            sealed_key,
            sealed_payload,
            mac: *mac,
            header: &bytes[..HEADER_LEN],
            maced: &bytes[..bytes.len() - REQUEST_MAC_LEN],
        })
    }
}

/// What a REQUEST carries under encryption.
///
/// ```text
///  sctr 8 | length 1 | name | length 2 | credential
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RequestPayload {
    /// The subscriber's counter.
    pub sctr: u64,
    /// The petname that it proposes.
    pub name: PeerName,
    /// Reserved for tokens and certificates; empty in version 1.
    pub credential: Vec<u8>,
}

impl RequestPayload {
    const MIN_LEN: usize = 8 + 1 + 1 + 2;
    const MAX_LEN: usize = 8 + 1 + crate::peers::MAX_NAME_LEN + 2 + MAX_CREDENTIAL_LEN;

    /// The plaintext bytes.
    pub fn encode(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let mut out = self.sctr.to_be_bytes().to_vec();
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out.extend_from_slice(&u16::try_from(self.credential.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&self.credential);
        out
    }

    /// Reads the plaintext.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let sctr = reader.u64()?;
        let length = usize::from(reader.u8()?);
        let name = std::str::from_utf8(reader.take(length)?).map_err(|_| WireError::Text)?;
        let name = name.parse().map_err(|_| WireError::Text)?;
        let length = usize::from(reader.u16()?);
        if length > MAX_CREDENTIAL_LEN {
            return Err(WireError::Range);
        }
        let credential = reader.take(length)?.to_vec();
        reader.finish()?;
        Ok(Self { sctr, name, credential })
    }
}

// A credential is its bearer's secret.
impl fmt::Debug for RequestPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestPayload({}, sctr {}, credential of {} bytes)", self.name, self.sctr, self.credential.len())
    }
}
