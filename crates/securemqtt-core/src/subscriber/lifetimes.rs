//! Which streams are held and which runs are open, and for how long.
//!
//! A publisher that is started again and again begins a run each time. Those that are over are closed: of a closed run
//! only its number is kept, so that nothing of it is ever accepted again.

use std::sync::Arc;

use super::runs::Run;
use super::streams::Owed;
use super::topics::{Told, TopicState};
use super::{Output, Subscriber};
use crate::Now;
use crate::identity::PeerId;
use crate::wire::{OLDER_RUN_LEN, RunPositions, TickBody, TopicPosition};

/// Publishers that may claim one run number: each is tried, so that nobody squats a run.
const MAX_CANDIDATES: usize = 4;
/// Runs of one publisher that stay open, though they are over and nothing of them is missing.
const KEPT_RUNS: usize = 32;
/// Runs of one publisher that are open at a time.
const MAX_RUNS: usize = 64;
/// Older runs that are owed to us are opened while there are fewer than these: the other places are for runs that begin.
/// Those that are not are closed at once.
const OLDER_RUNS: usize = 48;
/// Runs of one stream, closed ones included: a publisher begins another stream before.
const MAX_OF_STREAM: usize = 1_100;
/// A stream that another one has replaced is forgotten after a week.
const REPLACED_MS: u64 = 7 * 24 * 3_600_000;
/// How often that is looked for.
const SWEEP_MS: u64 = 600_000;

/// Bytes that the older runs of a tick may take, each with its topics and these.
const OLDER_LEN: usize = 6_144;
const OLDER_RUN_FIXED_LEN: usize = 11;
/// A publisher that has more of them than fit names them in several ticks, which follow the first one at once.
const FIRST_TICKS_MS: u64 = 5_000;

/// What is known of a run that a tick names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// It was open before, or is not opened.
    Before,
    /// It is new to us, and everything of it is owed to us.
    Owed,
    /// It is new to us, and was under way before we could read it.
    UnderWay,
}

impl Subscriber {
    /// Whether a run that a tick names would be opened: it is new, its stream is held, and there is room.
    pub(super) fn may_open(&self, id: PeerId, positions: &RunPositions, is_own: bool, now: Now) -> bool {
        let (Some(peer), Some(stream)) = (self.peers.get(&id), self.streams.get(id, positions.stream)) else {
            return false;
        };
        let of_stream = |number: &[u8; 5]| self.find_run(id, *number).is_some_and(|run| run.stream == stream.id);
        let claims = self.runs.get(positions.run).map_or(0, <[Run]>::len);
        claims < MAX_CANDIDATES
            && (is_own || peer.runs.len() < OLDER_RUNS || !self.is_owed(id, positions, is_own, now))
            && self.find_run(id, positions.run).is_none()
            && !self.is_closed(id, positions.run)
            && stream.closed.len() + peer.runs.numbers().filter(of_stream).count() < MAX_OF_STREAM
    }

    /// Opens the run at a place of a tick's list, if it is new.
    pub(super) fn open_run(&mut self, id: PeerId, tick: &TickBody, index: usize, now: Now) -> Opened {
        let positions = &tick.runs[index];
        let owed = self.is_owed(id, positions, index == 0, now);
        if !self.may_open(id, positions, index == 0, now) {
            return Opened::Before;
        }
        // A tick names the latest run first: those before it in the list are later ones.
        let later = tick.runs[..index].iter().filter_map(|run| self.find_run(id, run.run)).map(|run| run.order).min();
        let order = self.make_place(id, later);
        self.runs.push(Run::new(id, positions.run, positions.stream, order));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.runs.insert(order, positions.run);
        }
        self.note_followed(id);
        if owed { Opened::Owed } else { Opened::UnderWay }
    }

    /// Makes a place for a run before another one, or behind all.
    fn make_place(&mut self, id: PeerId, before: Option<u64>) -> u64 {
        let Some(peer) = self.peers.get_mut(&id) else { return 0 };
        let place = before.unwrap_or_else(|| peer.runs.next_place());
        for (order, number) in peer.runs.make_place(place) {
            if let Some(run) = self.runs.find_mut(id, number) {
                run.order = order;
            }
        }
        place
    }

    /// Every run of a publisher but the last is followed by another one.
    pub(super) fn note_followed(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        for number in peer.runs.numbers().rev().skip(1) {
            if let Some(run) = self.runs.find_mut(id, number) {
                run.followed = true;
            }
        }
    }

    /// Whether readings of a later run of a publisher were accepted on a topic.
    pub(super) fn is_overtaken(&self, id: PeerId, order: u64, topic: &str) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let mut later = peer.runs.numbers_from(order + 1).filter_map(|number| self.find_run(id, number));
        later.any(|run| run.topics.get(topic).is_some_and(|state| state.window.end() > 0))
    }

    /// What of a run that a tick names is owed to us, if it is new.
    fn is_owed(&self, id: PeerId, positions: &RunPositions, is_own: bool, now: Now) -> bool {
        match self.streams.get(id, positions.stream).map(|stream| stream.owed) {
            Some(Owed::All) => true,
            Some(Owed::Next(first_ms)) => is_own || now.mono_ms >= first_ms + FIRST_TICKS_MS,
            Some(Owed::Nothing) | None => false,
        }
    }

    /// A signed tick has come: what of its stream is owed to us from now on.
    pub(super) fn note_owed(&mut self, id: PeerId, tick: &TickBody, now: Now) {
        let current = tick.runs[0].stream;
        let Some(first_ms) = self.streams.get(id, current).and_then(|stream| match stream.owed {
            Owed::Nothing => Some(now.mono_ms),
            Owed::Next(first_ms) => Some(first_ms),
            Owed::All => None,
        }) else {
            return;
        };
        let older = &tick.runs[1..];
        let topics = older.iter().flat_map(|run| &run.topics);
        let topics_len: usize = topics.map(|position| TopicPosition::encoded_len(&position.topic)).sum();
        let has_room = topics_len + OLDER_RUN_FIXED_LEN * (older.len() + 1) + OLDER_RUN_LEN <= OLDER_LEN;
        let owed = if has_room { Owed::All } else { Owed::Next(first_ms) };
        self.streams.get_mut(id, current).into_iter().for_each(|stream| stream.owed = owed);
    }

    /// The open run at a place in the order.
    pub(super) fn run_at(&self, id: PeerId, order: u64) -> Option<([u8; 5], &Run)> {
        let number = self.peers.get(&id)?.runs.at(order)?;
        Some((number, self.find_run(id, number)?))
    }

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
