//! What a publisher remembers of one subscriber: counter, pending handshakes, session.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::reports::Reported;
use crate::bucket::TokenBucket;
use crate::chain::ChainSender;
use crate::handshake::SessionKeys;
use crate::identity::IdentityPublic;
use crate::kdf::{AckKey, RequestMacKey, WrapKey};
use crate::peers::PeerName;
use crate::primitives::{POINT_LEN, sha256_prefix};
use crate::wire::{Reader, WireError};

/// The version of a member's record.
const VERSION: u8 = 1;

/// Handshakes that wait for a confirmation, for each subscriber.
const MAX_PENDING: usize = 2;
/// REQUESTs whose answer is remembered, for each subscriber.
const MAX_ANSWERED: usize = 8;
/// REQUESTs whose replay is recognised by its hash, for each subscriber.
const MAX_VERIFIED: usize = 256;
/// Burst and rate a second of a pinned subscriber's REQUESTs that are answered anew, and of repeated answers.
const REQUEST_RATE: (u32, u32) = (8, 2);

/// A session that the subscriber has confirmed.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) sid: [u8; 8],
    pub(super) ka: AckKey,
    pub(super) chain: ChainSender,
    pub(super) keys_sent_ms: u64,
}

impl Active {
    pub(super) fn new(session: &SessionKeys) -> Self {
        Self { sid: session.sid, ka: session.ka.clone(), chain: ChainSender::new(session), keys_sent_ms: 0 }
    }
}

/// What is remembered of one subscriber.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: IdentityPublic,
    pub(super) name: PeerName,
    /// One Diffie-Hellman, made when it is first needed.
    pub(super) mac_key: Option<RequestMacKey>,
    /// The highest counter seen.
    pub(super) sctr: u64,
    /// It was told that its counter is stale: what it held is not to be trusted with what was sealed before.
    pub(super) stale: bool,
    /// The segment of the spool that was the next when it first confirmed: what is older it is not owed.
    pub(super) joined: u64,
    /// What it has said of the spool.
    pub(super) reported: Reported,
    pub(super) active: Option<Active>,
    pub(super) bucket: TokenBucket,
    pub(super) repeats: TokenBucket,
    pending: VecDeque<SessionKeys>,
    answered: VecDeque<([u8; 16], Vec<u8>)>,
    /// REQUESTs that verified, answered or not: their replays cost nothing.
    verified: VecDeque<[u8; 16]>,
    /// When it was last heard of, to forget the oldest stranger.
    pub(super) seen: u64,
}

impl Member {
    pub(super) fn new(key: IdentityPublic, name: PeerName, mac_key: Option<RequestMacKey>) -> Self {
        Self {
            key,
            name,
            mac_key,
            sctr: 0,
            stale: false,
            joined: 0,
            reported: Reported::default(),
            active: None,
            bucket: TokenBucket::new(REQUEST_RATE.0, REQUEST_RATE.1),
            repeats: TokenBucket::new(REQUEST_RATE.0, REQUEST_RATE.1),
            pending: VecDeque::new(),
            answered: VecDeque::new(),
            verified: VecDeque::new(),
            seen: 0,
        }
    }

    /// The answer that this very REQUEST had before.
    pub(super) fn answer_to(&self, request: &[u8]) -> Option<&[u8]> {
        let hash = sha256_prefix(&[request]);
        self.answered.iter().find(|(answered, _)| *answered == hash).map(|(_, grant)| grant.as_slice())
    }

    /// Whether this very REQUEST has verified before.
    pub(super) fn is_replay(&self, request: &[u8]) -> bool {
        self.verified.contains(&sha256_prefix(&[request]))
    }

    pub(super) fn remember_verified(&mut self, request: &[u8]) {
        if self.verified.len() == MAX_VERIFIED {
            self.verified.pop_front();
        }
        self.verified.push_back(sha256_prefix(&[request]));
    }

    pub(super) fn remember_answer(&mut self, request: &[u8], grant: &[u8]) {
        if self.answered.len() == MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((sha256_prefix(&[request]), grant.to_vec()));
    }

    /// Holds a granted session until it is confirmed; the oldest of more than two is forgotten.
    pub(super) fn await_confirm(&mut self, session: SessionKeys) {
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(session);
    }

    pub(super) fn pending(&self, sid: [u8; 8]) -> Option<&SessionKeys> {
        self.pending.iter().find(|session| session.sid == sid)
    }

    /// Makes a confirmed session the active one.
    pub(super) fn activate(&mut self, sid: [u8; 8]) {
        if let Some(at) = self.pending.iter().position(|session| session.sid == sid) {
            self.active = self.pending.remove(at).as_ref().map(Active::new);
        }
    }

    /// Whether it was given the stream: in its session, or in a GRANT that it has not confirmed.
    pub(super) fn holds_stream(&self) -> bool {
        self.active.is_some() || !self.pending.is_empty()
    }

    /// Whether it is worth a record: strangers that only asked are not.
    pub(super) fn is_kept(&self, is_pinned: bool) -> bool {
        is_pinned || self.holds_stream()
    }

    /// ```text
    ///  version | key 33 | name length 2 | name | sctr 8 | joined 8 | stale 1 | n 1 | n x { sid 8 | ka 32 | chain }
    ///  | n 1 | n x { sid 8 | ka 32 | wk 32 }        the active session, and those that wait for their confirmation
    /// ```
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![VERSION]);
        out.extend_from_slice(self.key.as_bytes());
        let name = self.name.as_str().as_bytes();
        out.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(&self.sctr.to_be_bytes());
        out.extend_from_slice(&self.joined.to_be_bytes());
        out.push(u8::from(self.stale));
        out.push(u8::from(self.active.is_some()));
        if let Some(active) = &self.active {
            out.extend_from_slice(&active.sid);
            out.extend_from_slice(active.ka.expose());
            active.chain.encode_into(&mut out);
        }
        out.push(u8::try_from(self.pending.len()).unwrap_or(u8::MAX));
        for session in &self.pending {
            out.extend_from_slice(&session.sid);
            out.extend_from_slice(session.ka.expose());
            out.extend_from_slice(session.wk_0.expose());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(WireError::Range);
        }
        let key = IdentityPublic::from_bytes(reader.take(POINT_LEN)?).map_err(|_| WireError::Point)?;
        let length = usize::from(reader.u16()?);
        let name = std::str::from_utf8(reader.take(length)?).ok().and_then(|name| name.parse().ok());
        let mut member = Self::new(key, name.ok_or(WireError::Text)?, None);
        (member.sctr, member.joined, member.stale) = (reader.u64()?, reader.u64()?, reader.u8()? != 0);
        let read_key = |reader: &mut Reader<'_>| reader.array().map(|key| AckKey::new(Zeroizing::new(key)));
        for _ in 0..reader.u8()? {
            let (sid, ka) = (reader.array()?, read_key(&mut reader)?);
            member.active = Some(Active { sid, ka, chain: ChainSender::decode(sid, &mut reader)?, keys_sent_ms: 0 });
        }
        for _ in 0..reader.u8()? {
            let (sid, ka) = (reader.array()?, read_key(&mut reader)?);
            let wk_0 = WrapKey::new(Zeroizing::new(reader.array()?));
            member.await_confirm(SessionKeys { sid, ka, wk_0 });
        }
        reader.finish()?;
        Ok(member)
    }

    /// Ends its session and every pending handshake.
    pub(super) fn end(&mut self) {
        self.active = None;
        self.pending.clear();
        self.answered.clear();
    }
}
