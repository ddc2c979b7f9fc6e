//! What a verified tick proves: what is missing, what has come late, what somebody forged.

use std::sync::Arc;

use super::gaps::GRACE_MS;
use super::new_runs::Opened;
use super::runs::{MAX_TOPICS, Run};
use super::topics::{Ahead, Range, Told, TopicState};
use super::{Event, Output, Span, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::wire::{RunPositions, TickBody, TopicPosition};

/// How long an accepted frame may stay unannounced, before a tick that is sealed after it makes it a forgery.
const UNANNOUNCED_MS: u64 = 5_000;

impl Subscriber {
    pub(super) fn take_positions(
        &mut self,
        id: PeerId,
        positions: &RunPositions,
        sealed_ms: u64,
        opened: Opened,
        now: Now,
        out: &mut Output,
    ) {
        for position in positions.topics.iter().filter(|position| self.wants(&position.topic)).collect::<Vec<_>>() {
            let Some(run) = self.runs.find_mut(id, positions.run) else { return };
            if run.topics.len() >= MAX_TOPICS && run.topics.get(&position.topic).is_none() {
                continue;
            }
            let state = run.topic(&position.topic);
            if opened == Opened::UnderWay {
                state.baseline = position.next;
            }
            let before = (state.announced, state.baseline, state.forged_to);
            state.announced = state.announced.max(position.next);
            state.first_kept = state.first_kept.max(position.first_kept);
            let forged = state.check(position, sealed_ms, now.mono_ms);
            let lost = state.lose();
            if opened != Opened::Before
                || !lost.is_empty()
                || before != (state.announced, state.baseline, state.forged_to)
            {
                self.dirty.topic(id, positions.run, state);
            }
            if state.has_untold(state.announced) {
                let at_ms = state.gap.map_or(now.mono_ms + GRACE_MS, |(at, _)| at);
                state.gap = Some((at_ms, state.announced));
                let key = (id, positions.run, Arc::clone(&state.name));
                self.note_gap(key, at_ms);
            }
            if !lost.is_empty() {
                self.tell(id, positions.run, &position.topic, Told { lost, ..Told::default() }, now, out);
            }
            if let Some((from, to)) = forged {
                self.counters.forged += 1;
                let topic = position.topic.clone();
                out.events.push(Event::Forged(Span { publisher: id, topic, run: positions.run, from, to }));
            }
        }
    }
}

impl Run {
    /// Topics of which frames were accepted, though a tick rules them out: they stand at zero.
    pub(super) fn unnamed(&self, body: &TickBody, index: usize) -> Vec<TopicPosition> {
        let named = |topic: &str| body.runs[index].topics.iter().any(|position| position.topic == topic);
        let accepted = self.topics.iter().filter(|state| state.window.end() > 0);
        accepted
            .map(|state| &state.name)
            .filter(|topic| body.rules_out(index, topic) && !named(topic))
            .map(|topic| TopicPosition {
                topic: topic.to_string(),
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
        let lost = self.reported.intersects(0, position.first_kept);
        lost || self.has_untold(position.next)
            || self.contradicts(position)
            || self.window.end() > position.next
            || self.ahead.is_some()
    }

    /// Whether other frames were accepted than those that a position vouches for; an empty digest vouches for none.
    fn contradicts(&self, position: &TopicPosition) -> bool {
        let digest = self.ledger.digest(position.from, position.next).filter(|_| position.from < position.next);
        digest.is_some_and(|digest| digest != position.digest)
    }

    /// Holds a verified position against what was accepted; returns what must have been forged.
    fn check(&mut self, position: &TopicPosition, sealed_ms: u64, now_ms: u64) -> Option<Range> {
        let contradicted = self.contradicts(position).then_some((position.from, position.next));
        // Forgotten only when they are known to be right: a second tick may still tell.
        if self.ledger.digest(position.from, position.next).is_some() {
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
}
