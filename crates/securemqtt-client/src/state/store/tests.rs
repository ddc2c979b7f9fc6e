#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;

use std::fs;
use std::path::Path;

use redb::Database;
use securemqtt_core::record::Table;

use super::tables::{META, SCHEMA};
use super::*;

fn put(key: &[u8], value: &[u8]) -> Batch {
    let change = Change { table: Table::Topic, key: key.to_vec(), value: Some(value.to_vec().into()) };
    Batch { changes: vec![change], ..Batch::default() }
}

fn open(directory: &Path) -> Result<(Store, Loaded), StateError> {
    Store::open(&StateDir::open(directory.join("state")).unwrap())
}

#[tokio::test]
async fn what_was_stored_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, loaded) = open(directory.path()).unwrap();
    assert!(loaded.records.is_empty() && loaded.clean && loaded.cursor.is_none());
    store.submit(Batch { clean: Some(false), ..put(b"a", b"1") });
    store.submit(put(b"b", b"2"));
    store.submit(put(b"a", b"3"));
    let cursor = Cursor { device: 1, inode: 2, length: 3 };
    let change = Change { table: Table::Topic, key: b"b".to_vec(), value: None };
    let last = store.submit(Batch { changes: vec![change], cursor: Some(cursor.clone()), clean: None });
    store.reached(last).await;
    assert!(store.is_durable(last));
    let mut seen = None;
    while seen < Some(last) {
        let StoreEvent::Durable(ticket) = store.event().await else { panic!("stuck") };
        assert!(seen < Some(ticket), "in order");
        seen = Some(ticket);
    }
    drop(store);
    let (store, loaded) = open(directory.path()).unwrap();
    let records: Vec<(&[u8], &[u8])> =
        loaded.records.iter().map(|record| (record.key.as_slice(), record.value.as_slice())).collect();
    assert_eq!(records, [(&b"a"[..], &b"3"[..])]);
    assert_eq!((loaded.cursor, loaded.clean), (Some(cursor), false));
    let mode = fs::metadata(directory.path().join("state/state.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    store.submit(Batch { clean: Some(true), ..Batch::default() });
    store.close().unwrap();
    assert!(open(directory.path()).unwrap().1.clean);
}

fn is_whole(loaded: &Loaded) -> bool {
    loaded.records.len() == 200 && loaded.records.iter().all(|record| record.value[..] == [7; 64])
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = open(directory.path()).unwrap();
    for n in 0..200_u32 {
        store.submit(put(&n.to_be_bytes(), &[7; 64]));
    }
    store.close().unwrap();
    let path = directory.path().join("state/state.redb");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[..64].iter_mut().for_each(|byte| *byte ^= 0xff);
    for damaged in [Vec::new(), b"hello".to_vec(), vec![0; 8192], whole[..whole.len() / 2].to_vec(), flipped] {
        fs::write(&path, &damaged).unwrap();
        let error = open(directory.path()).err().unwrap();
        assert!(matches!(error, StateError::Database { .. }), "{error:?}");
        assert!(error.to_string().contains("mv ") && error.to_string().contains("state.redb.damaged"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "{error}");
    }
    // One bit anywhere: refused, or of no consequence; never other records, never a panic.
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        match open(directory.path()) {
            Ok((_, loaded)) => assert!(is_whole(&loaded), "bit {at} changed a record"),
            Err(error) => assert!(matches!(error, StateError::Database { .. }), "{error:?}"),
        }
    }
    fs::write(&path, &whole).unwrap();
    assert!(is_whole(&open(directory.path()).unwrap().1));
}

#[test]
fn a_later_schema_is_refused_by_its_number() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().0.close().unwrap();
    let database = Database::open(directory.path().join("state/state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("schema", [SCHEMA + 1].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("later version (schema 2, ours is 1)"), "{error}");
}

#[test]
fn others_may_not_read_it() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().0.close().unwrap();
    let path = directory.path().join("state/state.redb");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(open(directory.path()), Err(StateError::Mode { .. })));
}
