//! What an engine keeps over a restart, in a database of its own: one file, one writer.
//!
//! redb: pure Rust without `unsafe` mappings of the file, one fdatasync a commit, copy on write, so that a kill or a power
//! cut at any point leaves the last commit. rusqlite and LMDB bring C (and LMDB a mapping that a bad disk turns into
//! SIGBUS); sled has had no stable release for years; fjall is a log-structured tree made for far more data than this,
//! with several files and threads.
//!
//! A thread commits; what is handed in while it is at work goes into one transaction after it. It waits for nothing: what
//! belongs together is gathered by whoever hands it in, who knows what it costs to wait ([`Store::next_at`]). A full disk
//! stops nothing but this: it is tried again until it works, and until then nothing counts as stored.
//!
//! Replay windows are in a log (`log.rs`), in the same file and the same transactions.
//!
//! What a start needs is read into memory ([`Loaded`]), but for the segments of a publisher's spool: of those only the keys,
//! and [`Store::fetch`] reads one at a time, so that a spool of 64 MiB takes no more memory than its largest segment and
//! the database's own cache of a mebibyte.

mod file;
mod log;
#[cfg(test)]
mod log_tests;
mod migrate;
#[cfg(test)]
mod migrate_tests;
mod news;
mod queue;
mod seal;
#[cfg(test)]
mod seal_tests;
mod tables;
#[cfg(test)]
mod tests;
mod windows;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use securemqtt_core::packed::Packed;
use securemqtt_core::record::{Change, Record, RestoreError, Table};
use tokio::sync::{oneshot, watch};
use zeroize::Zeroizing;

use super::error::StateError;
use super::{StateDir, StateKey};
use news::News;
use queue::{Fetch, Shared};
use tables::Tables;
use writer::Writer;

pub(super) const FILE: &str = "state.redb";
/// Batches that can wait follow each other so slowly: each is a transaction of its own, and flash wears.
const GROUP_EVERY: Duration = Duration::from_millis(5);
/// How long a store that is dropped waits for a disk that hangs.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// How far an output file was written when its readings were stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The file system's number, and the file's.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
    /// Bytes.
    pub length: u64,
}

/// What was found on disk.
#[derive(Debug)]
pub struct Loaded {
    /// The engine's records.
    pub records: Vec<Record>,
    /// The keys of the spool's segments, in order; their bytes stay on disk, see [`Store::fetch`].
    pub segments: Vec<Vec<u8>>,
    /// The output file's.
    pub cursor: Option<Cursor>,
    /// Whether the last run ended cleanly, or there was none.
    pub clean: bool,
}

/// What is stored together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    /// The engine's changes.
    pub changes: Vec<Change>,
    /// And those of replay windows.
    pub windows: Packed,
    /// The output file's place.
    pub cursor: Option<Cursor>,
    /// Whether this is the clean end of a run.
    pub clean: Option<bool>,
}

/// A place in the order of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What happens to what was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// Everything up to this batch survives a power cut.
    Durable(Ticket),
    /// Nothing can be stored. It is tried again until it works.
    Stuck {
        /// What is wrong, and what to do.
        why: String,
    },
    /// It works again.
    Recovered,
}

/// The database of one state directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    shared: Arc<Shared>,
    news: news::Reader,
    next_at: Instant,
    /// How the thread has ended; none when that was asked for. The lock is never contended: with it, a program that waits for
    /// a record may go on in another thread.
    ended: Option<Mutex<mpsc::Receiver<Result<(), String>>>>,
}

