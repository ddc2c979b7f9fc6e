#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _};
use securemqtt_core::packed::Packed;
use securemqtt_core::record::Table;

use super::log::LOG;
use super::queue::Pending;
use super::tables::RECORDS;
use super::*;

const WINDOWS: u32 = 400;
/// What a log may hold that is overtaken, besides as much as counts.
const SLACK: usize = 256 << 10;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A file with windows in it.
struct Subject {
    directory: tempfile::TempDir,
    key: Option<StateKey>,
    model: Model,
    /// The places that an engine has given since it was started, where it does.
    places: Option<BTreeMap<u32, u32>>,
    last_place: u32,
}

impl Subject {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut subject = Self { directory, key: None, model: Model::new(), places: None, last_place: 0 };
        Tables::create(&subject.path(), None).unwrap();
        let all: Vec<u32> = (0..WINDOWS).collect();
        let mut tables = subject.open();
        subject.put(&mut tables, &all, b"at first");
        drop(tables);
        subject
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state.redb")
    }

    fn open(&mut self) -> Tables {
        self.places.as_mut().into_iter().for_each(BTreeMap::clear);
        self.last_place = 0;
        Tables::open(&self.path(), self.key.as_ref()).unwrap()
    }

    /// Stores windows in one transaction.
    fn put(&mut self, tables: &mut Tables, windows: &[u32], value: &[u8]) {
        let changes: Vec<_> = windows.iter().map(|window| (*window, Some(value.to_vec()))).collect();
        self.store(tables, &changes);
    }

    fn store(&mut self, tables: &mut Tables, changes: &[(u32, Option<Vec<u8>>)]) {
        let pending = if self.places.is_some() { self.by_place(changes) } else { pending(changes) };
        tables.store(&pending).unwrap();
        for (window, value) in changes {
            match value {
                Some(value) => self.model.insert(key(*window), value.clone()),
                None => self.model.remove(&key(*window)),
            };
        }
    }

    /// The same changes as an engine says them: with a key for the first time, then by place.
    fn by_place(&mut self, changes: &[(u32, Option<Vec<u8>>)]) -> Pending {
        let mut windows = Packed::default();
        let places = self.places.get_or_insert_default();
        for (window, value) in changes {
            let (topic, key) = ([Table::Topic as u8], key(*window));
            let (mut place, mut name) = (places.get(window).copied().unwrap_or(0), &[][..]);
            let whole = [&topic[..], &key];
            if place == 0 {
                name = &whole;
                // What is gone and was not named has no place.
                if value.is_some() {
                    self.last_place += 1;
                    place = self.last_place;
                    places.insert(*window, place);
                }
            }
            windows.push(place, name, value.as_deref());
            if value.is_none() {
                places.remove(window);
            }
        }
        let mut pending = Pending::default();
        pending.add(Batch { windows, ..Batch::default() });
        pending
    }

    /// Bytes of what counts, as an entry has it.
    fn counting(&self) -> usize {
        self.model.iter().map(|(key, value)| 4 + 4 + 1 + key.len() + value.len()).sum()
    }

    /// After a kill, and after a start: it is what was stored last.
    fn check(&mut self, tables: Tables) -> Tables {
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

fn entries(path: &Path) -> usize {
    let database = Database::open(path).unwrap();
    let log = database.begin_read().unwrap().open_table(LOG).unwrap();
    log.iter().unwrap().count()
}

#[test]
fn of_what_is_said_of_a_window_the_last_counts() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    // A removal, one that comes again (twice), and a new one.
    let third = |window| (window, Some(b"third".to_vec()));
    subject.store(&mut tables, &[(140, None), (70, None), third(140), (9_999, Some(b"new".to_vec()))]);
    subject.store(&mut tables, &[(210, None)]);
    subject.store(&mut tables, &[(210, Some(b"again".to_vec()))]);
    drop(subject.check(tables));
    assert_eq!(entries(&subject.path()), 5);
    // As after a kill: numbers go on, and nothing is written over.
    tables = subject.open();
    subject.put(&mut tables, &[140], b"fourth");
    drop(subject.check(tables));
    assert_eq!(entries(&subject.path()), 6);
}

