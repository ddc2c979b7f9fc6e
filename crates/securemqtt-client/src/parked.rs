//! How frames came that wait for their key. The engine parks their bytes; how the broker delivered them waits here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use securemqtt_core::wire::{FrameHeader, Kind};
use securemqtt_core::{Delivery, Qos};

use crate::mqtt::Message;

/// As many as the engine parks; what comes on top counts as having come with the message that opened it.
const MAX: usize = 8192;

/// How the broker delivered a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// Run, hash of the topic, sequence number. A collision costs a wrong flag and no more.
type Place = ([u8; 5], u64, u32);

/// The parked frames' deliveries.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    came: BTreeMap<Place, Came>,
    hasher: RandomState,
}

impl Parked {
    /// A frame that brought no reading, and may have been parked.
    pub(crate) fn note(&mut self, message: &Message) {
        let Ok((header, ..)) = FrameHeader::decode(&message.payload) else { return };
        if header.kind == Kind::Tick || self.came.len() >= MAX {
            return;
        }
        let place = (header.run, self.hasher.hash_one(&*message.topic), header.seq);
        // The first copy is the one that the engine opens.
        self.came.entry(place).or_insert(Came { qos: message.qos, retain: message.retain });
    }

    /// How a reading's frame came; a batch is noted by its first number.
    pub(crate) fn of(&self, delivery: &Delivery) -> Option<Came> {
        let topic = self.hasher.hash_one(&*delivery.topic);
        let of_topic = (delivery.run, topic, 0)..=(delivery.run, topic, delivery.seq);
        self.came.range(of_topic).next_back().map(|(_, came)| *came)
    }

    /// Nothing is parked any more.
    pub(crate) fn clear(&mut self) {
        self.came.clear();
    }
}
