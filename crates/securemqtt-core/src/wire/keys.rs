//! KEYS: the entries of a session's key chain that the subscriber has not confirmed yet.

use super::{Kind, Reader, Status, WireError};
use crate::primitives::TAG_LEN;
use crate::stream::StreamGrant;

/// Entries in one KEYS.
pub const MAX_ENTRIES: usize = 64;

/// A KEYS message, retained on the subscriber's own topic.
///
/// ```text
///  type 1 | sid 8 | n 1 | n x { idx 4 | salt 16 | length 2 | ciphertext+16 }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The session.
    pub sid: [u8; 8],
    /// The entries, by rising index.
    pub entries: Vec<Entry>,
}

/// One sealed entry of a key chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index, from 1.
    pub idx: u32,
    /// The salt of its key.
    pub salt: [u8; 16],
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
}

impl Keys {
    /// The associated data of an entry: `type ‖ sid ‖ idx ‖ salt`.
    pub fn entry_aad(sid: &[u8; 8], idx: u32, salt: &[u8; 16]) -> [u8; 29] {
        let mut aad = [0; 29];
        aad[0] = Kind::Keys.type_byte();
        aad[1..9].copy_from_slice(sid);
        aad[9..13].copy_from_slice(&idx.to_be_bytes());
        aad[13..].copy_from_slice(salt);
        aad
    }

    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Kind::Keys.type_byte()];
        out.extend_from_slice(&self.sid);
        out.push(u8::try_from(self.entries.len()).unwrap_or(u8::MAX));
        for entry in &self.entries {
            out.extend_from_slice(&entry.idx.to_be_bytes());
            out.extend_from_slice(&entry.salt);
            out.extend_from_slice(&u16::try_from(entry.sealed.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&entry.sealed);
        }
        out
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed; indices must rise.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::of_kind(bytes, Kind::Keys)?;
        let sid = reader.array()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_ENTRIES {
            return Err(WireError::Range);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let idx = reader.u32()?;
            let salt = reader.array()?;
            let length = usize::from(reader.u16()?);
            if !(1 + TAG_LEN..=1 + StreamGrant::LEN + TAG_LEN).contains(&length) {
                return Err(WireError::Range);
            }
            let sealed = reader.take(length)?.to_vec();
            if idx == 0 || entries.last().is_some_and(|last| last.idx >= idx) {
                return Err(WireError::Range);
            }
            entries.push(Entry { idx, salt, sealed });
        }
        reader.finish()?;
        Ok(Self { sid, entries })
    }
}

/// What an entry carries under encryption.
///
/// ```text
///  kind 1 = 1 | stream 71
///  kind 1 = 2 | status 1
/// ```
#[derive(Debug)]
pub enum EntryPayload {
    /// The current or next stream.
    Stream(Box<StreamGrant>),
    /// The session ends, and why.
    Notice(Status),
}

impl EntryPayload {
    /// The plaintext bytes.
    pub fn encode(&self) -> zeroize::Zeroizing<Vec<u8>> {
        let mut out = zeroize::Zeroizing::new(Vec::with_capacity(1 + StreamGrant::LEN + TAG_LEN));
        match self {
            Self::Stream(stream) => {
                out.push(1);
                out.extend_from_slice(&stream.encode());
            }
            Self::Notice(status) => out.extend_from_slice(&[2, *status as u8]),
        }
        out
    }

    /// Reads the plaintext.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            1 => StreamGrant::decode(reader.rest()).map(|stream| Self::Stream(Box::new(stream))),
            2 => {
                let status = Status::from_code(reader.u8()?)?;
                reader.finish()?;
                Ok(Self::Notice(status))
            }
            _ => Err(WireError::Range),
        }
    }
}
