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
        if let Some(wanted) = self.backlog.next_wanted() {
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
            self.gate.submit(self.engine.take_changes(), None);
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
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use securemqtt_core::peers::KnownPeers;
    use securemqtt_core::publisher::Config;
    use securemqtt_core::trust::{Trust, TrustMode};
    use tokio::net::TcpListener;

    use super::*;
    use crate::mqtt::{BrokerAddress, BrokerOptions};
    use crate::publisher::{Settings, WhenFull};
    use crate::state::{StateDir, Store};

    #[tokio::test]
    async fn a_read_that_failed_is_tried_again_when_it_is_time_and_not_with_the_next_tick() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = StateDir::open(scratch.path().join("state")).unwrap();
        // A broker that says nothing wakes nobody.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address =
            BrokerAddress::Tcp { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), tls: false };
        let identity = directory.identity().unwrap();
        let (store, loaded) = Store::open(&directory, None).unwrap();
        let settings = Settings {
            broker: BrokerOptions::new(address, "p"),
            trust: Trust::new(TrustMode::Strict, identity.public().id(), KnownPeers::default(), Vec::new()),
            identity,
            engine: Config { tick_ms: 3_600_000, ..Config::new("p".parse().unwrap()) },
            peers: directory.known_peers(),
            store,
            loaded,
            when_full: WhenFull::Wait,
        };
        let mut publisher = Publisher::start(settings).await.unwrap();
        publisher.read_again_at = Some(Instant::now() + READ_AGAIN);
        assert!(tokio::time::timeout(READ_AGAIN + Duration::from_secs(1), publisher.next()).await.is_err());
        assert_eq!(publisher.read_again_at, None);
    }
}
