//! What a subscriber remembers of one publisher: its hello, the handshakes under way, the session.

use std::collections::VecDeque;

use rand_core::CryptoRng;

use super::checks::Check;
use super::order::OpenRuns;
use super::pulse::Pulse;
use super::repair::Repair;
use super::reports::Answer;
use super::rollback::Mark;
use super::session::{Resend, Session};
use crate::bucket::TokenBucket;
use crate::handshake::{AwaitingGrant, Granted, HandshakeError, RequestInput, request_mac_key, start};
use crate::identity::IdentityKey;
use crate::kdf::RequestMacKey;
use crate::peers::PeerName;
use crate::wire::{Hello, RequestPayload, Retry, Status};

/// REQUESTs whose GRANT would still be read.
const MAX_ATTEMPTS: usize = 4;
/// A REQUEST that is out.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) state: AwaitingGrant,
    pub(super) request: Vec<u8>,
    pub(super) hash: [u8; 8],
    pub(super) resend: Resend,
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
    pub(super) previous: Option<Box<Session>>,
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
    /// Its streams that are held, oldest first.
    pub(super) streams: Vec<u32>,
    /// Its runs that are open, in the order in which they were opened.
    pub(super) runs: OpenRuns,
    /// What is wanted again of it.
    pub(super) repair: Repair,
    /// What its ticks have asked us.
    pub(super) answer: Answer,
    /// Whether it has yet to tell us what it remembers of us.
    pub(super) check: Option<Box<Check>>,
    /// When our counter is shown to it next.
    pub(super) mark: Option<Mark>,
    /// Whether anything was read of a run that is gone, since our counter was last shown to it.
    pub(super) fresh: bool,
    /// The highest of our counters that this process has sent it, or that it has told us.
    pub(super) sent: u64,
    /// Whether it has told us that our state was rolled back, and we went on.
    pub(super) rollback_accepted: bool,
    /// A counter that it must refuse before it grants: it has said that it remembers a later one.
    pub(super) stale_sctr: Option<u64>,
    /// Whether this is a stranger so far.
    pub(super) stranger: bool,
    /// Its place in the queue of what is due.
    pub(super) look_ms: u64,
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
            streams: Vec::new(),
            runs: OpenRuns::default(),
            repair: Repair::default(),
            answer: Answer::default(),
            check: None,
            mark: None,
            fresh: false,
            sent: 0,
            rollback_accepted: false,
            stale_sctr: None,
            stranger,
            look_ms: u64::MAX,
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

    /// When something is next due for this publisher. Nothing is sent while its frames wait, but for the probe.
    pub(super) fn due_ms(&self) -> u64 {
        let check = self.check.as_ref().map_or(u64::MAX, |check| check.due_ms());
        let silence = self.pulse.silent_at().unwrap_or(u64::MAX);
        if self.check.as_ref().is_some_and(|check| check.is_holding()) {
            return check.min(silence);
        }
        let session = self.session.as_ref();
        let reports = self.reporting().is_some();
        let due = [
            self.request_ms.filter(|_| self.undecided.is_none()),
            self.attempts.back().map(|attempt| attempt.resend.at_ms),
            session.and_then(|session| session.confirm).map(|confirm| confirm.at_ms),
            session.map(|session| session.renew_ms),
            self.repair.due_ms().filter(|_| reports),
            self.answer.due_ms().filter(|_| reports),
            self.mark.filter(|_| reports).map(|mark| mark.at_ms),
        ];
        due.into_iter().flatten().min().unwrap_or(u64::MAX).min(check).min(silence)
    }

    /// No GRANT is awaited any more; nor is the room for it kept, which is more than all else that a publisher takes.
    pub(super) fn forget_attempts(&mut self) {
        self.attempts = VecDeque::new();
    }

    /// Forgets the session and everything that came of it.
    pub(super) fn forget(&mut self) {
        (self.session, self.previous, self.undecided) = (None, None, None);
        self.forget_attempts();
        self.parked_tick = None;
        (self.repair, self.answer) = (Repair::default(), Answer::default());
        (self.check, self.mark) = (None, None);
    }

    /// The session that a probe goes out under, and that its receipt is of.
    pub(super) fn probed(&self) -> Option<&Session> {
        self.reporting().or(self.session.as_ref())
    }

    /// The session that reports go out under: one that the publisher has confirmed.
    pub(super) fn reporting(&self) -> Option<&Session> {
        let sessions = [self.session.as_ref(), self.previous.as_deref()].into_iter().flatten();
        sessions.into_iter().find(|session| session.confirm.is_none())
    }

    /// The session, current or previous, with this id.
    pub(super) fn session_mut(&mut self, sid: [u8; 8]) -> Option<&mut Session> {
        [self.session.as_mut(), self.previous.as_deref_mut()].into_iter().flatten().find(|session| session.sid == sid)
    }
}
