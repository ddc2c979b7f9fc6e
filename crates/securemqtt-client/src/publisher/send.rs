//! The way of a reading: sealed, spooled, handed to the link; and from the spool, when its turn comes or somebody lacks it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use securemqtt_core::Qos;
use securemqtt_core::publisher::{Publisher as Engine, frames};
use securemqtt_core::record::{RestoreError, Table};
use securemqtt_core::wire::topic_hash;
use zeroize::Zeroizing;

use super::backlog::{MAX_IN_MEMORY, Wanted};
use super::gate::{Frame, Held, Place};
use super::{PublishError, Publisher, WhenFull};
use crate::error::ClientError;
use crate::mqtt::{LinkError, LinkErrorKind};
use crate::state::{Loaded, StateError, Store};
use crate::turn::give_way;

/// The most that sealing adds: header, tag and signature.
const OVERHEAD: usize = 12 + 16 + 64;
/// Bytes that may be sealed and not handed to the disk.
const MAX_UNSTORED: usize = 256 << 10;
/// How often a disk that cannot be read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// A reading of usual length with all that comes with it.
const USUAL: usize = 1 << 10;

impl Publisher {
    /// Whether the next reading is taken. Where not, [`Publisher::next`] tells when it is.
    pub fn is_ready(&mut self) -> bool {
        let ready = if self.spools {
            let takes = self.when_full == WhenFull::DropOldest || self.engine.has_room(USUAL);
            takes && self.engine.unstored() < MAX_UNSTORED
        } else {
            self.backlog.takes_loose() && self.gate.frames().0 == 0
        };
        self.waits |= !ready;
        ready
    }

    /// Seals a reading, or several as one message, and sends it on its way. Only when [`Publisher::is_ready`]. Does not wait.
    ///
    /// # Errors
    /// When this cannot be published; of several try fewer.
    pub fn publish(&mut self, topic: &str, readings: &[&[u8]], qos: Qos, retain: bool) -> Result<(), PublishError> {
        let size = readings.iter().map(|reading| reading.len() + 5).sum::<usize>() + OVERHEAD;
        // Before it is sealed: a sealed reading that is never sent is a missing one.
        let topic = self.checked(topic, size).map_err(PublishError::Link)?;
        if self.spools {
            self.publish_spooled(topic, readings, qos, retain, size)?;
        } else {
            self.publish_loose(topic, readings, qos, retain)?;
        }
        // A ratchet step, a rotation or a tick that the sealing made due.
        if self.engine.next_poll_ms() == 0 {
            self.poll();
        }
        Ok(())
    }

    /// Lets the link send what was published, before the caller looks at anything else: that takes as long again.
    pub async fn give_way(&mut self) {
        give_way().await;
    }

    /// A topic that the link takes, with a message of so many bytes. Mostly it is that of the reading before.
    fn checked(&mut self, topic: &str, size: usize) -> Result<Arc<str>, LinkError> {
        if *self.topic == *topic {
            self.pump.link.check_size(topic, size)?;
        } else {
            self.pump.link.check(topic, size)?;
            self.topic = Arc::from(topic);
        }
        Ok(Arc::clone(&self.topic))
    }

    fn publish_spooled(
        &mut self,
        topic: Arc<str>,
        readings: &[&[u8]],
        qos: Qos,
        retain: bool,
        size: usize,
    ) -> Result<(), PublishError> {
        if self.when_full == WhenFull::DropOldest {
            self.engine.force_room(size);
            self.backlog.forget_below(self.engine.segments().0);
        }
        let in_memory = self.backlog.bytes() + self.gate.frames().1;
        if self.backlog.behind.is_none() && in_memory > MAX_IN_MEMORY {
            // From here on they wait on disk; the segment begins anew, so that none is sent twice.
            self.engine.close_segment();
            let (_, last) = self.engine.segments();
            self.backlog.behind = Some(last + 1);
        }
        let run = self.engine.run();
        let spooled = self.engine.spool(&topic, readings, qos, retain).map_err(PublishError::Seal)?;
        if self.backlog.behind.is_none() {
            let place = Some(Place { segment: spooled.segment, run, to: spooled.to });
            self.gate.hold(Held::Frame(Frame { topic, payload: spooled.frame, qos, retain, place }));
        }
        self.settle();
        Ok(())
    }

    /// Without a spool: at once, where nothing is in front of it.
    fn publish_loose(
        &mut self,
        topic: Arc<str>,
        readings: &[&[u8]],
        qos: Qos,
        retain: bool,
    ) -> Result<(), PublishError> {
        let sealed = match readings {
            [reading] => self.engine.seal(&topic, reading),
            readings => self.engine.seal_batch(&topic, readings),
        };
        let payload = sealed.map_err(PublishError::Seal)?;
        let frame = Frame { topic, payload, qos, retain, place: None };
        if self.engine.has_changes() || !self.gate.is_open() {
            self.gate.hold(Held::Frame(frame));
            self.settle();
        } else {
            self.backlog.push(frame);
        }
        self.send_frames().map_err(|error| match error {
            ClientError::Link(error) => PublishError::Link(error),
            // The link's errors are the only ones here.
            ClientError::State(_) => PublishError::Link(LinkError::closed()),
        })
    }

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
            Ok(Some(bytes)) => self.backlog.read(wanted, &frames(&bytes).map_err(damaged)?, topic_hash),
            // It left the spool meanwhile.
            Ok(None) => self.backlog.read(wanted, &[], topic_hash),
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
    use crate::publisher::Settings;
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
