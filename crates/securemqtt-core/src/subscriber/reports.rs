//! REPORTs: how they are packed, and the answer to a tick that asks for them.
//!
//! A report says that something is stored, and what is stored is what was put out: it must leave after the transaction
//! that holds everything which was opened before.

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use super::topics::TopicState;
use super::{Output, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::wire::{MAX_REPORT_LEN, MAX_REPORT_TOPICS, Report, RunPositions, TopicHash, TopicReport, topic_hash};

/// An answer to a tick that asks waits up to this long, so that not all subscribers answer at once.
const ANSWER_MS: u64 = 1_000;
/// Bytes of topics that an answer may be about: a publisher has asked about more than it can have.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// One topic of a report, by its name where we follow it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) topic: Option<String>,
    pub(super) report: TopicReport,
}

impl Entry {
    pub(super) fn of(run: [u8; 5], topic: &str, state: &TopicState, limit: u32) -> Self {
        Self { topic: Some(topic.to_owned()), report: state.report(run, topic_hash(topic), limit) }
    }
}

/// The topics that a publisher's ticks have asked about.
#[derive(Debug, Default)]
pub(super) struct Answer {
    due_ms: Option<u64>,
    /// By run and topic, the name where it is wanted, and `next` in the tick.
    topics: BTreeMap<([u8; 5], TopicHash), (Option<String>, u32)>,
    bytes: usize,
}

impl Answer {
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    fn note(&mut self, run: [u8; 5], topic: &str, wanted: bool, next: u32) {
        let size = 64 + topic.len();
        if self.bytes + size > MAX_ANSWER_BYTES {
            return;
        }
        self.bytes += size;
        self.topics.insert((run, topic_hash(topic)), (wanted.then(|| topic.to_owned()), next));
    }
}

impl Subscriber {
    /// A verified tick asks for a report about everything that it names.
    pub(super) fn note_asking<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        runs: &[RunPositions],
        now: Now,
        rng: &mut R,
    ) {
        let mut answer = self.peers.get_mut(&id).map(|peer| std::mem::take(&mut peer.answer)).unwrap_or_default();
        for positions in runs {
            let is_open = self.find_run(id, positions.run).is_some();
            // A run that we hold the stream of, and have no room for yet: what is in it is wanted later.
            let is_held = self.streams.contains(id, positions.stream);
            if is_held && !is_open && !self.is_closed(id, positions.run) {
                continue;
            }
            for position in &positions.topics {
                let wanted = is_open && self.wants(&position.topic);
                answer.note(positions.run, &position.topic, wanted, position.next);
            }
        }
        if !answer.topics.is_empty() && answer.due_ms.is_none() {
            answer.due_ms = Some(now.mono_ms + u64::from(rng.next_u32()) % ANSWER_MS);
        }
        self.peers.get_mut(&id).into_iter().for_each(|peer| peer.answer = std::mem::take(&mut answer));
    }

    /// Answers what ticks have asked.
    pub(super) fn answer<R: CryptoRng + ?Sized>(&mut self, id: PeerId, now: Now, rng: &mut R, out: &mut Output) {
        let Some(asked) = self.peers.get_mut(&id).map(|peer| std::mem::take(&mut peer.answer)) else { return };
        let entries: Vec<Entry> = asked
            .topics
            .into_iter()
            .filter_map(|((run, hash), (topic, next))| match topic {
                None => Some(Entry { topic, report: TopicReport { run, topic: hash, next, missing: Vec::new() } }),
                // A run that was closed meanwhile is asked about again, if it matters.
                Some(topic) => Some(Entry::of(run, &topic, self.find_run(id, run)?.topics.get(&topic)?, u32::MAX)),
            })
            .collect();
        let sent = self.send_reports(id, &entries, now, out);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if sent < entries.len() {
            peer.answer = Answer { bytes: asked.bytes, ..Answer::default() };
            peer.answer.due_ms = Some(now.mono_ms + 20 + u64::from(rng.next_u32()) % ANSWER_MS);
        }
        for Entry { topic, report } in &entries[sent..] {
            peer.answer.topics.insert((report.run, report.topic), (topic.clone(), report.next));
        }
        if entries[..sent].iter().any(|entry| !entry.report.missing.is_empty()) {
            peer.repair.note_asked(&entries[..sent]);
            peer.repair.wait(now.mono_ms, rng);
        }
    }

    /// Sends reports with these entries while the rate allows it; returns how many of the entries went out.
    pub(super) fn send_reports(&mut self, id: PeerId, entries: &[Entry], now: Now, out: &mut Output) -> usize {
        let mut sent = 0;
        while sent < entries.len() {
            let count = fitting(&entries[sent..]);
            let topics = entries[sent..sent + count].iter().map(|entry| entry.report.clone()).collect();
            if !self.send_report(id, topics, now, out) {
                break;
            }
            sent += count;
        }
        sent
    }

    /// Sends one report; false without a session, or over the rate.
    pub(super) fn send_report(&mut self, id: PeerId, topics: Vec<TopicReport>, now: Now, out: &mut Output) -> bool {
        let Some(session) = self.peers.get(&id).and_then(|peer| peer.reporting()) else { return false };
        if !self.limits.sent.take(now.mono_ms) {
            return false;
        }
        let (sid, ka) = (session.sid, session.ka.clone());
        // One is left out: the probe of a copy of the state from before this has it, and finds the publisher ahead.
        self.next_sctr();
        let sctr = self.next_sctr();
        Self::send_in(id, Report { sid, sctr, topics }.seal(&ka), out);
        self.note_sent(id, sctr);
        true
    }
}

/// How many of the entries fit into one report; at least one.
fn fitting(entries: &[Entry]) -> usize {
    let mut len = Report::FIXED_LEN;
    let fits = entries.iter().take(MAX_REPORT_TOPICS).take_while(|entry| {
        len += TopicReport::encoded_len(entry.report.missing.len());
        len <= MAX_REPORT_LEN
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize, ranges: u32) -> Vec<Entry> {
        let missing: Vec<(u32, u32)> = (0..ranges).map(|n| (2 * n, 2 * n + 1)).collect();
        let report = TopicReport { run: [0; 5], topic: [0; 8], next: u32::MAX, missing };
        (0..count).map(|_| Entry { topic: None, report: report.clone() }).collect()
    }

    #[test]
    fn a_report_is_bounded_in_topics_and_bytes() {
        assert_eq!(fitting(&entries(600, 0)), MAX_REPORT_TOPICS);
        let many = entries(600, 20);
        let count = fitting(&many);
        let len = |count: usize| Report::FIXED_LEN + count * TopicReport::encoded_len(20);
        assert!(len(count) <= MAX_REPORT_LEN && len(count + 1) > MAX_REPORT_LEN);
        // The largest that a window can be.
        assert_eq!(fitting(&entries(3, 515)), 1);
        assert!(Report::FIXED_LEN + TopicReport::encoded_len(515) <= MAX_REPORT_LEN);
    }
}
