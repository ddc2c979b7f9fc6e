//! Sealed at rest: with a [`StateKey`] the bytes of every record are AES-128-GCM, each under a key of its own.
//!
//! ```text
//!  stored = salt 16 | ciphertext | tag 16
//!  key ‖ iv = Expand(state key, "record" ‖ salt, 28), sequence number 0, AAD = table 1 ‖ key of the record ‖ form 1
//! ```
//! The form is the number of the schema that gave the bytes of records their meaning. The salt is drawn anew whenever a record
//! is stored, so that no key seals twice, whatever was restored or copied. A window in the log is sealed as a record is.
//!
//! In the clear stay the keys of records (ids, run numbers, topics: all of them cross the broker in the clear, too), the
//! output file's place, and the segments of a publisher's spool: they are the frames as they were sent, which is
//! ciphertext already. `identity.pem` is no record. Sealing keeps secrets from whoever copies the file; it does not keep an
//! older file from being put in its place.
//!
//! `meta` has a check value, a record of no bytes, so that a missing or another key is told from damage. A file that is not
//! sealed yet is written anew as a whole beside its place, sealed, and moved there: no page of the old one is in it. What
//! the old one held the file system may still have: in free blocks, a journal, a snapshot, the spare blocks of a flash
//! disk, a backup. Whoever must be sure begins with a new state directory.

use std::io;
use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use securemqtt_core::kdf;
use securemqtt_core::packed::Packed;
use securemqtt_core::primitives::TAG_LEN;
use securemqtt_core::record::Table;
use zeroize::Zeroizing;

use super::file::{self, guarded};
use super::log;
use super::queue::Value;
use super::tables::{META, RECORDS, meta};
use super::{StateError, StateKey};

/// Where `meta` has the check value.
pub(super) const CHECK: &str = "sealed";
/// Stands for a record's key in the check value: there is no table 0.
const CHECK_KEY: &[u8] = b"\0check";
const SALT_LEN: usize = 16;
/// Later schemas changed nothing in the records.
const FORM: u8 = 2;

/// Whether a record's bytes are sealed; its key begins with the number of its table.
pub(super) fn applies_to(key: &[u8]) -> bool {
    key.first() != Some(&(Table::Segment as u8))
}

/// The bytes to store.
pub(super) fn seal(with: &StateKey, key: &[u8], value: &[u8]) -> io::Result<Vec<u8>> {
    let mut salt = [0; SALT_LEN];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    let mut stored = Vec::with_capacity(SALT_LEN + value.len() + TAG_LEN);
    stored.extend_from_slice(&salt);
    stored.extend_from_slice(value);
    let sealed = kdf::state_record_key(with.secret(), &salt).seal(0, &aad(key), &mut stored, SALT_LEN);
    sealed.map_err(|_| io::Error::other("a record is too long to be sealed"))?;
    Ok(stored)
}

/// The value, if it was sealed with this key, for this place.
pub(super) fn open(with: &StateKey, key: &[u8], stored: &[u8]) -> Option<Value> {
    let (salt, sealed) = stored.split_first_chunk::<SALT_LEN>()?;
    let value = kdf::state_record_key(with.secret(), salt).open(0, &aad(key), sealed);
    value.ok().map(Zeroizing::new)
}

/// Shows which key seals a file.
pub(super) fn check(with: &StateKey) -> io::Result<Vec<u8>> {
    seal(with, CHECK_KEY, &[])
}

/// Opens a file with a key, or without: one that is sealed takes only its own, one that is not is sealed with what it gets.
pub(super) fn settle(database: Database, path: &Path, key: Option<&StateKey>) -> Result<Database, StateError> {
    let check = guarded(|| meta(&database, CHECK)).map_err(|trouble| trouble.of(path))?;
    let refuse = |key: Option<&StateKey>| StateError::Sealed {
        path: path.to_owned(),
        key: key.map(|key| key.path().to_owned()),
    };
    match (check, key) {
        (None, None) => Ok(database),
        (None, Some(key)) => {
            file::make(path, |sealed| copy(&database, sealed, key))?;
            drop(database);
            file::open(path)
        }
        (Some(check), Some(key)) if open(key, CHECK_KEY, &check).is_some() => Ok(database),
        (Some(_), key) => Err(refuse(key)),
    }
}

/// Everything from one database to another, sealed.
fn copy(from: &Database, to: &Database, with: &StateKey) -> Result<(), redb::Error> {
    let (reading, writing) = (from.begin_read()?, to.begin_write()?);
    {
        let mut meta = writing.open_table(META)?;
        for entry in reading.open_table(META)?.iter()? {
            let (name, value) = entry?;
            meta.insert(name.value(), value.value())?;
        }
        meta.insert(CHECK, check(with)?.as_slice())?;
        let mut records = writing.open_table(RECORDS)?;
        for record in reading.open_table(RECORDS)?.iter()? {
            let (key, value) = record?;
            let (key, value) = (key.value(), value.value());
            if applies_to(key) {
                records.insert(key, seal(with, key, value)?.as_slice())?;
            } else {
                records.insert(key, value)?;
            }
        }
        let mut windows = Packed::default();
        log::visit(&reading, |key, value| {
            windows.push(0, &[key], Some(&seal(with, key, value)?));
            Ok(())
        })?;
        log::write_anew(&writing, &[], windows.bytes())?;
    }
    Ok(writing.commit()?)
}

fn aad(key: &[u8]) -> Vec<u8> {
    [key, &[FORM]].concat()
}
