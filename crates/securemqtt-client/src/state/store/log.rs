//! The log: replay windows on their way to their places.
//!
//! A subscriber with thousands of publishers stores a replay window for nearly every reading, and each has a page of the
//! tree nearly to itself: for its hundred bytes 4 KiB are copied, hashed and written. So a transaction with scattered windows
//! appends them to a table of its own, as one entry. When the log is full the next transaction puts the last of each into
//! its place, in the order of their places, so that a page is written once for a dozen of them, and empties the log.
//!
//! An entry is what [`Packed`] is; its keys and values are those of the records, sealed where they are. A later entry counts,
//! and any entry counts more than the record in its place: whoever puts a window there directly empties the log with it.
//!
//! Windows only: each reading changes one, and there is no secret in it. An entry stays until the log is emptied, which is
//! too long for a chain key that was stepped; and the segments of a spool are in order already.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use securemqtt_core::packed::Packed;
use securemqtt_core::record::Table;

use super::tables::RECORDS;
use super::windows::{Changes, changes, last};

/// Entries, by the order in which they were stored.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// A full log: about five thousand windows, a dozen for each page of ten thousand topics.
const FULL_BYTES: usize = 512 << 10;
/// So few windows are put into their places at once, where the log is empty.
const FEW: usize = 4;
/// As are those that are dense: one of so many records. A page has about thirty, so that each page is written for some.
const DENSE: u64 = 8;

/// Whether records of a table may be in the log.
pub(super) fn takes(table: Table) -> bool {
    table == Table::Topic
}

/// How much is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The number of the next entry.
    next: u64,
    bytes: usize,
}

impl Extent {
    /// Of a log as it was left.
    pub(super) fn of(log: &impl ReadableTable<u64, &'static [u8]>) -> Result<Self, redb::Error> {
        log.iter()?.try_fold(Self::default(), |extent, entry| {
            let (number, entry) = entry?;
            Ok(Self { next: number.value() + 1, bytes: extent.bytes + entry.value().len() })
        })
    }

    pub(super) fn is_empty(self) -> bool {
        self.next == 0
    }

    #[cfg(test)]
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// Whether these windows, in a table of so many records, are better logged than put into their places.
    pub(super) fn suits(self, windows: &Packed, records: u64) -> bool {
        let number = windows.number();
        let few = self.is_empty() && number <= FEW;
        let dense = records <= DENSE.saturating_mul(u64::try_from(number).unwrap_or(u64::MAX));
        number > 0 && !few && !dense
    }

    pub(super) fn has_room(self, windows: &Packed) -> bool {
        self.bytes + windows.bytes().len() <= FULL_BYTES
    }

    /// With one entry more.
    pub(super) fn append(self, log: &mut redb::Table<'_, u64, &[u8]>, entry: &[u8]) -> Result<Self, redb::Error> {
        log.insert(self.next, entry)?;
        Ok(Self { next: self.next + 1, bytes: self.bytes + entry.len() })
    }
}

/// The entries of a log, in order.
struct Logged(Vec<Vec<u8>>);

impl Logged {
    fn read(log: &impl ReadableTable<u64, &'static [u8]>) -> Result<Self, redb::Error> {
        let entries = log.iter()?.map(|entry| Ok(entry?.1.value().to_vec()));
        Ok(Self(entries.collect::<Result<_, redb::Error>>()?))
    }

    fn changes(&self) -> Result<Changes<'_>, redb::Error> {
        changes(self.0.iter().map(Vec::as_slice))
    }
}

/// The bytes of one record as it counts; none where there is none.
pub(super) fn get(transaction: &ReadTransaction, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
    if takes(table) {
        for entry in transaction.open_table(LOG)?.iter()?.rev() {
            let (_, entry) = entry?;
            if let Some((_, value)) = last(entry.value(), key)? {
                return Ok(value.map(<[u8]>::to_vec));
            }
        }
    }
    let stored = transaction.open_table(RECORDS)?.get(key)?;
    Ok(stored.map(|stored| stored.value().to_vec()))
}

/// Every record as it counts: those in their places that the log says nothing of, then those in the log.
pub(super) fn visit(
    transaction: &ReadTransaction,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let logged = Logged::read(&transaction.open_table(LOG)?)?;
    let changes = logged.changes()?;
    for record in transaction.open_table(RECORDS)?.iter()? {
        let (key, value) = record?;
        if !changes.contains_key(key.value()) {
            each(key.value(), value.value())?;
        }
    }
    let mut put = changes.into_iter().filter_map(|(key, value)| Some((key, value?)));
    put.try_for_each(|(key, value)| each(key, value))
}

/// Puts everything into its place, and empties the log.
pub(super) fn fold(
    transaction: &WriteTransaction,
    records: &mut redb::Table<'_, &[u8], &[u8]>,
) -> Result<(), redb::Error> {
    let logged = Logged::read(&transaction.open_table(LOG)?)?;
    for (key, value) in logged.changes()? {
        place(records, key, value)?;
    }
    transaction.delete_table(LOG)?;
    transaction.open_table(LOG)?;
    Ok(())
}

/// Puts a record into its place, or removes it.
pub(super) fn place(
    records: &mut redb::Table<'_, &[u8], &[u8]>,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), redb::Error> {
    match value {
        Some(value) => drop(records.insert(key, value)?),
        None => drop(records.remove(key)?),
    }
    Ok(())
}
