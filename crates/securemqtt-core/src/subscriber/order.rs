//! The open runs of a publisher, in the order in which they were begun. Mostly it is one.

/// Numbers of runs by their place in the order: a later run has a greater one. The places need not be without gaps.
#[derive(Debug, Default)]
pub(super) struct OpenRuns {
    sorted: Vec<(u64, [u8; 5])>,
}

impl OpenRuns {
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The places, the earliest first.
    pub(super) fn places(&self) -> impl Iterator<Item = u64> {
        self.sorted.iter().map(|(place, _)| *place)
    }

    /// The numbers of the runs, the earliest first.
    pub(super) fn numbers(&self) -> impl DoubleEndedIterator<Item = [u8; 5]> {
        self.sorted.iter().map(|(_, number)| *number)
    }

    /// The numbers of the runs from a place on.
    pub(super) fn numbers_from(&self, place: u64) -> impl Iterator<Item = [u8; 5]> {
        self.sorted[self.find(place).unwrap_or_else(|at| at)..].iter().map(|(_, number)| *number)
    }

    pub(super) fn at(&self, place: u64) -> Option<[u8; 5]> {
        self.find(place).ok().map(|at| self.sorted[at].1)
    }

    /// A place behind all.
    pub(super) fn next_place(&self) -> u64 {
        self.sorted.last().map_or(0, |(last, _)| last + 1)
    }

    /// Puts a run at a place that is free.
    pub(super) fn insert(&mut self, place: u64, number: [u8; 5]) {
        let at = self.find(place).unwrap_or_else(|at| at);
        if self.sorted.is_empty() {
            self.sorted.reserve_exact(1);
        }
        self.sorted.insert(at, (place, number));
    }

    pub(super) fn remove(&mut self, place: u64) -> Option<[u8; 5]> {
        let at = self.find(place).ok()?;
        Some(self.sorted.remove(at).1)
    }

    /// Frees a place: the run there and those behind move one further, and are returned with their new places.
    pub(super) fn make_place(&mut self, place: u64) -> Vec<(u64, [u8; 5])> {
        let from = self.find(place).unwrap_or_else(|at| at);
        self.sorted[from..].iter_mut().for_each(|(place, _)| *place += 1);
        self.sorted[from..].to_vec()
    }

    fn find(&self, place: u64) -> Result<usize, usize> {
        self.sorted.binary_search_by_key(&place, |(place, _)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stand_in_their_order_wherever_they_are_put() {
        let mut runs = OpenRuns::default();
        assert_eq!(runs.next_place(), 0);
        for place in [7, 3, 9] {
            runs.insert(place, [u8::try_from(place).unwrap_or(0); 5]);
        }
        assert_eq!(runs.places().collect::<Vec<_>>(), [3, 7, 9]);
        assert_eq!(runs.numbers().rev().collect::<Vec<_>>(), [[9; 5], [7; 5], [3; 5]]);
        assert_eq!(runs.make_place(7), [(8, [7; 5]), (10, [9; 5])]);
        runs.insert(7, [1; 5]);
        assert_eq!((runs.at(7), runs.at(8), runs.at(9)), (Some([1; 5]), Some([7; 5]), None));
        assert_eq!(runs.numbers_from(8).collect::<Vec<_>>(), [[7; 5], [9; 5]]);
        assert_eq!(runs.numbers_from(9).collect::<Vec<_>>(), [[9; 5]]);
        assert_eq!((runs.remove(8), runs.remove(8)), (Some([7; 5]), None));
        assert_eq!((runs.len(), runs.next_place()), (3, 11));
    }
}
