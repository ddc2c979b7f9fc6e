//! The ledger of frames between ticks: a short hash of each, from which a tick's digest is made on one side and
//! checked on the other. It exposes an insider who holds the stream's key but not its signing key.

use std::collections::VecDeque;
use std::hint::black_box;

use crate::primitives::{sha256, sha256_prefix};

/// Frames that a ledger holds; a publisher ticks early rather than pass half of it.
pub const MAX_FRAMES: usize = 16_384;

/// `SHA-256(frame)[..16]`: what a digest is made of.
pub type Leaf = [u8; 16];

/// The leaf of a sealed frame.
pub fn leaf(frame: &[u8]) -> Leaf {
    sha256_prefix(&[frame])
}

/// Frames whose numbers follow each other, each of as many readings. Most topics have one such span between two ticks, so that
/// a frame takes the 16 bytes of its leaf and no more.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: u32,
    to: u32,
    /// Readings in each of its frames.
    width: u32,
    /// Where its first leaf is, modulo 2^32, counted from the first that the ledger ever had.
    place: u32,
}

impl Span {
    fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// Takes in a frame, if it is the next and of the same width.
    #[expect(clippy::inline_always, reason = "two comparisons")]
    #[inline(always)]
    fn extend(&mut self, from: u32, to: u32) -> bool {
        let is_next = self.to == from && self.width == to - from;
        if is_next {
            self.to = to;
        }
        is_next
    }

    /// How many whole frames of it are below a number.
    fn frames_below(self, seq: u32) -> u32 {
        seq.min(self.to).saturating_sub(self.from).checked_div(self.width).unwrap_or(0)
    }

    /// Whether a frame of it begins at a number, or, at its end, would.
    fn is_border(self, seq: u32) -> bool {
        (self.from..=self.to).contains(&seq) && (seq - self.from).is_multiple_of(self.width)
    }
}

/// The recent frames of one topic of one run, in the order of their sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    leaves: VecDeque<Leaf>,
    /// The numbers of the leaves: all spans but the last.
    older: VecDeque<Span>,
    /// Empty when nothing is held, and then only.
    last: Span,
}

impl Ledger {
    /// Notes a frame that holds the sequence numbers `from..to`, which no frame that is held has. The oldest is forgotten
    /// when the ledger is full.
    #[inline]
    pub fn note(&mut self, from: u32, to: u32, leaf: Leaf) {
        if from < self.last.to && !self.last.is_empty() {
            self.note_between(from, to, leaf);
        } else {
            self.push(from, to, leaf);
        }
    }

    /// Reads something of where the next frame is noted.
    pub(crate) fn glance(&self) {
        black_box((self.last, self.leaves.back().copied()));
    }

    /// Notes a frame whose numbers are above all before.
    #[expect(clippy::inline_always, reason = "two stores; as a call, twice as much")]
    #[inline(always)]
    pub(crate) fn push(&mut self, from: u32, to: u32, leaf: Leaf) {
        if self.leaves.len() == self.leaves.capacity() {
            self.grow();
        }
        self.leaves.push_back(leaf);
        if !self.last.extend(from, to) {
            self.begin(from, to);
        }
        self.forget_too_many();
    }

    /// Begins a span for the leaf that was added last.
    #[cold]
    #[inline(never)]
    fn begin(&mut self, from: u32, to: u32) {
        let place = self.first().place.wrapping_add(u32::try_from(self.leaves.len() - 1).unwrap_or(u32::MAX));
        let before = std::mem::replace(&mut self.last, Span { from, to, width: to - from, place });
        if !before.is_empty() {
            self.older.push_back(before);
        }
    }

    /// The first span: its place is that of the first leaf.
    fn first(&self) -> Span {
        self.older.front().copied().unwrap_or(self.last)
    }

    #[inline]
    fn forget_too_many(&mut self) {
        if self.leaves.len() > MAX_FRAMES {
            self.forget_first(1);
        }
    }

    /// Notes a frame that came late: it joins the span before or behind it, or both, or is one of its own.
    #[cold]
    fn note_between(&mut self, from: u32, to: u32, leaf: Leaf) {
        let first = self.first().place;
        let spans = &mut self.older;
        spans.push_back(self.last);
        let behind = spans.partition_point(|span| span.from <= from);
        let (next, before) = (spans.get(behind).copied(), behind.checked_sub(1));
        let is_free = before.is_none_or(|before| spans[before].to <= from) && next.is_none_or(|next| to <= next.from);
        if let Some(next) = next.filter(|_| is_free) {
            self.leaves.insert(index(next.place, first), leaf);
            for span in spans.range_mut(behind..) {
                span.place = span.place.wrapping_add(1);
            }
            let joins_next = next.from == to && next.width == to - from;
            match before.filter(|&before| spans[before].extend(from, to)) {
                Some(before) if joins_next => {
                    spans[before].to = next.to;
                    spans.remove(behind);
                }
                Some(_) => {}
                None if joins_next => spans[behind] = Span { from, ..next },
                None => spans.insert(behind, Span { from, to, width: to - from, place: next.place }),
            }
        }
        self.last = spans.pop_back().unwrap_or_default();
        self.forget_too_many();
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        // Many topics have one frame between two ticks.
        if self.leaves.capacity() == 0 {
            self.leaves.reserve_exact(1);
        } else {
            self.leaves.reserve(1);
        }
    }

    /// Forgets the frames below a sequence number.
    pub fn forget_below(&mut self, seq: u32) {
        loop {
            match self.first().frames_below(seq) {
                0 => break,
                frames => self.forget_first(frames),
            }
        }
        if self.is_empty() {
            self.leaves.shrink_to_fit();
            self.older.shrink_to_fit();
        }
    }

