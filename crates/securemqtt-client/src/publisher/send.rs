//! Sealed readings are handed to the link; and from the spool, when their turn comes or somebody lacks them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use securemqtt_core::publisher::{Publisher as Engine, frames};
use securemqtt_core::record::{RestoreError, Table};
use zeroize::Zeroizing;

use super::Publisher;
use super::backlog::Wanted;
use super::gate::Frame;
use crate::error::ClientError;
use crate::mqtt::LinkErrorKind;
use crate::state::{Loaded, StateError, Store};

/// How often a disk that cannot be read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

impl Publisher {
    /// Hands over as many frames as the link takes at once; control messages go first.
    pub(super) fn send_frames(&mut self) -> Result<(), ClientError> {
        while self.pump.is_connected()
            && self.pump.is_idle()
            && self.pump.link.has_room()
            && let Some(frame) = self.backlog.pop()
        {
            let Frame { topic, payload, qos, retain, place } = frame;
            let sent = self.pump.link.try_publish(Arc::clone(&topic), payload, qos, retain);
            let ticket = match sent {
                Ok(ticket) => Some(ticket),
                // It was taken when it was sealed; this broker does not take it.
                Err(error) if error.kind() == LinkErrorKind::Message => {
                    tracing::warn!("{error}");
                    None
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(place) = place {
                self.engine.handed_over(place.segment, place.run, &topic, place.to);
                match ticket {
                    Some(ticket) => self.backlog.handed_over(ticket, place.segment),
                    None => self.engine.acknowledged(place.segment, 1),
                }
            }
        }
        self.read_on();
        Ok(())
    }

    /// Reads from the spool what is next, one piece at a time.
    fn read_on(&mut self) {
        if self.reading.is_some() || !self.pump.is_connected() || self.read_again_at.is_some() {
            return;
        }
        self.note_all_handed_over();
        self.backlog.forget_below(self.engine.segments().0);
        // Those that wait for their transaction were sealed before those that are on disk only.
        if let Some(wanted) = self.backlog.next_wanted(self.gate.frames().0 == 0) {
            self.fetch(wanted);
        }
    }

    /// After a read that failed: when the next one is tried, if that is still to come.
    pub(super) fn read_again_at(&mut self) -> Option<Instant> {
        self.read_again_at = self.read_again_at.filter(|moment| Instant::now() < *moment);
        self.read_again_at
    }

    /// Where nothing waits, in memory or on disk, everything is on its way.
    fn note_all_handed_over(&mut self) {
        if self.backlog.front().is_some() || self.gate.frames().0 > 0 {
            return;
        }
        let (_, last) = self.engine.segments();
        if let Some(behind) =
            self.backlog.behind.filter(|behind| *behind > last || self.engine.first_unacknowledged().is_none())
        {
            tracing::debug!(behind, "everything that waited on disk is on its way");
            self.backlog.behind = None;
        }
        if self.backlog.behind.is_none() {
            self.engine.all_handed_over(|| self.clock.now(), &mut self.out);
            if !self.out.send.is_empty() {
                self.settle();
            }
        }
    }

    fn fetch(&mut self, wanted: Wanted) {
        let number = match wanted {
            Wanted::Segment(number) => number,
            Wanted::Again(resend) => resend.segment,
        };
        if matches!(wanted, Wanted::Segment(_)) {
            self.engine.handed_over_below(number, || self.clock.now(), &mut self.out);
            self.settle();
            if self.gate.has_sends() {
                // A tick that names an older run goes before the frames of the next.
                return;
            }
        }
        if number == self.engine.segments().1 {
            // It may still grow: what is read of it must be all.
            self.engine.close_segment();
        }
        if self.engine.has_changes() {
            self.store_changes();
        }
        let read = self.gate.store.fetch(Table::Segment, number.to_be_bytes().to_vec());
        self.reading = Some(Box::pin(async move { (wanted, read.await) }));
    }

    /// Something was read from the spool.
    pub(super) fn was_read(
        &mut self,
        wanted: Wanted,
        read: Result<Option<Zeroizing<Vec<u8>>>, String>,
    ) -> Result<(), ClientError> {
        let damaged = |why| ClientError::State(self.gate.store.damaged(&RestoreError { table: Table::Segment, why }));
        match read {
            Ok(Some(bytes)) => self.backlog.read(wanted, &frames(&bytes).map_err(damaged)?),
            // It left the spool meanwhile.
            Ok(None) => self.backlog.read(wanted, &[]),
            // The disk has trouble, of which the store tells: again later, and whoever lacks something asks again.
            Err(why) => {
                tracing::warn!("the spool cannot be read: {why}");
                self.read_again_at = Some(Instant::now() + READ_AGAIN);
            }
        }
        Ok(())
    }

    /// Takes note of what the broker has acknowledged; whether it was anything.
    pub(super) fn reap(&mut self) -> bool {
        let link = &self.pump.link;
        let done = self.backlog.acknowledged(|ticket| link.is_acknowledged(ticket));
        for &(segment, frames) in &done {
            self.engine.acknowledged(segment, frames);
        }
        !done.is_empty()
    }

    /// Gives the engine every segment of the spool once; the frames stay on disk.
    pub(super) async fn index(engine: &mut Engine, store: &Store, loaded: &Loaded) -> Result<(), ClientError> {
        for key in &loaded.segments {
            let read = store.fetch(Table::Segment, key.clone()).await;
            let bytes = read.map_err(|why| StateError::Database { path: store.path().to_owned(), why })?;
            if let Some(bytes) = bytes {
                engine.restore_segment(key, &bytes).map_err(|error| store.damaged(&error))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use securemqtt_core::Qos;
    use securemqtt_core::peers::KnownPeers;
    use securemqtt_core::publisher::Config;
    use securemqtt_core::trust::{Trust, TrustMode};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;
    use crate::mqtt::{BrokerAddress, BrokerOptions};
    use crate::notice::Notice;
    use crate::publisher::{Settings, WhenFull};
    use crate::state::{StateDir, Store};

    const TOPIC: &str = "telemetry/ward-7";
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Where nothing comes to wait for: the publisher is driven for so long, and looked at again.
    const LOOK: Duration = Duration::from_millis(1);

    /// A publisher with a spool, and without ticks.
    async fn publisher(scratch: &Path, broker: &TcpListener) -> Publisher {
        let directory = StateDir::open(scratch.join("state")).unwrap();
        let address =
            BrokerAddress::Tcp { host: "127.0.0.1".into(), port: broker.local_addr().unwrap().port(), tls: false };
        let identity = directory.identity().unwrap();
        let (store, loaded) = Store::open(&directory, None).unwrap();
        let settings = Settings {
            broker: BrokerOptions::new(address, "p"),
            trust: Trust::new(TrustMode::Strict, identity.public().id(), KnownPeers::default(), Vec::new()),
            identity,
            engine: Config { tick_ms: 3_600_000, spool_max: 1 << 20, ..Config::new("p".parse().unwrap()) },
            peers: directory.known_peers(),
            store,
            loaded,
            when_full: WhenFull::Wait,
        };
        Publisher::start(settings).await.unwrap()
    }

    async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    /// Connects it to a broker that accepts and says nothing more (MQTT 5, section 3.2).
    async fn connect(publisher: &mut Publisher, broker: &TcpListener) -> TcpStream {
        let accept = async {
            let (mut stream, _) = broker.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
            stream
        };
        let connected = async { while !matches!(publisher.next().await.unwrap(), Notice::Connected) {} };
        let (stream, ()) = timeout(PATIENCE, async { tokio::join!(accept, connected) }).await.unwrap();
        stream
    }

    /// Drives it until everything is stored.
    async fn store_all(publisher: &mut Publisher) {
        let stored = async {
            while publisher.gate.is_busy() || publisher.engine.has_changes() {
                let _ = timeout(LOOK, publisher.next()).await;
            }
        };
        timeout(PATIENCE, stored).await.unwrap();
    }

    fn publish(publisher: &mut Publisher) {
        publisher.publish(TOPIC, &[b"reading"], Qos::AtLeastOnce, false).unwrap();
    }

    #[tokio::test]
    async fn a_read_that_failed_is_tried_again_when_it_is_time_and_not_with_the_next_tick() {
        let scratch = tempfile::tempdir().unwrap();
        // A broker that says nothing wakes nobody.
        let broker = listen().await;
        let mut publisher = publisher(scratch.path(), &broker).await;
        publisher.read_again_at = Some(Instant::now() + READ_AGAIN);
        assert!(timeout(READ_AGAIN + Duration::from_secs(1), publisher.next()).await.is_err());
        assert_eq!(publisher.read_again_at, None);
    }

    #[tokio::test]
    async fn what_is_on_disk_only_is_not_read_before_what_waits_for_the_disk_has_left() {
        let scratch = tempfile::tempdir().unwrap();
        let broker = listen().await;
        let mut publisher = publisher(scratch.path(), &broker).await;
        let mut stream = connect(&mut publisher, &broker).await;
        store_all(&mut publisher).await;
        let mut published = 0;
        // Mostly one: it waits for its transaction, unless that was over at once.
        while publisher.gate.frames().0 == 0 {
            publish(&mut publisher);
            published += 1;
        }
        // As when too much is in memory; and there is nothing on disk yet.
        publisher.engine.close_segment();
        publisher.backlog.behind = Some(publisher.engine.segments().1 + 1);
        publisher.read_on();
        assert!(publisher.reading.is_none());
        publish(&mut publisher);
        let came = async {
            let mut bytes = Vec::new();
            while bytes.windows(TOPIC.len()).filter(|bytes| *bytes == TOPIC.as_bytes()).count() < published + 1 {
                tokio::select! {
                    read = stream.read_buf(&mut bytes) => assert!(read.unwrap() > 0),
                    told = publisher.next() => drop(told.unwrap()),
                }
            }
        };
        timeout(PATIENCE, came).await.expect("some are not on their way");
    }

    #[tokio::test]
    async fn readings_share_transactions_and_the_last_one_waits_for_nobody() {
        const COUNT: u32 = 200;
        let scratch = tempfile::tempdir().unwrap();
        let broker = listen().await;
        let mut publisher = publisher(scratch.path(), &broker).await;
        let began = Instant::now();
        let mut transactions = 0;
        for _ in 0..COUNT {
            publish(&mut publisher);
            transactions += u32::from(publisher.gate.is_busy());
            while publisher.gate.is_busy() {
                let event = publisher.gate.store.event().await;
                publisher.stored(event);
            }
        }
        // Five milliseconds apart; that of the start comes on top.
        let enough = began.elapsed().as_millis() / 5 + 2;
        assert!(
            u128::from(transactions) <= enough,
            "{transactions} transactions for {COUNT} readings, {enough} are enough"
        );
        // Nothing but the clock says when.
        store_all(&mut publisher).await;
    }
}
