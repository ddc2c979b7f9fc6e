//! What arrives on a publisher's `in` topic: REQUEST and ACK. The cheap checks come first.

use rand_core::CryptoRng;

use super::member::Member;
use super::{Event, Output, Publisher, Reject};
use crate::handshake::mac_verifies;
use crate::handshake::{HandshakeError, VerifiedRequest, read_request, request_mac_key};
use crate::identity::{Fingerprint, IdentityPublic, PeerId};
use crate::peers::PeerName;
use crate::topic::Control;
use crate::trust::{Standing, TrustMode};
use crate::wire::{Kind, Request, Retry, Status, WireError};
use crate::{Now, Outgoing, Qos};

/// Strangers that a person is asked about at one time.
const MAX_ASKED: usize = 64;

/// What a publisher makes of an asker.
enum Verdict {
    Grant(PeerName),
    Ask(PeerName),
    Refuse(PeerName, Status, Option<Fingerprint>),
}

impl Publisher {
    /// Takes a message that arrived on one of [`Publisher::filters`].
    pub fn handle<R: CryptoRng + ?Sized>(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        match Control::parse(topic) {
            _ if payload.is_empty() => return,
            Some((id, Control::In)) if id == self.id => {}
            Some((id, Control::Tick)) if id == self.id => return self.on_own_tick(payload, now, rng, out),
            _ => return,
        }
        let result = match Kind::of(payload) {
            Ok(Kind::Request) => self.on_request(payload, now, rng, out),
            Ok(Kind::Ack) => self.on_ack(payload, now, rng, out),
            Ok(Kind::Report) => self.on_report(payload, now, out),
            Ok(other) => Err(Reject::from(WireError::Kind(other as u8))),
            Err(error) => Err(Reject::from(error)),
        };
        if let Err(reject) = result {
            self.count(reject, now, out);
        }
    }

    fn count(&mut self, reject: Reject, now: Now, out: &mut Output) {
        match reject {
            Reject::Replay => self.counters.replays += 1,
            Reject::RateLimited => self.counters.rate_limited += 1,
            Reject::Handshake(_) | Reject::NoSession => self.counters.rejected += 1,
        }
        if self.limits.reports.take(now.mono_ms) {
            out.events.push(Event::Rejected(reject));
        }
    }

    fn on_request<R: CryptoRng + ?Sized>(
        &mut self,
        message: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let request = Request::decode(message)?;
        let asker = request.subscriber;
        // A REQUEST that was answered before has the identical answer.
        if let Some(member) = self.roster.get_mut(asker)
            && let Some(grant) = member.answer_to(message).map(<[u8]>::to_vec)
        {
            // Replayed by the thousand it is still answered a few times a second only.
            if !member.repeats.take(now.mono_ms) {
                return Err(Reject::RateLimited);
            }
            out.send.push(self.to_subscriber(asker, grant));
            return Ok(());
        }
        // A replay of an older one must not use up the rate of the subscriber that it names.
        if self.roster.get(asker).is_some_and(|member| member.is_replay(message)) {
            return Err(Reject::Replay);
        }
        let Some(hello) = self.hello_named(request.hello) else { return self.retry(&request, message, now, out) };
        self.admit(&request, now)?;
        self.counters.diffie_hellman += 2;
        let verified = read_request(&self.identity, &hello, &request)?;
        self.counters.requests += 1;

        let fresh = Member::new(verified.peer.clone(), verified.payload.name.clone(), Some(verified.mac_key.clone()));
        let trust = &self.trust;
        let member = self.roster.admit(fresh, |key| trust.known().by_key(key).is_some());
        member.remember_verified(message);
        if verified.payload.sctr <= member.sctr {
            // A replay gains nothing from the answer; a subscriber whose state was restored learns its counter.
            member.stale = true;
            self.dirty.members.insert(asker);
            let refusal = verified.refuse(Status::StaleCounter, member.sctr, rng)?;
            out.send.push(self.to_subscriber(asker, refusal));
            return Err(Reject::Replay);
        }
        member.sctr = verified.payload.sctr;
        self.dirty.members.insert(asker);
        let verdict = self.judge(&verified.peer, &verified.payload.name);
        self.answer(message, verified, verdict, rng, out)
    }

    /// The bounds of G9: a pinned peer proves itself by a mac before any Diffie-Hellman; strangers share one rate.
    fn admit(&mut self, request: &Request<'_>, now: Now) -> Result<(), Reject> {
        let asker = request.subscriber;
        let pinned = self.trust.known().by_id(asker).map(|peer| (peer.key.clone(), peer.name.clone()));
        let Some((key, name)) = pinned else {
            return if self.limits.strangers.take(now.mono_ms) { Ok(()) } else { Err(Reject::RateLimited) };
        };
        let member = self.roster.admit(Member::new(key.clone(), name, None), |_| true);
        let mac_key = member.mac_key.get_or_insert_with(|| {
            // Once for each pinned peer, however often it is named.
            self.counters.diffie_hellman += 1;
            request_mac_key(&self.identity, self.identity.public(), &key)
        });
        if !mac_verifies(request, mac_key) {
            return Err(Reject::Handshake(HandshakeError::NotAuthentic));
        }
        if member.bucket.take(now.mono_ms) { Ok(()) } else { Err(Reject::RateLimited) }
    }

