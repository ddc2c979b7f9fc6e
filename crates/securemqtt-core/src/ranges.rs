//! A set of sequence numbers as sorted ranges: the replay window of one topic of one run.
//!
//! It is exact: a number is in it or not, however late and in whatever order it comes. Its size is bounded by
//! closing the oldest gap when there are too many.

/// Gaps that a window remembers.
pub const MAX_RANGES: usize = 512;

/// A sorted set of disjoint half-open ranges of sequence numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<(u32, u32)>,
}

impl RangeSet {
    /// The set `0..end`.
    pub fn up_to(end: u32) -> Self {
        Self { ranges: if end == 0 { Vec::new() } else { vec![(0, end)] } }
    }

    /// The numbers of some ranges.
    pub fn of(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut set = Self::default();
        for (from, to) in ranges {
            set.insert(from, to);
        }
        set
    }

    /// Whether any number of `from..to` is in the set.
    #[inline]
    pub fn intersects(&self, from: u32, to: u32) -> bool {
        // The common case: what comes in order is above all.
        self.end() > from && self.intersects_below(from, to)
    }

    fn intersects_below(&self, from: u32, to: u32) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end <= from);
        self.ranges.get(at).is_some_and(|&(start, _)| start < to)
    }

    /// Whether every number of `from..to` is in the set.
    pub fn contains(&self, from: u32, to: u32) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end <= from);
        from >= to || self.ranges.get(at).is_some_and(|&(start, end)| start <= from && to <= end)
    }

    /// One past the highest number, to be moved on, where that is `from`.
    #[inline]
    pub(crate) fn end_at(&mut self, from: u32) -> Option<&mut u32> {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == from => Some(end),
            _ => None,
        }
    }

    /// Adds `from..to` where the set ends at `from`. False, and nothing is added, where it does not.
    #[inline]
    pub fn extend(&mut self, from: u32, to: u32) -> bool {
        match self.end_at(from) {
            Some(end) if from < to => {
                *end = to;
                true
            }
            _ => false,
        }
    }

    /// Adds `from..to`. Returns the gap that had to be closed for it, if any: those numbers count as seen from now on.
    pub fn insert(&mut self, from: u32, to: u32) -> Option<(u32, u32)> {
        if from >= to {
            return None;
        }
        let first = self.ranges.partition_point(|&(_, end)| end < from);
        let behind = self.ranges.partition_point(|&(start, _)| start <= to);
        let merged =
            self.ranges[first..behind].iter().fold((from, to), |(a, b), &(start, end)| (a.min(start), b.max(end)));
        self.ranges.splice(first..behind, [merged]);
        if self.ranges.len() <= MAX_RANGES {
            return None;
        }
        let (start, gap_from) = self.ranges.remove(0);
        let gap_to = self.ranges[0].0;
        self.ranges[0].0 = start;
        Some((gap_from, gap_to))
    }

    /// Takes `from..to` out.
    pub fn remove(&mut self, from: u32, to: u32) {
        let first = self.ranges.partition_point(|&(_, end)| end <= from);
        let behind = self.ranges.partition_point(|&(start, _)| start < to);
        if from >= to || first >= behind {
            return;
        }
        let (start, end) = (self.ranges[first].0, self.ranges[behind - 1].1);
        let left = (start < from).then_some((start, from));
        let right = (to < end).then_some((to, end));
        self.ranges.splice(first..behind, left.into_iter().chain(right));
    }

    /// The parts of `from..to` that are in the set.
    pub fn overlap(&self, from: u32, to: u32) -> Vec<(u32, u32)> {
        let first = self.ranges.partition_point(|&(_, end)| end <= from);
        let of = self.ranges[first..].iter().take_while(|&&(start, _)| start < to);
        of.map(|&(start, end)| (start.max(from), end.min(to))).filter(|(start, end)| start < end).collect()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges of `from..to` that are missing, at most `limit` of them.
    pub fn missing(&self, from: u32, to: u32, limit: usize) -> Vec<(u32, u32)> {
        let mut missing = Vec::new();
        let mut at = from;
        for &(start, end) in &self.ranges {
            if start >= to || missing.len() == limit {
                break;
            }
            if at < start {
                missing.push((at, start));
            }
            at = at.max(end);
        }
        if at < to && missing.len() < limit {
            missing.push((at, to));
        }
        missing
    }

    /// The ranges, rising and apart.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// One past the highest number.
    #[inline]
    pub fn end(&self) -> u32 {
        self.ranges.last().map_or(0, |&(_, end)| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_exactly_once_in_any_order() {
        let mut set = RangeSet::default();
        for seq in [5, 3, 4, 0, 9, 1, 2, 7] {
            assert!(!set.intersects(seq, seq + 1));
            set.insert(seq, seq + 1);
            assert!(set.intersects(seq, seq + 1));
        }
        assert_eq!(set.missing(0, 12, 9), [(6, 7), (8, 9), (10, 12)]);
        assert_eq!(set.missing(0, 12, 1), [(6, 7)]);
        assert_eq!(set.end(), 10);
        assert!(set.contains(0, 6) && !set.contains(0, 7));
    }

    #[test]
    fn too_many_gaps_close_the_oldest() {
        let mut set = RangeSet::default();
        let mut closed = Vec::new();
        for n in 0..u32::try_from(MAX_RANGES).unwrap_or(0) + 3 {
            closed.extend(set.insert(2 * n, 2 * n + 1));
        }
        assert_eq!(closed, [(1, 2), (3, 4), (5, 6)]);
        assert!(set.contains(0, 7));
        assert_eq!(set.missing(0, 9, 9), [(7, 8)]);
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(
            inserts in proptest::collection::vec((0u32..200, 1u32..9), 0..80),
            removes in proptest::collection::vec((0u32..200, 0u32..9), 0..40),
        ) {
            let mut set = RangeSet::default();
            let mut plain = std::collections::BTreeSet::new();
            for (from, n) in inserts {
                let fresh = !(from..from + n).any(|seq| plain.contains(&seq));
                proptest::prop_assert_eq!(!set.intersects(from, from + n), fresh);
                set.insert(from, from + n);
                plain.extend(from..from + n);
            }
            for (from, n) in removes {
                let inside: u32 = set.overlap(from, from + n).iter().map(|(a, b)| b - a).sum();
                let expected = (from..from + n).filter(|seq| plain.contains(seq)).count();
                proptest::prop_assert_eq!(usize::try_from(inside).unwrap_or(0), expected);
                set.remove(from, from + n);
                plain.retain(|seq| !(from..from + n).contains(seq));
            }
            proptest::prop_assert_eq!(set.is_empty(), plain.is_empty());
            proptest::prop_assert!(set.ranges().windows(2).all(|pair| pair[0].1 < pair[1].0), "apart");
            let missing: Vec<u32> = set.missing(0, 220, usize::MAX).into_iter().flat_map(|(a, b)| a..b).collect();
            let expected: Vec<u32> = (0..220).filter(|seq| !plain.contains(seq)).collect();
            proptest::prop_assert_eq!(missing, expected);
        }
    }
}
