//! What waits for the thread that commits: one batch, and whoever wants to read.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use securemqtt_core::packed::Packed;
use securemqtt_core::record::{Change, Table};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{Batch, Cursor, Ticket, log};

/// The bytes of a record: secrets, perhaps.
pub(super) type Value = Zeroizing<Vec<u8>>;
/// A table and a key in it.
pub(super) type Place = (Table, Vec<u8>);
/// What a read finds: nothing, where there is no such record.
pub(super) type Found = Result<Option<Value>, String>;

/// Batches that are stored together. Of several changes to one record only the last is kept, and the others are wiped
/// before they reach the disk.
#[derive(Default)]
pub(super) struct Pending {
    changes: BTreeMap<Place, Option<Value>>,
    /// Of these every change is kept.
    pub(super) windows: Packed,
    pub(super) cursor: Option<Cursor>,
    pub(super) clean: Option<bool>,
}

impl Pending {
    pub(super) fn add(&mut self, batch: Batch) {
        let Batch { changes, windows, cursor, clean } = batch;
        for Change { table, key, value } in changes {
            if log::takes(table) {
                self.windows.push(0, &[&[table as u8], &key], value.as_deref().map(Vec::as_slice));
            } else {
                self.changes.insert((table, key), value);
            }
        }
        self.windows.append(windows);
        self.cursor = cursor.or(self.cursor.take());
        self.clean = clean.or(self.clean);
    }

    /// All but the windows.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&Place, Option<&Value>)> {
        self.changes.iter().map(|(place, value)| (place, value.as_ref()))
    }

    /// Answers a read of what is changed here; gives any other back.
    pub(super) fn answer(&self, fetch: Fetch) -> Option<Fetch> {
        let Some(value) = self.changes.get(&fetch.place).cloned() else { return Some(fetch) };
        fetch.answer(Ok(value));
        None
    }
}

/// Somebody waits for a record.
pub(super) struct Fetch {
    pub(super) place: Place,
    to: oneshot::Sender<Found>,
}

impl Fetch {
    pub(super) fn new(place: Place, to: oneshot::Sender<Found>) -> Self {
        Self { place, to }
    }

    /// Whoever waited may have given up.
    pub(super) fn answer(self, found: Found) {
        let _ = self.to.send(found);
    }
}

/// What waits.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) batch: Option<Pending>,
    pub(super) reads: Vec<Fetch>,
    pub(super) last: u64,
    pub(super) closing: bool,
}

/// The queue between everybody and the thread.
#[derive(Default)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    pub(super) wake: Condvar,
}

// The values are secrets.
impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn submit(&self, batch: Batch) -> Ticket {
        let mut queue = self.lock();
        if queue.batch.is_none() {
            self.wake.notify_one();
        }
        queue.batch.get_or_insert_default().add(batch);
        queue.last += 1;
        Ticket(queue.last)
    }

    /// What the batch that waits says is answered at once. All else the thread reads when it has stored what it is at,
    /// and before that batch: either way everything submitted before is seen.
    pub(super) fn fetch(&self, fetch: Fetch) {
        let mut queue = self.lock();
        let unanswered = match &queue.batch {
            Some(batch) => batch.answer(fetch),
            None => Some(fetch),
        };
        if let Some(fetch) = unanswered {
            queue.reads.push(fetch);
            self.wake.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }
}
