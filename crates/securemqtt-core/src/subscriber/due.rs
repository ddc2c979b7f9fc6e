//! Which publishers something is due for, and when: a poll touches those and no other.

use std::collections::BTreeSet;

use super::Subscriber;
use super::peer::Peer;
use crate::Now;
use crate::identity::PeerId;

/// The publishers by when they are looked at next. That is never later than something is due, and may be earlier: what a
/// frame has put off is found out then.
#[derive(Debug)]
pub(super) struct DueQueue {
    queue: BTreeSet<(u64, PeerId)>,
    /// When the first of them is looked at: asked for with every message.
    first_ms: u64,
}

impl Default for DueQueue {
    fn default() -> Self {
        Self { queue: BTreeSet::new(), first_ms: u64::MAX }
    }
}

impl DueQueue {
    /// When the first of them is looked at.
    pub(super) fn first_ms(&self) -> u64 {
        self.first_ms
    }

    /// Something of a publisher may be due sooner than before, or later: a silence, after each tick.
    fn note(&mut self, id: PeerId, peer: &mut Peer) {
        let due_ms = peer.due_ms();
        if due_ms != peer.look_ms {
            self.queue.remove(&(peer.look_ms, id));
            if due_ms < u64::MAX {
                self.queue.insert((due_ms, id));
            }
            peer.look_ms = due_ms;
            self.note_first();
        }
    }

    fn note_first(&mut self) {
        self.first_ms = self.queue.first().map_or(u64::MAX, |(at_ms, _)| *at_ms);
    }

    /// The next one to be looked at, by now.
    fn pop(&mut self, now: Now) -> Option<(u64, PeerId)> {
        if self.first_ms > now.mono_ms {
            return None;
        }
        let first = self.queue.pop_first();
        self.note_first();
        first
    }
}

impl Subscriber {
    /// Something of a publisher has changed, and with it what is due. Said once for a message, at its end or before a poll; what
    /// frames and gaps change is said where it changes.
    pub(super) fn wake(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            self.due.note(id, peer);
            self.again_ms = self.again_ms.min(peer.look_ms);
        }
    }

    /// Something of all publishers has.
    pub(super) fn wake_all(&mut self) {
        for (id, peer) in &mut self.peers {
            self.due.note(*id, peer);
        }
        self.again_ms = self.again_ms.min(self.due.first_ms());
    }

    /// The publishers that something is due for now. They are woken again when it is done.
    pub(super) fn take_due(&mut self, now: Now) -> Vec<PeerId> {
        debug_assert!(self.peers.values().all(|peer| peer.look_ms <= peer.due_ms()), "somebody was not woken");
        let mut due = Vec::new();
        while let Some((at_ms, id)) = self.due.pop(now) {
            // One that has left, and come again perhaps, is at another place.
            let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.look_ms == at_ms) else { continue };
            peer.look_ms = u64::MAX;
            if peer.due_ms() <= now.mono_ms {
                due.push(id);
            } else {
                self.due.note(id, peer);
            }
        }
        due
    }
}
