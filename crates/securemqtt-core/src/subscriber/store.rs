//! What a subscriber keeps over a restart: its records, and which of them have changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Subscriber;
use super::gaps::TopicKey;
use super::records::{encode_peer, encode_run, encode_stream, encode_topic, version_of};
use super::runs::Run;
use super::topics::TopicState;
use crate::identity::PeerId;
use crate::record::{Change, Table};

/// What has changed since the last [`Subscriber::take_changes`].
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Whether our counter has moved.
    pub(super) counter: bool,
    /// Publishers whose session, streams or runs have changed.
    pub(super) publishers: BTreeSet<PeerId>,
    /// Topics, each once: [`TopicState::dirty`] is set.
    pub(super) topics: Vec<TopicKey>,
    /// Removes the records whose object is gone: they may be stored.
    dead: Vec<Change>,
}

impl Subscriber {
    /// Whether anything has changed that must be durable before what was said since leaves.
    pub fn has_changes(&self) -> bool {
        let dirty = &self.dirty;
        dirty.counter || !dirty.publishers.is_empty() || !dirty.topics.is_empty() || self.parking.has_changes()
    }

    /// What has changed since the last call, to be stored in one transaction.
    pub fn take_changes(&mut self) -> Vec<Change> {
        // First, since a key may have come again.
        let mut changes = std::mem::take(&mut self.dirty.dead);
        if std::mem::take(&mut self.dirty.counter) {
            changes.push(Change::put(
                Table::Counter,
                Vec::new(),
                [&[version_of(Table::Counter)], &self.sctr.to_be_bytes()[..]].concat(),
            ));
        }
        for id in std::mem::take(&mut self.dirty.publishers) {
            self.store_publisher(id, &mut changes);
        }
        changes.reserve(self.dirty.topics.len());
        for (id, number, topic) in std::mem::take(&mut self.dirty.topics) {
            let run = self.runs.find_mut(id, number);
            let Some(state) = run.and_then(|run| run.topics.get_mut(&topic)) else { continue };
            state.dirty = false;
            changes.push(Change::put(Table::Topic, topic_key(id, number, &topic), encode_topic(state)));
        }
        changes.extend(self.parking.take_changes());
        changes
    }

    /// Everything of one publisher but its topics. What is gone of it was noted when it went.
    fn store_publisher(&self, id: PeerId, changes: &mut Vec<Change>) {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.session.is_some()) else {
            // Its streams and runs went before.
            changes.push(Change::remove(Table::Peer, id.as_bytes().to_vec()));
            return;
        };
        changes.push(Change::put(Table::Peer, id.as_bytes().to_vec(), encode_peer(peer)));
        for (order, number) in peer.streams.iter().enumerate() {
            let Some(stream) = self.streams.get(id, *number) else { continue };
            changes.push(Change::put(Table::Stream, stream_key(id, *number), encode_stream(stream, order)));
        }
        for number in peer.runs.numbers() {
            let Some(run) = self.find_run(id, number) else { continue };
            changes.push(Change::put(Table::Run, run_key(id, number), encode_run(run)));
        }
    }

    /// Marks a publisher's session, streams and runs as changed.
    pub(super) fn touch(&mut self, id: PeerId) {
        self.dirty.publishers.insert(id);
    }
}

impl Dirty {
    /// A stream is gone.
    pub(super) fn dead_stream(&mut self, id: PeerId, stream: u32) {
        self.dead.push(Change::remove(Table::Stream, stream_key(id, stream)));
    }

    /// A run is gone, with its topics.
    pub(super) fn dead_run(&mut self, run: &Run) {
        self.dead.push(Change::remove(Table::Run, run_key(run.publisher, run.number)));
        run.topics.iter().for_each(|state| self.dead_topic(run.publisher, run.number, state));
    }

    pub(super) fn dead_topic(&mut self, id: PeerId, number: [u8; 5], state: &TopicState) {
        self.dead.push(Change::remove(Table::Topic, topic_key(id, number, &state.name)));
    }

    /// Marks a topic as changed.
    pub(super) fn topic(&mut self, id: PeerId, run: [u8; 5], state: &mut TopicState) {
        if state.note_change() {
            self.topics.push((id, run, Arc::clone(&state.name)));
        }
    }
}

fn stream_key(id: PeerId, stream: u32) -> Vec<u8> {
    [&id.as_bytes()[..], &stream.to_be_bytes()].concat()
}

fn run_key(id: PeerId, run: [u8; 5]) -> Vec<u8> {
    [&id.as_bytes()[..], &run].concat()
}

fn topic_key(id: PeerId, run: [u8; 5], topic: &str) -> Vec<u8> {
    [&id.as_bytes()[..], &run, topic.as_bytes()].concat()
}
