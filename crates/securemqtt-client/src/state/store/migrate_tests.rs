#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use redb::{Database, TableDefinition};
use securemqtt_core::record::Table;

use super::tables::meta;
use super::*;

// As schema 1 was written. They stand here again so that no change of ours changes the past.
const META_1: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS_1: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const PEER: u8 = 17;

/// A state directory with what is in it.
struct Old(tempfile::TempDir);

impl Old {
    fn new() -> Self {
        let old = Self(tempfile::tempdir().unwrap());
        drop(StateDir::open(old.path()).unwrap());
        old
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn database(&self) -> PathBuf {
        self.path().join("state.redb")
    }

    /// As a subscriber of schema 1 left it.
    fn with_database(self) -> Self {
        let database = Database::create(self.database()).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META_1).unwrap();
            meta.insert("schema", [1].as_slice()).unwrap();
            meta.insert("clean", [0].as_slice()).unwrap();
            meta.insert("cursor", [1_u64, 2, 3].map(u64::to_be_bytes).concat().as_slice()).unwrap();
            let mut records = transaction.open_table(RECORDS_1).unwrap();
            records.insert([&[PEER], &b"id"[..]].concat().as_slice(), b"a session".as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        fs::set_permissions(self.database(), Permissions::from_mode(0o600)).unwrap();
        self
    }

    fn with_counter(self, text: &str) -> Self {
        fs::write(self.path().join("counter"), text).unwrap();
        self
    }

    fn open(&self) -> Result<Loaded, StateError> {
        self.open_with(None)
    }

    fn open_with(&self, key: Option<&StateKey>) -> Result<Loaded, StateError> {
        let (store, loaded) = Store::open(&StateDir::open(self.path()).unwrap(), key)?;
        store.close().unwrap();
        Ok(loaded)
    }

    fn schema(&self) -> Vec<u8> {
        meta(&Database::open(self.database()).unwrap(), "schema").unwrap().unwrap()
    }

    fn has_counter_file(&self) -> bool {
        self.path().join("counter").exists()
    }
}

/// What the engine is given of its counter.
fn counter(loaded: &Loaded) -> Option<u64> {
    let record = loaded.records.iter().find(|record| record.table == Table::Counter)?;
    assert!(record.key.is_empty());
    let (version, counter) = record.value.split_first().unwrap();
    assert_eq!(*version, 1);
    Some(u64::from_be_bytes(counter.try_into().unwrap()))
}

fn session(loaded: &Loaded) -> &[u8] {
    &loaded.records.iter().find(|record| record.table == Table::Peer && record.key == b"id").unwrap().value
}

fn key(directory: &Path) -> StateKey {
    let path = directory.join("key");
    fs::write(&path, [7; 32]).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    StateKey::find(Some(&path), None).unwrap().unwrap()
}

#[test]
fn a_file_of_schema_1_keeps_its_records_and_takes_the_counter_in() {
    let old = Old::new().with_database().with_counter("00000000000000002048\n");
    // The first time it is brought to ours; the second time it is ours.
    for _ in 0..2 {
        let loaded = old.open().unwrap();
        assert_eq!((session(&loaded), counter(&loaded), loaded.clean), (&b"a session"[..], Some(2048), false));
        assert_eq!(loaded.cursor, Some(Cursor { device: 1, inode: 2, length: 3 }));
        assert_eq!((old.schema(), old.has_counter_file()), (vec![2], false));
    }
}

#[test]
fn one_without_a_counter_has_none_afterwards() {
    let old = Old::new().with_database();
    let loaded = old.open().unwrap();
    assert_eq!((session(&loaded), counter(&loaded), old.schema()), (&b"a session"[..], None, vec![2]));
}

#[test]
fn a_counter_without_a_database_is_taken_in_and_sealed_where_there_is_a_key() {
    let old = Old::new().with_counter("00000000000000003072\n");
    assert_eq!(counter(&old.open().unwrap()), Some(3072));
    assert_eq!((old.schema(), old.has_counter_file()), (vec![2], false));
    for old in [Old::new(), Old::new().with_database()].map(|old| old.with_counter("00000000000000003072\n")) {
        let key = key(old.0.path());
        assert_eq!(counter(&old.open_with(Some(&key)).unwrap()), Some(3072));
        assert!(matches!(old.open(), Err(StateError::Sealed { .. })));
        assert_eq!(counter(&old.open_with(Some(&key)).unwrap()), Some(3072));
    }
}

#[test]
fn a_kill_between_two_steps_costs_nothing() {
    // Behind the transaction, before the file is removed: the counter has gone on since.
    let old = Old::new().with_database().with_counter("00000000000000002048\n");
    old.open().unwrap();
    let (store, _) = Store::open(&StateDir::open(old.path()).unwrap(), None).unwrap();
    let value = Some([&[1], &2_050_u64.to_be_bytes()[..]].concat().into());
    let change = Change { table: Table::Counter, key: Vec::new(), value };
    store.submit(Batch { changes: vec![change], ..Batch::default() });
    store.close().unwrap();
    let old = old.with_counter("00000000000000002048\n");
    assert_eq!((counter(&old.open().unwrap()), old.has_counter_file()), (Some(2050), false));

    // Behind the making of a database next to a counter, before the transaction.
    let old = Old::new().with_counter("00000000000000002048\n");
    Tables::create(&old.database(), None).unwrap();
    assert_eq!(old.schema(), [1]);
    assert_eq!((counter(&old.open().unwrap()), old.schema()), (Some(2048), vec![2]));
}

#[test]
fn a_record_that_is_ahead_of_the_file_is_not_put_back() {
    let old = Old::new().with_database().with_counter("00000000000000002048\n");
    let database = Database::open(old.database()).unwrap();
    let transaction = database.begin_write().unwrap();
    let ahead = [&[1], &5_000_u64.to_be_bytes()[..]].concat();
    transaction.open_table(RECORDS_1).unwrap().insert([16].as_slice(), ahead.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(counter(&old.open().unwrap()), Some(5000));
}

#[test]
fn a_damaged_counter_is_refused_and_left_as_it_is() {
    for old in [Old::new(), Old::new().with_database()].map(|old| old.with_counter("0000000000000")) {
        for _ in 0..2 {
            assert!(matches!(old.open(), Err(StateError::Counter(_))));
            assert_eq!((old.schema(), old.has_counter_file()), (vec![1], true));
        }
        let old = old.with_counter("00000000000000000007\n");
        assert_eq!(counter(&old.open().unwrap()), Some(7));
    }
}
