//! The runs before this one, which ticks still name: with their final positions, while frames of them are kept.

use std::collections::VecDeque;

use super::spool::Spool;
use crate::primitives::sha256;
use crate::wire::{OLDER_RUN_LEN, RunPositions, TopicPosition};

/// Runs that are named though nothing of them is kept.
const MAX_IDLE: usize = 3;
/// Bytes of a tick for all of them: the rest is for its own run.
const ROOM: usize = 6 * 1024;
/// Bytes of an older run besides its topics.
const RUN_LEN: usize = 5 + 4 + 2;

/// A run that has ended.
#[derive(Clone, Debug)]
pub(super) struct PastRun {
    pub(super) positions: RunPositions,
    /// Its place in the order of runs.
    pub(super) order: u32,
    /// The last segment with a frame of it: a run is named when all of it was handed to the broker.
    pub(super) last_segment: Option<u64>,
}

/// The runs before this one, the latest first.
#[derive(Debug, Default)]
pub(super) struct PastRuns {
    runs: VecDeque<PastRun>,
    /// Where the next tick goes on, where one does not take them all; and how often that was.
    turn: usize,
    round: usize,
}

/// A topic's final position of which no leaf is left.
pub(super) fn bare_position(topic: String, next: u32) -> TopicPosition {
    TopicPosition { topic, first_kept: next, from: next, next, digest: sha256(&[]) }
}

impl PastRuns {
    pub(super) fn push(&mut self, run: PastRun) {
        self.runs.push_front(run);
    }

    pub(super) fn contains(&self, run: [u8; 5]) -> bool {
        self.runs.iter().any(|past| past.positions.run == run)
    }

    pub(super) fn get_mut(&mut self, run: [u8; 5]) -> Option<&mut PastRun> {
        self.runs.iter_mut().find(|past| past.positions.run == run)
    }

    /// Taken up from the disk: the latest first.
    pub(super) fn sort(&mut self) {
        self.runs.make_contiguous().sort_by_key(|past| std::cmp::Reverse(past.order));
    }

    /// Forgets those of which nothing is kept, but for the last few; returns them.
    pub(super) fn prune(&mut self, spool: &Spool) -> Vec<PastRun> {
        if self.runs.len() <= MAX_IDLE {
            return Vec::new();
        }
        let (mut kept, mut gone) = (VecDeque::new(), Vec::new());
        for (index, past) in std::mem::take(&mut self.runs).into_iter().enumerate() {
            if index < MAX_IDLE || spool.index().keeps(past.positions.run) {
                kept.push_back(past);
            } else {
                gone.push(past);
            }
        }
        self.runs = kept;
        gone
    }

    /// Whether a run has waited for frames of it to be handed over, and does no longer.
    pub(super) fn waited(&self, before: u64, released: u64) -> bool {
        self.runs.iter().any(|past| past.last_segment.is_some_and(|last| (before..released).contains(&last)))
    }

    /// How many ticks it takes to name each once.
    pub(super) fn ticks(&self) -> usize {
        let bytes: usize = self.runs.iter().map(|past| RUN_LEN + topics_len(&past.positions).min(OLDER_RUN_LEN)).sum();
        bytes.div_ceil(ROOM - OLDER_RUN_LEN).max(1)
    }

    /// Those that this tick names. All of a run was handed over before `released`, or the run waits.
    pub(super) fn named(&mut self, spool: &Spool, released: u64) -> Vec<RunPositions> {
        let ready: Vec<&PastRun> =
            self.runs.iter().filter(|past| past.last_segment.is_none_or(|last| last < released)).collect();
        let mut named = Vec::new();
        let mut left = ROOM;
        if ready.is_empty() {
            return named;
        }
        let start = self.turn % ready.len();
        for past in ready[start..].iter().chain(&ready[..start]) {
            let mut positions = fitting(&past.positions, self.round);
            let length = RUN_LEN + topics_len(&positions);
            if length > left {
                break;
            }
            left -= length;
            for position in &mut positions.topics {
                position.first_kept = spool.index().first_kept(past.positions.run, position);
            }
            named.push(positions);
        }
        self.turn = if named.len() == ready.len() { 0 } else { (start + named.len()) % ready.len() };
        self.round = self.round.wrapping_add(1);
        named
    }
}

/// As many topics of a run as fit in what a tick has for it, others in each round. One that is left out does not fit
/// beside those: a subscriber takes it to stand at 0 if it would.
fn fitting(run: &RunPositions, round: usize) -> RunPositions {
    if topics_len(run) <= OLDER_RUN_LEN {
        return run.clone();
    }
    let start = (round * 16) % run.topics.len();
    let mut left = OLDER_RUN_LEN;
    let mut topics = Vec::new();
    for topic in run.topics[start..].iter().chain(&run.topics[..start]) {
        let length = TopicPosition::encoded_len(&topic.topic);
        if length <= left {
            left -= length;
            topics.push(topic.clone());
        }
    }
    RunPositions { topics, ..*run }
}

fn topics_len(run: &RunPositions) -> usize {
    run.topics.iter().map(|topic| TopicPosition::encoded_len(&topic.topic)).sum()
}
