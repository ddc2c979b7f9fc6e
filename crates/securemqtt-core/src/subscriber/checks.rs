//! After a restart: each publisher is asked what it remembers of us, and its frames wait a moment for the answer.

use std::collections::HashSet;

use rand_core::CryptoRng;

use super::open::SealedFrame;
use super::rollback::Mark;
use super::session::Resend;
use super::{Output, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::wire::Report;

/// After the first connection frames wait so long for a publisher's answer.
const HOLD_MS: u64 = 1_000;
/// Frames of one publisher that wait for it.
const MAX_WAITING: usize = 2_000;
/// Probes without an answer, after which there is a new handshake.
const MAX_PROBES: u32 = 6;
/// Whoever has to wait for the rate waits up to this long.
const LATER_MS: u64 = 1_000;

/// A publisher that has not said yet what it remembers.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// None before the first connection.
    probe: Option<Resend>,
    /// Its frames wait, until then if there has been a connection.
    holding: bool,
    until_ms: Option<u64>,
    waiting: usize,
    /// Whether its ticks come, and only its answer does not.
    pub(super) heard: bool,
}

impl Check {
    fn new() -> Self {
        Self { holding: true, ..Self::default() }
    }

    pub(super) fn is_holding(&self) -> bool {
        self.holding
    }

    pub(super) fn due_ms(&self) -> u64 {
        let probe = self.probe.map_or(u64::MAX, |probe| probe.at_ms);
        probe.min(self.until_ms.filter(|_| self.holding).unwrap_or(u64::MAX))
    }

    /// There is a connection: the probe goes out at a time.
    fn connected(&mut self, now_ms: u64, at_ms: u64) {
        self.until_ms.get_or_insert(now_ms + HOLD_MS);
        let probe = self.probe.get_or_insert(Resend { at_ms, tries: 0 });
        probe.at_ms = probe.at_ms.min(at_ms);
    }
}

impl Subscriber {
    /// Our state was restored: every publisher with a session is asked.
    pub(super) fn begin_checks(&mut self) {
        self.started = self.sctr;
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.session.is_some()) {
            peer.check = Some(Box::new(Check::new()));
            self.held.insert(*id);
        }
    }

    /// There is a connection. All probes of this process carry one counter, the first above the restored one: a
    /// publisher's answer must not depend on what another one has said before.
    pub(super) fn connect_checks<R: CryptoRng + ?Sized>(&mut self, spread: u32, now: Now, rng: &mut R) {
        if self.peers.values().all(|peer| peer.check.is_none()) {
            return;
        }
        if self.probe_sctr.is_none() {
            self.probe_sctr = Some(self.next_sctr());
        }
        for peer in self.peers.values_mut() {
            if let Some(check) = &mut peer.check {
                check.connected(now.mono_ms, now.mono_ms + u64::from(rng.next_u32() % spread));
            }
        }
    }

    /// What is due of a check: the end of the wait, a probe.
    pub(super) fn tend_check<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(check) = self.peers.get(&id).and_then(|peer| peer.check.as_ref()) else { return };
        if check.until_ms.is_some_and(|at| at <= now.mono_ms) {
            self.release(id, now, out);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some((check, probe)) = peer.check.as_mut().and_then(|check| check.probe.map(|probe| (check, probe))) else {
            return;
        };
        if probe.at_ms > now.mono_ms {
            return;
        }
        check.probe = Some(probe.next(now.mono_ms, rng));
        if probe.tries >= MAX_PROBES && check.heard {
            check.probe = Some(Resend { tries: 0, ..probe.next(now.mono_ms, rng) });
            peer.request_at(now.mono_ms);
        } else if self.limits.sent.take(now.mono_ms) {
            self.probe(id, out);
        } else {
            let at_ms = now.mono_ms + 20 + u64::from(rng.next_u32()) % LATER_MS;
            check.probe = Some(Resend { at_ms, ..probe });
        }
    }

    fn probe(&mut self, id: PeerId, out: &mut Output) {
        let Some(sctr) = self.probe_sctr else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(session) = peer.probed() else { return };
        let report = Report { sid: session.sid, sctr, topics: Vec::new() }.seal(&session.ka);
        peer.sent = peer.sent.max(sctr);
        Self::send_in(id, report, out);
    }

    /// A publisher remembers no more than we do. From now on it remembers a counter that no copy of the state from before
    /// has.
    pub(super) fn end_check(&mut self, id: PeerId, now: Now, out: &mut Output) {
        self.release(id, now, out);
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.check.is_some()) else { return };
        peer.check = None;
        peer.mark = Some(Mark::at_once(now.mono_ms));
    }

    /// Parks a frame whose publisher may still have to tell us that we have read it before. False if it has not.
    pub(super) fn hold(&mut self, frame: &SealedFrame<'_>, now: Now, out: &mut Output) -> bool {
        let SealedFrame { topic, message, .. } = *frame;
        let Some(candidates) = self.runs.get(frame.header.run) else { return false };
        let Some(id) = candidates.iter().map(|run| run.publisher).find(|id| self.held.contains(id)) else {
            return false;
        };
        if self.parking.holds(topic, message) {
            return true;
        }
        if !self.parking.has_room(topic, message) {
            // None may be lost for it.
            self.release(id, now, out);
            return false;
        }
        self.parking.park(topic, frame.header.run, message, now.unix_ms);
        let check = self.peers.get_mut(&id).and_then(|peer| peer.check.as_mut());
        let full = check.is_none_or(|check| {
            check.waiting += 1;
            check.waiting >= MAX_WAITING
        });
        if full {
            self.release(id, now, out);
        }
        true
    }

    /// The wait is over: what was parked of a publisher's runs goes its way, in the order of its arrival.
    pub(super) fn release(&mut self, id: PeerId, now: Now, out: &mut Output) {
        if !self.held.remove(&id) {
            return;
        }
        if let Some(check) = self.peers.get_mut(&id).and_then(|peer| peer.check.as_mut()) {
            check.holding = false;
        }
        let runs = self.runs_of(id);
        for parked in self.parking.take(|run| runs.contains(&run)) {
            self.on_frame(&parked.topic, &parked.message, now, out);
        }
        // What could not be sent meanwhile.
        self.wake(id);
    }

    pub(super) fn runs_of(&self, id: PeerId) -> HashSet<[u8; 5]> {
        self.peers.get(&id).map(|peer| peer.runs.numbers().collect()).unwrap_or_default()
    }
}
