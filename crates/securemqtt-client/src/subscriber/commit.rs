//! Readings out, then stored, then acknowledged: what waits for a transaction, and the clean end.

use std::time::Duration;

use securemqtt_core::Outgoing;

use super::{Subscriber, Told};
use crate::error::ClientError;
use crate::mqtt::AckToken;
use crate::notice::{Notice, Trouble};
use crate::state::{Batch, Cursor, StoreEvent, Ticket};

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
        if self.engine.has_changes() || cursor.is_some() {
            self.submit(Batch { cursor, ..Batch::default() });
        }
        let sends = std::mem::take(&mut self.sends).into_iter().map(Held::Send);
        let held = acks.into_iter().map(Held::Acknowledge).chain(sends);
        match self.undurable() {
            None => held.for_each(|held| self.release(held)),
            Some(ticket) => self.held.extend(held.map(|held| (ticket, held))),
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.store.is_durable(self.first)
    }

    pub(super) fn submit(&mut self, batch: Batch) {
        let changes = self.engine.take_changes();
        self.last = Some(self.store.submit(Batch { changes, ..batch }));
    }

    /// The last transaction, while something waits for it.
    fn undurable(&self) -> Option<Ticket> {
        let behind = self.held.back().map(|(ticket, _)| *ticket);
        self.last.filter(|ticket| !self.store.is_durable(*ticket)).or(behind)
    }

    fn release(&mut self, held: Held) {
        match held {
            Held::Send(message) => self.pump.send([message]),
            Held::Acknowledge(ack) => self.pump.link.ack(ack),
        }
    }

    pub(super) fn stored(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Durable(ticket) => {
                while self.held.front().is_some_and(|(behind, _)| *behind <= ticket) {
                    if let Some((_, held)) = self.held.pop_front() {
                        self.release(held);
                    }
                }
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
            self.submit(Batch { clean: Some(true), ..Batch::default() });
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
