#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _, ReadableTable};
use securemqtt_core::record::Table;

use super::log::{Extent, LOG};
use super::queue::Pending;
use super::tables::RECORDS;
use super::*;

/// More than enough that a handful of them is scattered.
const WINDOWS: u32 = 400;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A file with windows in their places, and nothing in its log.
struct Subject {
    directory: tempfile::TempDir,
    key: Option<StateKey>,
    model: Model,
}

impl Subject {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut subject = Self { directory, key: None, model: Model::new() };
        Tables::create(&subject.path(), None).unwrap();
        let mut tables = subject.open();
        let all: Vec<u32> = (0..WINDOWS).collect();
        subject.put(&mut tables, &all, b"at first");
        assert!(tables.log.is_empty(), "they are dense");
        subject
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state.redb")
    }

    fn open(&self) -> Tables {
        Tables::open(&self.path(), self.key.as_ref()).unwrap()
    }

    /// Stores windows in one transaction.
    fn put(&mut self, tables: &mut Tables, windows: &[u32], value: &[u8]) {
        let changes: Vec<_> = windows.iter().map(|window| (*window, Some(value.to_vec()))).collect();
        self.store(tables, &changes);
    }

    fn store(&mut self, tables: &mut Tables, changes: &[(u32, Option<Vec<u8>>)]) {
        tables.store(&pending(changes)).unwrap();
        for (window, value) in changes {
            match value {
                Some(value) => self.model.insert(key(*window), value.clone()),
                None => self.model.remove(&key(*window)),
            };
        }
    }

    /// Read at once, one at a time, and after a kill and a start: it is what was stored last.
    fn check(&self, tables: Tables) -> Tables {
        for window in 0..WINDOWS {
            let found = tables.fetch(&(Table::Topic, key(window))).unwrap();
            assert_eq!(found.as_deref(), self.model.get(&key(window)), "window {window}");
        }
        // As a kill leaves it: nobody has closed it.
        let killed = self.directory.path().join("killed.redb");
        fs::copy(self.path(), &killed).unwrap();
        self.compare(&Tables::open(&killed, self.key.as_ref()).unwrap());
        drop(tables);
        let tables = self.open();
        self.compare(&tables);
        tables
    }

    fn compare(&self, tables: &Tables) {
        let loaded = tables.read().ok().unwrap();
        let windows = loaded.records.iter().map(|record| (record.key.clone(), record.value.to_vec()));
        assert_eq!(windows.clone().count(), self.model.len(), "each once");
        assert_eq!(windows.collect::<Model>(), self.model);
    }
}

fn key(window: u32) -> Vec<u8> {
    window.to_be_bytes().to_vec()
}

fn pending(changes: &[(u32, Option<Vec<u8>>)]) -> Pending {
    let mut pending = Pending::default();
    let change = |(window, value): &(u32, Option<Vec<u8>>)| Change {
        table: Table::Topic,
        key: key(*window),
        value: value.clone().map(Into::into),
    };
    pending.add(Batch { changes: changes.iter().map(change).collect(), ..Batch::default() });
    pending
}

/// What is in a window's place, whatever the log says.
fn in_place(path: &Path, window: u32) -> Option<Vec<u8>> {
    let database = Database::open(path).unwrap();
    let records = database.begin_read().unwrap().open_table(RECORDS).unwrap();
    let place = [&[Table::Topic as u8], &key(window)[..]].concat();
    let value = ReadableTable::get(&records, place.as_slice()).unwrap();
    value.map(|value| value.value().to_vec())
}

fn entries(path: &Path) -> usize {
    let database = Database::open(path).unwrap();
    let log = database.begin_read().unwrap().open_table(LOG).unwrap();
    log.iter().unwrap().count()
}

