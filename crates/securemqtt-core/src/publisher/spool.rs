//! The spool: which sealed frames can be sent again, and when one may go. The frames themselves are on disk, in
//! segments; here is only where each is.
//!
//! Segments leave from the front, so that what is kept of a topic is always its end: that is what a tick's `first kept`
//! says.

mod index;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::segment::{self, SpooledFrame};
use crate::wire::{TopicHash, WireError, topic_hash};
use index::Index;
pub(super) use index::{Place, Stretch};

/// A segment that small is added to by later commits: many small ones would cost more than their frames.
const SMALL: usize = 4 * 1024;
/// A segment is never larger than this and a frame.
const LARGE: usize = 256 * 1024;
/// What a segment costs besides its bytes, on disk and in memory.
const OVERHEAD: usize = 128;

#[derive(Debug)]
struct Segment {
    size: usize,
    places: Vec<Place>,
    /// Frames that the broker has not acknowledged.
    unacknowledged: u32,
}

/// What went from the front.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) number: u64,
    /// The numbers that nobody can ask for any more, by place.
    pub(super) spans: Vec<(Place, Arc<str>, u32, u32)>,
    /// Frames of it that the broker never acknowledged.
    pub(super) unacknowledged: u32,
}

/// The index of the spool.
#[derive(Debug)]
pub(super) struct Spool {
    max: usize,
    first: u64,
    segments: VecDeque<Segment>,
    index: Index,
    size: usize,
    /// The last segment, while it may grow, and whether it has grown since it was last stored.
    tail: Vec<u8>,
    /// The topic of the last frame, with its hash.
    topic: Arc<str>,
    topic_hash: TopicHash,
    tail_is_dirty: bool,
    /// Segments that were closed and not stored yet.
    closed: BTreeMap<u64, Vec<u8>>,
    /// Segments that are gone and still on disk: that can wait.
    removed: Vec<u64>,
    unstored: usize,
    /// Everything in segments below is with the broker.
    acknowledged: u64,
    /// Frames of all segments that the broker has not acknowledged.
    unacknowledged: u64,
}

