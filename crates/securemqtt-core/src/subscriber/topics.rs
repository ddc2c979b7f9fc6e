//! One topic of a run: what was accepted of it, what was told of it, and where the publisher says it stands.
//!
//! A number below what is announced, and not below the baseline, is in the window (it came), in `reported` (told as
//! missing, and wanted again), in `lost` (told as lost), or in none of them: then nothing has been told of it yet.

use std::hint::black_box;
use std::sync::Arc;

use crate::by_topic::OfTopic;
use crate::ledger::{Leaf, Ledger};
use crate::primitives::AeadKey;
use crate::ranges::RangeSet;

/// A half-open range of sequence numbers.
pub(super) type Range = (u32, u32);

/// One topic of a run.
#[derive(Debug, Default)]
pub(super) struct TopicState {
    pub(super) name: Arc<str>,
    /// What was accepted.
    pub(super) window: RangeSet,
    /// What was accepted lately, byte for byte.
    pub(super) ledger: Ledger,
    /// What was told as missing, has not come, and may still be sent again.
    pub(super) reported: RangeSet,
    /// What was told as lost and has not come.
    pub(super) lost: RangeSet,
    /// Below this nothing is missed: it was sent before we could read it.
    pub(super) baseline: u32,
    /// A gap that a tick has shown: (report at, up to this number).
    pub(super) gap: Option<(u64, u32)>,
    /// The window's end when the tick before was checked, and when that was.
    pub(super) ahead: Option<Ahead>,
    /// What the last signed tick said: everything below has been sealed.
    pub(super) announced: u32,
    /// By the signed ticks of this process: below this the publisher can send nothing again.
    pub(super) first_kept: u32,
    /// How its last change was noted.
    pub(super) noted: Noted,
    /// What its record is called since it was written first; 0 before.
    pub(super) place: u32,
    /// Up to here forgeries have been reported.
    pub(super) forged_to: u32,
    /// Boxed: it is wiped where it is, and nothing moves it.
    pub(super) key: Option<Box<HeldKey>>,
}

/// The key of a topic's latest generation that a frame was opened of.
#[derive(Debug)]
pub(super) struct HeldKey {
    pub(super) generation: u8,
    /// Whether its stream has every frame signed.
    pub(super) signed_frames: bool,
    pub(super) key: AeadKey,
}

/// How a change of a topic is noted, until the changes are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Noted {
    /// There is none.
    #[default]
    No,
    /// Its record was written in this round; in any other, there is no change since. A change after it is noted again.
    Written(u16),
    /// It is in the list of topics whose records are to be written.
    Listed,
}

/// Frames that were accepted and not announced yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    pub(super) end: u32,
    pub(super) at_ms: u64,
}

/// A frame that verified.
pub(super) struct OpenedFrame {
    pub(super) from: u32,
    pub(super) to: u32,
    /// What is to be told, if it did not come in its turn.
    pub(super) told: Option<Box<Told>>,
    /// Whether the stream's ratchet was stepped for it.
    pub(super) stepped: bool,
}

impl OpenedFrame {
    /// Whether there is more to it than one more reading.
    #[inline]
    pub(super) fn is_of_note(&self) -> bool {
        self.stepped || self.told.is_some()
    }
}

/// What is to be told of a topic, in this order.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) missing: Vec<Range>,
    pub(super) late: Vec<Range>,
    /// How many of the late ones had been given up as lost.
    pub(super) found: u64,
    pub(super) lost: Vec<Range>,
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.late.is_empty() && self.lost.is_empty()
    }
}

/// How many numbers there are in some ranges.
pub(super) fn count(ranges: &[Range]) -> u64 {
    ranges.iter().map(|(from, to)| u64::from(to - from)).sum()
}

impl OfTopic for TopicState {
    fn topic(&self) -> &Arc<str> {
        &self.name
    }
}

impl TopicState {
    pub(super) fn named(name: &str) -> Self {
        Self { name: Arc::from(name), ..Self::default() }
    }

    /// Reads something of all that a frame in its turn needs of it.
    pub(super) fn glance(&self) {
        let elsewhere =
            (self.name.as_bytes().first().copied(), self.window.end(), self.key.as_ref().map(|held| held.generation));
        let here = (self.announced, self.gap, self.reported.is_empty(), self.lost.is_empty(), self.ahead.is_none());
        black_box((elsewhere, here));
        self.ledger.glance();
    }