#[test]
fn scattered_windows_wait_in_the_log_and_count_more_than_what_is_in_their_places() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    let first = [1, 70, 140, 210, 280].map(|window| (window, Some(b"second".to_vec())));
    subject.store(&mut tables, &first);
    // A removal, one that comes again (twice), one in no place yet, and one change where the log is not empty.
    let third = |window| (window, Some(b"third".to_vec()));
    subject.store(&mut tables, &[(140, None), (70, None), third(140), (9_999, Some(b"new".to_vec()))]);
    subject.store(&mut tables, &[(210, None)]);
    subject.store(&mut tables, &[(210, Some(b"again".to_vec()))]);
    tables = subject.check(tables);
    drop(tables);
    assert_eq!(entries(&subject.path()), 4);
    assert_eq!(in_place(&subject.path(), 70).unwrap(), b"at first");
    // As after a kill: numbers go on, and nothing is written over.
    tables = subject.open();
    subject.put(&mut tables, &[140], b"fourth");
    tables = subject.check(tables);
    drop(tables);
    assert_eq!(entries(&subject.path()), 5);
}

#[test]
fn who_writes_windows_into_their_places_empties_the_log_first() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    subject.store(&mut tables, &[(1, None)]);
    // Dense: half of all.
    let half: Vec<u32> = (100..300).collect();
    subject.put(&mut tables, &half, b"third");
    assert!(tables.log.is_empty());
    tables = subject.check(tables);
    // Few.
    subject.put(&mut tables, &[70, 210], b"fourth");
    assert!(tables.log.is_empty());
    drop(subject.check(tables));
    assert_eq!(entries(&subject.path()), 0);
    assert_eq!(in_place(&subject.path(), 1), None);
    assert_eq!(in_place(&subject.path(), 140).unwrap(), b"third");
}

#[test]
fn a_full_log_is_emptied_and_the_file_does_not_grow() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    let (mut emptied, mut before) = (0, tables.log);
    let mut length = 0;
    for round in 0..200_u32 {
        let windows: Vec<u32> = (0..10).map(|n| (round * 7 + n * 40) % WINDOWS).collect();
        subject.put(&mut tables, &windows, &[round.to_le_bytes()[0]; 1_000]);
        assert!(!tables.log.is_empty(), "the one that finds it full begins it anew");
        emptied += u32::from(tables.log.bytes() < before.bytes());
        assert!(tables.log.bytes() <= 512 << 10);
        before = tables.log;
        if emptied == 1 && length == 0 {
            length = fs::metadata(subject.path()).unwrap().len();
        }
    }
    assert_eq!(emptied, 3);
    assert!(fs::metadata(subject.path()).unwrap().len() <= 2 * length);
    subject.check(tables);
}

#[test]
fn what_is_not_committed_has_emptied_nothing() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    let all: Vec<_> = (0..WINDOWS).map(|window| (window, Some(b"never".to_vec()))).collect();
    // A kill in the middle of a transaction that puts everything into its place.
    tables.abandon(&pending(&all)).unwrap();
    drop(subject.check(tables));
    assert_eq!(entries(&subject.path()), 1);
    tables = subject.open();
    subject.put(&mut tables, &[140], b"third");
    subject.check(tables);
}

#[test]
fn a_clean_end_empties_it() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    let mut end = Pending::default();
    end.add(Batch { clean: Some(true), ..Batch::default() });
    tables.store(&end).unwrap();
    assert!(tables.log.is_empty());
    drop(subject.check(tables));
    assert_eq!(entries(&subject.path()), 0);
    // With windows of its own.
    tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"third");
    let mut end = pending(&[1, 3, 5, 7, 9, 11].map(|window| (window, Some(b"at last".to_vec()))));
    end.add(Batch { clean: Some(true), ..Batch::default() });
    tables.store(&end).unwrap();
    for window in [1, 3, 5, 7, 9, 11] {
        subject.model.insert(key(window), b"at last".to_vec());
    }
    assert!(tables.log.is_empty());
    subject.check(tables);
}

