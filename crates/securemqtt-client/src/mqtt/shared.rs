//! What both ends of the link and its driver share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::connection::MAX_PACKET_SIZE;
use super::error::LinkError;
use super::outbox::Progress;

/// What both ends and the driver share.
#[derive(Debug)]
pub(super) struct Shared {
    /// A permit for each publish that may be under way.
    pub(super) window: Semaphore,
    pub(super) progress: Progress,
    pub(super) next_ticket: AtomicU64,
    pub(super) max_packet_size: AtomicU32,
    pub(super) queued_bytes: AtomicUsize,
    /// Callers that wait for acknowledgements.
    pub(super) waiting: AtomicUsize,
    /// The driver may read on: messages were taken, or someone waits.
    pub(super) room: Notify,
    /// Why the link has ended, if not because it was told to.
    pub(super) failure: OnceLock<LinkError>,
}

impl Shared {
    /// So many publishes may be under way.
    pub(super) fn new(window: usize) -> Self {
        Self {
            window: Semaphore::new(window),
            progress: Progress::default(),
            next_ticket: AtomicU64::new(0),
            max_packet_size: AtomicU32::new(MAX_PACKET_SIZE),
            queued_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            failure: OnceLock::new(),
        }
    }

    /// What to tell whoever hands in work when the link has ended. It may come before the event that tells of it is heard,
    /// and is then the only one to say why.
    pub(super) fn ended(&self) -> LinkError {
        self.failure.get().cloned().unwrap_or_else(LinkError::closed)
    }
}

/// Someone waits for acknowledgements, and may not take events meanwhile: the driver reads on regardless.
pub(super) struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        shared.room.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
