#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;

use std::fs;
use std::path::Path;
use std::time::Instant;

use redb::Database;
use securemqtt_core::record::Table;

use super::queue::Pending;
use super::tables::{META, SCHEMA};
use super::*;

pub(super) fn put(key: &[u8], value: &[u8]) -> Batch {
    put_in(Table::Topic, key, value)
}

pub(super) fn put_in(table: Table, key: &[u8], value: &[u8]) -> Batch {
    let change = Change { table, key: key.to_vec(), value: Some(value.to_vec().into()) };
    Batch { changes: vec![change], ..Batch::default() }
}

fn open(directory: &Path) -> Result<(Store, Loaded), StateError> {
    Store::open(&StateDir::open(directory.join("state")).unwrap(), None)
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
    let last = store.submit(Batch { changes: vec![change], cursor: Some(cursor.clone()), ..Batch::default() });
    store.reached(last).await;
    assert!(store.is_durable(last));
    assert_eq!(store.event().await, StoreEvent::Durable(last), "only the newest is told");
    assert_eq!(store.try_event(), None);
    drop(store);
    let (mut store, loaded) = open(directory.path()).unwrap();
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

#[test]
fn of_several_changes_to_a_record_only_the_last_is_kept() {
    let mut pending = Pending::default();
    let change = |key: &[u8; 1], value: Option<&[u8]>| Change {
        table: Table::Peer,
        key: key.to_vec(),
        value: value.map(|value| value.to_vec().into()),
    };
    for (key, value) in [(b"a", &b"1"[..]), (b"b", b"2"), (b"a", b"3")] {
        pending.add(Batch { changes: vec![change(key, Some(value))], ..Batch::default() });
    }
    let changes: Vec<_> =
        pending.changes().map(|((_, key), value)| (key.as_slice(), value.unwrap().as_slice())).collect();
    assert_eq!(changes, [(&b"a"[..], &b"3"[..]), (&b"b"[..], &b"2"[..])]);
    pending.add(Batch { changes: vec![change(b"a", None)], ..Batch::default() });
    assert_eq!(
        pending.changes().map(|(_, value)| value.is_some()).collect::<Vec<_>>(),
        [false, true],
        "removed at last"
    );
}

#[tokio::test]
async fn a_read_sees_everything_submitted_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    let put = |key: u32, value: &[u8]| put_in(Table::Peer, &key.to_be_bytes(), value);
    let read = |store: &Store, key: u32| store.fetch(Table::Peer, key.to_be_bytes().to_vec());
    assert_eq!(read(&store, 7).await, Ok(None));
    // Whether the batch waits, is under way or is done.
    for number in 0..300_u32 {
        store.submit(put(number, &[1; 64]));
        store.submit(put(number, &number.to_le_bytes()));
        let reading = read(&store, number);
        if number % 3 == 0 {
            store.submit(put(number + 1, b"later"));
        }
        assert_eq!(reading.await.unwrap().unwrap()[..], number.to_le_bytes());
    }
    let remove = Change { table: Table::Peer, key: 7_u32.to_be_bytes().to_vec(), value: None };
    store.submit(Batch { changes: vec![remove], ..Batch::default() });
    assert_eq!(read(&store, 7).await, Ok(None));
    let (reading, reading_on) = (read(&store, 8), read(&store, 9));
    store.close().unwrap();
    assert!(reading.await.is_ok() && reading_on.await.is_ok(), "those who wait at the end are answered");
}

#[tokio::test]
async fn segments_are_named_in_order_and_stay_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    let key = |number: u64| number.to_be_bytes().to_vec();
    for number in [3_u64, 1, 300, 2] {
        let value = Some(vec![number.to_le_bytes()[0]; 5_000].into());
        let change = Change { table: Table::Segment, key: key(number), value };
        store.submit(Batch { changes: vec![change], ..Batch::default() });
        store.submit(put(b"t", b"1"));
    }
    store.close().unwrap();
    let (store, loaded) = open(directory.path()).unwrap();
    assert_eq!(loaded.segments, [1, 2, 3, 300].map(key));
    assert_eq!(loaded.records.len(), 1, "the record of another table");
    for number in [1, 2, 3, 300] {
        let read = store.fetch(Table::Segment, key(number)).await.unwrap().unwrap();
        assert_eq!(read[..], [number.to_le_bytes()[0]; 5_000]);
    }
}

#[test]
fn a_disk_that_hangs_keeps_nobody_who_drops_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (_told, news) = watch::channel(News::default());
    let hanging = move || held.recv().map_err(|error| error.to_string());
    let store = Store::over(directory.path().join(FILE), Arc::default(), news, hanging).unwrap();
    let began = Instant::now();
    drop(store);
    assert!((DROP_PATIENCE..2 * DROP_PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
    drop(hold);
}

fn is_whole(loaded: &Loaded) -> bool {
    loaded.records.len() == 400 && loaded.records.iter().all(|record| record.value[..] == [7; 64])
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = open(directory.path()).unwrap();
    for n in 0..200_u32 {
        for table in [Table::Run, Table::Topic] {
            store.submit(put_in(table, &n.to_be_bytes(), &[7; 64]));
        }
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
    assert!(error.contains("later version (schema 6, ours is 5)"), "{error}");
}

#[test]
fn a_file_that_somebody_still_has_open_is_not_called_damaged() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().0.close().unwrap();
    let left_behind = Database::open(directory.path().join("state/state.redb")).unwrap();
    assert!(matches!(open(directory.path()), Err(StateError::Locked { .. })));
    drop(left_behind);
    assert!(open(directory.path()).is_ok());
}

#[test]
fn others_may_not_read_it() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).unwrap().0.close().unwrap();
    let path = directory.path().join("state/state.redb");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(open(directory.path()), Err(StateError::Mode { .. })));
}