#[test]
fn nothing_but_windows_is_logged() {
    let subject = Subject::new();
    let mut tables = subject.open();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Topic) {
        let mut batch = Pending::default();
        let change = |window| Change { table, key: key(window), value: Some(b"elsewhere".to_vec().into()) };
        batch.add(Batch { changes: (0..20).map(change).collect(), ..Batch::default() });
        tables.store(&batch).unwrap();
        assert!(tables.log.is_empty(), "{table:?}");
    }
    // Together with windows: each where it belongs.
    let mut batch = pending(&[1, 70, 140, 210, 280].map(|window| (window, Some(b"second".to_vec()))));
    let change = Change { table: Table::Peer, key: key(1), value: Some(b"a chain key".to_vec().into()) };
    batch.add(Batch { changes: vec![change], ..Batch::default() });
    tables.store(&batch).unwrap();
    assert!(!tables.log.is_empty());
    drop(tables);
    let database = Database::open(subject.path()).unwrap();
    let log = database.begin_read().unwrap().open_table(LOG).unwrap();
    let (_, entry) = log.iter().unwrap().next().unwrap().unwrap();
    assert!(!entry.value().windows(11).any(|bytes| bytes == b"a chain key"));
    assert!(entry.value().windows(6).any(|bytes| bytes == b"second"));
}

#[test]
fn whatever_comes_the_last_counts() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    let (mut seed, mut seen) = (7_u32, [0, 0]);
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    for round in 0..300 {
        // Few, scattered, dense.
        let many = [3, 30, 90][usize::try_from(next(3)).unwrap()];
        let mut changes = BTreeMap::new();
        for _ in 0..=next(many) {
            let value = vec![round.to_string().as_bytes()[0]; usize::try_from(next(4_000)).unwrap()];
            changes.insert(next(WINDOWS), (next(8) > 0).then_some(value));
        }
        let before = tables.log;
        subject.store(&mut tables, &changes.into_iter().collect::<Vec<_>>());
        let emptied = tables.log.bytes() < before.bytes();
        seen = [seen[0] + u32::from(emptied), seen[1] + u32::from(!tables.log.is_empty())];
        if round % 20 == 0 || emptied {
            tables = subject.check(tables);
        }
    }
    subject.check(tables);
    assert!(seen[0] > 5 && seen[1] > 50, "{seen:?}");
}

fn state_key(directory: &Path) -> StateKey {
    use std::os::unix::fs::PermissionsExt as _;
    let path = directory.join("key");
    fs::write(&path, [7; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    StateKey::find(Some(&path), None).unwrap().unwrap()
}

#[test]
fn in_a_sealed_file_the_log_is_sealed() {
    const SEEN: &[u8] = b"how far a patient's topic was read";
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], SEEN);
    subject.store(&mut tables, &[(70, None)]);
    drop(tables);
    assert_eq!(entries(&subject.path()), 2);
    // Sealed with what the log has.
    subject.key = Some(state_key(subject.directory.path()));
    let mut tables = subject.check(subject.open());
    assert!(tables.log.is_empty());
    subject.put(&mut tables, &[2, 71, 141, 211, 281], SEEN);
    assert!(!tables.log.is_empty());
    drop(subject.check(tables));
    let file = fs::read(subject.path()).unwrap();
    assert!(!file.windows(SEEN.len()).any(|bytes| bytes == SEEN));
    // It goes to its place as it is, and opens there.
    let mut tables = subject.open();
    let half: Vec<u32> = (100..300).collect();
    subject.put(&mut tables, &half, b"third");
    assert!(tables.log.is_empty());
    subject.check(tables);
}

#[test]
fn a_log_that_is_cut_short_is_refused() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    drop(tables);
    let database = Database::open(subject.path()).unwrap();
    let read = database.begin_read().unwrap().open_table(LOG).unwrap();
    let whole = ReadableTable::get(&read, 0).unwrap().unwrap().value().to_vec();
    drop(read);
    for length in [1, 7, 8, 11, whole.len() - 1] {
        let transaction = database.begin_write().unwrap();
        transaction.open_table(LOG).unwrap().insert(0, &whole[..length]).unwrap();
        transaction.commit().unwrap();
        let reading = database.begin_read().unwrap();
        let refused = super::log::visit(&reading, |_, _| Ok(())).unwrap_err().to_string();
        assert!(refused.contains("its log is cut short"), "{length}: {refused}");
    }
    drop(database);
    let trouble = subject.open().read().err().unwrap();
    assert!(matches!(trouble.of(&subject.path()), StateError::Database { .. }));
}

#[test]
fn how_much_is_in_it_is_known_after_a_start() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    subject.put(&mut tables, &[2], b"third");
    let before: Extent = tables.log;
    drop(tables);
    assert_eq!(subject.open().log, before);
}
