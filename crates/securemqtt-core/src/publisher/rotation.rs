//! Rotation and revocation: a new stream reaches every subscriber that remains before the first frame under it.

use std::collections::HashSet;

use rand_core::CryptoRng;

use super::{Event, Output, Publisher, keys_message};
use crate::Now;
use crate::Qos;
use crate::identity::PeerId;
use crate::peers::PeerName;
use crate::stream::StreamSecret;
use crate::topic::Control;
use crate::wire::{EntryPayload, Status};

use super::sealer::Sealer;

/// Older runs that ticks still name.
const MAX_OLDER_RUNS: usize = 3;

/// A new stream that is handed out and not used yet.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) next: StreamSecret,
    /// Who has not confirmed it.
    pub(super) waiting: HashSet<PeerId>,
    pub(super) deadline_ms: u64,
}

impl Rotation {
    pub(super) fn is_over(&self, now: Now) -> bool {
        self.waiting.is_empty() || now.mono_ms >= self.deadline_ms
    }
}

impl Publisher {
    /// Begins a rotation: a new stream, sealed for each remaining subscriber. The switch follows when all of them
    /// have confirmed it, or after 10 s. A rotation that is under way is replaced, so that it excludes whoever has
    /// been revoked since.
    pub fn rotate<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        let next = StreamSecret::generate(self.id, self.config.signed_frames, rng);
        let grant = next.grant();
        let mut waiting = HashSet::new();
        for (&id, member) in self.roster.iter_mut() {
            let Some(active) = member.active.as_mut() else { continue };
            match active.chain.seal(&EntryPayload::Stream(Box::new(grant.clone())), rng) {
                Ok(dropped) => {
                    if dropped {
                        out.events.push(Event::EntryDropped { id });
                    }
                    active.keys_sent_ms = now.mono_ms;
                    out.send.push(keys_message(self.id, id, active.chain.keys()));
                    waiting.insert(id);
                }
                // The chain is at its end: the subscriber makes a new handshake.
                Err(_) => member.end(),
            }
        }
        self.due.rotate = now.mono_ms + self.config.rotate_ms;
        self.rotation = Some(Rotation { next, waiting, deadline_ms: now.mono_ms + self.config.rotation_wait_ms });
        if self.rotation.as_ref().is_some_and(|rotation| rotation.is_over(now)) {
            self.switch(now, rng, out);
        }
    }

    /// Uses the new stream from now on, in a new run: the old one gets its last tick.
    pub(super) fn switch<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        let Some(rotation) = self.rotation.take() else { return };
        self.tick(now, Qos::AtLeastOnce, true, true, out);
        self.older_runs.insert(0, self.sealer.final_positions());
        self.older_runs.truncate(MAX_OLDER_RUNS);
        self.sealer = Sealer::new(rotation.next, Control::Tick.topic(self.id), rng);
        self.due.ratchet = now.mono_ms + self.config.ratchet_ms;
        self.tick(now, Qos::AtLeastOnce, false, false, out);
        out.events.push(Event::Rotated { stream: self.stream() });
    }

    /// Revokes a peer by name, tells it so, and rotates. False when the name is unknown.
    pub fn revoke<R: CryptoRng + ?Sized>(&mut self, name: &PeerName, now: Now, rng: &mut R, out: &mut Output) -> bool {
        let mut known = self.trust.known().clone();
        if !known.revoke(name) {
            return false;
        }
        self.set_known(known, now, rng, out);
        true
    }

    /// Ends a subscriber's session with an authenticated notice.
    pub(super) fn dismiss<R: CryptoRng + ?Sized>(&mut self, id: PeerId, rng: &mut R, out: &mut Output) {
        let Some(member) = self.roster.get_mut(id) else { return };
        if let Some(active) = member.active.as_mut()
            && active.chain.seal(&EntryPayload::Notice(Status::Revoked), rng).is_ok()
        {
            out.send.push(keys_message(self.id, id, active.chain.keys()));
        }
        member.end();
        if let Some(rotation) = self.rotation.as_mut() {
            rotation.waiting.remove(&id);
        }
    }
}
