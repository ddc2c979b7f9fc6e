//! Rotation and revocation: a new stream reaches every subscriber that remains before the first frame under it.

use std::collections::HashSet;

use rand_core::CryptoRng;

use super::{Event, Output, Publisher, keys_message};
use crate::Now;
use crate::Qos;
use crate::identity::PeerId;
use crate::peers::PeerName;
use crate::stream::StreamSecret;
use crate::wire::{EntryPayload, Status};

use super::past::PastRun;
use super::twins::{Before, REMEMBER_MS};

/// Last words that are repeated at the next connection.
const MAX_FAREWELLS: usize = 256;

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
        let waiting = self.hand_out(&next, now, rng, out);
        self.due.rotate = now.mono_ms + self.config.rotate_ms;
        self.rotation = Some(Rotation { next, waiting, deadline_ms: now.mono_ms + self.config.rotation_wait_ms });
        if self.rotation.as_ref().is_some_and(|rotation| rotation.is_over(now)) {
            self.switch(now, rng, out);
        }
    }

    /// Seals a stream for each subscriber with a session; who they are.
    pub(super) fn hand_out<R: CryptoRng + ?Sized>(
        &mut self,
        next: &StreamSecret,
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) -> HashSet<PeerId> {
        let grant = next.grant();
        let mut waiting = HashSet::new();
        for (&id, member) in self.roster.iter_mut() {
            let Some(active) = member.active.as_mut() else { continue };
            self.dirty.members.insert(id);
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
        self.dirty.own = true;
        waiting
    }

    /// Uses the new stream from now on, in a new run: the old one gets its last tick, unless some of it is still to be
    /// sent.
    pub(super) fn switch<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        let Some(rotation) = self.rotation.take() else { return };
        let run = self.sealer.run();
        let waits = self.sealer.has_unreleased();
        if !waits {
            self.tick(now, Qos::AtLeastOnce, true, true, out);
        }
        let positions = self.sealer.final_positions();
        let last_segment = waits.then(|| self.spool.last());
        if self.is_exact {
            self.past.push(PastRun { positions, order: self.order, last_segment });
        } else if !waits {
            // Its end is known in memory, and not on disk: ticks name it until the restart.
            self.past.push(PastRun { positions: positions.clone(), order: self.order, last_segment });
            self.dirty.runs_gone.push(positions);
        }
        self.order += 1;
        let topics = self.sealer.take_moved();
        self.dirty.moved.extend(topics.into_iter().map(|(topic, next)| (run, topic, next)));
        for gone in self.past.prune(&self.spool) {
            self.dirty.runs_gone.push(gone.positions);
        }
        let runs = self.epoch.runs.clone();
        self.new_epoch(now);
        let sealer = self.new_sealer(rotation.next, rng);
        let stream = std::mem::replace(&mut self.sealer, sealer).into_stream();
        self.twins.before = Some(Before { stream, runs, until_ms: now.mono_ms + REMEMBER_MS });
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
        self.dirty.members.insert(id);
        let is_forgotten = self.trust.known().by_key(&member.key).is_none();
        if let Some(active) = member.active.as_mut()
            && active.chain.seal(&EntryPayload::Notice(Status::Revoked), rng).is_ok()
        {
            let mut notice = keys_message(self.id, id, active.chain.keys());
            // Of a forgotten one nothing stays at the broker.
            notice.retain = !is_forgotten;
            let farewell = [Some(notice), is_forgotten.then(|| keys_message(self.id, id, Vec::new()))];
            for message in farewell.into_iter().flatten() {
                out.send.push(message.clone());
                if self.farewells.len() < MAX_FAREWELLS {
                    self.farewells.push(message);
                }
            }
        }
        member.end();
        if let Some(rotation) = self.rotation.as_mut() {
            rotation.waiting.remove(&id);
        }
    }
}
