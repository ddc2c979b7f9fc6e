//! The topics of a run: each with its key, its counter and its ledger.

use std::sync::Arc;

use crate::by_topic::{ByTopic, OfTopic};
use crate::kdf;
use crate::ledger::Ledger;
use crate::primitives::AeadKey;
use crate::stream::StreamSecret;

/// One topic of the run.
pub(super) struct TopicSealer {
    pub(super) name: Arc<str>,
    pub(super) key: AeadKey,
    pub(super) generation: u8,
    /// Everything below has been sealed, and was handed to the broker.
    pub(super) next: u32,
    pub(super) released: u32,
    /// Whether it is in the list of what was sealed for since that was last stored.
    pub(super) has_moved: bool,
    pub(super) ledger: Ledger,
    /// `next` at the last two timed ticks: a digest reaches back over two intervals.
    pub(super) marks: [u32; 2],
    pub(super) announced: u32,
}

impl TopicSealer {
    pub(super) fn new(name: &str, key: AeadKey, generation: u8) -> Self {
        Self {
            name: Arc::from(name),
            key,
            generation,
            next: 0,
            released: 0,
            has_moved: false,
            ledger: Ledger::default(),
            marks: [0; 2],
            announced: 0,
        }
    }

    /// The key of a new generation.
    #[cold]
    pub(super) fn renew_key(&mut self, stream: &StreamSecret, run: [u8; 5]) {
        self.key = kdf::traffic_key(stream.secret(), &stream.context(run), &self.name);
        self.generation = stream.generation();
    }

    /// Takes note that everything below a number was handed to the broker. Whether that is news.
    pub(super) fn release(&mut self, to: u32) -> bool {
        let to = to.min(self.next);
        let is_more = to > self.released;
        self.released = self.released.max(to);
        is_more
    }
}

impl OfTopic for TopicSealer {
    fn topic(&self) -> &Arc<str> {
        &self.name
    }
}

/// All of them, and which were sealed for since that was last stored.
#[derive(Default)]
pub(super) struct Topics {
    pub(super) all: ByTopic<TopicSealer>,
    moved: Vec<usize>,
}

impl Topics {
    /// Something was sealed for the topic at a place.
    #[cold]
    pub(super) fn note_moved(&mut self, at: usize) {
        if !std::mem::replace(&mut self.all.at(at).has_moved, true) {
            self.moved.push(at);
        }
    }

    /// The topics that were sealed for since the last call, and how far.
    pub(super) fn take_moved(&mut self) -> Vec<(Arc<str>, u32)> {
        let moved = self.moved.drain(..).map(|at| {
            let topic = self.all.at(at);
            topic.has_moved = false;
            (Arc::clone(&topic.name), topic.next)
        });
        moved.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_moved_is_taken_once() {
        let mut topics = Topics::default();
        for name in ["a", "b", "c"] {
            topics.all.push(TopicSealer::new(name, AeadKey::new(&[0; 28]), 0));
        }
        for (at, next) in [(2, 1), (0, 1), (2, 2)] {
            topics.all.at(at).next = next;
            topics.note_moved(at);
        }
        assert_eq!(topics.take_moved(), [(Arc::from("c"), 2), (Arc::from("a"), 1)]);
        assert_eq!(topics.take_moved(), []);
        topics.note_moved(0);
        assert_eq!(topics.take_moved(), [(Arc::from("a"), 1)]);
    }
}
