//! Which of the runs that a tick names are opened, and what of them is owed to us.

use super::Subscriber;
use super::runs::Run;
use super::streams::Owed;
use crate::Now;
use crate::identity::PeerId;
use crate::wire::{OLDER_RUN_LEN, RunPositions, TickBody, TopicPosition};

/// Publishers that may claim one run number: each is tried, so that nobody squats a run.
const MAX_CANDIDATES: usize = 4;
/// Older runs that are owed to us are opened while there are fewer than these: the other places are for runs that begin.
/// Those that are not are closed at once.
const OLDER_RUNS: usize = 48;
/// Runs of one stream, closed ones included: a publisher begins another stream before.
const MAX_OF_STREAM: usize = 1_100;

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
}
