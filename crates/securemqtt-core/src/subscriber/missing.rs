//! What is missing of a topic of a run: what was not told yet, what is wanted again, and what is given up.

use super::topics::{Range, Told, TopicState};
use crate::wire::{TopicHash, TopicReport};

impl TopicState {
    /// The missing numbers in `from..to` of which nothing was told.
    pub(super) fn untold(&self, from: u32, to: u32) -> Vec<Range> {
        let missing = self.window.missing(from, to, usize::MAX).into_iter();
        let unreported = missing.flat_map(|(from, to)| self.reported.missing(from, to, usize::MAX));
        unreported.flat_map(|(from, to)| self.lost.missing(from, to, usize::MAX)).collect()
    }

    /// Whether something is missing below `to` of which nothing was told.
    pub(super) fn has_untold(&self, to: u32) -> bool {
        let from = self.baseline.min(to);
        !self.window.contains(from, to) && !self.untold(from, to).is_empty()
    }

    /// The numbers below `to` that are told as missing from now on, at most `limit` ranges. The gap stays open when
    /// there are more.
    pub(super) fn newly_missing(&mut self, to: u32, limit: usize) -> Vec<Range> {
        let mut fresh = self.untold(self.baseline, to);
        if fresh.len() <= limit {
            self.gap = None;
        }
        fresh.truncate(limit);
        for &(from, to) in &fresh {
            self.reported.insert(from, to);
        }
        fresh
    }

    /// Gives up what the publisher can no longer send again, of what was told as missing.
    pub(super) fn lose(&mut self) -> Vec<Range> {
        let gone = self.reported.overlap(0, self.first_kept);
        for &(from, to) in &gone {
            self.reported.remove(from, to);
            self.lost.insert(from, to);
        }
        gone
    }

    /// Numbers that did not come and will not be accepted any more.
    pub(super) fn give_up(&mut self, from: u32, to: u32, told: &mut Told) {
        let unreported = self.reported.missing(from, to, usize::MAX).into_iter();
        told.missing.extend(unreported.flat_map(|(from, to)| self.lost.missing(from, to, usize::MAX)));
        told.lost.extend(self.lost.missing(from, to, usize::MAX));
        self.reported.remove(from, to);
        self.lost.remove(from, to);
    }

    /// Gives up everything that has not come: the topic is about to be forgotten.
    pub(super) fn give_up_all(&mut self) -> Told {
        let mut told = Told::default();
        for (from, to) in self.window.missing(self.baseline, self.announced, usize::MAX) {
            self.give_up(from, to, &mut told);
        }
        told
    }

    /// What is wanted again.
    fn wanted_again(&self) -> impl Iterator<Item = Range> {
        // A set of too many ranges has closed some: what is in the window is wanted by nobody.
        self.reported.ranges().iter().flat_map(|&(from, to)| self.window.missing(from, to, usize::MAX))
    }

    /// Whether nothing is wanted again.
    pub(super) fn is_settled(&self) -> bool {
        self.wanted_again().next().is_none()
    }

    /// Whether nothing is missing that was not given up.
    pub(super) fn is_complete(&self) -> bool {
        !self.has_untold(self.announced) && self.is_settled()
    }

    /// What a report says of it: `next`, and below it what is wanted again, at most `limit` numbers.
    ///
    /// A number that is missing and may only be late is not asked for: `next` stays below it.
    pub(super) fn report(&self, run: [u8; 5], topic: TopicHash, limit: u32) -> TopicReport {
        let untold = self.untold(self.baseline, self.announced).first().map(|(from, _)| *from);
        let mut report = TopicReport { run, topic, next: untold.unwrap_or(self.announced), missing: Vec::new() };
        let mut left = limit;
        for (from, to) in self.wanted_again().take_while(|(from, _)| untold.is_none_or(|untold| *from < untold)) {
            let upto = to.min(from.saturating_add(left));
            if from < upto {
                report.missing.push((from, upto));
            }
            if upto < to {
                report.next = upto;
                break;
            }
            left -= upto - from;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::super::topics::tests::{mark, topic};
    use super::*;

    #[test]
    fn each_number_is_told_once_and_found_again() {
        let mut state = topic(&[(0, 3), (5, 6), (9, 10)], 12);
        assert!(state.has_untold(12) && !state.is_complete());
        assert_eq!(state.newly_missing(12, 2), [(3, 5), (6, 9)], "no more than so many at a time");
        assert!(state.has_untold(12));
        assert_eq!(state.newly_missing(12, 2), [(10, 12)]);
        assert!(!state.has_untold(12) && !state.is_complete());
        state.first_kept = 7;
        assert_eq!(state.lose(), [(3, 5), (6, 7)]);
        assert_eq!(state.lose(), []);
        assert!(!state.is_complete(), "some of it is wanted again");
        let told = mark(&mut state, 4, 5);
        assert_eq!((told.missing, told.late, told.found), (vec![], vec![(4, 5)], 1));
        let told = mark(&mut state, 6, 8);
        assert_eq!((told.missing, told.late, told.found), (vec![], vec![(6, 8)], 1));
        let told = state.give_up_all();
        assert_eq!((told.missing, told.lost), (vec![], vec![(8, 9), (10, 12)]), "what was lost is not lost again");
        assert!(mark(&mut topic(&[(0, 3)], 12), 3, 4).is_empty());
    }

    #[test]
    fn a_report_lists_what_is_wanted_below_its_next() {
        let mut state = topic(&[(0, 3), (5, 6), (9, 10)], 12);
        let report = |state: &TopicState, limit| {
            let report = state.report([1; 5], [2; 8], limit);
            (report.next, report.missing)
        };
        assert_eq!(report(&state, 100), (3, vec![]), "what may only be late is not asked for");
        state.newly_missing(9, 9);
        assert_eq!(report(&state, 100), (10, vec![(3, 5), (6, 9)]));
        state.newly_missing(12, 9);
        assert_eq!(report(&state, 100), (12, vec![(3, 5), (6, 9), (10, 12)]));
        assert_eq!(report(&state, 5), (10, vec![(3, 5), (6, 9)]), "no more than so many numbers");
        assert_eq!(report(&state, 3), (7, vec![(3, 5), (6, 7)]));
        assert_eq!(report(&state, 0), (3, vec![]));
        state.first_kept = 8;
        state.lose();
        assert_eq!(report(&state, 100), (12, vec![(8, 9), (10, 12)]), "what is lost is not wanted any more");
    }
}
