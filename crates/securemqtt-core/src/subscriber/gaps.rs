//! What is missing: told after a grace, with its account, and handed to the repair.

use std::collections::HashSet;
use std::sync::Arc;

use rand_core::CryptoRng;

use super::topics::{Told, count};
use super::{Event, Output, Span, Subscriber};
use crate::Now;
use crate::identity::PeerId;

/// How long a gap may fill before it is told.
pub(super) const GRACE_MS: u64 = 2_000;
/// Ranges that are told at one time for one topic; more follow after a second.
const MAX_TOLD: usize = 64;
const MORE_MS: u64 = 1_000;

/// A topic of a run of a publisher.
pub(super) type TopicKey = (PeerId, [u8; 5], Arc<str>);

impl Subscriber {
    /// Tells what has changed in what is missing of a topic, and keeps the account.
    pub(super) fn tell(&mut self, id: PeerId, run: [u8; 5], topic: &str, told: Told, now: Now, out: &mut Output) {
        let Told { missing, late, found, lost } = told;
        self.counters.missing = (self.counters.missing + count(&missing)).saturating_sub(count(&late));
        self.counters.lost = (self.counters.lost + count(&lost)).saturating_sub(found);
        if let Some(peer) = self.peers.get_mut(&id) {
            let settled = late.iter().chain(&lost);
            let all = settled.map(|&range| peer.repair.settle(run, topic, range, now.mono_ms)).max();
            if all == Some(true) {
                self.wake(id);
            }
        }
        let span = |(from, to)| Span { publisher: id, topic: topic.to_owned(), run, from, to };
        out.events.extend(missing.into_iter().map(|range| Event::Missing(span(range))));
        out.events.extend(late.into_iter().map(|range| Event::Late(span(range))));
        out.events.extend(lost.into_iter().map(|range| Event::Lost(span(range))));
    }

    /// When the grace of the next gap is over, by a look at all of them.
    fn next_gap_ms(&self) -> u64 {
        let due =
            |(id, number, topic): &TopicKey| self.find_run(*id, *number)?.topics.get(topic)?.gap.map(|(at, _)| at);
        self.gaps.iter().filter_map(due).min().unwrap_or(u64::MAX)
    }

    /// The grace of a gap ends then, and not before.
    pub(super) fn note_gap(&mut self, key: TopicKey, at_ms: u64) {
        self.gaps.insert(key);
        self.gaps_ms = self.gaps_ms.min(at_ms);
    }

    /// Tells of the gaps whose grace is over.
    pub(super) fn report_gaps<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        if now.mono_ms < self.gaps_ms {
            return;
        }
        let mut still = HashSet::new();
        for key in std::mem::take(&mut self.gaps) {
            let (id, number, topic) = &key;
            let held = self.held.contains(id);
            let run = self.runs.find_mut(*id, *number);
            let Some(state) = run.and_then(|run| run.topics.get_mut(topic)) else { continue };
            if let Some((at, _)) = state.gap.as_mut().filter(|_| held) {
                // What fills it may wait with the other frames.
                *at = now.mono_ms + GRACE_MS;
            }
            let to = match state.gap {
                Some((at, to)) if at <= now.mono_ms => to,
                Some(_) => {
                    still.insert(key);
                    continue;
                }
                None => continue,
            };
            let missing = state.newly_missing(to, MAX_TOLD);
            let lost = state.lose();
            let wanted = !state.reported.is_empty();
            if !missing.is_empty() || !lost.is_empty() {
                self.dirty.topic(*id, *number, state);
            }
            if let Some((at, _)) = &mut state.gap {
                *at = now.mono_ms + MORE_MS;
                still.insert(key.clone());
            }
            if wanted && let Some(peer) = self.peers.get_mut(id) {
                peer.repair.want(*number, topic, now.mono_ms, rng);
                self.wake(*id);
            }
            self.tell(*id, *number, topic, Told { missing, lost, ..Told::default() }, now, out);
        }
        self.gaps = still;
        self.gaps_ms = self.next_gap_ms();
    }
}
