//! Repair: what is missing of a publisher is asked for again, a bounded part at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use rand_core::CryptoRng;

use super::reports::Entry;
use super::topics::{Range, count};
use super::{Output, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::ranges::RangeSet;

/// Numbers that are asked for at a time, of one publisher.
const MAX_ASKED: u32 = 500;
/// Where the rate is short, one waits until it allows so many: a report for each number would cost more than they do.
const LEAST_ASKED: u32 = 125;
/// Who has to wait for the rate waits up to this long.
const LATER_MS: u64 = 1_000;
/// Topics that are looked at for one round.
const MAX_TOPICS: usize = 2 * MAX_ASKED as usize;
/// What another subscriber has asked for meanwhile need not be asked for: the first question waits up to this long.
const FIRST_MS: u64 = 1_000;
/// What was asked for and has not come is asked for again after this; the wait doubles while nothing comes.
const AGAIN_MS: (u64, u64) = (5_000, 60_000);

/// A topic of a run.
type Place = ([u8; 5], String);

/// What is wanted again of one publisher.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Topics of which something is wanted, or was.
    wanted: BTreeSet<Place>,
    /// The next round goes on behind this one.
    cursor: Option<Box<Place>>,
    /// What was asked for and has not come.
    asked: BTreeMap<Place, RangeSet>,
    outstanding: u64,
    /// Whether anything has come since it was asked for.
    progress: bool,
    tries: u32,
    due_ms: Option<u64>,
}

impl Repair {
    /// When to ask next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Something of a topic is wanted again.
    pub(super) fn want<R: CryptoRng + ?Sized>(&mut self, run: [u8; 5], topic: &str, now_ms: u64, rng: &mut R) {
        self.wanted.insert((run, topic.to_owned()));
        if self.due_ms.is_none() {
            self.due_ms = Some(now_ms + u64::from(rng.next_u32()) % FIRST_MS);
        }
    }

    /// Some numbers have come, or were given up. Whether that was all that had been asked for.
    pub(super) fn settle(&mut self, run: [u8; 5], topic: &str, (from, to): Range, now_ms: u64) -> bool {
        if self.outstanding == 0 {
            return false;
        }
        let Some(asked) = self.asked.get_mut(&(run, topic.to_owned())) else { return false };
        let settled = count(&asked.overlap(from, to));
        asked.remove(from, to);
        self.outstanding = self.outstanding.saturating_sub(settled);
        self.progress |= settled > 0;
        if self.outstanding > 0 {
            return false;
        }
        self.asked.clear();
        self.due_ms = Some(now_ms);
        true
    }

    /// The topics of the next round, from behind the last one that was asked about.
    fn round(&self) -> Vec<Place> {
        let cursor = self.cursor.as_deref();
        let behind = cursor.map_or(Bound::Unbounded, |place| Bound::Excluded(place.clone()));
        let upto = cursor.map_or(Bound::Excluded(([0; 5], String::new())), |place| Bound::Included(place.clone()));
        let first = self.wanted.range((behind, Bound::Unbounded));
        first.chain(self.wanted.range((Bound::Unbounded, upto))).take(MAX_TOPICS).cloned().collect()
    }

    /// Takes note of what a report asks for.
    pub(super) fn note_asked(&mut self, entries: &[Entry]) {
        for Entry { topic, report } in entries {
            let Some(topic) = topic.as_ref().filter(|_| !report.missing.is_empty()) else { continue };
            let asked = self.asked.entry((report.run, topic.clone())).or_default();
            for &(from, to) in &report.missing {
                self.outstanding += count(&asked.missing(from, to, usize::MAX));
                asked.insert(from, to);
            }
        }
    }

    /// Waits for what has been asked for.
    pub(super) fn wait<R: CryptoRng + ?Sized>(&mut self, now_ms: u64, rng: &mut R) {
        let wait = (AGAIN_MS.0 << self.tries.min(4)).min(AGAIN_MS.1);
        self.due_ms = Some(now_ms + wait + u64::from(rng.next_u32()) % (wait / 4));
    }

    /// The wait is over, or all has come.
    fn begin_round(&mut self) {
        self.tries = if self.progress || self.outstanding == 0 { 0 } else { self.tries + 1 };
        self.progress = false;
        self.asked.clear();
        self.outstanding = 0;
    }
}

impl Subscriber {
    /// Asks a publisher for some of what is missing.
    pub(super) fn ask_again<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.repair.begin_round();
        let round = peer.repair.round();
        let (entries, settled) = self.wanted_entries(id, &round, MAX_ASKED);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for place in settled {
            peer.repair.wanted.remove(&place);
        }
        if peer.repair.wanted.is_empty() {
            peer.repair.due_ms = None;
            return;
        }
        let entries = self.within_rate(id, &round, entries, now).unwrap_or_default();
        let sent = self.send_reports(id, &entries, now, out);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if sent == 0 {
            peer.repair.due_ms = Some(now.mono_ms + 20 + u64::from(rng.next_u32()) % LATER_MS);
            return;
        }
        let last = entries[..sent].last().and_then(|entry| Some((entry.report.run, entry.topic.clone()?)));
        peer.repair.cursor = last.map(Box::new);
        peer.repair.note_asked(&entries[..sent]);
        peer.repair.wait(now.mono_ms, rng);
    }

    /// As much of it as the rate of all publishers allows; `None` when it is to wait.
    fn within_rate(&mut self, id: PeerId, round: &[Place], entries: Vec<Entry>, now: Now) -> Option<Vec<Entry>> {
        let numbers = |entries: &[Entry]| entries.iter().map(|entry| count(&entry.report.missing)).sum::<u64>();
        let wanted = u32::try_from(numbers(&entries)).unwrap_or(MAX_ASKED);
        // All that is wanted may lie above a gap that may still fill.
        if wanted == 0 || self.limits.wanted.level(now.mono_ms) < wanted.min(LEAST_ASKED) {
            return None;
        }
        let granted = self.limits.wanted.take_up_to(wanted, now.mono_ms);
        Some(if granted < wanted { self.wanted_entries(id, round, granted).0 } else { entries })
    }

    /// What to say of the topics of a round, of so many numbers in all; and the topics of which nothing is wanted any more.
    fn wanted_entries(&self, id: PeerId, round: &[Place], mut left: u32) -> (Vec<Entry>, Vec<Place>) {
        let (mut entries, mut settled) = (Vec::new(), Vec::new());
        for place in round {
            if left == 0 {
                break;
            }
            let Some(entry) = self.wanted_entry(id, place, left) else {
                settled.push(place.clone());
                continue;
            };
            left -= u32::try_from(count(&entry.report.missing)).unwrap_or(left).min(left);
            if !entry.report.missing.is_empty() {
                entries.push(entry);
            }
        }
        (entries, settled)
    }

    /// What to say of a topic that is wanted; `None` when nothing of it is wanted any more.
    fn wanted_entry(&self, id: PeerId, place: &Place, limit: u32) -> Option<Entry> {
        let (run, topic) = place;
        let state = self.find_run(id, *run)?.topics.get(topic)?;
        if !self.wants(topic) || state.is_settled() {
            return None;
        }
        Some(Entry::of(*run, topic, state, limit))
    }
}