    fn hello_named(&self, short: [u8; 8]) -> Option<Vec<u8>> {
        let previous = self.previous_hello.as_ref();
        [Some(&self.hello), previous]
            .into_iter()
            .flatten()
            .find(|hello| hello.short == short)
            .map(|hello| hello.bytes.clone())
    }

    /// No Diffie-Hellman is spent on a hello that is not ours, or no longer.
    fn retry(&mut self, request: &Request<'_>, message: &[u8], now: Now, out: &mut Output) -> Result<(), Reject> {
        if !self.limits.retries.take(now.mono_ms) {
            return Err(Reject::RateLimited);
        }
        self.counters.retries += 1;
        let retry = Retry { request: Retry::request_hash(message), hello: &self.hello.bytes }.encode();
        out.send.push(self.to_subscriber(request.subscriber, retry));
        Ok(())
    }

    fn judge(&self, key: &IdentityPublic, proposed: &PeerName) -> Verdict {
        let refuse = |status, pinned| Verdict::Refuse(proposed.clone(), status, pinned);
        match self.trust.judge(key, proposed) {
            // Of several first peers only one is let in unasked.
            Standing::AcceptNew(name) if self.trust.mode() == TrustMode::FirstPeer && !self.is_first(key.id()) => {
                Verdict::Ask(name)
            }
            Standing::Pinned(name) | Standing::Expected(name) | Standing::AcceptNew(name) => Verdict::Grant(name),
            Standing::Ask(name) if self.approved.contains(&key.id()) => Verdict::Grant(name),
            Standing::Ask(_) if self.denied.contains(&key.id()) => refuse(Status::NotAuthorised, None),
            Standing::Ask(name) => Verdict::Ask(name),
            Standing::Revoked(name) => Verdict::Refuse(name, Status::Revoked, None),
            Standing::Changed { pinned, .. } => refuse(Status::NotAuthorised, Some(pinned)),
            Standing::Unknown | Standing::Own => refuse(Status::Unknown, None),
        }
    }

    /// Whether a GRANT is what this key would get now.
    pub(super) fn may_join(&self, key: &IdentityPublic, name: &PeerName) -> bool {
        matches!(self.judge(key, name), Verdict::Grant(_))
    }

    fn is_first(&self, id: PeerId) -> bool {
        self.approved.is_empty() || self.approved.contains(&id)
    }

    fn answer<R: CryptoRng + ?Sized>(
        &mut self,
        message: &[u8],
        verified: VerifiedRequest,
        verdict: Verdict,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let id = verified.peer.id();
        let key = verified.peer.clone();
        let sctr = verified.payload.sctr;
        let grant = match verdict {
            Verdict::Grant(name) => {
                self.shut_out_the_past(id);
                let accepted = verified.grant(self.sealer.stream().grant(), sctr, rng)?;
                self.counters.grants += 1;
                if self.trust.mode() == TrustMode::FirstPeer && self.trust.known().is_empty() {
                    self.approved.insert(id);
                }
                if let Some(member) = self.roster.get_mut(id) {
                    member.name = name;
                    member.await_confirm(accepted.session);
                }
                accepted.grant
            }
            Verdict::Ask(name) => {
                if self.asked.len() < MAX_ASKED && !self.asked.contains_key(&id) {
                    self.asked.insert(id, (name.clone(), key.clone()));
                    out.events.push(Event::AskPeer { id, name, key });
                }
                self.counters.refusals += 1;
                verified.refuse(Status::Pending, sctr, rng)?
            }
            Verdict::Refuse(name, status, pinned) => {
                out.events.push(Event::Refused { name, key, status, pinned });
                self.counters.refusals += 1;
                verified.refuse(status, sctr, rng)?
            }
        };
        if let Some(member) = self.roster.get_mut(id) {
            member.remember_answer(message, &grant);
        }
        out.send.push(self.to_subscriber(id, grant));
        Ok(())
    }

    /// A subscriber whose state was restored may not be shown again what it has read: the next grant opens nothing that
    /// was sealed before it.
    fn shut_out_the_past(&mut self, id: PeerId) {
        if self.roster.get_mut(id).is_some_and(|member| std::mem::take(&mut member.stale)) {
            self.step();
        }
    }

    fn to_subscriber(&self, id: PeerId, payload: Vec<u8>) -> Outgoing {
        Outgoing { topic: Control::To(id).topic(self.id), payload, qos: Qos::AtLeastOnce, retain: false }
    }
}

impl<E: Into<HandshakeError>> From<E> for Reject {
    fn from(error: E) -> Self {
        Self::Handshake(error.into())
    }
}
