//! Where each frame is that is kept: by run and topic, the numbers and their segments.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::wire::{TopicHash, TopicPosition, topic_hash};

/// A topic of a run.
pub(in super::super) type Place = ([u8; 5], TopicHash);

/// A range of numbers at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Stretch {
    pub(in super::super) from: u32,
    pub(in super::super) to: u32,
    pub(in super::super) segment: u64,
}

#[derive(Debug)]
struct Kept {
    topic: Arc<str>,
    stretches: VecDeque<Stretch>,
}

/// The index.
#[derive(Debug, Default)]
pub(in super::super) struct Index {
    kept: HashMap<Place, Kept>,
    /// How many topics of each run are kept.
    runs: HashMap<[u8; 5], usize>,
}

impl Index {
    /// Adds what comes behind everything else; whether its place is new in its segment.
    pub(super) fn add(&mut self, place: Place, topic: &Arc<str>, added: Stretch) -> bool {
        let runs = &mut self.runs;
        let kept = self.kept.entry(place).or_insert_with(|| {
            *runs.entry(place.0).or_default() += 1;
            Kept { topic: Arc::clone(topic), stretches: VecDeque::new() }
        });
        match kept.stretches.back_mut() {
            Some(last) if last.segment == added.segment && last.to == added.from => {
                last.to = added.to;
                false
            }
            _ => {
                kept.stretches.push_back(added);
                true
            }
        }
    }

    /// The numbers of a place that are first, if they are in this segment.
    pub(super) fn front(&self, place: Place, segment: u64) -> Option<(Place, u32, u32)> {
        let front = self.kept.get(&place)?.stretches.front().filter(|front| front.segment == segment)?;
        Some((place, front.from, front.to))
    }

    /// Forgets the first numbers of a place; its topic.
    pub(super) fn pop(&mut self, place: Place) -> Option<Arc<str>> {
        let kept = self.kept.get_mut(&place)?;
        kept.stretches.pop_front();
        let topic = Arc::clone(&kept.topic);
        if kept.stretches.is_empty() {
            self.kept.remove(&place);
            self.forget_topic(place.0);
        }
        Some(topic)
    }

    fn forget_topic(&mut self, run: [u8; 5]) {
        if let Some(topics) = self.runs.get_mut(&run) {
            *topics -= 1;
            if *topics == 0 {
                self.runs.remove(&run);
            }
        }
    }

    /// Says how far a topic can be sent again.
    pub(in super::super) fn first_kept(&self, run: [u8; 5], position: &TopicPosition) -> u32 {
        let kept = self.kept.get(&(run, topic_hash(&position.topic)));
        kept.and_then(|kept| kept.stretches.front()).map_or(position.next, |front| front.from.min(position.next))
    }

    /// Whether anything of a run is kept.
    pub(in super::super) fn keeps(&self, run: [u8; 5]) -> bool {
        self.runs.contains_key(&run)
    }

    /// The first stretch of a range that is kept, within one segment.
    pub(in super::super) fn find(&self, place: Place, from: u32, to: u32) -> Option<Stretch> {
        let stretches = &self.kept.get(&place)?.stretches;
        let first = stretches.get(stretches.partition_point(|stretch| stretch.to <= from))?;
        let found = Stretch { from: first.from.max(from), to: first.to.min(to), ..*first };
        (found.from < found.to).then_some(found)
    }

    /// Everything that is kept, by place: topic, first number, one past the last, and the segments of both.
    pub(in super::super) fn places(&self) -> impl Iterator<Item = (Place, &Arc<str>, Stretch)> {
        self.kept.iter().filter_map(|(place, kept)| {
            let (front, back) = (kept.stretches.front()?, kept.stretches.back()?);
            Some((*place, &kept.topic, Stretch { from: front.from, to: back.to, segment: back.segment }))
        })
    }
}
