//! Replay windows on their way to the disk, in the form of an entry of the log.
//!
//! A subscriber with thousands of publishers has one for nearly every reading: two allocations for each, which another thread
//! gives back, and a place in a tree would cost more than to store it.
//!
//! ```text
//!  n x { key length 4 | value length 4, all ones for a removal | key | value }
//! ```
//! A key comes as often as its window was changed; the last one counts.

use std::collections::BTreeMap;

const REMOVED: u32 = u32::MAX;

/// Windows, and removals of windows. There is no secret in them.
#[derive(Default)]
pub(super) struct Windows {
    bytes: Vec<u8>,
    number: usize,
}

/// What is said of records: each once, by its key; none where it was removed.
pub(super) type Changes<'a> = BTreeMap<&'a [u8], Option<&'a [u8]>>;

impl Windows {
    /// One more; none where it is removed. The key is that of the record, which begins with its table.
    #[expect(clippy::expect_used, reason = "a topic has 64 KiB, and a window some hundred ranges, at most")]
    pub(super) fn push(&mut self, key: [&[u8]; 2], value: Option<&[u8]>) {
        let length = |bytes: usize| u32::try_from(bytes).ok().filter(|length| *length != REMOVED).expect("below 4 GiB");
        self.bytes.extend_from_slice(&length(key[0].len() + key[1].len()).to_be_bytes());
        self.bytes.extend_from_slice(&value.map_or(REMOVED, |value| length(value.len())).to_be_bytes());
        for part in key {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.number += 1;
    }

    /// How many there are, of one record perhaps several.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// As an entry of the log has them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// See [`Windows::bytes`].
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The last of each.
    pub(super) fn changes(&self) -> Result<Changes<'_>, redb::Error> {
        let mut changes = Changes::new();
        read(&self.bytes, &mut changes)?;
        Ok(changes)
    }
}

/// The last change of one record in an entry, if there is any.
pub(super) fn last<'a>(entry: &'a [u8], key: &[u8]) -> Result<Option<Change<'a>>, redb::Error> {
    let (mut rest, mut found) = (entry, None);
    while let Some(change) = next(&mut rest)? {
        if change.0 == key {
            found = Some(change);
        }
    }
    Ok(found)
}

/// Adds what an entry says to what those before it have said.
pub(super) fn read<'a>(entry: &'a [u8], changes: &mut Changes<'a>) -> Result<(), redb::Error> {
    let mut rest = entry;
    while let Some((key, value)) = next(&mut rest)? {
        changes.insert(key, value);
    }
    Ok(())
}

/// A key, and its value; none where it is removed.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The next change of an entry.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Change<'a>>, redb::Error> {
    if rest.is_empty() {
        return Ok(None);
    }
    take(rest).map(Some).ok_or_else(|| redb::Error::Corrupted("an entry of its log is cut short".to_owned()))
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<Change<'a>> {
    let (key_length, after) = rest.split_first_chunk()?;
    let (value_length, after) = after.split_first_chunk()?;
    let (key, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*key_length)).ok()?)?;
    let value_length = u32::from_be_bytes(*value_length);
    let (value, after) = match value_length {
        REMOVED => (None, after),
        length => {
            let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            (Some(value), after)
        }
    };
    *rest = after;
    Some((key, value))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::record::Table;

    use super::*;

    const TOPIC: &[u8] = &[Table::Topic as u8];

    #[test]
    fn the_last_of_each_counts_and_a_removal_is_one() {
        let mut windows = Windows::default();
        for (key, value) in
            [(b"a", Some(&b"1"[..])), (b"b", Some(b"")), (b"a", Some(b"23")), (b"c", Some(b"4")), (b"c", None)]
        {
            windows.push([TOPIC, key], value);
        }
        assert_eq!(windows.number(), 5);
        let place = |key: &[u8]| [TOPIC, key].concat();
        let (a, b, c) = (place(b"a"), place(b"b"), place(b"c"));
        let want = [(&a[..], Some(&b"23"[..])), (&b, Some(b"")), (&c, None)];
        assert_eq!(windows.changes().unwrap().into_iter().collect::<Vec<_>>(), want);
        let last = |key: &[u8]| last(windows.bytes(), key).unwrap();
        assert_eq!(last(&a), Some((&a[..], Some(&b"23"[..]))));
        assert_eq!(last(&c), Some((&c[..], None)));
        assert_eq!(last(&place(b"d")), None);
        assert_eq!(last(&[&[Table::Run as u8], &b"a"[..]].concat()), None, "another table's");
    }

    #[test]
    fn an_entry_that_is_cut_short_is_damage() {
        let mut windows = Windows::default();
        windows.push([TOPIC, b"key"], Some(b"value"));
        let whole = windows.bytes();
        for length in 1..whole.len() {
            assert!(read(&whole[..length], &mut Changes::new()).is_err(), "{length} of {} bytes", whole.len());
        }
    }
}
