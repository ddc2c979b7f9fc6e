//! What is kept to be sent again, and what of it was handed to the broker.

use bytes::Bytes;

use super::{Output, Publisher, SealError, SpooledFrame};
use crate::{Now, Qos};

/// Between ticks while the spool is full.
const FULL_TICK_MS: u64 = 2_000;

/// A sealed frame that was spooled.
#[derive(Debug)]
pub struct Spooled {
    /// The bytes to publish, when the spool with them is durable.
    pub frame: Bytes,
    /// Its segment.
    pub segment: u64,
    /// One past its last number.
    pub to: u32,
}

impl Publisher {
    /// Seals a reading, or several as one message, and keeps the frame to be sent again. It may be published when what
    /// [`Publisher::take_changes`] gives next is durable; then tell [`Publisher::handed_over`].
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn spool(&mut self, topic: &str, readings: &[&[u8]], qos: Qos, retain: bool) -> Result<Spooled, SealError> {
        let (from, frame) = match readings {
            [reading] => self.sealer.seal(topic, reading)?,
            readings => self.sealer.seal_batch(topic, readings)?,
        };
        let to = from + u32::try_from(readings.len()).unwrap_or(0);
        let run = self.sealer.run();
        let segment = self.spool.push(&SpooledFrame { topic, frame: &frame, qos, retain, run, from, to });
        Ok(Spooled { frame, segment, to })
    }

    /// Whether the spool takes a message of so many bytes; what may go for it goes.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.spool.has_room(bytes) || self.make_room(bytes);
        if !has_room {
            // Whoever holds it up is asked sooner than by the usual ticks.
            self.due.tick = self.due.tick.min(self.last_tick_ms + FULL_TICK_MS);
        }
        has_room
    }

    /// Makes room whatever is lost by it.
    pub fn force_room(&mut self, bytes: usize) {
        if !self.has_room(bytes) {
            self.drop_oldest(bytes);
        }
    }

    /// The frames that are in memory only: bytes.
    pub fn unstored(&self) -> usize {
        self.spool.unstored()
    }

    /// The first segment that is kept, and the last: frames in between may have to be read from there.
    pub fn segments(&self) -> (u64, u64) {
        (self.spool.first(), self.spool.last())
    }

    /// The first segment of which not everything is with the broker: at a start, from here on it is all sent again.
    pub fn first_unacknowledged(&self) -> Option<u64> {
        let first = self.spool.acknowledged_below().max(self.spool.first());
        (!self.spool.is_empty()).then_some(first)
    }

    /// No more frames go into the last segment: it is whole when the next changes are durable.
    pub fn close_segment(&mut self) {
        self.spool.close_tail();
    }

    /// How much is kept to be sent again: bytes, and frames that the broker has not acknowledged.
    pub fn kept(&self) -> (usize, u64) {
        (self.spool.size(), self.spool.unacknowledged())
    }

    /// A frame of the spool was handed to the broker.
    pub fn handed_over(&mut self, segment: u64, run: [u8; 5], topic: &str, to: u32) {
        if run == self.sealer.run() {
            self.sealer.release(topic, to);
        }
        self.released = self.released.max(segment);
    }

    /// So were all frames of the segments below this one. What older runs have been waiting for a tick tells, before the
    /// next frame goes.
    pub fn handed_over_below(&mut self, segment: u64, now: impl FnOnce() -> Now, out: &mut Output) {
        let before = self.released;
        self.released = before.max(segment);
        if self.past.waited(before, self.released) {
            self.tick(now(), Qos::AtLeastOnce, false, false, out);
        }
    }

    /// So were all frames that there are.
    pub fn all_handed_over(&mut self, now: impl FnOnce() -> Now, out: &mut Output) {
        self.handed_over_below(self.spool.last() + u64::from(!self.spool.is_empty()), now, out);
    }

    /// The broker has acknowledged so many frames of a segment.
    pub fn acknowledged(&mut self, segment: u64, frames: u32) {
        self.spool.acknowledge(segment, frames);
        self.trim_if_new();
    }
}