#[test]
fn it_is_written_anew_when_most_of_it_is_overtaken_and_the_file_does_not_grow() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    let (mut anew, mut length, mut appended) = (0, 0, tables.log.bytes());
    for round in 0..1_200_u32 {
        // A start now and then: what is overtaken is not taken for what counts.
        if round % 50 == 49 {
            drop(tables);
            tables = subject.open();
        }
        let before = tables.log.bytes();
        let windows: Vec<u32> = (0..10).map(|n| (round * 7 + n * 40) % WINDOWS).collect();
        subject.put(&mut tables, &windows, &[round.to_le_bytes()[0]; 1_000]);
        let counting = subject.counting();
        let after = tables.log.bytes();
        assert!(after <= 2 * counting + SLACK, "{after} bytes, {counting} count");
        if after < before {
            assert_eq!(after, counting, "and nothing else");
            // For as much as it writes, as much was appended since the last time.
            assert!(appended >= after, "{appended}");
            (anew, appended) = (anew + 1, 0);
            if anew == 4 {
                length = fs::metadata(subject.path()).unwrap().len();
            }
        } else {
            appended += after - before;
        }
    }
    assert!(anew > 10, "{anew}");
    assert!(fs::metadata(subject.path()).unwrap().len() <= 2 * length);
    subject.check(tables);
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    let windows: Vec<u32> = (0..WINDOWS).collect();
    for round in 0.. {
        subject.put(&mut tables, &windows, &[7; 100]);
        let gone: Vec<_> = windows.iter().map(|window| (*window, None)).collect();
        subject.store(&mut tables, &gone);
        if tables.log.bytes() == 0 {
            break;
        }
        assert!(round < 20, "{} bytes", tables.log.bytes());
    }
    subject.put(&mut tables, &[1], b"new");
    subject.check(tables);
}

#[test]
fn what_is_not_committed_changes_nothing() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    subject.put(&mut tables, &[1, 70, 140, 210, 280], b"second");
    // A kill in the middle of a transaction that writes it anew.
    let all: Vec<_> = (0..WINDOWS).map(|window| (window, Some(vec![0; SLACK / 300]))).collect();
    tables.abandon(&pending(&all)).unwrap();
    drop(subject.check(tables));
    assert_eq!(entries(&subject.path()), 2);
    tables = subject.open();
    subject.put(&mut tables, &[140], b"third");
    subject.check(tables);
}

#[test]
fn nothing_but_windows_is_logged_and_they_are_nowhere_else() {
    let mut subject = Subject::new();
    let mut tables = subject.open();
    let before = tables.log;
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Topic) {
        let mut batch = Pending::default();
        let change = |window| Change { table, key: key(window), value: Some(b"elsewhere".to_vec().into()) };
        batch.add(Batch { changes: (0..20).map(change).collect(), ..Batch::default() });
        tables.store(&batch).unwrap();
        assert_eq!(tables.log, before, "{table:?}");
    }
    // Together with windows: each where it belongs.
    let mut batch = pending(&[(1, Some(b"second".to_vec()))]);
    let change = Change { table: Table::Peer, key: key(1), value: Some(b"a chain key".to_vec().into()) };
    batch.add(Batch { changes: vec![change], ..Batch::default() });
    tables.store(&batch).unwrap();
    drop(tables);
    let database = Database::open(subject.path()).unwrap();
    let reading = database.begin_read().unwrap();
    let log = reading.open_table(LOG).unwrap();
    let (_, entry) = log.last().unwrap().unwrap();
    assert!(!entry.value().windows(11).any(|bytes| bytes == b"a chain key"));
    assert!(entry.value().windows(6).any(|bytes| bytes == b"second"));
    let records = reading.open_table(RECORDS).unwrap();
    let windows = records.iter().unwrap().filter(|record| {
        let (key, _) = record.as_ref().unwrap();
        key.value()[0] == Table::Topic as u8
    });
    assert_eq!((windows.count(), records.len().unwrap()), (0, 20 * (u64::try_from(Table::ALL.len()).unwrap() - 1)));
}

