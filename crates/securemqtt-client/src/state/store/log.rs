//! The log: replay windows, an entry a transaction; of what is said of a window the last counts.
//!
//! A subscriber stores a window for nearly every reading, and with thousands of publishers each would have a page of a tree
//! nearly to itself: for its hundred bytes 4 KiB would be copied, hashed and written, or at best a dozen be gathered and
//! looked up one by one. So they are in no tree. A transaction appends its windows; and when more than half of the log is
//! overtaken, the next one writes what counts anew in its place. That comes once for as many bytes as it writes: a window
//! costs the same however many there are. What it writes has keys, and most of what comes after has none, so that it seldom comes.
//!
//! An entry is what [`Packed`] is; its keys and values are those of records, sealed where they are. In a sealed log every change
//! has its key, which is sealed with it, and no place.
//!
//! Windows only: each reading changes one, and there is no secret in it. What is overtaken stays until the log is written
//! anew, which is too long for a chain key that was stepped; and the segments of a spool are in order already.

use redb::{AccessGuard, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use securemqtt_core::packed::{Packed, PackedChange};
use securemqtt_core::record::Table;

use super::windows::Windows;

/// Entries, by the order in which they were stored.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// So much may be overtaken in a small log before it is written anew.
const SLACK: usize = 256 << 10;
/// What is written anew is cut into entries of about this size.
const ENTRY: usize = 32 << 10;

/// Whether the records of a table are in the log.
pub(super) fn takes(table: Table) -> bool {
    table == Table::Topic
}

/// How much is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The number of the next entry.
    next: u64,
    bytes: usize,
    /// Of these, what counted when it was written anew, or opened.
    counted: usize,
}

impl Extent {
    /// Of a log as it was left.
    pub(super) fn of(log: &impl ReadableTable<u64, &'static [u8]>) -> Result<Self, redb::Error> {
        let logged = Logged::read(log)?;
        Ok(Self {
            next: log.last()?.map_or(0, |(number, _)| number.value() + 1),
            bytes: logged.entries().map(<[u8]>::len).sum(),
            counted: Windows::of(logged.entries())?.iter().map(PackedChange::packed_len).sum(),
        })
    }

    #[cfg(test)]
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    fn has_room(self, entry: &[u8]) -> bool {
        self.bytes + entry.len() <= 2 * self.counted + SLACK
    }

    fn put(self, log: &mut redb::Table<'_, u64, &[u8]>, entry: &[u8]) -> Result<Self, redb::Error> {
        log.insert(self.next, entry)?;
        Ok(Self { next: self.next + 1, bytes: self.bytes + entry.len(), ..self })
    }
}

/// The entries of a log, in order.
struct Logged<'a>(Vec<AccessGuard<'a, &'static [u8]>>);

impl<'a> Logged<'a> {
    fn read(log: &'a impl ReadableTable<u64, &'static [u8]>) -> Result<Self, redb::Error> {
        let entries = log.iter()?.map(|entry| Ok(entry?.1));
        Ok(Self(entries.collect::<Result<_, redb::Error>>()?))
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AccessGuard::value)
    }
}

/// Adds an entry to a log, which is written anew when that is due.
pub(super) fn append(transaction: &WriteTransaction, extent: Extent, entry: &[u8]) -> Result<Extent, redb::Error> {
    if extent.has_room(entry) {
        return extent.put(&mut transaction.open_table(LOG)?, entry);
    }
    write_anew(transaction, &[], entry)
}

/// Writes what counts anew, with an entry that is older than all that is there, and one that is newer.
pub(super) fn write_anew(transaction: &WriteTransaction, older: &[u8], newer: &[u8]) -> Result<Extent, redb::Error> {
    let log = transaction.open_table(LOG)?;
    let logged = Logged::read(&log)?;
    let entries = cut(&Windows::of([older].into_iter().chain(logged.entries()).chain([newer]))?);
    drop(logged);
    drop(log);
    transaction.delete_table(LOG)?;
    let mut log = transaction.open_table(LOG)?;
    let extent = entries.iter().try_fold(Extent::default(), |extent, entry| extent.put(&mut log, entry.bytes()))?;
    Ok(Extent { counted: extent.bytes, ..extent })
}

/// Windows as entries.
fn cut(windows: &Windows<'_>) -> Vec<Packed> {
    let mut entries = Vec::new();
    let mut entry = Packed::default();
    for PackedChange { place, key, value } in windows.iter() {
        entry.push(*place, &[key], *value);
        if entry.bytes().len() >= ENTRY {
            entries.push(std::mem::take(&mut entry));
        }
    }
    if entry.number() > 0 {
        entries.push(entry);
    }
    entries
}

/// Every window that there is.
pub(super) fn visit(
    transaction: &ReadTransaction,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let log = transaction.open_table(LOG)?;
    let logged = Logged::read(&log)?;
    let windows = Windows::of(logged.entries())?;
    windows.iter().try_for_each(|window| window.value.map_or(Ok(()), |value| each(window.key, value)))
}
