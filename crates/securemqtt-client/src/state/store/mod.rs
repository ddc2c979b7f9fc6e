//! What an engine keeps over a restart, in a database of its own: one file, one writer.
//!
//! redb: pure Rust without `unsafe` mappings of the file, one fdatasync a commit, copy on write, so that a kill or a power
//! cut at any point leaves the last commit. rusqlite and LMDB bring C (and LMDB a mapping that a bad disk turns into
//! SIGBUS); sled has had no stable release for years; fjall is a log-structured tree made for far more data than this,
//! with several files and threads.
//!
//! A thread commits; what is handed in while it is at work goes into one transaction after it. A full disk stops nothing
//! but this: it is tried again until it works, and until then nothing counts as stored.

mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use securemqtt_core::record::{Change, Record, RestoreError, Table};
use tokio::sync::{Notify, mpsc, oneshot};
use zeroize::Zeroizing;

use super::StateDir;
use super::error::StateError;
use writer::Writer;

pub(super) const FILE: &str = "state.redb";

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
    /// The output file's place.
    pub cursor: Option<Cursor>,
    /// Whether this is the clean end of a run.
    pub clean: Option<bool>,
}

impl Batch {
    fn add(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.cursor = later.cursor.or(self.cursor.take());
        self.clean = later.clean.or(self.clean);
    }
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

#[derive(Debug, Default)]
struct Queue {
    batch: Option<Batch>,
    reads: Vec<Fetch>,
    last: u64,
    closing: bool,
}

/// A record that somebody waits for.
#[derive(Debug)]
struct Fetch {
    table: Table,
    key: Vec<u8>,
    to: oneshot::Sender<Result<Option<Zeroizing<Vec<u8>>>, String>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    durable: AtomicU64,
    moved: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The database of one state directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<StoreEvent>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Store {
    /// Opens the database of a directory that this process holds, and reads it. A missing one is new; a damaged one stays
    /// as it is.
    ///
    /// # Errors
    /// If others may read the file, it is damaged or of a later version, or cannot be opened.
    pub fn open(directory: &StateDir) -> Result<(Self, Loaded), StateError> {
        let path = directory.file(FILE);
        let database = tables::open(&path, !path.exists())?;
        let loaded = tables::read(&database).map_err(|why| StateError::Database { path: path.clone(), why })?;
        let shared = Arc::new(Shared::default());
        let (told, events) = mpsc::unbounded_channel();
        let writer = Writer::new(path.clone(), database, Arc::clone(&shared), told);
        let spawned = thread::Builder::new().name("state".to_owned()).spawn(move || writer.run());
        let thread = spawned.map_err(|source| StateError::Write { path: path.clone(), source })?;
        Ok((Self { path, shared, events, thread: Some(thread) }, loaded))
    }

    /// Hands a batch in; it is stored with those that wait already. Does not wait.
    pub fn submit(&self, batch: Batch) -> Ticket {
        let mut queue = self.shared.lock();
        queue.batch.get_or_insert_default().add(batch);
        queue.last += 1;
        self.shared.wake.notify_one();
        Ticket(queue.last)
    }

    /// Reads one record as it is when everything submitted so far is stored.
    pub fn fetch(
        &self,
        table: Table,
        key: Vec<u8>,
    ) -> impl Future<Output = Result<Option<Zeroizing<Vec<u8>>>, String>> + Send + use<> {
        let (to, from) = oneshot::channel();
        self.shared.lock().reads.push(Fetch { table, key, to });
        self.shared.wake.notify_one();
        async move { from.await.unwrap_or_else(|_| Err("the database is closed".to_owned())) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a batch survives a power cut.
    pub fn is_durable(&self, ticket: Ticket) -> bool {
        self.shared.durable.load(Ordering::Acquire) >= ticket.0
    }

    /// The next thing that happens. Safe to be cancelled.
    pub async fn event(&mut self) -> StoreEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// What has happened already.
    pub fn try_event(&mut self) -> Option<StoreEvent> {
        self.events.try_recv().ok()
    }

    /// Waits until a batch survives a power cut.
    pub async fn reached(&self, ticket: Ticket) {
        loop {
            let moved = self.shared.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.is_durable(ticket) {
                return;
            }
            moved.await;
        }
    }

    /// A record that the engine cannot read.
    pub fn damaged(&self, error: &RestoreError) -> StateError {
        StateError::Database { path: self.path.clone(), why: error.to_string() }
    }

    /// Stores what waits, once, and closes the file.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn close(mut self) -> Result<(), StateError> {
        let failed = self.stop();
        failed.map_or(Ok(()), |why| Err(StateError::NotStored { path: self.path.clone(), why }))
    }

    fn stop(&mut self) -> Option<String> {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        self.thread.take()?.join().unwrap_or_else(|_| Err("the thread that stores has failed".to_owned())).err()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The outcome was asked for in `close`, or nobody wants it.
        let _ = self.stop();
    }
}
