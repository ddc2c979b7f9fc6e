//! Readings out, then stored, then acknowledged: what waits for a transaction, and the clean end.

use std::time::Duration;

use securemqtt_core::Outgoing;
use securemqtt_core::subscriber::Changes;

use super::{Subscriber, Told};
use crate::error::ClientError;
use crate::mqtt::AckToken;
use crate::notice::{Notice, Trouble};
use crate::state::{Batch, Cursor, StoreEvent};

/// What nothing waits for, not the broker and no file, is stored so long after it was learned: that is what readings at
/// QoS 0 teach, and a transaction every few of them would cost more than they do.
const LAZY: Duration = Duration::from_millis(50);

/// What waits for a transaction.
#[derive(Debug)]
pub(super) enum Held {
    Send(Outgoing),
    Acknowledge(AckToken),
}

impl Subscriber {
    /// Whether every reading that the engine has opened was handed out.
    pub fn may_commit(&self) -> bool {
        !self.told.iter().any(|told| matches!(told, Told::Arrived(_)))
    }

    /// The readings handed out so far are out, in a file up to `cursor`: stores what was learned from them, and
    /// acknowledges their messages when that is durable. Does not wait. Only when [`Subscriber::may_commit`].
    pub fn commit(&mut self, acks: impl IntoIterator<Item = AckToken>, cursor: Option<Cursor>) {
        self.outstanding = false;
        self.pending.extend(acks.into_iter().filter(AckToken::is_awaited).map(Held::Acknowledge));
        self.pending.extend(self.sends.drain(..).map(Held::Send));
        self.cursor = cursor.or(self.cursor.take());
        self.store_committed();
    }

    /// As [`Subscriber::commit`] leaves it, it may be stored together with readings that are committed a little later. A
    /// program that may end before it commits those calls this.
    pub fn store_now(&mut self) {
        if !self.outstanding {
            self.hand_in();
        }
    }

    /// One transaction at a time: what is committed meanwhile goes into the next. None while readings are in the program's
    /// hands, for what was learned from them would be stored too.
    pub(super) fn store_committed(&mut self) {
        if self.may_store() {
            self.hand_in();
        }
    }

    pub(super) fn may_store(&self) -> bool {
        !self.outstanding && self.last.is_none_or(|last| self.store.is_durable(last))
    }

    fn hand_in(&mut self) {
        if !self.engine.has_changes() && self.cursor.is_none() {
            self.pass();
        } else if !self.pending.is_empty() || self.cursor.is_some() || self.is_late() {
            self.submit(None);
        }
    }

    /// Whether what nothing waits for has waited long enough.
    fn is_late(&mut self) -> bool {
        let now = self.moment.instant;
        *self.store_by.get_or_insert(now + LAZY) <= now
    }

    /// There is nothing to store: what is pending waits for nothing but what went before.
    fn pass(&mut self) {
        let last = self.last.unwrap_or(self.first);
        self.held.extend(self.pending.drain(..).map(|held| (last, held)));
        self.release_durable();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.store.is_durable(self.first)
    }

    fn submit(&mut self, clean: Option<bool>) {
        self.store_by = None;
        let (Changes { records: changes, windows }, cursor) = (self.engine.take_changes(), self.cursor.take());
        let ticket = self.store.submit(Batch { changes, windows, cursor, clean });
        self.last = Some(ticket);
        self.held.extend(self.pending.drain(..).map(|held| (ticket, held)));
    }

    fn release_durable(&mut self) {
        while self.held.front().is_some_and(|(ticket, _)| self.store.is_durable(*ticket))
            && let Some((_, held)) = self.held.pop_front()
        {
            self.release(held);
        }
    }

    fn release(&mut self, held: Held) {
        match held {
            Held::Send(message) => self.pump.send([message]),
            Held::Acknowledge(ack) => self.pump.link.ack(ack),
        }
    }

    pub(super) fn stored(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Durable(_) => {
                self.release_durable();
                self.store_committed();
            }
            StoreEvent::Stuck { why } => self.tell(Notice::Trouble(Trouble::NotStored { why })),
            StoreEvent::Recovered => self.tell(Notice::Trouble(Trouble::StoredAgain)),
        }
    }

    /// Ends cleanly, after the last [`Subscriber::commit`]: what is under way for at most `patience`, then DISCONNECT.
    ///
    /// # Errors
    /// If the state cannot be stored.
    pub async fn finish(mut self, patience: Duration) -> Result<(), ClientError> {
        // Readings that were handed out and not committed come again: nothing is stored of them.
        if !self.outstanding {
            self.submit(Some(true));
        }
        // Acknowledgements that stay behind are made again: the broker delivers once more.
        let _ = tokio::time::timeout(patience, self.hand_over_all(patience)).await;
        self.pump.link.disconnect().await;
        // On a disk that hangs this takes for ever: whoever waits may give up.
        let Self { store, .. } = self;
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        Ok(closed.unwrap_or(Ok(()))?)
    }

    async fn hand_over_all(&mut self, patience: Duration) -> Result<(), ClientError> {
        if let Some(ticket) = self.last {
            self.store.reached(ticket).await;
        }
        while let Some((_, held)) = self.held.pop_front() {
            self.release(held);
        }
        self.pump.flush().await?;
        self.pump.link.drain(patience).await;
        Ok(())
    }
}
