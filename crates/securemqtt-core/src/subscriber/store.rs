//! What a subscriber keeps over a restart: its records, and which of them have changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Subscriber;
use super::gaps::TopicKey;
use super::records::{encode_peer, encode_run, encode_stream, version_of, write_topic};
use super::runs::Run;
use super::topics::{Noted, TopicState};
use crate::identity::PeerId;
use crate::packed::{Packed, PackedChange, Places, unpack};
use crate::record::{Change, Table};
use crate::wire::WireError;

/// What is to be stored, all of it in one transaction.
#[derive(Debug, Default)]
pub struct Changes {
    /// All but the windows.
    pub records: Vec<Change>,
    /// Replay windows: [`Table::Topic`].
    pub windows: Packed,
}

impl Changes {
    /// All of them as records, for whoever has one way for those; the places are what earlier changes have said.
    ///
    /// # Errors
    /// [`WireError`] where some of the earlier changes are missing.
    pub fn spelled_out(self, places: &mut Places) -> Result<Vec<Change>, WireError> {
        let mut all = self.records;
        for change in unpack(places.spell_out(&self.windows)?.bytes()) {
            let PackedChange { key, value, .. } = change?;
            let value = value.map(|value| value.to_vec().into());
            all.push(Change { table: Table::Topic, key: key[1..].to_vec(), value });
        }
        Ok(all)
    }
}

/// What has changed since the last [`Subscriber::take_changes`].
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Whether our counter has moved.
    pub(super) counter: bool,
    /// Publishers whose session, streams or runs have changed.
    pub(super) publishers: BTreeSet<PeerId>,
    /// Topics, each once: they are [`Noted::Listed`].
    topics: Vec<TopicKey>,
    /// Whether windows were written in this round.
    written: bool,
    /// What was written already: those windows, and what removes the records whose object is gone, which may be stored.
    ready: Changes,
    /// How often changes were taken, as far as that matters: one that was written in a round of the same number long ago is listed.
    round: u16,
    /// The last place that was given to a window.
    last_place: u32,
}

impl Subscriber {
    /// Whether anything has changed that must be durable before what was said since leaves.
    pub fn has_changes(&self) -> bool {
        let dirty = &self.dirty;
        let has_windows = dirty.written || !dirty.topics.is_empty();
        dirty.counter || !dirty.publishers.is_empty() || has_windows || self.parking.has_changes()
    }

    /// What has changed since the last call, to be stored in one transaction.
    pub fn take_changes(&mut self) -> Changes {
        // First, since a key may have come again.
        let Changes { records: mut changes, mut windows } = std::mem::take(&mut self.dirty.ready);
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
        for (id, number, topic) in self.dirty.topics.drain(..) {
            let run = self.runs.find_mut(id, number);
            let Some(state) = run.and_then(|run| run.topics.get_mut(&topic)) else { continue };
            state.noted = Noted::No;
            push_window(&mut windows, &mut self.dirty.last_place, id, number, state);
        }
        self.dirty.written = false;
        self.dirty.round = self.dirty.round.wrapping_add(1);
        changes.extend(self.parking.take_changes());
        Changes { records: changes, windows }
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
        self.ready.records.push(Change::remove(Table::Stream, stream_key(id, stream)));
    }

    /// A run is gone, with its topics.
    pub(super) fn dead_run(&mut self, run: &Run) {
        self.ready.records.push(Change::remove(Table::Run, run_key(run.publisher, run.number)));
        run.topics.iter().for_each(|state| self.dead_topic(run.publisher, run.number, state));
    }

    pub(super) fn dead_topic(&mut self, id: PeerId, number: [u8; 5], state: &TopicState) {
        // One that was not written since the start may have been before.
        let key = topic_key(id.as_bytes(), &number, &state.name);
        let key = if state.place == 0 { &key[..] } else { &[] };
        self.ready.windows.push(state.place, key, None);
    }

    /// Marks a topic as changed, or about to be.
    pub(super) fn topic(&mut self, id: PeerId, run: [u8; 5], state: &mut TopicState) {
        if state.noted != Noted::Listed {
            state.noted = Noted::Listed;
            self.topics.push((id, run, Arc::clone(&state.name)));
        }
    }

    /// The same after a reading that came in its turn. Where there are thousands of topics, most have one at most before the
    /// changes are taken: the record is written at once, while the topic is at hand.
    #[inline(never)]
    pub(super) fn reading(&mut self, id: PeerId, run: [u8; 5], state: &mut TopicState) {
        if state.noted == Noted::Listed || state.noted == Noted::Written(self.round) {
            return self.topic(id, run, state);
        }
        state.noted = Noted::Written(self.round);
        self.written = true;
        push_window(&mut self.ready.windows, &mut self.last_place, id, run, state);
    }
}

fn stream_key(id: PeerId, stream: u32) -> Vec<u8> {
    [&id.as_bytes()[..], &stream.to_be_bytes()].concat()
}

fn run_key(id: PeerId, run: [u8; 5]) -> Vec<u8> {
    [&id.as_bytes()[..], &run].concat()
}

/// Writes a window: with its key for the first time since the start, later by the place that it got then. Places are not used
/// again; should they ever run out, keys do.
fn push_window(windows: &mut Packed, last_place: &mut u32, id: PeerId, run: [u8; 5], state: &mut TopicState) {
    if state.place != 0 {
        return windows.put(state.place, &[], |value| write_topic(value, state));
    }
    state.place = last_place.checked_add(1).inspect(|place| *last_place = *place).unwrap_or(0);
    windows.put(state.place, &topic_key(id.as_bytes(), &run, &state.name), |value| write_topic(value, state));
}

/// The parts of a window's key, which begins with its table's number.
fn topic_key<'a>(id: &'a [u8; 16], run: &'a [u8; 5], topic: &'a str) -> [&'a [u8]; 4] {
    [&[Table::Topic as u8], id, run, topic.as_bytes()]
}