    /// Forgets so many frames of the first span.
    fn forget_first(&mut self, frames: u32) {
        let first = self.older.front_mut().unwrap_or(&mut self.last);
        first.from += frames * first.width;
        first.place = first.place.wrapping_add(frames);
        if first.is_empty() {
            // The last one stays, empty.
            self.older.pop_front();
        }
        self.leaves.drain(..index(frames, 0));
    }

    /// The leaf of the frame that holds a sequence number, while it is remembered.
    pub fn leaf_of(&self, seq: u32) -> Option<Leaf> {
        let span = self.spans_from(seq).next().filter(|span| (span.from..span.to).contains(&seq))?;
        self.leaves.get(self.index_in(span, seq)).copied()
    }

    /// The spans from the one on that ends above a number.
    fn spans_from(&self, seq: u32) -> impl Iterator<Item = Span> {
        let first = self.older.partition_point(|span| span.to <= seq);
        self.older.range(first..).copied().chain([self.last])
    }

    /// Where the leaf of a number of a span is.
    fn index_in(&self, span: Span, seq: u32) -> usize {
        index(span.place.wrapping_add(span.frames_below(seq)), self.first().place)
    }

    /// How many frames are held.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// `SHA-256(leaf ‖ leaf ‖ …)` over the frames of `from..next`; `None` unless they are all here.
    pub fn digest(&self, from: u32, next: u32) -> Option<[u8; 32]> {
        if from >= next {
            return (from == next).then(|| sha256(&[]));
        }
        let mut leaves: Vec<&[u8]> = Vec::new();
        let mut at = from;
        for span in self.spans_from(from).take_while(|span| span.from < next) {
            let to = span.to.min(next);
            if !span.is_border(at) || !span.is_border(to) {
                return None;
            }
            leaves
                .extend(self.leaves.range(self.index_in(span, at)..self.index_in(span, to)).map(<[u8; 16]>::as_slice));
            at = to;
        }
        (at == next).then(|| sha256(&leaves))
    }
}

/// How far a place is behind another.
fn index(place: u32, from: u32) -> usize {
    usize::try_from(place.wrapping_sub(from)).unwrap_or(usize::MAX)
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

    #[test]
    fn frames_that_follow_each_other_are_one_span_in_whatever_order_they_came() {
        let ledger = filled(&[5, 1, 3, 2, 4, 0]);
        assert_eq!((ledger.older.len(), ledger.last.from, ledger.last.to), (0, 0, 6));
        assert_eq!(filled(&[0, 1, 3, 4]).older.len(), 1);
    }

    #[test]
    fn a_number_that_is_held_is_not_noted_again() {
        let mut ledger = filled(&[0, 1, 4]);
        for (from, to) in [(0, 1), (1, 2), (1, 3), (3, 5), (2, 6), (4, 5)] {
            ledger.note(from, to, leaf(b"other"));
        }
        assert_eq!((ledger.len(), ledger.leaf_of(1)), (3, Some(leaf(&1u32.to_be_bytes()))));
        assert_eq!(ledger.leaf_of(4), Some(leaf(&4u32.to_be_bytes())));
    }

    /// Frames of a publisher, one behind the other, by how many readings each has; and in which order which of them come.
    fn frames() -> impl proptest::strategy::Strategy<Value = Vec<(u32, u32)>> {
        use proptest::prelude::*;
        let widths = proptest::collection::vec(prop_oneof![4 => Just(1u32), 1 => 2u32..4], 0..60);
        let cut = |widths: Vec<u32>| {
            let ends = widths.into_iter().scan(0, |end, width| {
                *end += width;
                Some((*end - width, *end))
            });
            ends.collect::<Vec<_>>()
        };
        widths.prop_map(cut).prop_flat_map(|frames| {
            let shuffled = Just(frames.clone()).prop_shuffle();
            prop_oneof![Just(frames), shuffled]
        })
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(
            frames in frames(),
            left_out in proptest::collection::vec(0usize..60, 0..4),
            forgotten in proptest::collection::vec((0usize..60, 0u32..120), 0..3),
            asked in proptest::collection::vec((0u32..120, 0u32..120), 40),
        ) {
            let mut ledger = Ledger::default();
            let mut plain = std::collections::BTreeMap::new();
            for (n, &(from, to)) in frames.iter().enumerate() {
                for &(_, below) in forgotten.iter().filter(|(at, _)| *at == n) {
                    ledger.forget_below(below);
                    plain.retain(|_, &mut (to, _)| to > below);
                }
                if !left_out.contains(&n) {
                    ledger.note(from, to, leaf(&from.to_be_bytes()));
                    plain.insert(from, (to, leaf(&from.to_be_bytes())));
                }
            }
            proptest::prop_assert_eq!(ledger.len(), plain.len());
            for (from, next) in asked {
                let line = plain.range(..=from).next_back().filter(|(_, (to, _))| *to > from);
                proptest::prop_assert_eq!(ledger.leaf_of(from), line.map(|(_, &(_, leaf))| leaf));
                let (mut at, mut leaves) = (from, Vec::new());
                while let Some((to, leaf)) = plain.get(&at).filter(|_| at < next) {
                    leaves.extend_from_slice(leaf);
                    at = *to;
                }
                let wanted = (at == next).then(|| sha256(&[&leaves]));
                proptest::prop_assert_eq!(ledger.digest(from, next), wanted);
            }
        }
    }
}
