//! One topic of a run: what was accepted of it, what was told of it, and where the publisher says it stands.

use crate::ledger::{Leaf, Ledger};
use crate::primitives::AeadKey;
use crate::ranges::RangeSet;

/// One topic of a run.
#[derive(Debug, Default)]
pub(super) struct TopicState {
    /// What was accepted.
    pub(super) window: RangeSet,
    /// What was accepted lately, byte for byte.
    pub(super) ledger: Ledger,
    /// What was reported missing and has not come.
    pub(super) reported: RangeSet,
    /// Below this nothing is missed: it was sent before we could read it.
    pub(super) baseline: u32,
    /// A gap that a tick has shown: (report at, up to this number).
    pub(super) gap: Option<(u64, u32)>,
    /// The window's end when the tick before was checked, and when that was.
    pub(super) ahead: Option<Ahead>,
    /// What the last signed tick said: everything below has been sealed.
    pub(super) announced: u32,
    /// Whether it is in the list of what has changed.
    pub(super) dirty: bool,
    /// Up to here forgeries have been reported.
    pub(super) forged_to: u32,
    pub(super) key: Option<Box<(u8, AeadKey)>>,
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
    pub(super) readings: Vec<Vec<u8>>,
    /// The part of a reported gap that it fills.
    pub(super) late: bool,
    /// Whether its topic has to go on the list of what has changed.
    pub(super) first_change: bool,
    /// A gap that had to be closed to bound the window.
    pub(super) closed: Option<(u32, u32)>,
}

impl TopicState {
    /// Marks it as changed; whether it has to go on the list.
    pub(super) fn note_change(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    pub(super) fn mark(&mut self, from: u32, to: u32, leaf: Leaf, readings: Vec<Vec<u8>>) -> OpenedFrame {
        let closed = self.window.insert(from, to);
        self.ledger.note(from, to, leaf);
        let late = self.reported.intersects(from, to);
        OpenedFrame { from, readings, late, first_change: self.note_change(), closed }
    }
}
