//! The end of a publisher: everything is with the broker, perhaps with every subscriber, and then it says goodbye.

use std::time::Duration;

use super::Publisher;
use crate::error::ClientError;
use crate::notice::{Notice, Trouble};

/// How long the end waits for the acknowledgement of the last tick.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Publisher {
    /// From now on every tick asks for reports, until all subscribers have reported everything.
    pub fn confirm_all(&mut self) {
        self.engine.confirm_all();
    }

    /// From now on [`Publisher::next`] also tells when the broker or a subscriber has acknowledged something, and when the
    /// broker has everything.
    pub fn watch(&mut self) {
        self.watches = Some(false);
    }

    /// Whether the broker has everything that was published.
    pub fn is_drained(&self) -> bool {
        self.backlog.is_done() && self.gate.frames().0 == 0
    }

    /// Whether it is drained, and that was not told. What is kept nowhere leaves without an acknowledgement to reap.
    pub(super) fn is_newly_drained(&mut self) -> bool {
        let drained = self.is_drained();
        self.watches.as_mut().is_some_and(|told| !std::mem::replace(told, drained) && drained)
    }

    /// Ends cleanly: the last tick, what the broker still had for us, then DISCONNECT; for at most `patience`.
    ///
    /// # Errors
    /// If the state cannot be stored.
    pub async fn finish(mut self, patience: Duration) -> Result<Vec<Trouble>, ClientError> {
        self.engine.finish(self.clock.now(), &mut self.out);
        self.settle();
        // The echo of the last tick is a message like any other: without this nobody tells that it has come.
        self.watches.get_or_insert(false);
        let mut refused = Vec::new();
        if self.pump.is_connected() {
            // Without a connection there is nobody to say it to: the next start does.
            let _ = tokio::time::timeout(patience, self.say_goodbye(&mut refused)).await;
        }
        self.gate.submit(self.engine.take_changes(), Some(true));
        let _ = tokio::time::timeout(patience, self.gate.reached()).await;
        while let Some(held) = self.gate.next() {
            self.leave(held);
        }
        let _ = tokio::time::timeout(patience, self.pump.flush()).await;
        self.pump.link.drain(patience.min(LAST_WORDS)).await;
        self.pump.link.disconnect().await;
        let Self { gate, .. } = self;
        // On a disk that hangs this takes for ever: whoever waits may give up.
        let closed = tokio::task::spawn_blocking(move || gate.store.close()).await;
        closed.unwrap_or(Ok(()))?;
        Ok(refused)
    }

    /// Until the last tick has come back: brokers keep the order, so everything that they had for us came before.
    async fn say_goodbye(&mut self, refused: &mut Vec<Trouble>) -> Result<(), ClientError> {
        while !self.engine.is_echoed() {
            match self.next().await? {
                Notice::Trouble(trouble @ Trouble::PublishRefused { .. }) => refused.push(trouble),
                Notice::Trouble(Trouble::Disconnected { .. }) => break,
                _ => {}
            }
        }
        Ok(())
    }
}
