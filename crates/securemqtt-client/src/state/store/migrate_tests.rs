#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, TableDefinition};
use securemqtt_core::kdf;
use securemqtt_core::record::Table;

use super::tables::meta;
use super::*;

// As earlier schemas were written. They stand here again so that no change of ours changes the past.
const META_1: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS_1: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const LOG_3: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const PEER: u8 = 17;
const TOPIC: u8 = 20;

/// As schema 2 sealed a record.
fn seal_2(key: &StateKey, place: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = [&[9; 16], value].concat();
    let aad = [place, &[2]].concat();
    kdf::state_record_key(key.secret(), &[9; 16]).seal(0, &aad, &mut stored, 16).unwrap();
    stored
}

fn stored_2(key: Option<&StateKey>, place: &[u8], value: &[u8]) -> Vec<u8> {
    key.map_or_else(|| value.to_vec(), |key| seal_2(key, place, value))
}

/// As schemas 3 and 4 said something of a window: `key length 4 | value length 4, all ones for a removal | key | value`.
fn said_3(key: Option<&StateKey>, window: u8, value: Option<&[u8]>) -> Vec<u8> {
    let place = [TOPIC, window];
    let value = value.map(|value| stored_2(key, &place, value));
    let length = value.as_ref().map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap());
    [&2_u32.to_be_bytes()[..], &length.to_be_bytes(), &place, &value.unwrap_or_default()].concat()
}

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

    /// As a subscriber of schema 2 left it.
    fn with_schema_2(self, key: Option<&StateKey>) -> Self {
        let stored = |place: &[u8], value: &[u8]| stored_2(key, place, value);
        let database = Database::create(self.database()).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META_1).unwrap();
            meta.insert("schema", [2].as_slice()).unwrap();
            meta.insert("clean", [0].as_slice()).unwrap();
            meta.insert("cursor", [1_u64, 2, 3].map(u64::to_be_bytes).concat().as_slice()).unwrap();
            if key.is_some() {
                meta.insert("sealed", stored(b"\0check", b"").as_slice()).unwrap();
            }
            let mut records = transaction.open_table(RECORDS_1).unwrap();
            let counter = [&[1], &2_048_u64.to_be_bytes()[..]].concat();
            let places =
                [(&[16][..], &counter[..]), (&[PEER, b'i', b'd'], b"a session"), (&[TOPIC, b't'], b"a window")];
            for (place, value) in places {
                records.insert(place, stored(place, value).as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
        drop(database);
        fs::set_permissions(self.database(), Permissions::from_mode(0o600)).unwrap();
        self
    }

    /// As a subscriber of schema 3 left it: windows among the records, and a log of those that count more.
    fn with_schema_3(self, key: Option<&StateKey>) -> Self {
        let old = self.with_schema_2(key);
        let stored = |place: &[u8], value: &[u8]| stored_2(key, place, value);
        let said = |window: u8, value: Option<&[u8]>| said_3(key, window, value);
        let database = Database::open(old.database()).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            transaction.open_table(META_1).unwrap().insert("schema", [3].as_slice()).unwrap();
            let mut records = transaction.open_table(RECORDS_1).unwrap();
            for window in [b'u', b'v'] {
                let place = [TOPIC, window];
                records.insert(place.as_slice(), stored(&place, b"overtaken").as_slice()).unwrap();
            }
            let mut log = transaction.open_table(LOG_3).unwrap();
            log.insert(4, [said(b'v', Some(b"overtaken, too")), said(b'u', None)].concat().as_slice()).unwrap();
            log.insert(5, [said(b'v', Some(b"the last")), said(b'w', Some(b"a new one"))].concat().as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        old
    }

    /// As a subscriber of schema 4 left it: windows in the log only.
    fn with_schema_4(self, key: Option<&StateKey>) -> Self {
        let old = self.with_schema_3(key);
        let database = Database::open(old.database()).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            transaction.open_table(META_1).unwrap().insert("schema", [4].as_slice()).unwrap();
            transaction.open_table(RECORDS_1).unwrap().retain(|place, _| place[0] != TOPIC).unwrap();
            let mut log = transaction.open_table(LOG_3).unwrap();
            log.insert(3, said_3(key, b't', Some(b"a window")).as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        old
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
        assert_eq!((old.schema(), old.has_counter_file()), (vec![5], false));
    }
}

#[test]
fn one_without_a_counter_has_none_afterwards() {
    let old = Old::new().with_database();
    let loaded = old.open().unwrap();
    assert_eq!((session(&loaded), counter(&loaded), old.schema()), (&b"a session"[..], None, vec![5]));
}

#[test]
fn a_counter_without_a_database_is_taken_in_and_sealed_where_there_is_a_key() {
    let old = Old::new().with_counter("00000000000000003072\n");
    assert_eq!(counter(&old.open().unwrap()), Some(3072));
    assert_eq!((old.schema(), old.has_counter_file()), (vec![5], false));
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
    let (mut store, _) = Store::open(&StateDir::open(old.path()).unwrap(), None).unwrap();
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
    assert_eq!((counter(&old.open().unwrap()), old.schema()), (Some(2048), vec![5]));
}

#[test]
fn a_file_of_schema_2_keeps_its_records_sealed_or_not_and_gets_a_log() {
    is_brought_to_ours(Old::with_schema_2, &[(b"t", b"a window")]);
}

#[test]
fn a_file_of_schema_3_keeps_what_counts_of_its_windows() {
    is_brought_to_ours(Old::with_schema_3, &[(b"t", b"a window"), (b"v", b"the last"), (b"w", b"a new one")]);
}

#[test]
fn a_file_of_schema_4_keeps_what_counts_in_its_log() {
    is_brought_to_ours(Old::with_schema_4, &[(b"t", b"a window"), (b"v", b"the last"), (b"w", b"a new one")]);
}

fn is_brought_to_ours(with: impl Fn(Old, Option<&StateKey>) -> Old, windows: &[(&[u8], &[u8])]) {
    let place = tempfile::tempdir().unwrap();
    for key in [None, Some(key(place.path()))] {
        let old = with(Old::new(), key.as_ref());
        // The first time it is brought to ours; the second time it is ours.
        for _ in 0..2 {
            let loaded = old.open_with(key.as_ref()).unwrap();
            assert_eq!((session(&loaded), counter(&loaded), loaded.clean), (&b"a session"[..], Some(2048), false));
            let found = loaded.records.iter().filter(|record| record.table == Table::Topic);
            let mut found: Vec<(&[u8], &[u8])> = found.map(|record| (&record.key[..], &record.value[..])).collect();
            found.sort_unstable();
            assert_eq!((&found[..], loaded.records.len()), (windows, windows.len() + 2));
            assert_eq!(loaded.cursor, Some(Cursor { device: 1, inode: 2, length: 3 }));
            // Which an earlier program refuses: it would not see them.
            assert_eq!(old.schema(), [5]);
            let database = Database::open(old.database()).unwrap();
            let records = database.begin_read().unwrap().open_table(RECORDS_1).unwrap();
            assert_eq!(records.len().unwrap(), 2, "no window");
        }
        assert_eq!(old.open().is_err(), key.is_some());
    }
}

#[test]
fn one_that_was_not_sealed_is_brought_to_ours_and_sealed_at_once() {
    let place = tempfile::tempdir().unwrap();
    let old = Old::new().with_schema_2(None);
    for _ in 0..2 {
        let loaded = old.open_with(Some(&key(place.path()))).unwrap();
        assert_eq!((session(&loaded), counter(&loaded), old.schema()), (&b"a session"[..], Some(2048), vec![5]));
    }
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