impl Store {
    /// Opens the database of a directory that this process holds, and reads it. A missing one is new; a damaged one stays
    /// as it is. With a key all secrets in it are sealed; one that was not sealed before is from now on, and opens with
    /// this key only.
    ///
    /// # Errors
    /// If others may read the file, it is damaged, of a later version or sealed with another key, or cannot be opened.
    pub fn open(directory: &StateDir, key: Option<&StateKey>) -> Result<(Self, Loaded), StateError> {
        let path = directory.file(FILE);
        if !path.exists() {
            Tables::create(&path, key)?;
        }
        let tables = Tables::open(&path, key)?;
        let loaded = tables.read().map_err(|trouble| trouble.of(&path))?;
        let shared = Arc::new(Shared::default());
        let (told, news) = watch::channel(News::default());
        let writer = Writer::new(path.clone(), key.cloned(), tables, Arc::clone(&shared), told);
        let store = Self::over(path, shared, news, move || writer.run())?;
        Ok((store, loaded))
    }

    /// A store and its thread.
    fn over(
        path: PathBuf,
        shared: Arc<Shared>,
        news: watch::Receiver<News>,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<Self, StateError> {
        let (end, ended) = mpsc::sync_channel(1);
        // Nobody may be asking any more.
        let run = move || drop(end.send(work()));
        let spawned = thread::Builder::new().name("state".to_owned()).spawn(run);
        spawned.map_err(|source| StateError::Write { path: path.clone(), source })?;
        let (news, next_at) = (news::Reader::new(news), Instant::now());
        Ok(Self { path, shared, news, next_at, ended: Some(Mutex::new(ended)) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands a batch in; it is stored with those that wait already. Does not wait.
    pub fn submit(&mut self, batch: Batch) -> Ticket {
        self.next_at = Instant::now() + GROUP_EVERY;
        self.shared.submit(batch)
    }

    /// Until when the next batch is gathered, unless it cannot wait: under load that makes 200 transactions a second.
    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Reads one record, as everything submitted so far leaves it: `None` where there is none. A batch that waits does not
    /// delay it. Windows are read at the start, and not here.
    ///
    /// # Errors
    /// If the disk cannot be read: why. Later it may.
    pub fn fetch(
        &self,
        table: Table,
        key: Vec<u8>,
    ) -> impl Future<Output = Result<Option<Zeroizing<Vec<u8>>>, String>> + Send + use<> {
        let (to, from) = oneshot::channel();
        self.shared.fetch(Fetch::new((table, key), to));
        async move { from.await.unwrap_or_else(|_| Err("the state is closed".to_owned())) }
    }

    /// Whether a batch survives a power cut.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.news.is_durable(ticket)
    }

    /// The next thing that happens; of several batches that became durable the last. Safe to be cancelled.
    pub async fn event(&mut self) -> StoreEvent {
        loop {
            if let Some(event) = self.news.next() {
                return event;
            }
            self.news.changed().await;
        }
    }

    /// What has happened already.
    pub fn try_event(&mut self) -> Option<StoreEvent> {
        self.news.next()
    }

    /// Waits until a batch survives a power cut.
    pub async fn reached(&self, ticket: Ticket) {
        self.news.reached(ticket).await;
    }

    /// A record that the engine cannot read.
    pub fn damaged(&self, error: &RestoreError) -> StateError {
        StateError::Database { path: self.path.clone(), why: error.to_string() }
    }

    /// Stores what waits, once, and closes the file, however long the disk takes.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn close(mut self) -> Result<(), StateError> {
        self.shared.close();
        let ended = self.take_ended();
        let not_stored = |why| StateError::NotStored { path: self.path.clone(), why };
        match ended.map(|ended| ended.recv()) {
            Some(Ok(ended)) => ended.map_err(not_stored),
            Some(Err(_)) => Err(not_stored("the thread that stores has failed".to_owned())),
            None => Ok(()),
        }
    }

    fn take_ended(&mut self) -> Option<mpsc::Receiver<Result<(), String>>> {
        self.ended.take().map(|ended| ended.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Store {
    /// As [`Store::close`], but on a disk that hangs the thread is left behind, with the file and its lock.
    fn drop(&mut self) {
        let Some(ended) = self.take_ended() else { return };
        self.shared.close();
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(DROP_PATIENCE) {
            tracing::warn!("{} is not closed: the disk does not answer", self.path.display());
        }
    }
}
