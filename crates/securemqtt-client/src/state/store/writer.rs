//! The thread that commits, and tries again where it cannot.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::mpsc;

use super::{Batch, Fetch, Shared, StoreEvent, Ticket, tables};

/// Transactions under load are gathered for so long.
const GROUP_EVERY: Duration = Duration::from_millis(5);
/// How often a transaction that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The thread that commits.
pub(super) struct Writer {
    path: PathBuf,
    /// None after a failure: redb takes nothing more until it is opened again.
    database: Option<Database>,
    shared: Arc<Shared>,
    told: mpsc::UnboundedSender<StoreEvent>,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        database: Database,
        shared: Arc<Shared>,
        told: mpsc::UnboundedSender<StoreEvent>,
    ) -> Self {
        Self { path, database: Some(database), shared, told }
    }

    pub(super) fn run(mut self) -> Result<(), String> {
        let mut began = None;
        while let Some((batch, last)) = self.next(began) {
            began = Some(Instant::now());
            self.store(&batch)?;
            self.shared.durable.store(last, Ordering::Release);
            self.shared.moved.notify_waiters();
            // Nobody may be listening any more.
            let _ = self.told.send(StoreEvent::Durable(Ticket(last)));
            self.read();
        }
        Ok(())
    }

    fn read(&mut self) {
        let reads = std::mem::take(&mut self.shared.lock().reads);
        for Fetch { table, key, to } in reads {
            let found = match &self.database {
                Some(database) => tables::fetch(database, table, &key),
                None => Err("the database is closed".to_owned()),
            };
            let _ = to.send(found);
        }
    }

    /// Waits for something to store; `None` when all is stored and the end has come.
    fn next(&mut self, began: Option<Instant>) -> Option<(Batch, u64)> {
        let shared = Arc::clone(&self.shared);
        let mut queue = shared.lock();
        while queue.batch.is_none() {
            if queue.closing {
                return None;
            }
            if !queue.reads.is_empty() {
                drop(queue);
                self.read();
                queue = shared.lock();
                continue;
            }
            queue = self.shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let early = began.map_or(Duration::ZERO, |began: Instant| GROUP_EVERY.saturating_sub(began.elapsed()));
        if !early.is_zero() && !queue.closing {
            drop(queue);
            thread::sleep(early);
            queue = shared.lock();
        }
        let last = queue.last;
        queue.batch.take().map(|batch| (batch, last))
    }

    /// Stores a batch, however long it takes; at the end of the program once.
    fn store(&mut self, batch: &Batch) -> Result<(), String> {
        let mut stuck = false;
        loop {
            match self.try_store(batch) {
                Ok(()) => {
                    if stuck {
                        let _ = self.told.send(StoreEvent::Recovered);
                    }
                    return Ok(());
                }
                Err(why) => {
                    self.database = None;
                    if !std::mem::replace(&mut stuck, true) {
                        let _ = self.told.send(StoreEvent::Stuck { why: why.clone() });
                    }
                    let queue = self.shared.lock();
                    if queue.closing {
                        return Err(why);
                    }
                    drop(self.shared.wake.wait_timeout_while(queue, TRY_AGAIN, |queue| !queue.closing));
                }
            }
        }
    }

    fn try_store(&mut self, batch: &Batch) -> Result<(), String> {
        if self.database.is_none() {
            self.database = Some(tables::open(&self.path, false).map_err(|error| error.to_string())?);
        }
        match &self.database {
            Some(database) => tables::store(database, batch),
            None => Err("the database is closed".to_owned()),
        }
    }
}
