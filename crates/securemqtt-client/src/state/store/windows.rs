//! Replay windows as they are stored: what an entry of the log says of them.

use std::collections::HashMap;

use securemqtt_core::packed::{PackedChange, unpack};

/// What is said of records: each once, by its key; none where it was removed.
pub(super) type Changes<'a> = HashMap<&'a [u8], Option<&'a [u8]>>;

/// The last change of each record in some entries, of which the later count.
pub(super) fn changes<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Changes<'a>, redb::Error> {
    entries.into_iter().flat_map(each).collect()
}

/// The last change of one record in an entry, if there is any.
pub(super) fn last<'a>(entry: &'a [u8], key: &[u8]) -> Result<Option<PackedChange<'a>>, redb::Error> {
    each(entry).try_fold(None, |found, change| {
        let change = change?;
        Ok(if change.0 == key { Some(change) } else { found })
    })
}

fn each(entry: &[u8]) -> impl Iterator<Item = Result<PackedChange<'_>, redb::Error>> {
    unpack(entry)
        .map(|change| change.map_err(|_| redb::Error::Corrupted("an entry of its log is cut short".to_owned())))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::packed::Packed;
    use securemqtt_core::record::Table;

    use super::*;

    const TOPIC: &[u8] = &[Table::Topic as u8];

    #[test]
    fn the_last_of_each_counts_and_a_removal_is_one() {
        let mut windows = Packed::default();
        for (key, value) in
            [(b"a", Some(&b"1"[..])), (b"b", Some(b"")), (b"a", Some(b"23")), (b"c", Some(b"4")), (b"c", None)]
        {
            windows.push(&[TOPIC, key], value);
        }
        let place = |key: &[u8]| [TOPIC, key].concat();
        let (a, b, c) = (place(b"a"), place(b"b"), place(b"c"));
        let want = [(&a[..], Some(&b"23"[..])), (&b, Some(b"")), (&c, None)];
        assert_eq!(windows.number(), 5);
        assert_eq!(changes([windows.bytes()]).unwrap(), want.into());
        let last = |key: &[u8]| last(windows.bytes(), key).unwrap();
        assert_eq!(last(&a), Some((&a[..], Some(&b"23"[..]))));
        assert_eq!(last(&c), Some((&c[..], None)));
        assert_eq!(last(&place(b"d")), None);
        assert_eq!(last(&[&[Table::Run as u8], &b"a"[..]].concat()), None, "another table's");
    }

    #[test]
    fn an_entry_that_is_cut_short_is_damage() {
        let mut windows = Packed::default();
        windows.push(&[TOPIC, b"key"], Some(b"value"));
        let whole = windows.bytes();
        for length in 1..whole.len() {
            assert!(changes([&whole[..length]]).is_err(), "{length} of {} bytes", whole.len());
        }
    }
}
