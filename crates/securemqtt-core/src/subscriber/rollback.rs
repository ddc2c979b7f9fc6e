//! Whether our state was rolled back, to a backup say: then a publisher remembers a later counter than we do.
//!
//! A publisher that remembers more has its quarantine: all that we hold of it is dropped, and what it sealed before cannot be
//! opened with what the next handshake brings.

use rand_core::CryptoRng;

use super::{Event, Output, Reject, Subscriber};
use crate::Now;
use crate::handshake::HandshakeError;
use crate::identity::PeerId;
use crate::wire::Receipt;

/// How far a publisher's memory may move our counter.
const MAX_CATCH_UP: u64 = 1 << 32;
/// Whoever has to wait for the rate waits up to this long.
const LATER_MS: u64 = 1_000;
/// While readings come, our counter is shown so often: a state from before that is known to be old.
const MARK_MS: u64 = 300_000;

/// When our counter is shown next, and whether it must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) at_ms: u64,
    must: bool,
}

impl Mark {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { at_ms: now_ms + MARK_MS, must: false }
    }

    pub(super) fn at_once(now_ms: u64) -> Self {
        Self { at_ms: now_ms, must: true }
    }
}

impl Subscriber {
    /// RECEIPT: what a publisher remembers of us.
    pub(super) fn on_receipt(&mut self, id: PeerId, payload: &[u8], now: Now, out: &mut Output) -> Result<(), Reject> {
        let receipt = Receipt::decode(payload).map_err(HandshakeError::from)?;
        let Some(peer) = self.peers.get(&id) else { return Ok(()) };
        let session = peer.probed().filter(|session| session.sid == receipt.sid).ok_or(Reject::NotAuthentic)?;
        Receipt::verify(payload, &session.ka).map_err(|_| Reject::NotAuthentic)?;
        let sent = self.started.max(peer.sent);
        if self.remembers_more(id, receipt.sctr) {
            if self.rolled_back(id, now, out) {
                // Anybody may have kept an old receipt. So our REQUEST shows the old counter, and the publisher itself
                // refuses it: only then does it step before it grants.
                self.peers.get_mut(&id).into_iter().for_each(|peer| peer.stale_sctr = Some(sent));
            } else {
                self.move_counter(id, receipt.sctr);
            }
        } else if self.probe_sctr.is_some_and(|probe| receipt.sctr >= probe) {
            // One that is older than our probe says nothing.
            self.end_check(id, now, out);
        }
        Ok(())
    }

    /// A GRANT, which nobody can have kept, says what a publisher remembers of us. Returns whether that is more than we do.
    pub(super) fn catch_up(&mut self, id: PeerId, sctr: u64, now: Now, out: &mut Output) -> bool {
        let remembers_more = self.remembers_more(id, sctr);
        if remembers_more {
            self.move_counter(id, sctr);
            self.rolled_back(id, now, out);
        }
        remembers_more
    }

    /// A publisher refuses our counter. Where a receipt has told of the rollback already, it has done now what we waited for.
    pub(super) fn take_refused_counter(&mut self, id: PeerId, sctr: u64, now: Now, out: &mut Output) {
        match self.peers.get_mut(&id).and_then(|peer| peer.stale_sctr.take()) {
            Some(_) if self.remembers_more(id, sctr) => self.move_counter(id, sctr),
            Some(_) => {}
            None => drop(self.catch_up(id, sctr, now, out)),
        }
    }

    /// Whether a publisher has seen a counter of ours that we have not sent it: then our state was rolled back. No publisher
    /// can use up our counter: a lie moves it by a bounded step, and a larger one by nothing.
    fn remembers_more(&self, id: PeerId, sctr: u64) -> bool {
        let sent = self.peers.get(&id).map_or(u64::MAX, |peer| peer.sent);
        sctr > self.started.max(sent) && sctr.saturating_sub(self.sctr) <= MAX_CATCH_UP
    }

    fn move_counter(&mut self, id: PeerId, sctr: u64) {
        self.sctr = self.sctr.max(sctr);
        self.dirty.counter = true;
        self.peers.get_mut(&id).into_iter().for_each(|peer| peer.sent = peer.sent.max(sctr));
    }

    /// Returns whether all that we held of the publisher was dropped.
    fn rolled_back(&mut self, id: PeerId, now: Now, out: &mut Output) -> bool {
        let quarantined = !self.config.accept_rollback;
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        // Who accepts it is told once, however many old receipts are played back.
        if !std::mem::replace(&mut peer.rollback_accepted, !quarantined) {
            out.events.push(Event::RolledBack { name: peer.name.clone(), quarantined });
        }
        if quarantined {
            self.quarantine(id, now);
        } else {
            self.end_check(id, now, out);
        }
        quarantined
    }

    /// Drops all that we hold of a publisher, and begins anew.
    fn quarantine(&mut self, id: PeerId, now: Now) {
        let runs = self.runs_of(id);
        drop(self.parking.take(|run| runs.contains(&run)));
        self.held.remove(&id);
        let streams = self.peers.get(&id).map(|peer| peer.streams.clone()).unwrap_or_default();
        for stream in streams {
            self.drop_stream(id, stream);
        }
        self.touch(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forget();
            peer.request_at(now.mono_ms);
        }
    }

    /// Shows our counter to a publisher of which we have read something since it saw it last.
    pub(super) fn tend_mark<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(mark) = peer.mark.filter(|mark| mark.at_ms <= now.mono_ms) else { return };
        let is_fresh = |number| self.runs.find(id, number).is_some_and(|run| run.fresh);
        let wanted = mark.must || peer.fresh || peer.runs.numbers().any(is_fresh);
        peer.mark = Some(Mark { at_ms: now.mono_ms + MARK_MS + u64::from(rng.next_u32()) % (MARK_MS / 8), ..mark });
        if wanted && !self.send_report(id, Vec::new(), now, out) {
            let at_ms = now.mono_ms + 20 + u64::from(rng.next_u32()) % LATER_MS;
            self.peers.get_mut(&id).into_iter().for_each(|peer| peer.mark = Some(Mark { at_ms, ..mark }));
        }
    }

    /// A counter above all before is on its way to a publisher.
    pub(super) fn note_sent(&mut self, id: PeerId, sctr: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sent = peer.sent.max(sctr);
        peer.mark = peer.mark.map(|mark| Mark { must: false, ..mark });
        peer.fresh = false;
        for number in peer.runs.numbers() {
            self.runs.find_mut(id, number).into_iter().for_each(|run| run.fresh = false);
        }
    }
}
