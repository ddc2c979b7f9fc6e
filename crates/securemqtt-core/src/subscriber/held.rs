//! All streams that are held, of all publishers. No frame looks for its stream: with the key of its topic it has what it needs.

use std::collections::HashMap;

use super::streams::HeldStream;
use crate::identity::PeerId;

/// The streams by publisher and number. Boxed: the table is up to twice as large as what it holds.
#[derive(Debug, Default)]
pub(super) struct HeldStreams(HashMap<(PeerId, u32), Box<HeldStream>>);

impl HeldStreams {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, id: PeerId, stream: u32) -> bool {
        self.0.contains_key(&(id, stream))
    }

    pub(super) fn get(&self, id: PeerId, stream: u32) -> Option<&HeldStream> {
        self.0.get(&(id, stream)).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: PeerId, stream: u32) -> Option<&mut HeldStream> {
        self.0.get_mut(&(id, stream)).map(Box::as_mut)
    }

    pub(super) fn insert(&mut self, id: PeerId, stream: u32, held: HeldStream) {
        self.0.insert((id, stream), Box::new(held));
    }

    pub(super) fn remove(&mut self, id: PeerId, stream: u32) -> Option<Box<HeldStream>> {
        self.0.remove(&(id, stream))
    }
}