    /// Takes note of a frame that verified.
    #[inline]
    pub(super) fn mark(&mut self, from: u32, to: u32, leaf: Leaf) -> OpenedFrame {
        // The common case: nothing is missing, and this is the next.
        let in_turn = self.reported.is_empty() && self.lost.is_empty() && self.window.extend(from, to);
        let told = if in_turn {
            self.ledger.push(from, to, leaf);
            None
        } else {
            self.ledger.note(from, to, leaf);
            self.mark_out_of_turn(from, to)
        };
        OpenedFrame { from, to, told, stepped: false }
    }

    #[cold]
    fn mark_out_of_turn(&mut self, from: u32, to: u32) -> Option<Box<Told>> {
        let mut told = Told::default();
        self.find(from, to, &mut told);
        if let Some((from, to)) = self.window.insert(from, to) {
            self.give_up(from, to, &mut told);
        }
        (!told.is_empty()).then(|| Box::new(told))
    }

    /// What has come out of its turn: below others, or after it was told as missing or lost.
    fn find(&mut self, from: u32, to: u32, told: &mut Told) {
        if from < self.front() {
            told.missing = self.untold(from.max(self.baseline), to);
        }
        let lost = self.lost.overlap(from, to);
        told.found = count(&lost);
        let late = self.reported.overlap(from, to).into_iter().chain(lost).chain(told.missing.iter().copied());
        told.late = RangeSet::of(late).ranges().to_vec();
        self.reported.remove(from, to);
        self.lost.remove(from, to);
    }

    /// A frame has come behind a later run's readings: it is told as missing, with all that is still to come of this run,
    /// and then as late.
    pub(super) fn note_overtaken(&mut self, frame: &mut OpenedFrame) {
        let told = frame.told.get_or_insert_default();
        let late = RangeSet::of(told.late.iter().copied());
        let untold = late.missing(frame.from.max(self.baseline), frame.to, usize::MAX);
        let still = self.untold(self.baseline, self.announced);
        told.missing = RangeSet::of([told.missing.as_slice(), &untold, &still].concat()).ranges().to_vec();
        told.late.extend(untold);
        // Their gap, which a tick has opened, stays: it hands them to the repair.
        for (from, to) in still {
            self.reported.insert(from, to);
        }
    }

    /// One past the highest number that was accepted and is not known to be an insider's.
    fn front(&self) -> u32 {
        let forged = |start: u32| start >= self.announced && start < self.forged_to;
        self.window.ranges().iter().rev().find(|(start, _)| !forged(*start)).map_or(0, |&(_, end)| end)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::subscriber) fn topic(accepted: &[Range], announced: u32) -> TopicState {
        let mut state = TopicState { announced, ..TopicState::default() };
        for &(from, to) in accepted {
            state.mark(from, to, [0; 16]);
        }
        state
    }

    pub(in crate::subscriber) fn mark(state: &mut TopicState, from: u32, to: u32) -> Told {
        state.mark(from, to, [0; 16]).told.map(|told| *told).unwrap_or_default()
    }

    #[test]
    fn what_comes_below_others_is_told_as_missing_and_then_as_late() {
        let mut state = topic(&[(0, 3), (5, 6)], 0);
        let told = mark(&mut state, 3, 4);
        assert_eq!((told.missing, told.late, told.found), (vec![(3, 4)], vec![(3, 4)], 0));
        assert!(mark(&mut state, 6, 9).is_empty(), "in its turn");
        state.baseline = 5;
        assert!(mark(&mut state, 4, 5).is_empty(), "from before we could read");
    }

    #[test]
    fn what_an_insider_put_far_ahead_makes_nothing_late_once_it_is_flagged() {
        let mut state = topic(&[(0, 3), (1_000, 1_001)], 3);
        assert!(!mark(&mut state, 3, 4).is_empty());
        state.forged_to = 1_001;
        assert!(mark(&mut state, 4, 5).is_empty());
    }

    #[test]
    fn a_window_that_closes_a_gap_gives_it_up_and_says_so_once() {
        let mut state = topic(&[(0, 1)], 2);
        assert_eq!(state.newly_missing(2, 9), [(1, 2)]);
        let mut told = Told::default();
        for n in 1..600 {
            let more = mark(&mut state, 2 * n, 2 * n + 1);
            told.missing.extend(more.missing);
            told.lost.extend(more.lost);
        }
        assert_eq!((told.missing[0], told.lost[0]), ((3, 4), (1, 2)));
        assert_eq!((told.missing.len() + 1, told.lost.len()), (88, 88));
        assert!(state.reported.is_empty());
    }
}
