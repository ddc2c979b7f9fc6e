//! How long runs stay open and streams are held.
//!
//! A publisher that is started again and again begins a run each time. Those that are over are closed: of a closed run
//! only its number is kept, so that nothing of it is ever accepted again.

use std::sync::Arc;

use super::runs::Run;
use super::topics::{Told, TopicState};
use super::{Output, Subscriber};
use crate::Now;
use crate::identity::PeerId;

/// Runs of one publisher that stay open, though they are over and nothing of them is missing.
const KEPT_RUNS: usize = 32;
/// Runs of one publisher that are open at a time.
const MAX_RUNS: usize = 64;
/// A stream that another one has replaced is forgotten after a week.
const REPLACED_MS: u64 = 7 * 24 * 3_600_000;
/// How often that is looked for.
const SWEEP_MS: u64 = 600_000;

impl Subscriber {
    /// Whether a run of a publisher was closed.
    pub(super) fn is_closed(&self, id: PeerId, number: [u8; 5]) -> bool {
        let Some(peer) = self.peers.get(&id).filter(|_| self.closed.contains_key(&number)) else { return false };
        let mut streams = peer.streams.iter().filter_map(|stream| self.streams.get(id, *stream));
        streams.any(|stream| stream.closed.contains(&number))
    }

    /// Closes runs that are over, oldest first, until there are few enough open: those of which nothing is missing, and
    /// above the bound others too.
    pub(super) fn close_runs(&mut self, id: PeerId, current: [u8; 5], now: Now, out: &mut Output) {
        while let Some(peer) = self.peers.get(&id).filter(|peer| peer.runs.len() > KEPT_RUNS) {
            let too_many = peer.runs.len() > MAX_RUNS;
            let orders = peer.runs.places();
            let open: Vec<([u8; 5], &Run)> =
                orders.filter_map(|order| self.run_at(id, order)).filter(|(number, _)| *number != current).collect();
            let over = || open.iter().filter(|(_, run)| run.finished);
            let complete = over().find(|(_, run)| self.is_complete(run));
            let forced = || over().next().or_else(|| open.first()).filter(|_| too_many);
            let Some(&(number, run)) = complete.or_else(forced) else { return };
            let (order, stream) = (run.order, run.stream);
            self.give_up_run(id, number, now, out);
            self.drop_run(id, order);
            let Some(stream) = self.streams.get_mut(id, stream) else { continue };
            if stream.closed.insert(number) {
                *self.closed.entry(number).or_default() += 1;
            }
        }
    }

    /// Generations are kept as long as something of their stream is missing.
    pub(super) fn settle_streams(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let open = peer.runs.numbers().filter_map(|number| self.find_run(id, number));
        let lacking: Vec<u32> = open.filter(|run| !self.is_complete(run)).map(|run| run.stream).collect();
        for stream in &peer.streams {
            if let Some(held) = self.streams.get_mut(id, *stream) {
                held.settle(lacking.contains(stream));
            }
        }
    }

    fn is_complete(&self, run: &Run) -> bool {
        run.topics.iter().all(|state| state.is_complete() || !self.wants(&state.name))
    }

    /// Tells what will not come any more of a run that is about to be forgotten.
    fn give_up_run(&mut self, id: PeerId, number: [u8; 5], now: Now, out: &mut Output) {
        let Some(run) = self.runs.find_mut(id, number) else { return };
        let told = |state: &mut TopicState| (Arc::clone(&state.name), state.give_up_all());
        let all: Vec<(Arc<str>, Told)> = run.topics.iter_mut().map(told).filter(|(_, told)| !told.is_empty()).collect();
        for (topic, told) in all.into_iter().filter(|(topic, _)| self.wants(topic)).collect::<Vec<_>>() {
            self.tell(id, number, &topic, told, now, out);
        }
    }

    /// Forgets a run.
    fn drop_run(&mut self, id: PeerId, order: u64) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(number) = peer.runs.remove(order) else { return };
        if let Some(run) = self.runs.remove(id, number) {
            peer.fresh |= run.fresh;
            self.dirty.dead_run(&run);
        }
        self.touch(id);
    }

    /// Forgets a stream and its runs, and tells what will not come any more.
    pub(super) fn give_up_stream(&mut self, id: PeerId, stream: u32, now: Now, out: &mut Output) {
        let runs = self.peers.get(&id).map(|peer| peer.runs.numbers().collect::<Vec<_>>()).unwrap_or_default();
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
        let orders: Vec<u64> = peer.runs.places().collect();
        for order in orders {
            if self.run_at(id, order).is_some_and(|(_, run)| run.stream == stream) {
                self.drop_run(id, order);
            }
        }
        self.touch(id);
        let Some(dropped) = self.streams.remove(id, stream) else { return };
        self.dirty.dead_stream(id, stream);
        for number in dropped.closed {
            match self.closed.get_mut(&number) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.closed.remove(&number)),
            }
        }
    }

    /// Takes up a run that was closed before.
    pub(super) fn restore_closed(&mut self, numbers: impl IntoIterator<Item = [u8; 5]>) {
        for number in numbers {
            *self.closed.entry(number).or_default() += 1;
        }
    }

    /// Forgets the streams that were replaced long ago.
    pub(super) fn forget_replaced(&mut self, now: Now, out: &mut Output) {
        if now.mono_ms < self.next_sweep_ms {
            return;
        }
        self.next_sweep_ms = now.mono_ms + SWEEP_MS;
        let mut replaced = Vec::new();
        for (id, peer) in &self.peers {
            let current_ms = |stream: &u32| self.streams.get(*id, *stream).map_or(0, |held| held.current_ms);
            let Some(newest) = peer.streams.iter().max_by_key(|stream| current_ms(stream)) else { continue };
            let is_old = |stream: &&u32| *stream != newest && current_ms(stream) + REPLACED_MS <= now.unix_ms;
            replaced.extend(peer.streams.iter().filter(is_old).map(|stream| (*id, *stream)));
        }
        for (id, stream) in replaced {
            self.give_up_stream(id, stream, now, out);
        }
    }
}
