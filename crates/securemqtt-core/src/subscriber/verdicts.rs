//! What a verified tick proves: what is missing, what has come late, what somebody forged.

use super::runs::{Run, run_mut};
use super::topics::{Ahead, TopicState};
use super::{Event, Output, Span, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::wire::{RunPositions, TickBody, TopicPosition};

/// How long a gap may fill before it is reported.
pub(super) const GRACE_MS: u64 = 2_000;
/// How long an accepted frame may stay unannounced, before a tick that is sealed after it makes it a forgery.
const UNANNOUNCED_MS: u64 = 5_000;
/// Ranges that are reported at one time for one topic.
const MAX_REPORTS: usize = 64;

impl Subscriber {
    pub(super) fn take_positions(
        &mut self,
        id: PeerId,
        positions: &RunPositions,
        sealed_ms: u64,
        opened: bool,
        now: Now,
        out: &mut Output,
    ) {
        let owed = self.streams.get(&(id, positions.stream)).is_some_and(|stream| stream.owed);
        for position in positions.topics.iter().filter(|position| self.wants(&position.topic)).collect::<Vec<_>>() {
            let Some(run) = run_mut(&mut self.runs, id, positions.run) else { return };
            let state = run.topics.entry(position.topic.clone()).or_default();
            if opened && !owed {
                // The run was under way before we could read it.
                state.baseline = position.next;
            }
            let before = (state.announced, state.baseline, state.forged_to);
            state.announced = state.announced.max(position.next);
            let forged = state.check(position, sealed_ms, now.mono_ms);
            if opened || before != (state.announced, state.baseline, state.forged_to) {
                self.dirty.topic(id, positions.run, &position.topic, state);
            }
            let gap = !state.window.contains(state.baseline.min(position.next), position.next);
            if gap {
                state.gap = Some((state.gap.map_or(now.mono_ms + GRACE_MS, |(at, _)| at), position.next));
                self.gaps.insert((id, positions.run, position.topic.clone()));
                self.wake_at(now.mono_ms + GRACE_MS);
            }
            if let Some((from, to)) = forged {
                self.counters.forged += 1;
                let topic = position.topic.clone();
                out.events.push(Event::Forged(Span { publisher: id, topic, run: positions.run, from, to }));
            }
        }
    }

    pub(super) fn next_gap_ms(&self) -> u64 {
        let due = |(id, number, topic): &(PeerId, [u8; 5], String)| {
            self.find_run(*id, *number)?.topics.get(topic)?.gap.map(|(at, _)| at)
        };
        self.gaps.iter().filter_map(due).min().unwrap_or(u64::MAX)
    }

    /// Reports the gaps whose grace is over.
    pub(super) fn report_gaps(&mut self, now: Now, out: &mut Output) {
        let mut still = std::collections::HashSet::new();
        for (id, number, topic) in std::mem::take(&mut self.gaps) {
            let run = run_mut(&mut self.runs, id, number);
            let Some(state) = run.and_then(|run| run.topics.get_mut(&topic)) else { continue };
            match state.gap {
                Some((at, _)) if at > now.mono_ms => {
                    still.insert((id, number, topic));
                }
                Some((_, to)) => {
                    let fresh = state.newly_missing(to);
                    if !fresh.is_empty() {
                        self.dirty.topic(id, number, &topic, state);
                    }
                    for (from, to) in fresh {
                        self.counters.missing += u64::from(to - from);
                        out.events.push(Event::Missing(Span {
                            publisher: id,
                            topic: topic.clone(),
                            run: number,
                            from,
                            to,
                        }));
                    }
                }
                None => {}
            }
        }
        self.gaps = still;
    }
}

impl Run {
    /// Topics of which frames were accepted, though a tick rules them out: they stand at zero.
    pub(super) fn unnamed(&self, body: &TickBody, index: usize) -> Vec<TopicPosition> {
        let named = |topic: &str| body.runs[index].topics.iter().any(|position| position.topic == topic);
        let accepted = self.topics.iter().filter(|(_, state)| state.window.end() > 0);
        accepted
            .map(|(topic, _)| topic)
            .filter(|topic| body.rules_out(index, topic) && !named(topic))
            .map(|topic| TopicPosition {
                topic: topic.clone(),
                first_kept: 0,
                from: 0,
                next: 0,
                digest: crate::primitives::sha256(&[]),
            })
            .collect()
    }
}

impl TopicState {
    /// Whether a position may lead to a verdict: then its signature must be checked.
    pub(super) fn disagrees(&self, position: &TopicPosition) -> bool {
        let missing = !self.window.contains(self.baseline.min(position.next), position.next);
        let forged = self.ledger.digest(position.from, position.next).is_some_and(|digest| digest != position.digest);
        missing || forged || self.window.end() > position.next || self.ahead.is_some()
    }

    /// Holds a verified position against what was accepted; returns what must have been forged.
    fn check(&mut self, position: &TopicPosition, sealed_ms: u64, now_ms: u64) -> Option<(u32, u32)> {
        let digest = self.ledger.digest(position.from, position.next);
        let contradicted =
            digest.is_some_and(|digest| digest != position.digest).then_some((position.from, position.next));
        // Forgotten only when they are known to be right: a second tick may still tell.
        if digest.is_some() {
            self.ledger.forget_below(position.from);
        }
        let unannounced =
            self.ahead.filter(|ahead| ahead.end > position.next && sealed_ms >= ahead.at_ms + UNANNOUNCED_MS);
        let end = self.window.end();
        self.ahead = match self.ahead {
            _ if end <= position.next => None,
            Some(ahead) if ahead.end > position.next => Some(ahead),
            _ => Some(Ahead { end, at_ms: now_ms }),
        };
        let (from, to) = contradicted.or(unannounced.map(|ahead| (position.next, ahead.end)))?;
        if to <= self.forged_to {
            return None;
        }
        let from = from.max(self.forged_to);
        self.forged_to = to;
        Some((from, to))
    }

    /// The ranges below `to` that are missing and not reported yet.
    fn newly_missing(&mut self, to: u32) -> Vec<(u32, u32)> {
        self.gap = None;
        let mut fresh = Vec::new();
        for (from, to) in self.window.missing(self.baseline, to, MAX_REPORTS) {
            for (from, to) in self.reported.missing(from, to, MAX_REPORTS) {
                fresh.push((from, to));
            }
        }
        for &(from, to) in &fresh {
            self.reported.insert(from, to);
        }
        fresh
    }
}
