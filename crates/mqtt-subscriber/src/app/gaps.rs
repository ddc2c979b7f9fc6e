//! Which readings are missing still, for the summary at the end.

use std::collections::BTreeMap;

use securemqtt_core::identity::PeerId;
use securemqtt_core::ranges::RangeSet;
use securemqtt_core::subscriber::Span;

/// Topics that are kept apart; a broker that loses everything must not fill the memory.
const MAX_TOPICS: usize = 1024;
/// Ranges that are named of one topic.
const MAX_NAMED: usize = 8;

/// The ranges reported missing, and those of them that came after all.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    topics: BTreeMap<(PeerId, [u8; 5], String), (RangeSet, RangeSet)>,
}

impl Gaps {
    pub(super) fn missing(&mut self, span: &Span) {
        if self.topics.len() < MAX_TOPICS || self.topics.contains_key(&key(span)) {
            self.topics.entry(key(span)).or_default().0.insert(span.from, span.to);
        }
    }

    pub(super) fn late(&mut self, span: &Span) {
        if let Some((_, came)) = self.topics.get_mut(&key(span)) {
            came.insert(span.from, span.to);
        }
    }

    /// Publisher, topic and the numbers that are missing still: `3..7, 9..9`.
    pub(super) fn open(&self) -> Vec<(PeerId, String, String)> {
        let lines = self.topics.iter().filter_map(|((id, _, topic), (missing, came))| {
            let ranges = still(missing, came);
            (!ranges.is_empty()).then(|| (*id, topic.clone(), name(&ranges)))
        });
        lines.collect()
    }
}

fn key(span: &Span) -> (PeerId, [u8; 5], String) {
    (span.publisher, span.run, span.topic.clone())
}

/// What is in `missing` and not in `came`.
fn still(missing: &RangeSet, came: &RangeSet) -> Vec<(u32, u32)> {
    let mut at = 0;
    let mut ranges = Vec::new();
    // The holes of `missing` are what was received in the first place.
    for (hole_from, hole_to) in missing.missing(0, missing.end(), usize::MAX).into_iter().chain([(missing.end(), 0)]) {
        ranges.extend(came.missing(at, hole_from, usize::MAX));
        at = hole_to;
    }
    ranges
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
    fn many_ranges_are_counted_and_not_all_named() {
        let mut gaps = Gaps::default();
        (0..20).for_each(|n| gaps.missing(&span(2 * n, 2 * n + 1)));
        let open = gaps.open();
        assert!(open[0].2.starts_with("0..0, 2..2,") && open[0].2.ends_with("and 12 more ranges"), "{open:?}");
    }
}
