//! Readings out, then stored, then acknowledged: what waits for a transaction, and the clean end.

use std::time::{Duration, Instant};

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
        if self.outstanding {
            return;
        }
        if !self.has_news() {
            self.pass();
        } else if self.is_awaited() {
            self.submit(None);
        }
    }

    /// One transaction at a time, and not too many: what is committed meanwhile goes into the next. None while readings are in
    /// the program's hands, for what was learned from them would be stored too.
    pub(super) fn store_committed(&mut self) {
        if !self.may_store() {
            return;
        }
        if !self.has_news() {
            return self.pass();
        }
        let now = Instant::now();
        self.store_by.get_or_insert(now + LAZY);
        if self.gathered_until().is_some_and(|at| at <= now) {
            self.submit(None);
        }
    }

    /// When what was learned is handed in; none where nothing was, or something else must come before, which is an event.
    pub(super) fn store_at(&self) -> Option<Instant> {
        self.gathered_until().filter(|_| self.may_store() && self.has_news())
    }

    fn gathered_until(&self) -> Option<Instant> {
        if self.is_awaited() { Some(self.store.next_at()) } else { self.store_by }
    }

    fn may_store(&self) -> bool {
        !self.outstanding && self.last.is_none_or(|last| self.store.is_durable(last))
    }

    fn has_news(&self) -> bool {
        self.engine.has_changes() || self.cursor.is_some()
    }

    /// Whether the broker or a file waits for it.
    fn is_awaited(&self) -> bool {
        !self.pending.is_empty() || self.cursor.is_some()
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::Qos;
    use securemqtt_core::peers::KnownPeers;
    use securemqtt_core::subscriber::Config;
    use securemqtt_core::trust::{Trust, TrustMode};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::mqtt::{BrokerAddress, BrokerOptions};
    use crate::state::{StateDir, Store};
    use crate::subscriber::Settings;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// Where nothing comes to wait for: the subscriber is driven for so long, and looked at again.
    const LOOK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn what_is_committed_shares_transactions_and_the_last_of_it_waits_for_nobody() {
        const COUNT: u32 = 200;
        let scratch = tempfile::tempdir().unwrap();
        let directory = StateDir::open(scratch.path().join("state")).unwrap();
        // A broker that says nothing wakes nobody.
        let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = broker.local_addr().unwrap().port();
        let address = BrokerAddress::Tcp { host: "127.0.0.1".into(), port, tls: false };
        let (store, loaded) = Store::open(&directory, None).unwrap();
        let identity = directory.identity().unwrap();
        let cursor = |length: u32| Some(Cursor { device: 1, inode: 2, length: length.into() });
        let settings = Settings {
            broker: BrokerOptions::new(address, "s"),
            trust: Trust::new(TrustMode::Strict, identity.public().id(), KnownPeers::default(), Vec::new()),
            identity,
            engine: Config {
                name: "s".parse().unwrap(),
                filters: vec!["#".to_owned()],
                exclude: Vec::new(),
                accept_rollback: false,
            },
            qos: Qos::AtLeastOnce,
            times: false,
            peers: directory.known_peers(),
            store,
            loaded,
            cursor: cursor(0),
        };
        let mut subscriber = Subscriber::start(settings).unwrap();
        let began = Instant::now();
        let mut transactions = 0;
        for length in 1..=COUNT {
            let before = subscriber.last;
            subscriber.commit([], cursor(length));
            transactions += u32::from(subscriber.last != before);
            while subscriber.last.is_some_and(|last| !subscriber.store.is_durable(last)) {
                subscriber.store.event().await;
            }
        }
        // Five milliseconds apart.
        let enough = began.elapsed().as_millis() / 5 + 1;
        assert!(u128::from(transactions) <= enough, "{transactions} transactions for {COUNT}, {enough} are enough");
        // Nothing but the clock says when.
        subscriber.commit([], cursor(COUNT + 1));
        let stored = async {
            while subscriber.has_news() {
                let _ = timeout(LOOK, subscriber.next()).await;
            }
        };
        timeout(PATIENCE, stored).await.unwrap();
        subscriber.finish(PATIENCE).await.unwrap();
        let (_, loaded) = Store::open(&directory, None).unwrap();
        assert_eq!(loaded.cursor, cursor(COUNT + 1));
    }
}
