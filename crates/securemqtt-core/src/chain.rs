//! The key chain of a session: numbered entries, each under a key that both sides delete as they move on.
//!
//! Entry `i` (from 1) is sealed under `Expand(wk_{i−1}, "entry" ‖ salt)`, and `wk_i = Expand(wk_{i−1}, "next")`.
//! A leaked `wk_i` opens no earlier entry.

use std::collections::VecDeque;
use std::fmt;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::handshake::SessionKeys;
use crate::kdf::{self, WrapKey};
use crate::primitives::NotAuthentic;
use crate::wire::{Entry, EntryPayload, Keys, MAX_ENTRIES, Reader, WireError};

/// How far a receiver steps over entries that were dropped from KEYS.
const MAX_SKIP: u32 = 1024;

/// The publisher's end: it can only seal.
#[derive(Debug)]
pub struct ChainSender {
    sid: [u8; 8],
    wk: WrapKey,
    idx: u32,
    unacknowledged: VecDeque<Entry>,
}

impl ChainSender {
    /// The chain of a new session.
    pub fn new(session: &SessionKeys) -> Self {
        Self { sid: session.sid, wk: session.wk_0.clone(), idx: 0, unacknowledged: VecDeque::new() }
    }

    /// Appends `wk 32 | idx 4 | n 1 | n x { idx 4 | salt 16 | length 2 | sealed }`, for durable state.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.wk.expose());
        out.extend_from_slice(&self.idx.to_be_bytes());
        out.push(u8::try_from(self.unacknowledged.len()).unwrap_or(u8::MAX));
        for entry in &self.unacknowledged {
            out.extend_from_slice(&entry.idx.to_be_bytes());
            out.extend_from_slice(&entry.salt);
            out.extend_from_slice(&u16::try_from(entry.sealed.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&entry.sealed);
        }
    }

    pub(crate) fn decode(sid: [u8; 8], reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let (wk, idx) = (WrapKey::new(Zeroizing::new(reader.array()?)), reader.u32()?);
        let mut unacknowledged = VecDeque::new();
        for _ in 0..reader.u8()? {
            let (idx, salt) = (reader.u32()?, reader.array()?);
            let length = usize::from(reader.u16()?);
            unacknowledged.push_back(Entry { idx, salt, sealed: reader.take(length)?.to_vec() });
        }
        Ok(Self { sid, wk, idx, unacknowledged })
    }

    /// The index of the last entry sealed; 0 when there is none.
    pub fn index(&self) -> u32 {
        self.idx
    }

    /// Seals the next entry and deletes the key that did it. Returns whether an older entry had to be dropped.
    ///
    /// # Errors
    /// [`ChainError::Exhausted`] at index 2^32 − 1.
    pub fn seal<R: CryptoRng + ?Sized>(&mut self, payload: &EntryPayload, rng: &mut R) -> Result<bool, ChainError> {
        let idx = self.idx.checked_add(1).ok_or(ChainError::Exhausted)?;
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let mut sealed = payload.encode().to_vec();
        kdf::entry_key(&self.wk, &salt).seal(0, &Keys::entry_aad(&self.sid, idx, &salt), &mut sealed, 0)?;
        self.wk = kdf::next_wrap_key(&self.wk);
        self.idx = idx;
        let full = self.unacknowledged.len() == MAX_ENTRIES;
        if full {
            self.unacknowledged.pop_front();
        }
        self.unacknowledged.push_back(Entry { idx, salt, sealed });
        Ok(full)
    }

    /// Takes note that the subscriber holds the entries up to `idx`. False when `idx` was never sealed.
    pub fn acknowledge(&mut self, idx: u32) -> bool {
        if idx > self.idx {
            return false;
        }
        self.unacknowledged.retain(|entry| entry.idx > idx);
        true
    }

    /// Whether the subscriber holds every entry.
    pub fn is_settled(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// The KEYS message with every entry that is not acknowledged.
    pub fn keys(&self) -> Vec<u8> {
        Keys { sid: self.sid, entries: self.unacknowledged.iter().cloned().collect() }.encode()
    }
}

/// The subscriber's end: it can only open.
#[derive(Clone, Debug)]
pub struct ChainReceiver {
    sid: [u8; 8],
    wk: WrapKey,
    idx: u32,
}

/// Entries that opened.
#[derive(Debug, Default)]
pub struct Opened {
    /// Their payloads, by rising index.
    pub payloads: Vec<EntryPayload>,
    /// How many entries before them were dropped by the publisher and are lost.
    pub skipped: u32,
}

impl ChainReceiver {
    /// The chain of a new session.
    pub fn new(session: &SessionKeys) -> Self {
        Self { sid: session.sid, wk: session.wk_0.clone(), idx: 0 }
    }

    /// Appends `wk 32 | idx 4`, for durable state.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.wk.expose());
        out.extend_from_slice(&self.idx.to_be_bytes());
    }

