//! From one schema to the next, when a database is opened. A kill at any point leaves what the next start goes on from.
//!
//! 1 → 2: a subscriber's counter was a file of its own, `counter`: 20 decimal digits and a line feed, the mark below which
//! every number may have been used. It becomes the record of [`Table::Counter`], `version 1 | counter 8`, in the
//! transaction that sets the schema. The file goes after that.
//!
//! 2 → 5, 3 → 5: windows are in the log ([`super::log`]) and nowhere else. Schema 2 had them among the records; schema 3 there,
//! too, with a log of those that counted more. Their bytes stay as they are.
//!
//! 4 → 5: what is said of a window may have a place instead of its key. An entry of schema 4 says the same in 5: the first of the
//! four bytes of its key's length is 0, which is no place. What comes after, a program of schema 4 would misread, so it refuses it.
//!
//! Records have versions of their own, which the engines read. Sealed records are bound to the schema that made their form
//! (`seal.rs`): a later step that changes it opens them with the old one and seals them with the new.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableTable as _};
use securemqtt_core::packed::Packed;
use securemqtt_core::record::Table;

use super::super::atomic;
use super::StateError;
use super::file::guarded;
use super::log;
use super::tables::{META, RECORDS, SCHEMA, meta};

/// The schema with the counter in a file.
pub(super) const WITH_COUNTER_FILE: u8 = 1;
/// The schema without a log, and that with windows in both places.
const WITHOUT_LOG: u8 = 2;
const WINDOWS_IN_PLACES: u8 = 3;
/// The schema whose log has a key in every change.
const KEYS_ONLY: u8 = 4;
/// 20 decimal digits and a line feed: a shorter file was cut.
const COUNTER_LENGTH: usize = 21;
const RECORD_VERSION: u8 = 1;

/// The schema that a new database begins with: there may be a counter without one.
pub(super) fn first_schema(path: &Path) -> u8 {
    if counter_file(path).exists() { WITH_COUNTER_FILE } else { SCHEMA }
}

/// Brings a database to our schema.
pub(super) fn to_ours(database: &Database, path: &Path) -> Result<(), StateError> {
    let schema = guarded(|| meta(database, "schema")).map_err(|trouble| trouble.of(path))?;
    match schema.as_deref() {
        Some([WITH_COUNTER_FILE]) => {
            take_counter(database, path)?;
            gather_windows(database, path)?;
        }
        Some([WITHOUT_LOG | WINDOWS_IN_PLACES | KEYS_ONLY]) => gather_windows(database, path)?,
        Some([SCHEMA]) => {}
        other => return Err(StateError::Database { path: path.to_owned(), why: refusal(other) }),
    }
    remove_counter(path)
}

fn refusal(schema: Option<&[u8]>) -> String {
    match schema {
        Some([later]) if *later > SCHEMA => {
            format!("it was written by a later version (schema {later}, ours is {SCHEMA}); use that one")
        }
        _ => "it has no schema version".to_owned(),
    }
}

fn take_counter(database: &Database, path: &Path) -> Result<(), StateError> {
    let mark = read_counter(&counter_file(path))?;
    let stored = guarded(|| {
        let transaction = database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let place = [Table::Counter as u8];
            let before = records.get(place.as_slice())?.and_then(|value| parse_record(value.value()));
            // It never goes back.
            if let Some(counter) = mark.filter(|mark| before.is_none_or(|before| before < *mark)) {
                let value = [&[RECORD_VERSION], &counter.to_be_bytes()[..]].concat();
                records.insert(place.as_slice(), value.as_slice())?;
            }
            transaction.open_table(META)?.insert("schema", [WITHOUT_LOG].as_slice())?;
        }
        Ok(transaction.commit()?)
    });
    stored.map_err(|trouble| trouble.of(path))
}

fn gather_windows(database: &Database, path: &Path) -> Result<(), StateError> {
    let gathered = guarded(|| {
        let transaction = database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut in_places = Packed::default();
            for record in records.iter()? {
                let (key, value) = record?;
                if is_window(key.value()) {
                    in_places.push(0, &[key.value()], Some(value.value()));
                }
            }
            records.retain(|key, _| !is_window(key))?;
            // An entry counts more than what was in a place.
            log::write_anew(&transaction, in_places.bytes(), &[])?;
            transaction.open_table(META)?.insert("schema", [SCHEMA].as_slice())?;
        }
        Ok(transaction.commit()?)
    });
    gathered.map_err(|trouble| trouble.of(path))
}

fn is_window(key: &[u8]) -> bool {
    key.first() == Some(&(Table::Topic as u8))
}

fn parse_record(value: &[u8]) -> Option<u64> {
    let counter = value.strip_prefix(&[RECORD_VERSION])?;
    Some(u64::from_be_bytes(counter.try_into().ok()?))
}

/// The mark; none if there is no such file.
fn read_counter(path: &Path) -> Result<Option<u64>, StateError> {
    match fs::read(path) {
        Ok(bytes) => parse(&bytes).map(Some).ok_or_else(|| StateError::Counter(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Read { path: path.to_owned(), source }),
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_suffix(b"\n").filter(|_| bytes.len() == COUNTER_LENGTH)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn remove_counter(path: &Path) -> Result<(), StateError> {
    let counter = counter_file(path);
    match fs::remove_file(&counter) {
        Ok(()) => counter.parent().map_or(Ok(()), atomic::sync_directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|source| StateError::Write { path: counter, source })
}

fn counter_file(path: &Path) -> PathBuf {
    path.with_file_name("counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_counter_is_not_guessed() {
        for damaged in ["", "12\n", "0000000000000000012", "+0000000000000000012\n", "99999999999999999999\n"] {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
        assert_eq!(parse(b"00000000000000001024\n"), Some(1024));
        assert_eq!(parse(format!("{:020}\n", u64::MAX).as_bytes()), Some(u64::MAX));
    }
}
