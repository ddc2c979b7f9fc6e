//! GRANT and RETRY: the answers to a REQUEST.

use rand_core::CryptoRng;

use super::session::Session;
use super::streams::Owed;
use super::{DISMISSED_MS, Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::{Granted, HandshakeError, Outcome};
use crate::identity::PeerId;
use crate::trust::Standing;
use crate::wire::{Grant, Hello, Kind, Retry, Status, WireError};

/// A RETRY is followed no faster than this.
const RETRY_MS: u64 = 200;

impl Subscriber {
    /// GRANT, RETRY and RECEIPT.
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
            Kind::Receipt => self.on_receipt(id, payload, now, out),
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
        self.wake(id);
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
                if status == Status::StaleCounter {
                    self.take_refused_counter(id, sctr, now, out);
                } else {
                    self.catch_up(id, sctr, now, out);
                }
                self.refused(id, status, now, out);
            }
            Outcome::Granted(granted) => {
                // What a publisher grants that remembers more than we do was in use before: it is asked again.
                let remembers_more = self.catch_up(id, granted.sctr, now, out);
                if !remembers_more || self.config.accept_rollback {
                    self.granted(id, granted, now, rng, out);
                }
            }
        }
        Ok(())
    }

    fn refused(&mut self, id: PeerId, status: Status, now: Now, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.forget_attempts();
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
                peer.forget_attempts();
                peer.undecided = Some(Box::new(granted));
                out.events.push(Event::AskPeer { id, name, key });
                return;
            }
            // Trust has changed since the hello.
            _ => {
                peer.forget_attempts();
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
            self.wake(id);
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
        peer.forget_attempts();
        peer.refused = None;
        peer.stale_sctr = None;
        peer.stranger = false;
        peer.request_ms = None;
        let session = Session::new(&granted.session, now, rng);
        let first = peer.session.is_none();
        peer.previous = peer.session.replace(session).map(Box::new);
        // The handshake has told what there was to tell.
        self.end_check(id, now, out);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.dirty.publishers.insert(id);
        let name = peer.name.clone();
        out.events.push(Event::Keyed { id, name, first });
        self.acknowledge(id, out);
        let owed = if first { Owed::Nothing } else { Owed::All };
        self.add_stream(id, &granted.stream, owed, now, rng, out);
    }
}

impl From<HandshakeError> for Reject {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}
