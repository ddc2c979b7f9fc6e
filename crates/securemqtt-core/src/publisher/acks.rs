//! ACK: a subscriber confirms its handshake, or the entries that it has opened.

use rand_core::CryptoRng;

use super::member::Member;
use super::{Event, Output, Publisher, Reject, keys_message};
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::wire::{Ack, EntryPayload};
use crate::{Now, Qos};

/// KEYS are not repeated to a subscriber sooner than this.
const KEYS_REPEAT_MS: u64 = 500;

impl Publisher {
    pub(super) fn on_ack<R: CryptoRng + ?Sized>(
        &mut self,
        message: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let ack = Ack::decode(message)?;
        let id = self.roster.by_session(ack.sid).ok_or(Reject::NoSession)?;
        let member = self.roster.get_mut(id).ok_or(Reject::NoSession)?;
        let pending = member.pending(ack.sid).map(|session| session.ka.clone());
        let active = member.active.as_ref().filter(|active| active.sid == ack.sid).map(|active| active.ka.clone());
        let ka = pending.as_ref().or(active.as_ref()).ok_or(Reject::NoSession)?;
        Ack::verify(message, ka).map_err(HandshakeError::from)?;
        if ack.sctr <= member.sctr {
            return Err(Reject::Replay);
        }
        member.sctr = ack.sctr;
        self.dirty.members.insert(id);
        match (pending.is_some(), ack.idx) {
            (true, 0) => self.confirm(id, ack.sid, now, rng, out),
            // Nothing has been sealed for a session that is not confirmed.
            (true, _) => Err(Reject::NoSession),
            (false, 0) => self.repeat_keys(id, now, out),
            (false, idx) => self.settle(id, idx, now, rng, out),
        }
    }

    /// The handshake is complete: entry 1 brings the current stream, and a rotation under way its next one.
    fn confirm<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        sid: [u8; 8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        // Trust may have changed since the GRANT.
        let (key, name) =
            self.roster.get(id).map(|member| (member.key.clone(), member.name.clone())).ok_or(Reject::NoSession)?;
        if !self.may_join(&key, &name) {
            self.roster.get_mut(id).into_iter().for_each(Member::end);
            return Err(Reject::NoSession);
        }
        let current = self.sealer.stream().grant();
        let upcoming = self.rotation.as_ref().map(|rotation| rotation.next.grant());
        // Later frames of a segment that has begun are owed to it already.
        let joined = if self.spool.is_empty() { self.spool.first() } else { self.spool.last() };
        let member = self.roster.get_mut(id).ok_or(Reject::NoSession)?;
        let first = member.active.is_none();
        member.activate(sid);
        if first {
            member.joined = joined;
        }
        let active = member.active.as_mut().ok_or(Reject::NoSession)?;
        for stream in std::iter::once(current).chain(upcoming) {
            active.chain.seal(&EntryPayload::Stream(Box::new(stream)), rng).map_err(|_| Reject::NoSession)?;
        }
        active.keys_sent_ms = now.mono_ms;
        out.send.push(keys_message(self.id, id, active.chain.keys()));
        if let Some(rotation) = self.rotation.as_mut() {
            rotation.waiting.insert(id);
        }
        if self.trust.pin(name.clone(), key.clone()) {
            self.approved.remove(&id);
            out.events.push(Event::NewPeer { name: name.clone(), key });
        }
        out.events.push(Event::Confirmed { id, name, first });
        self.tick(now, Qos::AtLeastOnce, false, false, out);
        Ok(())
    }

    /// A repeated confirm: the subscriber has not seen entry 1.
    fn repeat_keys(&mut self, id: PeerId, now: Now, out: &mut Output) -> Result<(), Reject> {
        let publisher = self.id;
        let active = self.roster.get_mut(id).and_then(|member| member.active.as_mut()).ok_or(Reject::NoSession)?;
        if now.mono_ms >= active.keys_sent_ms + KEYS_REPEAT_MS {
            active.keys_sent_ms = now.mono_ms;
            out.send.push(keys_message(publisher, id, active.chain.keys()));
        }
        Ok(())
    }

    /// The subscriber holds the entries up to `idx`: they leave KEYS, and a rotation may go on.
    fn settle<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        idx: u32,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> Result<(), Reject> {
        let publisher = self.id;
        let member = self.roster.get_mut(id).ok_or(Reject::NoSession)?;
        let active = member.active.as_mut().ok_or(Reject::NoSession)?;
        if !active.chain.acknowledge(idx) {
            member.end();
            out.events.push(Event::RolledBack { id });
            self.rotate(now, rng, out);
            return Ok(());
        }
        let settled = active.chain.is_settled();
        if settled {
            // An empty retained message clears the topic on the broker.
            out.send.push(keys_message(publisher, id, Vec::new()));
        }
        if let Some(rotation) = self.rotation.as_mut().filter(|_| settled) {
            rotation.waiting.remove(&id);
            if rotation.is_over(now) {
                self.switch(now, rng, out);
            }
        }
        Ok(())
    }
}
