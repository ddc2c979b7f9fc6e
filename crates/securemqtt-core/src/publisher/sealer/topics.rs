//! The topics of a run: each with its key, its counter and its ledger.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ledger::Ledger;
use crate::primitives::AeadKey;

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
}

/// All of them. A reading is mostly for the topic of the one before: that is found without a hash.
#[derive(Default)]
pub(super) struct Topics {
    all: Vec<TopicSealer>,
    by_name: HashMap<Arc<str>, usize>,
    last: usize,
    /// Those that were sealed for since that was last stored.
    moved: Vec<usize>,
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TopicSealer> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TopicSealer> {
        self.all.iter_mut()
    }

    /// The place of a topic.
    pub(super) fn find(&mut self, name: &str) -> Option<usize> {
        if self.all.get(self.last).is_none_or(|topic| *topic.name != *name) {
            self.last = *self.by_name.get(name)?;
        }
        Some(self.last)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut TopicSealer> {
        let at = self.find(name)?;
        self.all.get_mut(at)
    }

    /// The topic at a place.
    pub(super) fn at(&mut self, at: usize) -> &mut TopicSealer {
        &mut self.all[at]
    }

    /// Adds a topic, and returns its place.
    pub(super) fn push(&mut self, topic: TopicSealer) -> usize {
        self.last = self.all.len();
        self.by_name.insert(Arc::clone(&topic.name), self.last);
        self.all.push(topic);
        self.last
    }

    /// Something was sealed for the topic at a place.
    pub(super) fn note_moved(&mut self, at: usize) {
        if !std::mem::replace(&mut self.all[at].has_moved, true) {
            self.moved.push(at);
        }
    }

    /// The topics that were sealed for since the last call, and how far.
    pub(super) fn take_moved(&mut self) -> Vec<(Arc<str>, u32)> {
        let moved = self.moved.drain(..).map(|at| {
            let topic = &mut self.all[at];
            topic.has_moved = false;
            (Arc::clone(&topic.name), topic.next)
        });
        moved.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> Topics {
        let mut topics = Topics::default();
        for name in names {
            topics.push(TopicSealer::new(name, AeadKey::new(&[0; 28]), 0));
        }
        topics
    }

    #[test]
    fn a_topic_is_found_whichever_was_found_before() {
        let mut topics = topics(&["a", "b"]);
        for name in ["a", "a", "b", "a", "b", "b"] {
            assert_eq!(topics.get_mut(name).map(|topic| topic.name.to_string()).as_deref(), Some(name));
        }
        assert!(topics.get_mut("c").is_none() && topics.find("b") == Some(1));
    }

    #[test]
    fn what_has_moved_is_taken_once() {
        let mut topics = topics(&["a", "b", "c"]);
        for (at, next) in [(2, 1), (0, 1), (2, 2)] {
            topics.at(at).next = next;
            topics.note_moved(at);
        }
        assert_eq!(topics.take_moved(), [(Arc::from("c"), 2), (Arc::from("a"), 1)]);
        assert_eq!(topics.take_moved(), []);
        topics.note_moved(0);
        assert_eq!(topics.take_moved(), [(Arc::from("a"), 1)]);
    }
}
