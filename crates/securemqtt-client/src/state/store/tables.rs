//! The tables of the database.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use securemqtt_core::packed::{Packed, PackedChange, unpack};
use securemqtt_core::record::{Record, Table};
use zeroize::Zeroizing;

use super::file::{self, Trouble, guarded};
use super::log::{self, Extent, LOG};
use super::queue::{Pending, Place, Value};
use super::{Cursor, Loaded, StateError, StateKey, migrate, seal};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// All but the windows, by the number of the table and the key in it.
pub(super) const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// The version of the tables here.
pub(super) const SCHEMA: u8 = 5;

/// An open database, and the key that it is sealed with.
pub(super) struct Tables {
    database: Database,
    key: Option<StateKey>,
    pub(super) log: Extent,
}

impl Tables {
    /// Makes an empty database.
    pub(super) fn create(path: &Path, key: Option<&StateKey>) -> Result<(), StateError> {
        let schema = migrate::first_schema(path);
        file::make(path, |database| initialise(database, schema, key.filter(|_| schema == SCHEMA)))
    }

    /// Opens a database. One of an earlier schema is brought to ours; one that is not sealed, and is to be, is sealed.
    pub(super) fn open(path: &Path, key: Option<&StateKey>) -> Result<Self, StateError> {
        let database = file::open(path)?;
        migrate::to_ours(&database, path)?;
        let database = seal::settle(database, path, key)?;
        let log =
            guarded(|| Extent::of(&database.begin_read()?.open_table(LOG)?)).map_err(|trouble| trouble.of(path))?;
        Ok(Self { database, key: key.cloned(), log })
    }

    /// One transaction.
    pub(super) fn store(&mut self, batch: &Pending) -> Result<(), String> {
        self.log = guarded(|| self.write(batch)).map_err(|trouble| trouble.why())?;
        Ok(())
    }

    fn write(&self, batch: &Pending) -> Result<Extent, redb::Error> {
        let transaction = self.database.begin_write()?;
        let log = self.put(&transaction, batch)?;
        {
            let mut meta = transaction.open_table(META)?;
            if let Some(Cursor { device, inode, length }) = &batch.cursor {
                let place = [*device, *inode, *length].map(u64::to_be_bytes).concat();
                meta.insert("cursor", place.as_slice())?;
            }
            if let Some(clean) = batch.clean {
                meta.insert("clean", [u8::from(clean)].as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(log)
    }

    /// A transaction that does not come to its end.
    #[cfg(test)]
    pub(super) fn abandon(&self, batch: &Pending) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        self.put(&transaction, batch)?;
        Ok(transaction.abort()?)
    }

    /// Puts records into their places, and windows into the log; tells what is in that now.
    fn put(&self, transaction: &WriteTransaction, batch: &Pending) -> Result<Extent, redb::Error> {
        let mut records = transaction.open_table(RECORDS)?;
        for ((table, key), value) in batch.changes() {
            let key = record_key(*table, key);
            match value {
                Some(value) => drop(records.insert(&*key, &*self.stored(&key, value)?)?),
                None => drop(records.remove(&*key)?),
            }
        }
        if batch.windows.number() == 0 {
            return Ok(self.log);
        }
        log::append(transaction, self.log, &self.entry(&batch.windows)?)
    }

    /// Windows as the log has them: sealed, where the state is, for which all of them have keys.
    fn entry<'a>(&self, windows: &'a Packed) -> Result<Cow<'a, [u8]>, redb::Error> {
        if self.key.is_none() {
            return Ok(Cow::Borrowed(windows.bytes()));
        }
        let mut sealed = Packed::default();
        for change in unpack(windows.bytes()) {
            let PackedChange { key, value, .. } = change.map_err(io::Error::other)?;
            let value = value.map(|value| self.stored(key, value)).transpose()?;
            sealed.push(0, &[key], value.as_deref());
        }
        Ok(Cow::Owned(sealed.into_bytes()))
    }

    /// One record, which is no window.
    pub(super) fn fetch(&self, (table, key): &Place) -> Result<Option<Value>, String> {
        let key = record_key(*table, key);
        let stored = guarded(|| {
            let transaction = self.database.begin_read()?;
            let stored = transaction.open_table(RECORDS)?.get(&*key)?;
            Ok(stored.map(|stored| stored.value().to_vec()))
        });
        let stored = stored.map_err(|trouble| trouble.why())?;
        stored.map(|stored| self.loaded(&key, stored)).transpose()
    }

    /// Everything that is stored, but for the bytes of segments.
    pub(super) fn read(&self) -> Result<Loaded, Trouble> {
        let (mut stored, mut segments) = (Vec::new(), Vec::new());
        guarded(|| {
            let transaction = self.database.begin_read()?;
            for record in transaction.open_table(RECORDS)?.iter()? {
                let (key, value) = record?;
                match key.value().split_first() {
                    Some((&table, key)) if table == Table::Segment as u8 => segments.push(key.to_vec()),
                    _ => stored.push((key.value().to_vec(), value.value().to_vec())),
                }
            }
            log::visit(&transaction, |key, value| {
                stored.push((key.to_vec(), value.to_vec()));
                Ok(())
            })
        })?;
        let records = stored.into_iter().map(|(key, stored)| self.record(&key, stored)).collect::<Result<_, _>>();
        let cursor = guarded(|| meta(&self.database, "cursor"))?;
        let clean = guarded(|| meta(&self.database, "clean"))?;
        Ok(Loaded {
            records: records.map_err(Trouble::Damaged)?,
            segments,
            cursor: cursor.as_deref().and_then(read_cursor),
            clean: clean.as_deref() == Some(&[1]),
        })
    }

    fn record(&self, key: &[u8], stored: Vec<u8>) -> Result<Record, String> {
        let value = self.loaded(key, stored)?;
        let (&table, key) = key.split_first().ok_or("a record has no table")?;
        let table = Table::from_number(table).ok_or("a record is of an unknown table")?;
        Ok(Record { table, key: key.to_vec(), value })
    }

    /// The bytes that are stored for a value.
    fn stored<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<Cow<'a, [u8]>, redb::Error> {
        match self.key.as_ref().filter(|_| seal::applies_to(key)) {
            Some(seal) => Ok(Cow::Owned(seal::seal(seal, key, value)?)),
            None => Ok(Cow::Borrowed(value)),
        }
    }

    /// The value whose bytes were stored.
    fn loaded(&self, key: &[u8], stored: Vec<u8>) -> Result<Value, String> {
        match self.key.as_ref().filter(|_| seal::applies_to(key)) {
            Some(seal) => seal::open(seal, key, &stored).ok_or_else(|| "a record was changed".to_owned()),
            None => Ok(Zeroizing::new(stored)),
        }
    }
}

fn initialise(database: &Database, schema: u8, key: Option<&StateKey>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("schema", [schema].as_slice())?;
        meta.insert("clean", [1].as_slice())?;
        if let Some(key) = key {
            meta.insert(seal::CHECK, seal::check(key)?.as_slice())?;
        }
    }
    transaction.open_table(RECORDS)?;
    transaction.open_table(LOG)?;
    Ok(transaction.commit()?)
}

/// What is said of the database itself.
pub(super) fn meta(database: &Database, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let transaction = database.begin_read()?;
    let value = transaction.open_table(META)?.get(name)?;
    Ok(value.map(|value| value.value().to_vec()))
}

/// A record's key in the database.
pub(super) fn record_key(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table as u8], key].concat()
}

fn read_cursor(bytes: &[u8]) -> Option<Cursor> {
    let number = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    Some(Cursor { device: number(0)?, inode: number(8)?, length: number(16)? })
}