#[test]
fn whatever_comes_the_last_counts() {
    for places in [None, Some(BTreeMap::new())] {
        whatever_comes(Subject { places, ..Subject::new() });
    }
}

fn whatever_comes(mut subject: Subject) {
    let mut tables = subject.open();
    let (mut seed, mut anew) = (7_u32, 0);
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    for round in 0..300 {
        // Some of them twice.
        let many = [3, 30, 90][usize::try_from(next(3)).unwrap()];
        let mut changes = Vec::new();
        for _ in 0..=next(many) {
            let value = vec![round.to_string().as_bytes()[0]; usize::try_from(next(4_000)).unwrap()];
            changes.push((next(WINDOWS), (next(8) > 0).then_some(value)));
        }
        let before = tables.log;
        subject.store(&mut tables, &changes);
        let is_anew = tables.log.bytes() < before.bytes();
        anew += u32::from(is_anew);
        if round % 20 == 0 || is_anew {
            tables = subject.check(tables);
        }
    }
    subject.check(tables);
    assert!(anew > 5, "{anew}");
}

#[test]
fn what_is_said_by_place_has_no_key_and_takes_little() {
    let mut subject = Subject { places: Some(BTreeMap::new()), ..Subject::new() };
    let mut tables = subject.open();
    let all: Vec<u32> = (0..WINDOWS).collect();
    subject.put(&mut tables, &all, b"named");
    let named = tables.log.bytes();
    for round in 1..=20 {
        subject.put(&mut tables, &[3, 5], b"twelve bytes");
        assert_eq!(tables.log.bytes(), named + round * 2 * (1 + 3 + 4 + 12));
    }
    // Written anew they have the places that they had.
    let mut is_anew = || {
        let before = tables.log.bytes();
        subject.put(&mut tables, &[7], &vec![7; SLACK]);
        tables.log.bytes() < before
    };
    assert!((0..9).any(|_| is_anew()), "written anew");
    subject.put(&mut tables, &[3, 7, 9], b"by place again");
    subject.check(tables);
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
    assert_eq!(entries(&subject.path()), 3);
    // Sealed with what was there.
    subject.key = Some(state_key(subject.directory.path()));
    let opened = subject.open();
    let mut tables = subject.check(opened);
    subject.put(&mut tables, &[2, 71, 141, 211, 281], SEEN);
    tables = subject.check(tables);
    let file = fs::read(subject.path()).unwrap();
    assert!(!file.windows(SEEN.len()).any(|bytes| bytes == SEEN));
    // What is written anew stays as it was sealed, and opens.
    subject.put(&mut tables, &[3], &vec![7; SLACK]);
    let before = tables.log.bytes();
    subject.put(&mut tables, &[3], b"short again");
    subject.put(&mut tables, &[4], &vec![7; SLACK]);
    assert!(tables.log.bytes() < before + SLACK, "written anew");
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
    let whole = ReadableTable::get(&read, 1).unwrap().unwrap().value().to_vec();
    drop(read);
    for length in [1, 7, 8, 11, whole.len() - 1] {
        let transaction = database.begin_write().unwrap();
        transaction.open_table(LOG).unwrap().insert(1, &whole[..length]).unwrap();
        transaction.commit().unwrap();
        let reading = database.begin_read().unwrap();
        let refused = super::log::visit(&reading, |_, _| Ok(())).unwrap_err().to_string();
        assert!(refused.contains("its log cannot be read"), "{length}: {refused}");
    }
    drop(database);
    let error = Tables::open(&subject.path(), None).err().unwrap();
    assert!(matches!(&error, StateError::Database { why, .. } if why.contains("cannot be read")), "{error}");
}