impl Spool {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            first: 0,
            segments: VecDeque::new(),
            index: Index::default(),
            size: 0,
            tail: Vec::new(),
            topic: Arc::from(""),
            topic_hash: topic_hash(""),
            tail_is_dirty: false,
            closed: BTreeMap::new(),
            removed: Vec::new(),
            unstored: 0,
            acknowledged: 0,
            unacknowledged: 0,
        }
    }

    /// The number of the segment that the next frame goes to, or went to last.
    pub(super) fn last(&self) -> u64 {
        self.first + u64::try_from(self.segments.len()).unwrap_or(0).saturating_sub(1)
    }

    /// The first segment that is kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Bytes that are in memory only.
    pub(super) fn unstored(&self) -> usize {
        self.unstored
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.size + bytes + OVERHEAD <= self.max || self.segments.is_empty()
    }

    /// Everything in segments below this is with the broker.
    pub(super) fn acknowledged_below(&self) -> u64 {
        self.acknowledged
    }

    /// Frames that the broker has not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// Adds a frame, and returns its segment.
    pub(super) fn push(&mut self, frame: &SpooledFrame<'_>) -> u64 {
        if self.tail.is_empty() || self.tail.len() >= LARGE {
            self.close_tail();
            self.segments.push_back(Segment { size: OVERHEAD, places: Vec::new(), unacknowledged: 0 });
            self.size += OVERHEAD;
        }
        let before = self.tail.len();
        let same_topic = self.take_topic(frame.topic);
        segment::push(&mut self.tail, frame, before > 0 && same_topic);
        self.tail_is_dirty = true;
        let grown = self.tail.len() - before;
        self.unstored += grown;
        self.size += grown;
        let number = self.last();
        if let Some(segment) = self.segments.back_mut() {
            segment.size += grown;
            segment.unacknowledged += 1;
            self.unacknowledged += 1;
        }
        self.note_place(number, frame);
        number
    }

    /// No more frames go into the last segment: it is read from the disk from now on.
    pub(super) fn close_tail(&mut self) {
        let tail = std::mem::take(&mut self.tail);
        if std::mem::take(&mut self.tail_is_dirty) {
            self.closed.insert(self.last(), tail);
        }
    }

    /// Takes note of the topic of the frame that comes; whether the one before had the same.
    fn take_topic(&mut self, topic: &str) -> bool {
        let is_same = *self.topic == *topic;
        if !is_same {
            (self.topic, self.topic_hash) = (Arc::from(topic), topic_hash(topic));
        }
        is_same
    }

    /// Indexes a frame of the topic that was taken note of.
    fn note_place(&mut self, number: u64, frame: &SpooledFrame<'_>) {
        let place = (frame.run, self.topic_hash);
        if self.index.add(place, &self.topic, Stretch { from: frame.from, to: frame.to, segment: number }) {
            self.segments.back_mut().into_iter().for_each(|segment| segment.places.push(place));
        }
    }

    /// Takes up a segment that was stored, in the order of the numbers.
    pub(super) fn restore(&mut self, number: u64, bytes: &[u8]) -> Result<Vec<Place>, WireError> {
        let frames = segment::frames(bytes)?;
        if self.segments.is_empty() {
            self.first = number;
        } else if number != self.last() + 1 {
            return Err(WireError::Range);
        }
        let unacknowledged =
            if number < self.acknowledged { 0 } else { u32::try_from(frames.len()).unwrap_or(u32::MAX) };
        self.unacknowledged += u64::from(unacknowledged);
        let size = bytes.len() + OVERHEAD;
        self.size += size;
        self.segments.push_back(Segment { size, places: Vec::new(), unacknowledged });
        for frame in &frames {
            self.take_topic(frame.topic);
            self.note_place(number, frame);
        }
        Ok(self.segments.back().map(|segment| segment.places.clone()).unwrap_or_default())
    }

    /// What was stored of the broker's acknowledgements; before [`Spool::restore`]. An empty spool goes on there.
    pub(super) fn restore_acknowledged(&mut self, below: u64) {
        self.acknowledged = below;
        self.first = below;
    }

    /// The broker has acknowledged so many frames of a segment.
    pub(super) fn acknowledge(&mut self, number: u64, frames: u32) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(segment) = index.and_then(|index| self.segments.get_mut(index)) {
            let frames = frames.min(segment.unacknowledged);
            segment.unacknowledged -= frames;
            self.unacknowledged -= u64::from(frames);
        }
        let settled = |at: u64| {
            let index = usize::try_from(at - self.first).unwrap_or(usize::MAX);
            // The last one may get more frames.
            at < self.last() && self.segments.get(index).is_some_and(|segment| segment.unacknowledged == 0)
        };
        let mut at = self.acknowledged.max(self.first);
        while settled(at) {
            at += 1;
        }
        self.acknowledged = at;
    }

    /// Whether the broker has all of the front segment.
    pub(super) fn front_is_acknowledged(&self) -> bool {
        self.segments.front().is_some_and(|segment| segment.unacknowledged == 0)
    }

    /// The front segment goes if `may` says so of its places.
    pub(super) fn pop_front_if(&mut self, may: impl FnOnce(u64, &[(Place, u32, u32)]) -> bool) -> Option<Gone> {
        let segment = self.segments.front()?;
        let first = self.first;
        let spans: Vec<(Place, u32, u32)> =
            segment.places.iter().filter_map(|place| self.index.front(*place, first)).collect();
        if !may(first, &spans) {
            return None;
        }
        Some(self.pop_front(&spans))
    }

    fn pop_front(&mut self, spans: &[(Place, u32, u32)]) -> Gone {
        let mut gone = Gone { number: self.first, ..Gone::default() };
        for &(place, from, to) in spans {
            gone.spans.extend(self.index.pop(place).map(|topic| (place, topic, from, to)));
        }
        if let Some(segment) = self.segments.pop_front() {
            gone.unacknowledged = segment.unacknowledged;
            self.unacknowledged -= u64::from(segment.unacknowledged);
            self.size -= segment.size;
        }
        if self.segments.is_empty() {
            self.tail.clear();
            self.tail_is_dirty = false;
        }
        self.closed.remove(&self.first);
        self.removed.push(self.first);
        self.first += 1;
        self.acknowledged = self.acknowledged.max(self.first);
        gone
    }

    /// Where each frame is.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Whether frames wait to be stored.
    pub(super) fn has_changes(&self) -> bool {
        self.tail_is_dirty || !self.closed.is_empty()
    }

    /// Whether segments wait to be removed.
    pub(super) fn has_removals(&self) -> bool {
        !self.removed.is_empty()
    }

    /// What is to be stored, and what removed where there is nothing.
    pub(super) fn take_changes(&mut self) -> BTreeMap<u64, Option<Vec<u8>>> {
        self.unstored = 0;
        if self.tail.len() >= SMALL {
            self.close_tail();
        }
        let mut changes: BTreeMap<u64, Option<Vec<u8>>> = self.removed.drain(..).map(|number| (number, None)).collect();
        changes.extend(std::mem::take(&mut self.closed).into_iter().map(|(number, bytes)| (number, Some(bytes))));
        if std::mem::take(&mut self.tail_is_dirty) {
            changes.insert(self.last(), Some(self.tail.clone()));
        }
        changes
    }
}
