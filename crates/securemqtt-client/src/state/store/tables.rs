//! The tables of the database, and what redb says of a file that is none.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use securemqtt_core::record::{Record, Table};
use zeroize::Zeroizing;

use super::super::atomic;
use super::super::identity::refuse_open_mode;
use super::queue::{Pending, Place, Value};
use super::{Cursor, Loaded, StateError};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// The version of the tables here.
pub(super) const SCHEMA: u8 = 1;
/// redb's default is a gigabyte.
const CACHE_BYTES: usize = 1 << 20;

/// Opens a database, or makes a new one. Every page is checked: half of the damage that a disk can do would go unnoticed.
pub(super) fn open(path: &Path, is_new: bool) -> Result<Database, StateError> {
    let fail = |source| StateError::Write { path: path.to_owned(), source };
    if is_new {
        make(path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    refuse_open_mode(path, &metadata, 0o600)?;
    if metadata.len() == 0 {
        return Err(StateError::Database { path: path.to_owned(), why: "it is empty".to_owned() });
    }
    guarded(|| connect(file)).map_err(|trouble| trouble.of(path))
}

/// Makes it beside its place, and moves it there when it is whole: what a kill leaves half made is swept away.
fn make(path: &Path) -> Result<(), StateError> {
    let fail = |source| StateError::Write { path: path.to_owned(), source };
    let beside = path.with_file_name(".state.redb.tmp");
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&beside).map_err(fail)?;
    guarded(|| initialise(&connect(file)?)).map_err(|trouble| trouble.of(path))?;
    fs::rename(&beside, path).and_then(|()| atomic::sync_directory(directory(path))).map_err(fail)
}

fn connect(file: File) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// What is wrong: with the file, or with the disk that it is on.
pub(super) enum Trouble {
    Damaged(String),
    Disk(io::Error),
    /// Somebody has it open: who left a store behind on a disk that hangs, for one.
    Held,
}

impl Trouble {
    pub(super) fn of(self, path: &Path) -> StateError {
        let path = path.to_owned();
        match self {
            Self::Held => StateError::Locked { path, holder: None },
            Self::Damaged(why) => StateError::Database { path, why },
            Self::Disk(source) => StateError::Write { path, source },
        }
    }

    pub(super) fn why(&self) -> String {
        match self {
            Self::Damaged(why) => why.clone(),
            Self::Held => "another process has it open".to_owned(),
            Self::Disk(error) if error.kind() == io::ErrorKind::StorageFull => {
                "the disk is full; free some space".to_owned()
            }
            Self::Disk(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "the file system is read-only; check the disk, and make it writable again".to_owned()
            }
            Self::Disk(error) => error.to_string(),
        }
    }
}

/// A damaged file can make redb panic: that is an error like others.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(judge),
        Err(_) => Err(Trouble::Damaged("its contents contradict each other".to_owned())),
    }
}

fn judge(error: redb::Error) -> Trouble {
    match error {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Trouble::Damaged("it is no database of ours".to_owned())
        }
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Trouble::Damaged("it is cut short".to_owned())
        }
        redb::Error::Io(error) => Trouble::Disk(error),
        redb::Error::DatabaseAlreadyOpen => Trouble::Held,
        error => Trouble::Damaged(error.to_string()),
    }
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("schema", [SCHEMA].as_slice())?;
        meta.insert("clean", [1].as_slice())?;
    }
    transaction.open_table(RECORDS)?;
    Ok(transaction.commit()?)
}

/// One transaction.
pub(super) fn store(database: &Database, batch: &Pending) -> Result<(), String> {
    guarded(|| write(database, batch)).map_err(|trouble| trouble.why())
}

fn write(database: &Database, batch: &Pending) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        for ((table, key), value) in batch.changes() {
            let key = record_key(*table, key);
            match value {
                Some(value) => drop(records.insert(key.as_slice(), value.as_slice())?),
                None => drop(records.remove(key.as_slice())?),
            }
        }
        let mut meta = transaction.open_table(META)?;
        if let Some(Cursor { device, inode, length }) = &batch.cursor {
            let place = [*device, *inode, *length].map(u64::to_be_bytes).concat();
            meta.insert("cursor", place.as_slice())?;
        }
        if let Some(clean) = batch.clean {
            meta.insert("clean", [u8::from(clean)].as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

fn record_key(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table as u8], key].concat()
}

/// One record.
pub(super) fn fetch(database: &Database, (table, key): &Place) -> Result<Option<Value>, String> {
    guarded(|| {
        let transaction = database.begin_read()?;
        let found = transaction.open_table(RECORDS)?.get(record_key(*table, key).as_slice())?;
        Ok(found.map(|value| Zeroizing::new(value.value().to_vec())))
    })
    .map_err(|trouble| trouble.why())
}

/// Everything that is stored.
pub(super) fn read(database: &Database) -> Result<Loaded, String> {
    let (meta, records, segments) = guarded(|| {
        let transaction = database.begin_read()?;
        let (mut meta, mut records, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        for entry in transaction.open_table(META)?.iter()? {
            let (name, value) = entry?;
            meta.push((name.value().to_owned(), value.value().to_vec()));
        }
        for entry in transaction.open_table(RECORDS)?.iter()? {
            let (key, value) = entry?;
            if key.value().first() == Some(&(Table::Segment as u8)) {
                segments.push(key.value()[1..].to_vec());
                continue;
            }
            records.push((key.value().to_vec(), Zeroizing::new(value.value().to_vec())));
        }
        Ok((meta, records, segments))
    })
    .map_err(|trouble| trouble.why())?;
    let field = |name: &str| meta.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_slice());
    match field("schema") {
        Some([SCHEMA]) => {}
        Some([later]) if *later > SCHEMA => {
            return Err(format!("it was written by a later version (schema {later}, ours is {SCHEMA}); use that one"));
        }
        _ => return Err("it has no schema version".to_owned()),
    }
    let records = records.into_iter().map(|(key, value)| {
        let (&table, key) = key.split_first().ok_or("a record has no table")?;
        let table = Table::from_number(table).ok_or("a record is of an unknown table")?;
        Ok(Record { table, key: key.to_vec(), value })
    });
    let records = records.collect::<Result<_, &str>>().map_err(str::to_owned)?;
    let clean = field("clean") == Some(&[1]);
    Ok(Loaded { records, segments, cursor: field("cursor").and_then(read_cursor), clean })
}

fn read_cursor(bytes: &[u8]) -> Option<Cursor> {
    let number = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    Some(Cursor { device: number(0)?, inode: number(8)?, length: number(16)? })
}
