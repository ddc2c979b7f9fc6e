#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use redb::{Database, ReadableTable as _, WriteTransaction};
use securemqtt_core::record::Table;

use super::log::LOG;
use super::tables::RECORDS;
use super::tests::{put, put_in};
use super::*;

const SECRET: &[u8] = b"what nobody may see in the file.";

fn key(directory: &Path, name: &str) -> StateKey {
    let path = directory.join(name);
    fs::write(&path, [name.as_bytes(), &[7; 32]].concat()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    StateKey::find(Some(&path), None).unwrap().unwrap()
}

fn open(directory: &Path, key: Option<&StateKey>) -> Result<(Store, Loaded), StateError> {
    Store::open(&StateDir::open(directory.join("state")).unwrap(), key)
}

/// How often a file holds these bytes.
fn count(directory: &Path, bytes: &[u8]) -> usize {
    let file = fs::read(directory.join("state/state.redb")).unwrap();
    file.windows(bytes.len()).filter(|window| *window == bytes).count()
}

fn value(loaded: &Loaded, key: &[u8]) -> Vec<u8> {
    loaded.records.iter().find(|record| record.key == key).unwrap().value.to_vec()
}

fn segment() -> Batch {
    let change =
        Change { table: Table::Segment, key: b"s".to_vec(), value: Some(b"a frame of the spool".to_vec().into()) };
    Batch { changes: vec![change], ..Batch::default() }
}

#[tokio::test]
async fn what_is_sealed_opens_with_its_key_only_and_shows_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (ours, other) = (key(directory, "ours"), key(directory, "other"));
    let (mut store, _) = open(directory, Some(&ours)).unwrap();
    for number in 0..100_u8 {
        let table = if number % 2 == 0 { Table::Topic } else { Table::Peer };
        store.submit(put_in(table, &[number], SECRET));
        let ticket = store.submit(segment());
        if number % 10 == 0 {
            store.reached(ticket).await;
        }
    }
    let read = store.fetch(Table::Peer, vec![3]).await.unwrap().unwrap();
    assert_eq!(read[..], *SECRET);
    store.close().unwrap();
    assert_eq!(count(directory, SECRET), 0);
    assert!(count(directory, b"a frame of the spool") > 0, "a segment is ciphertext already");

    let (store, loaded) = open(directory, Some(&ours)).unwrap();
    assert_eq!(loaded.records.len(), 100);
    assert_eq!([98, 99].map(|number| value(&loaded, &[number])), [SECRET, SECRET]);
    let read = store.fetch(Table::Peer, vec![3]).await.unwrap().unwrap();
    assert_eq!(read[..], *SECRET);
    drop(store);
    let refused = open(directory, None).unwrap_err();
    assert!(refused.to_string().contains("is sealed, and there is no key"), "{refused}");
    let refused = open(directory, Some(&other)).unwrap_err().to_string();
    assert!(refused.contains("sealed with another key than") && refused.contains("/other; name the file"), "{refused}");
    assert!(refused.contains("mv "), "{refused}");
    assert_eq!(open(directory, Some(&ours)).unwrap().1.records.len(), 100);
}

#[test]
fn what_was_not_sealed_is_sealed_with_the_first_key() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (mut store, _) = open(directory, None).unwrap();
    let cursor = Some(Cursor { device: 1, inode: 2, length: 3 });
    let old = put_in(Table::Run, b"old", b"another secret");
    store.submit(Batch { cursor: cursor.clone(), clean: Some(false), ..old });
    store.submit(put(b"a window", SECRET));
    store.submit(segment());
    // Enough that the pages are not all used again.
    let gone: Vec<[u8; 1]> = (0..40).map(|number| [number]).collect();
    gone.iter().map(|key| store.submit(put(key, &SECRET.repeat(100)))).for_each(drop);
    store.close().unwrap();
    let (mut store, _) = open(directory, None).unwrap();
    let remove = |key: &[u8; 1]| Change { table: Table::Topic, key: key.to_vec(), value: None };
    store.submit(Batch { changes: gone.iter().map(remove).collect(), ..Batch::default() });
    store.close().unwrap();
    let (store, loaded) = open(directory, None).unwrap();
    assert_eq!(loaded.records.len(), 2);
    store.close().unwrap();
    let seen = [SECRET, b"another secret"].map(|secret| count(directory, secret) > 0);
    assert_eq!(seen, [true, true], "what is in no record any more is still in the file");

    let ours = key(directory, "ours");
    let (store, loaded) = open(directory, Some(&ours)).unwrap();
    assert_eq!((value(&loaded, b"old"), &loaded.cursor, loaded.clean), (b"another secret".to_vec(), &cursor, false));
    assert_eq!((value(&loaded, b"a window"), loaded.records.len()), (SECRET.to_vec(), 2));
    assert_eq!(loaded.segments, [b"s"]);
    drop(store);
    assert_eq!([SECRET, b"another secret"].map(|secret| count(directory, secret)), [0, 0]);
    let mode = fs::metadata(directory.join("state/state.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(open(directory, None), Err(StateError::Sealed { key: None, .. })));
    let (_, loaded) = open(directory, Some(&ours)).unwrap();
    assert_eq!(value(&loaded, b"old"), b"another secret");
}

/// A kill before the sealed file is in its place leaves the old one, and half of the new.
#[test]
fn a_kill_while_it_is_sealed_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (mut store, _) = open(directory, None).unwrap();
    store.submit(put(b"a", SECRET));
    store.close().unwrap();
    fs::write(directory.join("state/.state.redb.tmp"), b"half").unwrap();
    let (_, loaded) = open(directory, Some(&key(directory, "ours"))).unwrap();
    assert_eq!(value(&loaded, b"a"), SECRET);
    assert_eq!(count(directory, SECRET), 0);
    assert!(!directory.join("state/.state.redb.tmp").exists());
}

