//! What the next frames will need is read ahead of them. Of thousands of publishers hardly anything is in the processor's cache,
//! and a frame would wait half a dozen times: for the place of its run, the run, its topic, and the topic's key, window and
//! ledger, each of which is found by the one before. Here a step is made for all frames before the next, so that they wait
//! together.
//!
//! `unsafe` is forbidden and with it the processor's prefetch, so this reads in earnest, and a `black_box` has the compiler do so.

use super::Subscriber;
use super::runs::Run;
use super::topics::TopicState;
use crate::wire::FrameHeader;

/// Frames that are looked at together. With fewer, less is waited for together; with more, the first is gone from the cache.
pub const LOOK_AHEAD: usize = 16;
/// What fewer runs than that need stays in the cache, about a kibibyte each.
const MANY: usize = 256;

impl Subscriber {
    /// Reads what these messages will need, which come next: at most [`LOOK_AHEAD`] frames of them. It saves time and changes
    /// nothing, not even where they do not come.
    pub fn look_ahead<'a>(&self, coming: impl IntoIterator<Item = &'a [u8]>) {
        if self.runs.len() < MANY {
            return;
        }
        let mut places = [None; LOOK_AHEAD];
        let frames = coming.into_iter().filter_map(|message| FrameHeader::decode(message).ok());
        for (place, (header, ..)) in places.iter_mut().zip(frames) {
            *place = self.runs.place(header.run);
        }
        let runs = places.map(|place| self.runs.at(place?));
        // Most runs have one topic.
        let topics = runs.map(|run| run?.topics.first());
        runs.into_iter().flatten().for_each(Run::glance);
        topics.into_iter().flatten().for_each(TopicState::glance);
    }
}
