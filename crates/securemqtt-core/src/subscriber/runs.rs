//! A run that a subscriber follows: one replay window and one ledger for each of its topics.

use std::collections::HashMap;

use crate::Delivery;
use crate::by_topic::ByTopic;
use crate::identity::PeerId;

use super::event::Reject;
use super::open::SealedFrame;
use super::streams::HeldStream;
use super::topics::{OpenedFrame, TopicState};

/// Topics that are followed in one run.
pub(super) const MAX_TOPICS: usize = 4096;

/// A run: which stream it belongs to was learned from a verified tick.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) publisher: PeerId,
    pub(super) stream: u32,
    /// Where its stream was found last.
    pub(super) place: usize,
    /// Its place among the open runs of its publisher: a later run has a greater one.
    pub(super) order: u64,
    /// Whether a later run is open: what comes now of this one may come behind that one's readings.
    pub(super) followed: bool,
    pub(super) topics: ByTopic<TopicState>,
    /// The last tick whose signature verified: its number and when it came.
    pub(super) tick: Option<(u32, u64)>,
    /// The highest number of its ticks that verified under the stream's key, and whether there was one.
    pub(super) seen: u32,
    pub(super) beaten: bool,
    /// Whether it is over: by its last tick, or since a later run has named it.
    pub(super) finished: bool,
}

/// The run of this number that is this publisher's, among those that claim it.
pub(super) fn run_mut(runs: &mut HashMap<[u8; 5], Vec<Run>>, id: PeerId, number: [u8; 5]) -> Option<&mut Run> {
    runs.get_mut(&number)?.iter_mut().find(|run| run.publisher == id)
}

impl Run {
    pub(super) fn new(publisher: PeerId, stream: u32, order: u64) -> Self {
        Self {
            publisher,
            stream,
            place: 0,
            order,
            followed: false,
            topics: ByTopic::default(),
            tick: None,
            seen: 0,
            beaten: false,
            finished: false,
        }
    }

    /// Opens a FRAME or BATCH, and delivers its readings. A topic is new when its first frame has verified.
    pub(super) fn open(
        &mut self,
        stream: &mut HeldStream,
        frame: &SealedFrame<'_>,
        aad: &mut Vec<u8>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<OpenedFrame, Reject> {
        if let Some(state) = self.topics.get_mut(frame.topic) {
            return state.open(self.publisher, stream, frame, aad, deliveries);
        }
        if self.topics.len() >= MAX_TOPICS {
            return Err(Reject::ParkingFull);
        }
        let mut state = TopicState::named(frame.topic);
        let opened = state.open(self.publisher, stream, frame, aad, deliveries)?;
        self.topics.push(state);
        Ok(opened)
    }

    /// The state of a topic, which is new perhaps.
    pub(super) fn topic(&mut self, topic: &str) -> &mut TopicState {
        let place = match self.topics.find(topic) {
            Some(place) => place,
            None => self.topics.push(TopicState::named(topic)),
        };
        self.topics.at(place)
    }
}
