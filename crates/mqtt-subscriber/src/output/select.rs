//! Which readings are put out: `-T`, `-R`, `--from`.

use securemqtt_core::topic::filter_matches;

use super::Record;

/// What is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Topic filters to leave out.
    pub leave_out: Vec<String>,
    /// Whether to leave out what the broker had retained.
    pub no_retained: bool,
    /// Petnames to take from; empty means everyone.
    pub from: Vec<String>,
}

impl Selection {
    /// Whether this record is wanted.
    pub fn takes(&self, record: &Record) -> bool {
        let stale = self.no_retained && record.retain;
        let other = !self.from.is_empty() && !self.from.iter().any(|name| **name == *record.publisher);
        let out = |filter: &String| filter_matches(filter, &record.topic);
        !stale && !other && !self.leave_out.iter().any(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture::record;

    #[test]
    fn each_flag_leaves_out_its_own() {
        let record = record(b"1");
        let takes = |selection: Selection| selection.takes(&record);
        let owned = |text: &str| vec![text.to_owned()];
        let all = Selection::default;
        assert!(takes(all()));
        assert!(!takes(Selection { no_retained: true, ..all() }));
        assert!(!takes(Selection { leave_out: owned("telemetry/+"), ..all() }));
        assert!(takes(Selection { leave_out: owned("telemetry"), ..all() }));
        assert!(!takes(Selection { from: owned("meter"), ..all() }));
        assert!(takes(Selection { from: owned("publisher-3fa1"), ..all() }));
    }
}
