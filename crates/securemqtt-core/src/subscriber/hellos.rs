//! Hellos: which publishers there are, and what trust says of each.

use rand_core::CryptoRng;

use super::peer::Peer;
use super::{Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::trust::Standing;
use crate::wire::{Hello, Status};

/// Publishers without a session that are remembered though they are not pinned.
const MAX_STRANGERS: usize = 256;
/// Keys that were shown, refused and reported once.
const MAX_REPORTED: usize = 1024;
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
        self.wake(publisher);
        self.poll(now, rng, out);
        Ok(())
    }

    /// A hello whose key fits its topic: by what trust says, its publisher is asked for a grant.
    pub(super) fn take_hello(&mut self, hello: Hello, bytes: &[u8], now: Now, pause_ms: u64, out: &mut Output) {
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
            }
            return;
        }
        if stranger && !self.make_room() {
            self.counters.rate_limited += 1;
            return;
        }
        let mut peer = Box::new(Peer::new(hello, bytes, name, stranger));
        peer.request_at(now.mono_ms);
        self.peers.insert(id, peer);
        self.subscribe_to(id, out);
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
}
