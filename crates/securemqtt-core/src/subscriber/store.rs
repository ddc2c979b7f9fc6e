//! What a subscriber keeps over a restart: its records, and which of them have changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Subscriber;
use super::gaps::TopicKey;
use super::records::{encode_peer, encode_run, encode_stream, encode_topic, version_of};
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
    /// Keys that are stored, by table; each begins with the publisher's id.
    pub(super) stored: BTreeSet<(Table, Vec<u8>)>,
}

impl Subscriber {
    /// Whether anything has changed that must be durable before what was said since leaves.
    pub fn has_changes(&self) -> bool {
        let dirty = &self.dirty;
        dirty.counter || !dirty.publishers.is_empty() || !dirty.topics.is_empty() || self.parking.has_changes()
    }

    /// What has changed since the last call, to be stored in one transaction.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.dirty.counter) {
            changes.push(put(
                Table::Counter,
                Vec::new(),
                [&[version_of(Table::Counter)], &self.sctr.to_be_bytes()[..]].concat(),
            ));
        }
        for id in std::mem::take(&mut self.dirty.publishers) {
            self.store_publisher(id, &mut changes);
        }
        for (id, number, topic) in std::mem::take(&mut self.dirty.topics) {
            let run = super::runs::run_mut(&mut self.runs, id, number);
            let Some(state) = run.and_then(|run| run.topics.get_mut(&topic)) else { continue };
            state.dirty = false;
            let key = topic_key(id, number, &topic);
            changes.push(put(Table::Topic, key.clone(), encode_topic(state)));
            self.dirty.stored.insert((Table::Topic, key));
        }
        changes.extend(self.parking.take_changes());
        changes
    }

    /// Everything of one publisher but its topics; what is gone in memory is removed.
    fn store_publisher(&mut self, id: PeerId, changes: &mut Vec<Change>) {
        let mut live = BTreeSet::new();
        let mut keep = |table, key: Vec<u8>, value: Vec<u8>| {
            live.insert((table, key.clone()));
            changes.push(put(table, key, value));
        };
        if let Some(peer) = self.peers.get(&id).filter(|peer| peer.session.is_some()) {
            keep(Table::Peer, id.as_bytes().to_vec(), encode_peer(peer));
            for (order, number) in peer.streams.iter().enumerate() {
                let Some(stream) = self.streams.get(id, *number) else { continue };
                keep(Table::Stream, stream_key(id, *number), encode_stream(stream, order));
            }
            for (number, run) in peer.runs.keys().filter_map(|order| self.run_at(id, *order)) {
                keep(Table::Run, run_key(id, number), encode_run(run));
            }
        }
        self.remove_dead(id, &live, changes);
        self.dirty.stored.extend(live);
    }

    fn remove_dead(&mut self, id: PeerId, live: &BTreeSet<(Table, Vec<u8>)>, changes: &mut Vec<Change>) {
        for table in [Table::Peer, Table::Stream, Table::Run, Table::Topic] {
            let from = (table, id.as_bytes().to_vec());
            let of =
                self.dirty.stored.range(from..).take_while(|(at, key)| *at == table && key.starts_with(id.as_bytes()));
            // A topic lives as long as its run.
            let is_live = |key: &Vec<u8>| match table {
                Table::Topic => key.get(..21).is_some_and(|run| live.contains(&(Table::Run, run.to_vec()))),
                _ => live.contains(&(table, key.clone())),
            };
            let dead: Vec<_> = of.filter(|(_, key)| !is_live(key)).cloned().collect();
            for at in dead {
                self.dirty.stored.remove(&at);
                changes.push(Change { table: at.0, key: at.1, value: None });
            }
        }
    }

    /// Marks a publisher's session, streams and runs as changed.
    pub(super) fn touch(&mut self, id: PeerId) {
        self.dirty.publishers.insert(id);
    }
}

impl Dirty {
    /// Marks a topic as changed.
    pub(super) fn topic(&mut self, id: PeerId, run: [u8; 5], state: &mut TopicState) {
        if state.note_change() {
            self.topics.push((id, run, Arc::clone(&state.name)));
        }
    }
}

fn put(table: Table, key: Vec<u8>, value: Vec<u8>) -> Change {
    Change { table, key, value: Some(Zeroizing::new(value)) }
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
