//! What a subscriber keeps over a restart: its records, and which of them have changed.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::Subscriber;
use super::peer::{Peer, Session};
use super::runs::{Run, TopicState};
use super::streams::HeldStream;
use crate::identity::PeerId;
use crate::ranges::RangeSet;
use crate::record::{Change, Table};
use crate::wire::push_varint;

/// The version of every record here.
pub(super) const VERSION: u8 = 1;

/// What has changed since the last [`Subscriber::take_changes`].
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Whether our counter has moved.
    pub(super) counter: bool,
    /// Publishers whose session, streams or runs have changed.
    pub(super) publishers: BTreeSet<PeerId>,
    /// Topics, each once: [`TopicState::dirty`] is set.
    pub(super) topics: Vec<(PeerId, [u8; 5], String)>,
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
            changes.push(put(Table::Counter, Vec::new(), [&[VERSION], &self.sctr.to_be_bytes()[..]].concat()));
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
            for (order, at) in self.stream_order.iter().enumerate().filter(|(_, (publisher, _))| *publisher == id) {
                let Some(stream) = self.streams.get(at) else { continue };
                keep(Table::Stream, stream_key(id, at.1), encode_stream(stream, order));
            }
            for (number, run) in self.runs_of(id) {
                keep(Table::Run, run_key(id, number), encode_run(run));
            }
        }
        self.remove_dead(id, &live, changes);
        self.dirty.stored.extend(live);
    }

    fn runs_of(&self, id: PeerId) -> impl Iterator<Item = ([u8; 5], &Run)> {
        let of = move |run: &&Run| run.publisher == id;
        self.runs.iter().flat_map(move |(number, runs)| runs.iter().filter(of).map(move |run| (*number, run)))
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
    pub(super) fn topic(&mut self, id: PeerId, run: [u8; 5], topic: &str, state: &mut TopicState) {
        if state.note_change() {
            self.topics.push((id, run, topic.to_owned()));
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

/// `version | hello length 2 | hello | name length 2 | name | n 1 | n x { sid 8 | ka 32 | wk 32 | idx 4 | made 8 | confirming 1 }`.
fn encode_peer(peer: &Peer) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + peer.hello_bytes.len());
    out.push(VERSION);
    push_bytes(&mut out, &peer.hello_bytes);
    push_bytes(&mut out, peer.name.as_str().as_bytes());
    let sessions: Vec<&Session> = peer.session.iter().chain(&peer.previous).collect();
    out.push(u8::try_from(sessions.len()).unwrap_or(0));
    for session in sessions {
        out.extend_from_slice(&session.sid);
        out.extend_from_slice(session.ka.expose());
        session.chain.encode_into(&mut out);
        out.extend_from_slice(&session.made_unix_ms.to_be_bytes());
        out.push(u8::from(session.confirm.is_some()));
    }
    out
}

/// `version | flags | verifier 33 | announced | order 4 | n | n x { generation | secret 32 }`.
fn encode_stream(stream: &HeldStream, order: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + 33 * stream.kept().len());
    out.push(VERSION);
    out.push(u8::from(stream.signed_frames) | u8::from(stream.owed) << 1);
    out.extend_from_slice(stream.verifier.as_bytes());
    out.push(stream.announced());
    out.extend_from_slice(&u32::try_from(order).unwrap_or(u32::MAX).to_be_bytes());
    push_len(&mut out, stream.kept().len());
    for (generation, secret) in stream.kept() {
        out.push(*generation);
        out.extend_from_slice(secret.expose());
    }
    out
}

/// `version | stream 4 | flags | seen 4 | tick 4`.
fn encode_run(run: &Run) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&run.stream.to_be_bytes());
    out.push(u8::from(run.beaten) | u8::from(run.tick.is_some()) << 1);
    out.extend_from_slice(&run.seen.to_be_bytes());
    out.extend_from_slice(&run.tick.map_or(0, |(seq, _)| seq).to_be_bytes());
    out
}

/// `version | baseline 4 | announced 4 | forged to 4 | window | reported`.
fn encode_topic(state: &TopicState) -> Vec<u8> {
    let mut out = vec![VERSION];
    for number in [state.baseline, state.announced, state.forged_to] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    push_ranges(&mut out, &state.window);
    push_ranges(&mut out, &state.reported);
    out
}

/// `n 2 | n x { gap varint | length varint }`.
fn push_ranges(out: &mut Vec<u8>, set: &RangeSet) {
    push_len(out, set.ranges().len());
    let mut at = 0;
    for &(from, to) in set.ranges() {
        push_varint(out, from - at);
        push_varint(out, to - from);
        at = to;
    }
}

pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
}
