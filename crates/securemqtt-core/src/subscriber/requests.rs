//! What a subscriber asks for, and asks for again: REQUEST, and the ACK that confirms.

use rand_core::CryptoRng;

use super::{Event, Output, Reject, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::topic::Control;
use crate::wire::RequestPayload;

/// Confirms without an answer, after which there is a new handshake.
const MAX_CONFIRMS: u32 = 6;

impl Subscriber {
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
        self.tend_check(id, now, rng, out);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.check.as_ref().is_some_and(|check| check.is_holding()) {
            return;
        }
        let request_due = peer.request_ms.is_some_and(|at| at <= now.mono_ms);
        if request_due && peer.undecided.is_none() {
            self.request(id, now, rng, out);
        } else {
            self.repeat(id, now, rng, out);
        }
        self.report(id, now, rng, out);
        self.tend_mark(id, now, rng, out);
    }

    /// The reports that are due.
    fn report<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.reporting().is_some()) else { return };
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now.mono_ms);
        let (answers, asks) = (is_due(peer.answer.due_ms()), is_due(peer.repair.due_ms()));
        if answers {
            self.answer(id, now, rng, out);
        } else if asks {
            self.ask_again(id, now, rng, out);
        }
    }

    fn request<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        if !self.limits.requests.take(now.mono_ms) {
            // Many publishers at once: spread over the next second.
            let at = now.mono_ms + 20 + u64::from(rng.next_u32() % 1000);
            self.peers.get_mut(&id).into_iter().for_each(|peer| peer.request_ms = Some(at));
            return;
        }
        let stale = self.peers.get(&id).and_then(|peer| peer.stale_sctr);
        let sctr = stale.unwrap_or_else(|| self.next_sctr());
        let payload = RequestPayload { sctr, name: self.config.name.clone(), credential: Vec::new() };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match peer.request(&self.identity, &payload, now.mono_ms, rng) {
            Ok(request) => {
                Self::send_in(id, request, out);
                self.note_sent(id, sctr);
            }
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

    pub(super) fn acknowledge(&mut self, id: PeerId, out: &mut Output) {
        let sctr = self.next_sctr();
        if let Some(session) = self.peers.get(&id).and_then(|peer| peer.session.as_ref()) {
            Self::send_in(id, session.ack(sctr), out);
            self.note_sent(id, sctr);
        }
    }
}
