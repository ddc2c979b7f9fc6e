//! GRANT: the second handshake message, which brings the stream or an authenticated refusal.

use std::fmt;

use super::{Kind, Reader, WireError};
use crate::primitives::{POINT_LEN, TAG_LEN};
use crate::stream::StreamGrant;

/// A GRANT, taken apart.
///
/// ```text
///  type 1 | rid 8 | e 33 | {status 1, sctr 8, stream 71}+16     granted: 138 bytes
///  type 1 | rid 8 | e 33 | {status 1, sctr 8}+16                refused:  67 bytes
///  `-- clear header --'
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The first 8 bytes of the REQUEST's transcript hash.
    pub rid: [u8; 8],
    /// The publisher's ephemeral key, not validated yet.
    pub e: &'a [u8],
    /// The sealed payload.
    pub sealed: &'a [u8],
    /// The clear header: type and rid.
    pub header: &'a [u8],
}

impl<'a> Grant<'a> {
    /// The clear header: 9 bytes.
    pub fn encode_header(rid: [u8; 8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(138);
        out.push(Kind::Grant.type_byte());
        out.extend_from_slice(&rid);
        out
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_kind(bytes, Kind::Grant)?;
        let rid = reader.array()?;
        let e = reader.take(POINT_LEN)?;
        let sealed = reader.rest();
        match sealed.len() {
            len if len < 9 + TAG_LEN => Err(WireError::Truncated),
            len if len > 9 + StreamGrant::LEN + TAG_LEN => Err(WireError::Oversized),
            _ => Ok(Self { rid, e, sealed, header: &bytes[..9] }),
        }
    }
}

/// Why a publisher refuses; 0 on the wire is a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The publisher does not know this subscriber.
    Unknown = 1,
    /// The subscriber's name belongs to another key, or it lacks a permission.
    NotAuthorised = 2,
    /// The publisher has revoked this subscriber.
    Revoked = 3,
    /// The subscriber's credential has expired.
    Expired = 4,
    /// A person at the publisher is being asked: ask again later.
    Pending = 5,
    /// The request's counter is not above the last one: use the one in this answer.
    StaleCounter = 6,
}

impl Status {
    /// Reads the code.
    ///
    /// # Errors
    /// [`WireError::Range`] for 0 and for unknown codes.
    pub fn from_code(code: u8) -> Result<Self, WireError> {
        Ok(match code {
            1 => Self::Unknown,
            2 => Self::NotAuthorised,
            3 => Self::Revoked,
            4 => Self::Expired,
            5 => Self::Pending,
            6 => Self::StaleCounter,
            _ => return Err(WireError::Range),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::NotAuthorised => "not authorised",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Pending => "pending approval",
            Self::StaleCounter => "stale counter",
        })
    }
}

/// What a GRANT carries under encryption.
#[derive(Debug)]
pub enum GrantPayload {
    /// The stream, and the highest `sctr` that the publisher has seen of this subscriber.
    Granted {
        /// The publisher's memory of `sctr`.
        sctr: u64,
        /// The stream.
        stream: Box<StreamGrant>,
    },
    /// A refusal.
    Refused {
        /// The publisher's memory of `sctr`.
        sctr: u64,
        /// Why.
        status: Status,
    },
}

impl GrantPayload {
    /// The plaintext bytes.
    pub fn encode(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut out = zeroize::Zeroizing::new(Vec::with_capacity(9 + StreamGrant::LEN + TAG_LEN));
        match self {
            Self::Granted { sctr, stream } => {
                out.push(0);
                out.extend_from_slice(&sctr.to_be_bytes());
                out.extend_from_slice(&stream.encode());
            }
            Self::Refused { sctr, status } => {
                out.push(*status as u8);
                out.extend_from_slice(&sctr.to_be_bytes());
            }
        }
        out
    }

    /// Reads the plaintext.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let code = reader.u8()?;
        let sctr = reader.u64()?;
        if code == 0 {
            let stream = Box::new(StreamGrant::decode(reader.rest())?);
            return Ok(Self::Granted { sctr, stream });
        }
        let status = Status::from_code(code)?;
        reader.finish()?;
        Ok(Self::Refused { sctr, status })
    }
}