#[test]
fn sealed_bytes_open_in_their_own_place_only() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ours = key(directory, "ours");
    let (mut store, _) = open(directory, Some(&ours)).unwrap();
    for (key, value) in [(b"a", b"1"), (b"b", b"2")] {
        store.submit(put_in(Table::Run, key, value));
    }
    store.close().unwrap();
    let place = |key: &[u8]| [&[Table::Run as u8], key].concat();
    change(directory, |writing| {
        let mut records = writing.open_table(RECORDS).unwrap();
        let of_a = records.get(place(b"a").as_slice()).unwrap().unwrap().value().to_vec();
        records.insert(place(b"b").as_slice(), of_a.as_slice()).unwrap();
    });
    is_refused_as_changed(directory, &ours);
}

/// The same of the log, where keys and values stand one behind the other.
#[test]
fn a_sealed_window_opens_as_its_own_only() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ours = key(directory, "ours");
    let (mut store, _) = open(directory, Some(&ours)).unwrap();
    store.submit(put(b"a", b"1"));
    store.close().unwrap();
    change(directory, |writing| {
        let mut log = writing.open_table(LOG).unwrap();
        let mut entry = log.get(0).unwrap().unwrap().value().to_vec();
        let at = entry.windows(2).position(|bytes| bytes == [Table::Topic as u8, b'a']).unwrap();
        entry[at + 1] = b'b';
        log.insert(0, entry.as_slice()).unwrap();
    });
    is_refused_as_changed(directory, &ours);
}

/// Of most changes of a window the engine says its place only: its key is sealed with it all the same.
#[tokio::test]
async fn a_window_that_is_said_by_its_place_is_sealed_as_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let ours = key(directory, "ours");
    let (mut store, _) = open(directory, Some(&ours)).unwrap();
    for (place, key, value) in
        [(1, b"a", &b"1"[..]), (2, b"b", b"2"), (1, b"", b"3"), (2, b"", SECRET)] as [(u32, &[u8], &[u8]); 4]
    {
        let named = [&[Table::Topic as u8], key];
        let mut windows = Packed::default();
        windows.push(place, if key.is_empty() { &[] } else { &named }, Some(value));
        // Each in a transaction of its own.
        let ticket = store.submit(Batch { windows, ..Batch::default() });
        store.reached(ticket).await;
    }
    store.close().unwrap();
    assert_eq!(count(directory, SECRET), 0);
    let (_, loaded) = open(directory, Some(&ours)).unwrap();
    assert_eq!((value(&loaded, b"a"), value(&loaded, b"b"), loaded.records.len()), (b"3".to_vec(), SECRET.to_vec(), 2));
}

fn change(directory: &Path, change: impl FnOnce(&WriteTransaction)) {
    let database = Database::open(directory.join("state/state.redb")).unwrap();
    let writing = database.begin_write().unwrap();
    change(&writing);
    writing.commit().unwrap();
}

fn is_refused_as_changed(directory: &Path, key: &StateKey) {
    let refused = open(directory, Some(key)).unwrap_err();
    assert!(matches!(refused, StateError::Database { .. }), "{refused}");
    assert!(refused.to_string().contains("a record was changed"), "{refused}");
}
