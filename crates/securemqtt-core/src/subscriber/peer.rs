//! What a subscriber remembers of one publisher: its hello, the handshakes under way, the session.

use std::collections::VecDeque;

use rand_core::CryptoRng;

use crate::Now;
use crate::bucket::TokenBucket;
use crate::chain::ChainReceiver;
use crate::handshake::{AwaitingGrant, HandshakeError, RequestInput, SessionKeys, request_mac_key, start};
use crate::identity::IdentityKey;
use crate::kdf::{AckKey, RequestMacKey};
use crate::peers::PeerName;
use crate::wire::{Ack, Hello, RequestPayload, Retry, Status};

use crate::handshake::Granted;

/// REQUESTs whose GRANT would still be read.
const MAX_ATTEMPTS: usize = 4;
/// The first and the longest wait before something is sent again.
const RESEND_MS: (u64, u64) = (1_000, 30_000);
/// A session is renewed after 20 hours.
const RENEW_MS: u64 = 20 * 3_600_000;

/// Something that is sent again until it has its effect: doubling waits, with jitter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resend {
    pub(super) at_ms: u64,
    pub(super) tries: u32,
}

impl Resend {
    pub(super) fn first<R: CryptoRng + ?Sized>(now_ms: u64, rng: &mut R) -> Self {
        Self { at_ms: 0, tries: 0 }.next(now_ms, rng)
    }

    pub(super) fn next<R: CryptoRng + ?Sized>(self, now_ms: u64, rng: &mut R) -> Self {
        let wait = (RESEND_MS.0 << self.tries.min(5)).min(RESEND_MS.1);
        let jitter = u64::from(rng.next_u32()) % (wait / 2);
        Self { at_ms: now_ms + wait / 2 + jitter, tries: self.tries + 1 }
    }
}

/// A REQUEST that is out.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) state: AwaitingGrant,
    pub(super) request: Vec<u8>,
    pub(super) hash: [u8; 8],
    pub(super) resend: Resend,
}

/// A session on the subscriber's side.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) sid: [u8; 8],
    pub(super) ka: AckKey,
    pub(super) chain: ChainReceiver,
    pub(super) renew_ms: u64,
    pub(super) made_unix_ms: u64,
    /// The confirm is repeated until entry 1 opens.
    pub(super) confirm: Option<Resend>,
}

impl Session {
    pub(super) fn new<R: CryptoRng + ?Sized>(keys: &SessionKeys, now: Now, rng: &mut R) -> Self {
        Self {
            sid: keys.sid,
            ka: keys.ka.clone(),
            chain: ChainReceiver::new(keys),
            renew_ms: now.mono_ms + RENEW_MS,
            made_unix_ms: now.unix_ms,
            confirm: Some(Resend::first(now.mono_ms, rng)),
        }
    }

    /// The session of an earlier process. A clock that went back only brings its renewal forward.
    pub(super) fn restored<R: CryptoRng + ?Sized>(
        sid: [u8; 8],
        ka: AckKey,
        chain: ChainReceiver,
        made_unix_ms: u64,
        confirming: bool,
        now: Now,
        rng: &mut R,
    ) -> Self {
        let left = RENEW_MS.saturating_sub(now.unix_ms.abs_diff(made_unix_ms));
        let confirm = confirming.then(|| Resend::first(now.mono_ms, rng));
        Self { sid, ka, chain, renew_ms: now.mono_ms + left, made_unix_ms, confirm }
    }

    /// An ACK for what has been opened so far.
    pub(super) fn ack(&self, sctr: u64) -> Vec<u8> {
        Ack { sid: self.sid, idx: self.chain.index(), sctr }.seal(&self.ka)
    }
}

/// A publisher.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) hello: Hello,
    pub(super) hello_bytes: Vec<u8>,
    pub(super) name: PeerName,
    pub(super) mac_key: Option<RequestMacKey>,
    pub(super) attempts: VecDeque<Attempt>,
    pub(super) session: Option<Session>,
    /// The session before, until the new one is complete.
    pub(super) previous: Option<Session>,
    /// A GRANT that waits for a person's decision.
    pub(super) undecided: Option<Box<Granted>>,
    /// When to make a new handshake.
    pub(super) request_ms: Option<u64>,
    pub(super) last_request_ms: Option<u64>,
    pub(super) refused: Option<Status>,
    /// The last tick that no held stream opened.
    pub(super) parked_tick: Option<Vec<u8>>,
    /// Bounds the work that forged GRANTs and ticks cause.
    pub(super) grants: TokenBucket,
    pub(super) ticks: TokenBucket,
    pub(super) hellos: TokenBucket,
    pub(super) strays: TokenBucket,
    pub(super) pulse: Pulse,
    /// Runs that are open.
    pub(super) runs: usize,
    /// Whether this is a stranger so far.
    pub(super) stranger: bool,
}

