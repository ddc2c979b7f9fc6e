//! How a subscriber gets its keys: hellos, REQUEST and GRANT, the confirm, the key chain.

use rand_core::CryptoRng;

use super::peer::{Peer, Session};
use super::streams::HeldStream;
use super::{Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::{Granted, HandshakeError, Outcome};
use crate::identity::PeerId;
use crate::peers::KnownPeers;
use crate::stream::StreamGrant;
use crate::topic::Control;
use crate::trust::Standing;
use crate::wire::{EntryPayload, Grant, Hello, Keys, Kind, RequestPayload, Retry, Status, WireError};

/// Publishers without a session that are remembered though they are not pinned.
const MAX_STRANGERS: usize = 256;
/// Keys that were shown, refused and reported once.
const MAX_REPORTED: usize = 1024;
/// Streams that are held of one publisher.
const MAX_STREAMS: usize = 16;
/// Whoever was dismissed or revoked asks again after this long.
const DISMISSED_MS: u64 = 300_000;
/// How far a publisher's memory may move our counter.
const MAX_CATCH_UP: u64 = 1 << 32;
/// A RETRY is followed no faster than this.
const RETRY_MS: u64 = 200;
/// Confirms without an answer, after which there is a new handshake.
const MAX_CONFIRMS: u32 = 6;
/// A forged hello cannot cause REQUESTs faster than this.
const HELLO_MS: u64 = 1_000;

impl Subscriber {
    pub(super) fn on_hello<R: CryptoRng + ?Sized>(
        &mut self,
        publisher: PeerId,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        if let Some(peer) = self.peers.get_mut(&publisher) {
            // The usual repeat.
            if peer.hello_bytes == payload {
                return Ok(());
            }
            if !peer.hellos.take(now.mono_ms) {
                return Err(Reject::RateLimited);
            }
        } else if self.trust.known().by_id(publisher).is_none() && !self.limits.hellos.take(now.mono_ms) {
            return Err(Reject::RateLimited);
        }
        let hello = Hello::decode(payload).map_err(HandshakeError::from)?;
        if hello.key.id() != publisher {
            self.report_once(
                *hello.key.as_bytes(),
                Event::ForeignHello { id: publisher, shown: hello.key.clone() },
                out,
            );
            return Ok(());
        }
        self.take_hello(hello, payload, now, HELLO_MS, out);
        self.poll(now, rng, out);
        Ok(())
    }

    /// A hello whose key fits its topic: by what trust says, its publisher is asked for a grant.
    fn take_hello(&mut self, hello: Hello, bytes: &[u8], now: Now, pause_ms: u64, out: &mut Output) {
        let id = hello.key.id();
        let shown = *hello.key.as_bytes();
        let key = hello.key.clone();
        let (name, stranger) = match self.trust.judge(&key, &hello.name) {
            Standing::Pinned(name) => (name, false),
            Standing::Expected(name) | Standing::AcceptNew(name) => (name, true),
            Standing::Ask(name) if !self.denied.contains(&id) => (name, true),
            Standing::Ask(_) | Standing::Own => return,
            Standing::Revoked(name) => {
                return self.report_once(shown, Event::RefusedBy { name, status: Status::Revoked }, out);
            }
            Standing::Unknown => {
                return self.report_once(shown, Event::UnknownPublisher { name: hello.name, key }, out);
            }
            Standing::Changed { name, pinned } => {
                return self.report_once(shown, Event::KeyChanged { name, pinned, shown: key }, out);
            }
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.hello = hello;
            peer.hello_bytes = bytes.to_vec();
            // A new challenge matters only to a handshake under way; a new stream shows in its tick.
            let settled = peer.session.as_ref().is_some_and(|session| session.confirm.is_none());
            if !settled || !peer.attempts.is_empty() {
                let earliest = peer.last_request_ms.map_or(now.mono_ms, |last| now.mono_ms.max(last + pause_ms));
                peer.request_at(earliest);
                self.wake_at(earliest);
            }
            return;
        }
        if stranger && !self.make_room() {
            self.counters.rate_limited += 1;
            return;
        }
        let mut peer = Peer::new(hello, bytes, name, stranger);
        peer.request_at(now.mono_ms);
        self.peers.insert(id, peer);
        self.subscribe_to(id, out);
        self.wake_at(now.mono_ms);
    }

    /// Room for one more stranger: one without a session gives way when there are too many.
    fn make_room(&mut self) -> bool {
        let strangers = self.peers.iter().filter(|(_, peer)| peer.stranger && peer.session.is_none());
        if strangers.clone().count() < MAX_STRANGERS {
            return true;
        }
        let idle = strangers.filter(|(_, peer)| peer.undecided.is_none());
        match idle.min_by_key(|(_, peer)| peer.last_request_ms).map(|(id, _)| *id) {
            Some(id) => self.peers.remove(&id).is_some(),
            None => false,
        }
    }

    fn report_once(&mut self, shown: [u8; 33], event: Event, out: &mut Output) {
        if self.reported.len() < MAX_REPORTED && self.reported.insert(shown) {
            out.events.push(event);
        }
    }

    /// What is due for one publisher.
    pub(super) fn poll_peer<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.pulse.silent_at().is_some_and(|at| at <= now.mono_ms) {
            peer.pulse.silent = true;
            out.events.push(Event::Silent { name: peer.name.clone() });
        }
        if peer.session.as_ref().is_some_and(|session| session.renew_ms <= now.mono_ms) {
            peer.request_at(now.mono_ms);
            peer.session.iter_mut().for_each(|session| session.renew_ms += 3_600_000);
        }
        let request_due = peer.request_ms.is_some_and(|at| at <= now.mono_ms);
        if request_due && peer.undecided.is_none() {
            self.request(id, now, rng, out);
        } else {
            self.repeat(id, now, rng, out);
        }
    }

    fn request<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        if !self.limits.requests.take(now.mono_ms) {
            // Many publishers at once: spread over the next second.
            let at = now.mono_ms + 20 + u64::from(rng.next_u32() % 1000);
            self.peers.get_mut(&id).into_iter().for_each(|peer| peer.request_ms = Some(at));
            return;
        }
        let sctr = self.next_sctr(out);
        let payload = RequestPayload { sctr, name: self.config.name.clone(), credential: Vec::new() };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match peer.request(&self.identity, &payload, now.mono_ms, rng) {
            Ok(request) => Self::send_in(id, request, out),
            Err(error) => {
                peer.request_ms = None;
                self.reject(&Control::Hello.topic(id), Reject::Handshake(error), now, out);
            }
        }
    }

    /// A REQUEST is repeated byte for byte; a confirm with a new counter.
    fn repeat<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(attempt) = peer.attempts.back_mut().filter(|attempt| attempt.resend.at_ms <= now.mono_ms) {
            attempt.resend = attempt.resend.next(now.mono_ms, rng);
            Self::send_in(id, attempt.request.clone(), out);
        }
        let confirm_due = peer
            .session
            .as_mut()
            .and_then(|session| session.confirm.as_mut())
            .filter(|confirm| confirm.at_ms <= now.mono_ms)
            .map(|confirm| *confirm = confirm.next(now.mono_ms, rng))
            .is_some();
        if confirm_due {
            self.acknowledge(id, out);
        }
        self.give_up_session(id, now);
    }

    /// A confirm that nobody answers: the publisher has forgotten the handshake, so there is a new one.
    fn give_up_session(&mut self, id: PeerId, now: Now) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let confirm = peer.session.as_mut().and_then(|session| session.confirm.as_mut());
        if let Some(confirm) = confirm.filter(|confirm| confirm.tries > MAX_CONFIRMS) {
            confirm.tries = 0;
            peer.request_at(now.mono_ms);
        }
    }

    fn acknowledge(&mut self, id: PeerId, out: &mut Output) {
        let sctr = self.next_sctr(out);
        if let Some(session) = self.peers.get(&id).and_then(|peer| peer.session.as_ref()) {
            Self::send_in(id, session.ack(sctr), out);
        }
    }

    /// GRANT and RETRY.
    pub(super) fn on_to<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        match Kind::of(payload).map_err(HandshakeError::from)? {
            Kind::Grant => self.on_grant(id, payload, now, rng, out),
            Kind::Retry => self.on_retry(id, payload, now, rng, out),
            other => Err(Reject::Handshake(WireError::Kind(other as u8).into())),
        }
    }

    fn on_retry<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let retry = Retry::decode(payload).map_err(HandshakeError::from)?;
        let Some(peer) = self.peers.get(&id) else { return Ok(()) };
        if !peer.attempts.iter().any(|attempt| attempt.hash == retry.request) || peer.hello_bytes == retry.hello {
            return Ok(());
        }
        let hello = Hello::decode(retry.hello).map_err(HandshakeError::from)?;
        if hello.key.id() != id {
            return Err(Reject::Handshake(HandshakeError::WrongIdentity));
        }
        self.take_hello(hello, retry.hello, now, RETRY_MS, out);
        self.poll(now, rng, out);
        Ok(())
    }

    fn on_grant<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let grant = Grant::decode(payload).map_err(HandshakeError::from)?;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        // A repeated GRANT of a handshake that is over, or of a stranger's.
        let Some(attempt) = peer.attempts.iter().find(|attempt| attempt.state.rid() == grant.rid) else {
            return Ok(());
        };
        if !peer.grants.take(now.mono_ms) {
            return Err(Reject::RateLimited);
        }
        let outcome = attempt.state.read_grant(&self.identity, payload)?;
        match outcome {
            Outcome::Refused { sctr, status } => {
                self.catch_up(id, sctr, out);
                self.refused(id, status, now, out);
            }
            Outcome::Granted(granted) => {
                self.catch_up(id, granted.sctr, out);
                self.granted(id, granted, now, rng, out);
            }
        }
        Ok(())
    }

    /// The publisher remembers a counter that we have not used: our state was rolled back.
    fn catch_up(&mut self, id: PeerId, sctr: u64, out: &mut Output) {
        // No publisher can use up our counter: a lie moves it by a bounded step, and a larger one by nothing.
        if sctr <= self.sctr || sctr - self.sctr > MAX_CATCH_UP {
            return;
        }
        self.sctr = sctr;
        self.next_sctr(out);
        let name = self.peers.get(&id).map(|peer| peer.name.clone());
        out.events.extend(name.map(|name| Event::RolledBack { name }));
    }

    fn refused(&mut self, id: PeerId, status: Status, now: Now, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.attempts.clear();
        let wait = match status {
            Status::StaleCounter => 0,
            Status::Pending => 3_000,
            Status::Unknown | Status::NotAuthorised => 30_000,
            Status::Revoked | Status::Expired => DISMISSED_MS,
        };
        peer.request_ms = Some(now.mono_ms + wait);
        if status != Status::StaleCounter && peer.refused.replace(status) != Some(status) {
            out.events.push(Event::RefusedBy { name: peer.name.clone(), status });
        }
        self.wake_at(now.mono_ms + wait);
    }

    fn granted<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        granted: Granted,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let key = peer.hello.key.clone();
        match self.trust.judge(&key, &peer.hello.name) {
            Standing::Pinned(name) => peer.name = name,
            Standing::Expected(name) | Standing::AcceptNew(name) => {
                peer.name = name.clone();
                self.trust.pin(name.clone(), key.clone());
                out.events.push(Event::NewPeer { name, key });
            }
            Standing::Ask(name) => {
                peer.attempts.clear();
                peer.undecided = Some(Box::new(granted));
                out.events.push(Event::AskPeer { id, name, key });
                return;
            }
            // Trust has changed since the hello.
            _ => {
                peer.attempts.clear();
                return;
            }
        }
        self.install(id, &granted, now, rng, out);
    }

    /// A person's answer to [`Event::AskPeer`].
    pub fn decide<R: CryptoRng + ?Sized>(&mut self, id: PeerId, allow: bool, now: Now, rng: &mut R, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(granted) = peer.undecided.take() else { return };
        if !allow {
            self.denied.insert(id);
            if let Some(peer) = self.peers.remove(&id) {
                out.events.push(Event::UnknownPublisher { name: peer.hello.name, key: peer.hello.key });
            }
            return;
        }
        let (name, key) = (peer.hello.name.clone(), peer.hello.key.clone());
        if self.trust.pin(name.clone(), key.clone()) {
            peer.name = name.clone();
            out.events.push(Event::NewPeer { name, key });
            self.install(id, &granted, now, rng, out);
        }
    }

    /// The handshake is complete on our side: the stream opens frames at once, the confirm goes out.
    fn install<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        granted: &Granted,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.attempts.clear();
        peer.refused = None;
        peer.stranger = false;
        peer.request_ms = None;
        let session = Session::new(&granted.session, now.mono_ms, rng);
        let first = peer.session.is_none();
        peer.previous = peer.session.replace(session);
        let name = peer.name.clone();
        let due = peer.due_ms();
        self.wake_at(due);
        out.events.push(Event::Keyed { id, name, first });
        self.acknowledge(id, out);
        self.add_stream(id, &granted.stream, !first, now, rng, out);
    }

    pub(super) fn on_keys<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let keys = Keys::decode(payload).map_err(HandshakeError::from)?;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        let name = peer.name.clone();
        // Of an older session, still retained: what it held came with the GRANT.
        let Some(session) = peer.session_mut(keys.sid) else { return Ok(()) };
        let before = session.chain.index();
        let opened = session.chain.open(&keys).map_err(|_| Reject::Keys)?;
        let is_new = session.chain.index() > before;
        session.confirm = session.confirm.filter(|_| session.chain.index() == 0);
        let current = peer.session.as_ref().is_some_and(|session| session.sid == keys.sid);
        if current && is_new {
            peer.previous = None;
        }
        for entry in opened.payloads {
            match entry {
                EntryPayload::Stream(stream) => self.add_stream(id, &stream, true, now, rng, out),
                EntryPayload::Notice(status) => {
                    out.events.push(Event::Dismissed { name: name.clone(), status });
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.session = None;
                        // It may be let in again some day.
                        peer.request_ms = Some(now.mono_ms + DISMISSED_MS);
                    }
                }
            }
        }
        if current && is_new {
            self.acknowledge(id, out);
        }
        Ok(())
    }

    /// Holds a stream from its generation on; a tick that waited for it is tried again. A stream that began while we
    /// had a session is `owed` to us: then what came before we opened its run is missed too.
    fn add_stream<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        grant: &StreamGrant,
        owed: bool,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        let at = (id, grant.id);
        if self.streams.contains_key(&at) {
            // Entry 1 repeats what the GRANT brought: a tick that this stream did not open then, it will not open now.
            return;
        }
        self.streams.insert(at, HeldStream::new(id, grant, owed));
        self.stream_order.push(at);
        let held = self.stream_order.iter().filter(|(publisher, _)| *publisher == id).count();
        if held > MAX_STREAMS {
            self.drop_oldest_stream(id);
        }
        let parked = self.peers.get_mut(&id).and_then(|peer| peer.parked_tick.take());
        if let Some(tick) = parked
            && let Err(why) = self.on_tick(id, &tick, now, rng, out)
        {
            self.reject(&Control::Tick.topic(id), why, now, out);
        }
    }

    /// The file of known peers has changed: whoever is no longer allowed is not read any more.
    pub fn set_known(&mut self, known: KnownPeers) {
        self.trust.set_known(known);
        self.reported.clear();
        let trust = &self.trust;
        let gone = |peer: &Peer| trust.known().by_key(&peer.hello.key).is_none_or(|known| known.revoked);
        let gone: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| !peer.stranger && gone(peer)).map(|(id, _)| *id).collect();
        for id in gone {
            self.peers.remove(&id);
            while self.stream_order.iter().any(|(publisher, _)| *publisher == id) {
                self.drop_oldest_stream(id);
            }
        }
    }

    fn drop_oldest_stream(&mut self, id: PeerId) {
        let Some(at) = self.stream_order.iter().position(|(publisher, _)| *publisher == id) else { return };
        let (publisher, stream) = self.stream_order.remove(at);
        self.streams.remove(&(publisher, stream));
        let mut dropped = 0;
        for candidates in self.runs.values_mut() {
            let before = candidates.len();
            candidates.retain(|run| run.publisher != publisher || run.stream != stream);
            dropped += before - candidates.len();
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.runs = peer.runs.saturating_sub(dropped);
        }
        self.runs.retain(|_, candidates| !candidates.is_empty());
    }
}

impl From<HandshakeError> for Reject {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}
