//! All streams that are held, of all publishers.

use std::collections::HashMap;

use super::streams::HeldStream;
use crate::identity::PeerId;

/// The streams by publisher and number, each at a place that a run remembers: no frame looks for its stream. Each has its own
/// room, since a list of them would keep as much again empty.
#[derive(Debug, Default)]
pub(super) struct HeldStreams {
    all: Vec<Option<Box<HeldStream>>>,
    places: HashMap<(PeerId, u32), usize>,
    free: Vec<usize>,
}

impl HeldStreams {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains(&self, id: PeerId, stream: u32) -> bool {
        self.places.contains_key(&(id, stream))
    }

    pub(super) fn get(&self, id: PeerId, stream: u32) -> Option<&HeldStream> {
        self.all.get(*self.places.get(&(id, stream))?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: PeerId, stream: u32) -> Option<&mut HeldStream> {
        self.all.get_mut(*self.places.get(&(id, stream))?)?.as_deref_mut()
    }

    /// The stream at a place; where another one is there by now, it is looked up, and its place noted.
    #[inline]
    pub(super) fn get_at(&mut self, place: &mut usize, id: PeerId, stream: u32) -> Option<&mut HeldStream> {
        if !self.all.get(*place).is_some_and(|held| held.as_ref().is_some_and(|held| held.is(id, stream))) {
            *place = self.find(id, stream)?;
        }
        self.all.get_mut(*place)?.as_deref_mut()
    }

    /// The stream at a place, if it is still there.
    #[inline]
    pub(super) fn still_at(&mut self, place: usize, id: PeerId, stream: u32) -> Option<&mut HeldStream> {
        self.all.get_mut(place)?.as_deref_mut().filter(|held| held.is(id, stream))
    }

    #[cold]
    fn find(&self, id: PeerId, stream: u32) -> Option<usize> {
        self.places.get(&(id, stream)).copied()
    }

    pub(super) fn insert(&mut self, id: PeerId, stream: u32, held: HeldStream) {
        self.remove(id, stream);
        let held = Some(Box::new(held));
        let place = self.free.pop().unwrap_or(self.all.len());
        if place == self.all.len() {
            self.all.push(held);
        } else {
            self.all[place] = held;
        }
        self.places.insert((id, stream), place);
    }

    pub(super) fn remove(&mut self, id: PeerId, stream: u32) -> Option<Box<HeldStream>> {
        let place = self.places.remove(&(id, stream))?;
        self.free.push(place);
        self.all.get_mut(place)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamSecret;
    use crate::subscriber::streams::Owed;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    #[test]
    fn a_place_that_another_stream_has_taken_is_not_mistaken() {
        let id = PeerId::from_bytes([1; 16]);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut held = || {
            let grant = StreamSecret::generate(id, false, &mut rng).grant();
            (grant.id, HeldStream::new(id, &grant, Owed::Nothing, 0))
        };
        let mut streams = HeldStreams::default();
        let [(a, of_a), (b, of_b), (c, of_c)] = std::array::from_fn(|_| held());
        streams.insert(id, a, of_a);
        streams.insert(id, b, of_b);
        let mut place = 7;
        assert_eq!((streams.get_at(&mut place, id, a).map(|held| held.id), place), (Some(a), 0));
        assert_eq!(streams.remove(id, a).map(|held| held.id), Some(a));
        assert!(streams.get_at(&mut place, id, a).is_none());
        streams.insert(id, c, of_c);
        assert!(streams.get_at(&mut place, id, a).is_none(), "its place is another's");
        let mut is_at = |place, id, stream| streams.still_at(place, id, stream).is_some();
        assert!(is_at(0, id, c) && is_at(1, id, b));
        assert!(!is_at(0, id, a) && !is_at(0, PeerId::from_bytes([2; 16]), c) && !is_at(2, id, c));
        assert!(streams.get_at(&mut place, PeerId::from_bytes([2; 16]), c).is_none());
        assert_eq!((streams.get_at(&mut place, id, b).map(|held| held.id), place), (Some(b), 1));
        assert_eq!((streams.len(), streams.contains(id, c), streams.contains(id, a)), (2, true, false));
    }
}