/// The rhythm of a publisher's ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    pub(super) last_ms: Option<u64>,
    pub(super) interval_ms: u64,
    pub(super) silent: bool,
    /// Our clock less the publisher's, by the fastest of its signed ticks.
    offset_ms: Option<i64>,
}

/// Ticks are not expected more often than this.
const MIN_INTERVAL_MS: u64 = 10_000;

impl Pulse {
    /// A tick came; returns whether that ends a silence.
    pub(super) fn beat(&mut self, now_ms: u64) -> bool {
        if let Some(last) = self.last_ms.filter(|_| !self.silent) {
            // The longest recent interval, which fades.
            self.interval_ms = (now_ms - last.min(now_ms)).max(self.interval_ms - self.interval_ms / 8);
        }
        self.last_ms = Some(now_ms);
        std::mem::take(&mut self.silent)
    }

    /// When a signed tick was sealed, by our clock: its way is taken to be as long as the shortest so far.
    pub(super) fn sealed_ms(&mut self, clock_ms: u64, now_ms: u64) -> u64 {
        let clock = i64::try_from(clock_ms).unwrap_or(i64::MAX);
        let offset = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub(clock);
        // One millisecond a tick makes room for clocks that drift.
        let shortest = self.offset_ms.map_or(offset, |held| offset.min(held.saturating_add(1)));
        self.offset_ms = Some(shortest);
        u64::try_from(clock.saturating_add(shortest)).unwrap_or(0)
    }

    /// When three intervals without a tick are over.
    pub(super) fn silent_at(&self) -> Option<u64> {
        self.last_ms.filter(|_| !self.silent).map(|last| last + 3 * self.interval_ms.max(MIN_INTERVAL_MS))
    }
}

impl Peer {
    pub(super) fn new(hello: Hello, hello_bytes: &[u8], name: PeerName, stranger: bool) -> Self {
        Self {
            hello,
            hello_bytes: hello_bytes.to_vec(),
            name,
            mac_key: None,
            attempts: VecDeque::new(),
            session: None,
            previous: None,
            undecided: None,
            request_ms: None,
            last_request_ms: None,
            refused: None,
            parked_tick: None,
            grants: TokenBucket::new(64, 32),
            ticks: TokenBucket::new(50, 25),
            hellos: TokenBucket::new(10, 1),
            strays: TokenBucket::per_minute(3, 6),
            pulse: Pulse::default(),
            runs: 0,
            stranger,
        }
    }

    /// Asks for a handshake at a time, unless an earlier one is set.
    pub(super) fn request_at(&mut self, at_ms: u64) {
        self.request_ms = Some(self.request_ms.map_or(at_ms, |due| due.min(at_ms)));
    }

    /// Starts a handshake with the latest hello, and returns the REQUEST. Older attempts stay open for their GRANT.
    pub(super) fn request<R: CryptoRng + ?Sized>(
        &mut self,
        identity: &IdentityKey,
        payload: &RequestPayload,
        now_ms: u64,
        rng: &mut R,
    ) -> Result<Vec<u8>, HandshakeError> {
        let publisher = &self.hello.key;
        let mac_key =
            self.mac_key.get_or_insert_with(|| request_mac_key(identity, publisher, identity.public())).clone();
        let input =
            RequestInput { identity, hello: &self.hello, hello_bytes: &self.hello_bytes, mac_key: &mac_key, payload };
        let sent = start(&input, rng)?;
        if self.attempts.len() == MAX_ATTEMPTS {
            self.attempts.pop_front();
        }
        let hash = Retry::request_hash(&sent.request);
        let resend = Resend::first(now_ms, rng);
        self.attempts.push_back(Attempt { state: sent.state, request: sent.request.clone(), hash, resend });
        self.last_request_ms = Some(now_ms);
        self.request_ms = None;
        Ok(sent.request)
    }

    /// Repeats what is unanswered at a time.
    pub(super) fn repeat_at(&mut self, at_ms: u64) {
        let attempt = self.attempts.back_mut().map(|attempt| &mut attempt.resend);
        let confirm = self.session.as_mut().and_then(|session| session.confirm.as_mut());
        for resend in attempt.into_iter().chain(confirm) {
            resend.at_ms = resend.at_ms.min(at_ms);
        }
    }

    /// When something is next due for this publisher.
    pub(super) fn due_ms(&self) -> u64 {
        let session = self.session.as_ref();
        [
            self.request_ms.filter(|_| self.undecided.is_none()),
            self.attempts.back().map(|attempt| attempt.resend.at_ms),
            session.and_then(|session| session.confirm).map(|confirm| confirm.at_ms),
            session.map(|session| session.renew_ms),
            self.pulse.silent_at(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
    }

    /// The session, current or previous, with this id.
    pub(super) fn session_mut(&mut self, sid: [u8; 8]) -> Option<&mut Session> {
        [self.session.as_mut(), self.previous.as_mut()].into_iter().flatten().find(|session| session.sid == sid)
    }
}
