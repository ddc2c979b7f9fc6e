//! The ledger of frames between ticks: a short hash of each, from which a tick's digest is made on one side and
//! checked on the other. It exposes an insider who holds the stream's key but not its signing key.

use std::collections::VecDeque;

use crate::primitives::{sha256, sha256_prefix};

/// Frames that a ledger holds; a publisher ticks early rather than pass half of it.
pub const MAX_FRAMES: usize = 16_384;

/// `SHA-256(frame)[..16]`: what a digest is made of.
pub type Leaf = [u8; 16];

/// The leaf of a sealed frame.
pub fn leaf(frame: &[u8]) -> Leaf {
    sha256_prefix(&[frame])
}

#[derive(Clone, Copy, Debug)]
struct Line {
    from: u32,
    to: u32,
    leaf: Leaf,
}

/// The recent frames of one topic of one run, in the order of their sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    lines: VecDeque<Line>,
}

impl Ledger {
    /// Notes a frame that holds the sequence numbers `from..to`. The oldest is forgotten when the ledger is full.
    #[inline]
    pub fn note(&mut self, from: u32, to: u32, leaf: Leaf) {
        if self.lines.back().is_some_and(|last| last.from > from) {
            self.note_between(Line { from, to, leaf });
        } else {
            self.push(from, to, leaf);
        }
    }

    /// Notes a frame whose numbers are above all before.
    #[expect(clippy::inline_always, reason = "two stores; as a call, twice as much")]
    #[inline(always)]
    pub(crate) fn push(&mut self, from: u32, to: u32, leaf: Leaf) {
        if self.lines.len() == self.lines.capacity() {
            self.grow();
        }
        self.lines.push_back(Line { from, to, leaf });
        self.forget_too_many();
    }

    #[inline]
    fn forget_too_many(&mut self) {
        if self.lines.len() > MAX_FRAMES {
            self.lines.pop_front();
        }
    }

    #[cold]
    fn note_between(&mut self, line: Line) {
        let at = self.lines.partition_point(|before| before.from < line.from);
        self.lines.insert(at, line);
        self.forget_too_many();
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        // Many topics have one frame between two ticks.
        if self.lines.capacity() == 0 {
            self.lines.reserve_exact(1);
        } else {
            self.lines.reserve(1);
        }
    }

    /// Forgets the frames below a sequence number.
    pub fn forget_below(&mut self, seq: u32) {
        while self.lines.front().is_some_and(|line| line.to <= seq) {
            self.lines.pop_front();
        }
        if self.lines.is_empty() {
            self.lines.shrink_to_fit();
        }
    }

    /// The leaf of the frame that holds a sequence number, while it is remembered.
    pub fn leaf_of(&self, seq: u32) -> Option<Leaf> {
        let at = self.lines.partition_point(|line| line.to <= seq);
        self.lines.get(at).filter(|line| line.from <= seq).map(|line| line.leaf)
    }

    /// How many frames are held.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// `SHA-256(leaf ‖ leaf ‖ …)` over the frames of `from..next`; `None` unless they are all here.
    pub fn digest(&self, from: u32, next: u32) -> Option<[u8; 32]> {
        let first = self.lines.partition_point(|line| line.from < from);
        let mut leaves: Vec<&[u8]> = Vec::new();
        let mut at = from;
        for line in self.lines.range(first..).take_while(|line| line.from < next) {
            if line.from != at || line.to > next {
                return None;
            }
            at = line.to;
            leaves.push(&line.leaf);
        }
        (at == next).then(|| sha256(&leaves))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(order: &[u32]) -> Ledger {
        let mut ledger = Ledger::default();
        for &n in order {
            ledger.note(n, n + 1, leaf(&n.to_be_bytes()));
        }
        ledger
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_arrival() {
        let in_order = filled(&[0, 1, 2, 3]);
        let shuffled = filled(&[2, 0, 3, 1]);
        assert_eq!(in_order.digest(0, 4), shuffled.digest(0, 4));
        assert!(in_order.digest(0, 4).is_some());
        assert_ne!(in_order.digest(0, 4), in_order.digest(0, 3));
    }

    #[test]
    fn a_missing_frame_leaves_no_digest() {
        assert_eq!(filled(&[0, 2, 3]).digest(0, 4), None);
        assert_eq!(filled(&[0, 1]).digest(0, 3), None);
        assert!(filled(&[1, 2]).digest(1, 3).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let ledger = filled(&(0..u32::try_from(MAX_FRAMES).unwrap_or(0) + 10).collect::<Vec<_>>());
        assert_eq!(ledger.len(), MAX_FRAMES);
        assert_eq!(ledger.leaf_of(9), None);
        assert_eq!(ledger.leaf_of(10), Some(leaf(&10u32.to_be_bytes())));
    }
}
