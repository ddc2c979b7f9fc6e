//! A reading is taken, sealed and spooled; or, without a spool, sent at once.

use std::fmt;
use std::sync::Arc;

use securemqtt_core::Qos;
use securemqtt_core::publisher::SealError;

use super::backlog::MAX_IN_MEMORY;
use super::gate::{Frame, Held, Place};
use super::{Publisher, WhenFull};
use crate::error::ClientError;
use crate::mqtt::LinkError;
use crate::turn::give_way;

/// The most that sealing adds: header, tag and signature.
const OVERHEAD: usize = 12 + 16 + 64;
/// Bytes that may be sealed and not handed to the disk.
const MAX_UNSTORED: usize = 256 << 10;
/// A reading of usual length with all that comes with it.
const USUAL: usize = 1 << 10;

/// Why one reading was not published.
#[derive(Debug)]
pub enum PublishError {
    /// It could not be sealed.
    Seal(SealError),
    /// The broker does not take it; see [`LinkError::kind`] for whether anything else would go.
    Link(LinkError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seal(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}

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
}