    pub(crate) fn decode(sid: [u8; 8], reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { sid, wk: WrapKey::new(Zeroizing::new(reader.array()?)), idx: reader.u32()? })
    }

    /// The index of the last entry opened; 0 when there is none.
    pub fn index(&self) -> u32 {
        self.idx
    }

    /// Opens the entries that are new. Keys move on only when an entry verifies. The first that does not ends it:
    /// what follows may be anybody's, and does not undo those before it.
    ///
    /// # Errors
    /// [`ChainError`] when the message is for another session or its first new entry does not verify; then nothing
    /// has changed.
    pub fn open(&mut self, keys: &Keys) -> Result<Opened, ChainError> {
        if keys.sid != self.sid {
            return Err(ChainError::OtherSession);
        }
        let mut opened = Opened::default();
        let held = self.idx;
        for entry in keys.entries.iter().filter(|entry| entry.idx > held) {
            match self.open_entry(entry) {
                Ok((payload, skipped)) => {
                    opened.payloads.push(payload);
                    opened.skipped += skipped;
                }
                Err(error) if opened.payloads.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(opened)
    }

    fn open_entry(&mut self, entry: &Entry) -> Result<(EntryPayload, u32), ChainError> {
        let skip = entry.idx - self.idx - 1;
        if skip > MAX_SKIP {
            return Err(ChainError::TooFar);
        }
        let wk = (0..skip).fold(self.wk.clone(), |wk, _| kdf::next_wrap_key(&wk));
        let aad = Keys::entry_aad(&self.sid, entry.idx, &entry.salt);
        let plain = zeroize::Zeroizing::new(kdf::entry_key(&wk, &entry.salt).open(0, &aad, &entry.sealed)?);
        let payload = EntryPayload::decode(&plain)?;
        self.wk = kdf::next_wrap_key(&wk);
        self.idx = entry.idx;
        Ok((payload, skip))
    }
}

/// Why a step of a key chain fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// The message belongs to another session.
    OtherSession,
    /// The entry does not verify.
    NotAuthentic,
    /// The entry's plaintext is malformed.
    Wire(WireError),
    /// The entry is too far ahead.
    TooFar,
    /// The chain is at its last index.
    Exhausted,
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSession => f.write_str("the keys belong to another session"),
            Self::NotAuthentic => NotAuthentic.fmt(f),
            Self::Wire(error) => error.fmt(f),
            Self::TooFar => f.write_str("the keys are too far ahead of what was received"),
            Self::Exhausted => f.write_str("the key chain is exhausted; a new handshake is needed"),
        }
    }
}

impl std::error::Error for ChainError {}

impl From<NotAuthentic> for ChainError {
    fn from(_: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

impl From<WireError> for ChainError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::kdf::AckKey;
    use crate::wire::Status;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    fn chain() -> (ChainSender, ChainReceiver) {
        let ka = AckKey::new(Zeroizing::new([1; 32]));
        let session = SessionKeys { sid: [7; 8], ka, wk_0: WrapKey::new(Zeroizing::new([2; 32])) };
        (ChainSender::new(&session), ChainReceiver::new(&session))
    }

    fn seal(sender: &mut ChainSender, count: usize) -> bool {
        let mut rng = ChaCha20Rng::seed_from_u64(u64::from(sender.index()));
        (0..count)
            .fold(false, |dropped, _| dropped | sender.seal(&EntryPayload::Notice(Status::Revoked), &mut rng).unwrap())
    }

    fn keys(sender: &ChainSender) -> Keys {
        Keys::decode(&sender.keys()).unwrap()
    }

    #[test]
    fn entries_open_once_and_the_ends_stay_together() {
        let (mut sender, mut receiver) = chain();
        seal(&mut sender, 3);
        assert_eq!(receiver.open(&keys(&sender)).unwrap().payloads.len(), 3);
        assert_eq!(receiver.open(&keys(&sender)).unwrap().payloads.len(), 0, "a repeat brings nothing new");
        assert_eq!(receiver.wk.expose(), sender.wk.expose());
        assert!(sender.acknowledge(2) && !sender.is_settled());
        assert!(!sender.acknowledge(4), "never sealed");
        assert!(sender.acknowledge(3) && sender.is_settled());
    }

    #[test]
    fn a_forged_entry_behind_a_genuine_one_does_not_undo_it() {
        let (mut sender, mut receiver) = chain();
        seal(&mut sender, 2);
        let mut forged = keys(&sender);
        forged.entries[1].sealed[0] ^= 1;
        let opened = receiver.open(&forged).unwrap();
        assert_eq!((opened.payloads.len(), receiver.index()), (1, 1));
        assert_eq!(receiver.open(&keys(&sender)).unwrap().payloads.len(), 1, "the genuine second one still opens");
    }

    #[test]
    fn what_fails_first_changes_nothing() {
        let (mut sender, mut receiver) = chain();
        seal(&mut sender, 2);
        let genuine = keys(&sender);
        let mut forged = genuine.clone();
        forged.entries[0].salt[0] ^= 1;
        assert_eq!(receiver.open(&forged).err(), Some(ChainError::NotAuthentic));
        let mut far = genuine.clone();
        far.entries.remove(0);
        far.entries[0].idx = MAX_SKIP + 2;
        assert_eq!(receiver.open(&far).err(), Some(ChainError::TooFar));
        let other = Keys { sid: [8; 8], ..genuine.clone() };
        assert_eq!(receiver.open(&other).err(), Some(ChainError::OtherSession));
        assert_eq!(receiver.index(), 0);
        assert_eq!(receiver.open(&genuine).unwrap().payloads.len(), 2);
    }

    #[test]
    fn dropped_entries_are_stepped_over_and_counted() {
        let (mut sender, mut receiver) = chain();
        assert!(!seal(&mut sender, MAX_ENTRIES));
        assert!(seal(&mut sender, 5), "the oldest are dropped");
        let opened = receiver.open(&keys(&sender)).unwrap();
        assert_eq!((opened.payloads.len(), opened.skipped), (MAX_ENTRIES, 5));
        assert_eq!(receiver.wk.expose(), sender.wk.expose());
    }
}
