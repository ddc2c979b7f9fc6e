//! What there is of each topic of a run. A frame is mostly of the topic of the one before: that is found without a hash.

use std::collections::HashMap;
use std::sync::Arc;

/// Something of one topic.
pub(crate) trait OfTopic {
    /// The topic.
    fn topic(&self) -> &Arc<str>;
}

/// All of them, each at its place; none ever leaves. Most runs have one topic, which is found without the map.
#[derive(Debug)]
pub(crate) struct ByTopic<T> {
    all: Vec<T>,
    places: HashMap<Arc<str>, usize>,
    last: usize,
}

impl<T> Default for ByTopic<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new(), last: 0 }
    }
}

impl<T: OfTopic> ByTopic<T> {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The one that was added first.
    pub(crate) fn first(&self) -> Option<&T> {
        self.all.first()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.all.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.iter_mut()
    }

    /// The place of a topic.
    #[inline]
    pub(crate) fn find(&mut self, topic: &str) -> Option<usize> {
        if !self.is_last(topic) {
            self.last = self.place_by_hash(topic)?;
        }
        Some(self.last)
    }

    #[inline]
    fn is_last(&self, topic: &str) -> bool {
        self.all.get(self.last).is_some_and(|last| **last.topic() == *topic)
    }

    fn place(&self, topic: &str) -> Option<usize> {
        if self.is_last(topic) { Some(self.last) } else { self.place_by_hash(topic) }
    }

    // Apart, so that what is found without a hash is found in place.
    #[cold]
    #[inline(never)]
    fn place_by_hash(&self, topic: &str) -> Option<usize> {
        self.places.get(topic).copied()
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&T> {
        self.all.get(self.place(topic)?)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, topic: &str) -> Option<&mut T> {
        let place = self.find(topic)?;
        self.all.get_mut(place)
    }

    /// The one that was found or added last.
    #[inline]
    pub(crate) fn last_mut(&mut self) -> Option<&mut T> {
        self.all.get_mut(self.last)
    }

    /// What is at a place.
    #[inline]
    pub(crate) fn at(&mut self, place: usize) -> &mut T {
        &mut self.all[place]
    }

    /// Adds a topic that is not there yet, and returns its place.
    pub(crate) fn push(&mut self, of_topic: T) -> usize {
        self.last = self.all.len();
        if self.all.is_empty() {
            self.all.reserve_exact(1);
        } else {
            self.note_places();
            self.places.insert(Arc::clone(of_topic.topic()), self.last);
        }
        self.all.push(of_topic);
        self.last
    }

    /// The first is in the map from the second on.
    fn note_places(&mut self) {
        if self.places.is_empty() {
            self.places.extend(self.all.first().map(|first| (Arc::clone(first.topic()), 0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl OfTopic for Arc<str> {
        fn topic(&self) -> &Arc<str> {
            self
        }
    }

    #[test]
    fn a_topic_is_found_whichever_was_found_before() {
        let mut topics = ByTopic::default();
        assert_eq!(["a", "b"].map(|topic| topics.push(Arc::<str>::from(topic))), [0, 1]);
        for (topic, place) in [("a", 0), ("a", 0), ("b", 1), ("a", 0), ("b", 1), ("b", 1)] {
            assert_eq!(topics.find(topic), Some(place));
            assert_eq!(**topics.at(place), *topic);
        }
        for topic in ["a", "b"] {
            assert_eq!(topics.get(topic).map(|found| &**found), Some(topic));
        }
        assert!(topics.get("c").is_none());
        assert_eq!((topics.find("c"), topics.find("b")), (None, Some(1)));
    }
}
