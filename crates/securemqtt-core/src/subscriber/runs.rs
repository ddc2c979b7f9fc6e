//! The runs that a subscriber follows: one replay window and one ledger for each topic of a run. A frame is mostly of the
//! run of the one before: that is found without a hash.

use std::collections::HashMap;
use std::hint::black_box;

use crate::Delivery;
use crate::by_topic::ByTopic;
use crate::identity::PeerId;

use super::event::Reject;
use super::held::HeldStreams;
use super::open::{Room, SealedFrame};
use super::topics::{OpenedFrame, TopicState};

/// Topics that are followed in one run.
pub(super) const MAX_TOPICS: usize = 4096;

/// A run: which stream it belongs to was learned from a verified tick.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) publisher: PeerId,
    pub(super) number: [u8; 5],
    pub(super) stream: u32,
    /// Its place among the open runs of its publisher: a later run has a greater one.
    pub(super) order: u64,
    /// Whether a later run is open: what comes now of this one may come behind that one's readings.
    pub(super) followed: bool,
    /// Whether anything was read of it since our counter was last shown to its publisher.
    pub(super) fresh: bool,
    pub(super) topics: ByTopic<TopicState>,
    /// The last tick whose signature verified: its number and when it came.
    pub(super) tick: Option<(u32, u64)>,
    /// The highest number of its ticks that verified under the stream's key, if there was any.
    pub(super) seen: Option<u32>,
    /// Whether it is over: by its last tick, or since a later run has named it.
    pub(super) finished: bool,
}

/// All runs by their number, which several publishers may claim.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Those that claim one number, hardly ever more than one, at the place of the number. No list is empty.
    all: Vec<Box<[Run]>>,
    /// By a whole number, which is hashed in one step; an array, byte by byte.
    places: HashMap<u64, usize>,
    /// The place of the last frame's run.
    last: usize,
}

impl Runs {
    #[inline]
    fn is_last(&self, number: [u8; 5]) -> bool {
        self.all.get(self.last).and_then(|last| last.first()).is_some_and(|last| last.number == number)
    }

    /// The place of a number.
    pub(super) fn place(&self, number: [u8; 5]) -> Option<usize> {
        if self.is_last(number) { Some(self.last) } else { self.place_by_hash(number) }
    }

    // Apart, so that what is found without a hash is found in place.
    #[cold]
    #[inline(never)]
    fn place_by_hash(&self, number: [u8; 5]) -> Option<usize> {
        self.places.get(&whole(number)).copied()
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The first that claims the number of this place.
    pub(super) fn at(&self, place: usize) -> Option<&Run> {
        self.all.get(place)?.first()
    }

    /// Those that claim a number: at least one, or none is known.
    pub(super) fn get(&self, number: [u8; 5]) -> Option<&[Run]> {
        self.all.get(self.place(number)?).map(|claims| &**claims)
    }

    /// The one that is this publisher's, among those that claim a number.
    pub(super) fn find(&self, id: PeerId, number: [u8; 5]) -> Option<&Run> {
        self.get(number)?.iter().find(|run| run.publisher == id)
    }

    pub(super) fn find_mut(&mut self, id: PeerId, number: [u8; 5]) -> Option<&mut Run> {
        let place = self.place(number)?;
        self.all.get_mut(place)?.iter_mut().find(|run| run.publisher == id)
    }

    /// Those that may be meant by a frame.
    #[inline]
    pub(super) fn of_frame(&mut self, number: [u8; 5]) -> Option<&mut [Run]> {
        if !self.is_last(number) {
            self.last = self.place_by_hash(number)?;
        }
        self.all.get_mut(self.last).map(|claims| &mut **claims)
    }

    /// The first that claims the number of the last frame.
    #[inline]
    pub(super) fn last_mut(&mut self) -> Option<&mut Run> {
        self.all.get_mut(self.last)?.first_mut()
    }

    /// Adds a run.
    pub(super) fn push(&mut self, run: Run) {
        if let Some(claims) = self.place(run.number).and_then(|place| self.all.get_mut(place)) {
            *claims = std::mem::take(claims).into_iter().chain([run]).collect();
        } else {
            self.places.insert(whole(run.number), self.all.len());
            self.all.push(Box::new([run]));
        }
    }

    /// Takes out a publisher's run of a number.
    pub(super) fn remove(&mut self, id: PeerId, number: [u8; 5]) -> Option<Run> {
        let place = self.place(number)?;
        let claims = self.all.get_mut(place)?;
        let (mut gone, others): (Vec<Run>, Vec<Run>) =
            std::mem::take(claims).into_iter().partition(|run| run.publisher == id);
        *claims = others.into_boxed_slice();
        if claims.is_empty() {
            self.places.remove(&whole(number));
            self.all.swap_remove(place);
            // The last one has taken the place.
            let moved = self.all.get(place).and_then(|claims| claims.first());
            self.places.extend(moved.map(|run| (whole(run.number), place)));
        }
        gone.pop()
    }
}

/// The number of a run as a whole number.
fn whole(number: [u8; 5]) -> u64 {
    let mut bytes = [0; 8];
    bytes[3..].copy_from_slice(&number);
    u64::from_be_bytes(bytes)
}

impl Run {
    pub(super) fn new(publisher: PeerId, number: [u8; 5], stream: u32, order: u64) -> Self {
        Self {
            publisher,
            number,
            stream,
            order,
            followed: false,
            fresh: false,
            topics: ByTopic::default(),
            tick: None,
            seen: None,
            finished: false,
        }
    }

