//! Which streams are held and which runs are open, and for how long.

use super::runs::{Run, run_mut};
use super::topics::{Told, TopicState};
use super::{Output, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::wire::RunPositions;

/// Publishers that may claim one run number: each is tried, so that nobody squats a run.
const MAX_CANDIDATES: usize = 4;
/// Runs of one publisher that are open at a time.
const MAX_RUNS: usize = 64;

impl Subscriber {
    /// Opens a run if it is new and its stream is held. Returns whether it is new.
    pub(super) fn open_run(&mut self, id: PeerId, positions: &RunPositions) -> bool {
        if self.find_run(id, positions.run).is_some() || !self.streams.contains_key(&(id, positions.stream)) {
            return false;
        }
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.runs.len() < MAX_RUNS) else { return false };
        let candidates = self.runs.entry(positions.run).or_default();
        if candidates.len() >= MAX_CANDIDATES {
            return false;
        }
        let order = peer.runs.last_key_value().map_or(0, |(last, _)| last + 1);
        peer.runs.insert(order, positions.run);
        candidates.push(Run::new(id, positions.stream, order));
        true
    }

    /// The open run at a place in the order.
    pub(super) fn run_at(&self, id: PeerId, order: u64) -> Option<([u8; 5], &Run)> {
        let number = *self.peers.get(&id)?.runs.get(&order)?;
        Some((number, self.find_run(id, number)?))
    }

    /// Forgets a run.
    fn drop_run(&mut self, id: PeerId, order: u64) {
        let Some(number) = self.peers.get_mut(&id).and_then(|peer| peer.runs.remove(&order)) else { return };
        self.touch(id);
        let Some(candidates) = self.runs.get_mut(&number) else { return };
        candidates.retain(|run| run.publisher != id);
        if candidates.is_empty() {
            self.runs.remove(&number);
        }
    }

    /// Tells what will not come any more of a run that is about to be forgotten.
    fn give_up_run(&mut self, id: PeerId, number: [u8; 5], now: Now, out: &mut Output) {
        let Some(run) = run_mut(&mut self.runs, id, number) else { return };
        let told = |(topic, state): (&String, &mut TopicState)| (topic.clone(), state.give_up_all());
        let all: Vec<(String, Told)> = run.topics.iter_mut().map(told).filter(|(_, told)| !told.is_empty()).collect();
        for (topic, told) in all.into_iter().filter(|(topic, _)| self.wants(topic)).collect::<Vec<_>>() {
            self.tell(id, number, &topic, told, now, out);
        }
    }

    /// Forgets a stream and its runs, and tells what will not come any more.
    pub(super) fn give_up_stream(&mut self, id: PeerId, stream: u32, now: Now, out: &mut Output) {
        let runs = self.peers.get(&id).map(|peer| peer.runs.values().copied().collect::<Vec<_>>()).unwrap_or_default();
        for number in runs {
            if self.find_run(id, number).is_some_and(|run| run.stream == stream) {
                self.give_up_run(id, number, now, out);
            }
        }
        self.drop_stream(id, stream);
    }

    /// Forgets a stream and its runs.
    pub(super) fn drop_stream(&mut self, id: PeerId, stream: u32) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.streams.retain(|held| *held != stream);
        let orders: Vec<u64> = peer.runs.keys().copied().collect();
        self.streams.remove(&(id, stream));
        self.touch(id);
        for order in orders {
            if self.run_at(id, order).is_some_and(|(_, run)| run.stream == stream) {
                self.drop_run(id, order);
            }
        }
    }
}
