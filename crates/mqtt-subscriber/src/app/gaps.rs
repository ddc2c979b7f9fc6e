//! Which readings are missing still, for the summary at the end.

use std::collections::BTreeMap;

use securemqtt_core::identity::PeerId;
use securemqtt_core::ranges::RangeSet;
use securemqtt_core::subscriber::Span;

/// Topics that are kept apart; a broker that loses everything must not fill the memory.
const MAX_TOPICS: usize = 1024;
/// Ranges that are named of one topic.
const MAX_NAMED: usize = 8;

/// The ranges reported missing.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    topics: BTreeMap<(PeerId, [u8; 5], String), Gap>,
}

/// What was reported missing of one topic of a run, and is.
#[derive(Debug, Default)]
struct Gap {
    missing: RangeSet,
    /// Those of them that will not come any more.
    lost: RangeSet,
}

impl Gaps {
    pub(super) fn missing(&mut self, span: &Span) {
        if self.topics.len() < MAX_TOPICS || self.topics.contains_key(&key(span)) {
            self.topics.entry(key(span)).or_default().missing.insert(span.from, span.to);
        }
    }

    pub(super) fn late(&mut self, span: &Span) {
        if let Some(gap) = self.topics.get_mut(&key(span)) {
            gap.missing.remove(span.from, span.to);
            gap.lost.remove(span.from, span.to);
        }
    }

    pub(super) fn lost(&mut self, span: &Span) {
        if let Some(gap) = self.topics.get_mut(&key(span)) {
            gap.lost.insert(span.from, span.to);
        }
    }

    /// Publisher, topic and the numbers that are missing still: `3..7, 9..9 (lost: 9..9)`.
    pub(super) fn open(&self) -> Vec<(PeerId, String, String)> {
        let lines = self.topics.iter().filter(|(_, gap)| !gap.missing.is_empty());
        lines.map(|((id, _, topic), gap)| (*id, topic.clone(), gap.name())).collect()
    }
}

fn key(span: &Span) -> (PeerId, [u8; 5], String) {
    (span.publisher, span.run, span.topic.clone())
}

impl Gap {
    fn name(&self) -> String {
        let missing = name(self.missing.ranges());
        match self.lost.ranges() {
            [] => missing,
            lost if lost == self.missing.ranges() => format!("{missing} (lost)"),
            lost => format!("{missing} (lost: {})", name(lost)),
        }
    }
}

fn name(ranges: &[(u32, u32)]) -> String {
    let mut named: Vec<String> =
        ranges.iter().take(MAX_NAMED).map(|(from, to)| format!("{from}..{}", to.saturating_sub(1))).collect();
    if ranges.len() > MAX_NAMED {
        named.push(format!("and {} more ranges", ranges.len() - MAX_NAMED));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u32, to: u32) -> Span {
        Span { publisher: PeerId::from_bytes([1; 16]), topic: "t".to_owned(), run: [2; 5], from, to }
    }

    #[test]
    fn what_came_late_is_missing_no_more() {
        let mut gaps = Gaps::default();
        gaps.missing(&span(3, 10));
        gaps.missing(&span(20, 21));
        gaps.late(&span(4, 6));
        gaps.late(&span(9, 10));
        assert_eq!(gaps.open(), [(PeerId::from_bytes([1; 16]), "t".to_owned(), "3..3, 6..8, 20..20".to_owned())]);
        gaps.late(&span(3, 4));
        gaps.late(&span(6, 9));
        gaps.late(&span(20, 21));
        assert!(gaps.open().is_empty());
    }

    #[test]
    fn what_is_lost_is_named_as_such() {
        let mut gaps = Gaps::default();
        let shown = |gaps: &Gaps| gaps.open()[0].2.clone();
        gaps.missing(&span(3, 10));
        gaps.lost(&span(3, 6));
        assert_eq!(shown(&gaps), "3..9 (lost: 3..5)");
        gaps.late(&span(5, 6));
        assert_eq!(shown(&gaps), "3..4, 6..9 (lost: 3..4)");
        gaps.lost(&span(6, 10));
        assert_eq!(shown(&gaps), "3..4, 6..9 (lost)");
    }

    #[test]
    fn many_ranges_are_counted_and_not_all_named() {
        let mut gaps = Gaps::default();
        (0..20).for_each(|n| gaps.missing(&span(2 * n, 2 * n + 1)));
        let open = gaps.open();
        assert!(open[0].2.starts_with("0..0, 2..2,") && open[0].2.ends_with("and 12 more ranges"), "{open:?}");
    }
}