    /// Reads something of all that a frame needs of it.
    pub(super) fn glance(&self) {
        black_box((self.publisher, self.number, self.stream, self.order, self.fresh, self.tick));
    }

    /// Opens a FRAME or BATCH, and delivers its readings. A topic is new when its first frame has verified.
    #[inline]
    pub(super) fn open(
        &mut self,
        streams: &mut HeldStreams,
        frame: &SealedFrame<'_>,
        room: &mut Room,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<OpenedFrame, Reject> {
        match self.topics.get_mut(frame.topic) {
            Some(state) => state.open((self.publisher, self.stream), streams, frame, room, deliveries),
            None => self.open_first(streams, frame, room, deliveries),
        }
    }

    #[cold]
    fn open_first(
        &mut self,
        streams: &mut HeldStreams,
        frame: &SealedFrame<'_>,
        room: &mut Room,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<OpenedFrame, Reject> {
        if self.topics.len() >= MAX_TOPICS {
            return Err(Reject::ParkingFull);
        }
        let mut state = TopicState::named(frame.topic);
        let opened = state.open((self.publisher, self.stream), streams, frame, room, deliveries)?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_run_is_found_by_its_number_whichever_was_found_before() {
        let ids: [PeerId; 3] = std::array::from_fn(|n| PeerId::from_bytes([u8::try_from(n).unwrap(); 16]));
        let mut runs = Runs::default();
        for (number, id) in [(0, 0), (1, 1), (2, 2), (1, 2)] {
            runs.push(Run::new(ids[id], [number; 5], u32::from(number), 0));
        }
        let found = |runs: &mut Runs, number| {
            let of_frame = runs.of_frame([number; 5]).map(|claims| claims.iter().map(|run| run.publisher).collect());
            let of_tick: Option<Vec<_>> =
                runs.get([number; 5]).map(|claims| claims.iter().map(|run| run.publisher).collect());
            assert_eq!(of_frame, of_tick);
            of_tick
        };
        for number in [2, 2, 0, 1] {
            let claims = if number == 1 { vec![ids[1], ids[2]] } else { vec![ids[usize::from(number)]] };
            assert_eq!(found(&mut runs, number), Some(claims));
        }
        assert_eq!(runs.find_mut(ids[2], [1; 5]).map(|run| run.stream), Some(1));
        runs.remove(ids[1], [1; 5]);
        assert!(runs.find_mut(ids[1], [1; 5]).is_none());
        // The one found last goes, and another one takes its place.
        assert_eq!(found(&mut runs, 0), Some(vec![ids[0]]));
        runs.remove(ids[0], [0; 5]);
        assert_eq!(found(&mut runs, 0), None);
        assert_eq!(found(&mut runs, 2), Some(vec![ids[2]]));
        assert_eq!(found(&mut runs, 1), Some(vec![ids[2]]));
        runs.remove(ids[2], [1; 5]);
        runs.remove(ids[2], [2; 5]);
        assert_eq!((found(&mut runs, 1), found(&mut runs, 2)), (None, None));
    }
}
