//! A subscriber taken up from its records.

use std::sync::Arc;

use rand_core::CryptoRng;

use super::gaps::GRACE_MS;
use super::records::{read_peer, read_run, read_stream, read_topic, version_of};
use super::runs::Run;
use super::topics::TopicState;
use super::{Config, Subscriber};
use crate::Now;
use crate::identity::{IdentityKey, PeerId};
use crate::record::{Record, RestoreError, Table};
use crate::trust::Trust;
use crate::wire::{Reader, WireError};

impl Subscriber {
    /// The subscriber whose state was stored: its counter, sessions, streams, windows and parked frames go on.
    ///
    /// # Errors
    /// [`RestoreError`] when a record is damaged.
    pub fn restore<R: CryptoRng + ?Sized>(
        identity: IdentityKey,
        trust: Trust,
        config: Config,
        records: &[Record],
        now: Now,
        rng: &mut R,
    ) -> Result<Self, RestoreError> {
        let mut subscriber = Self::new(identity, trust, config);
        let mut sorted: Vec<&Record> = records.iter().collect();
        sorted.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        let mut orders = Vec::new();
        for record in sorted {
            subscriber
                .take_record(record, &mut orders, now, rng)
                .map_err(|why| RestoreError { table: record.table, why })?;
        }
        orders.sort_unstable();
        for (_, (id, stream)) in orders {
            match subscriber.peers.get_mut(&id) {
                Some(peer) => peer.streams.push(stream),
                None => subscriber.dirty.dead_stream(id, stream),
            }
        }
        let ids: Vec<PeerId> = subscriber.peers.keys().copied().collect();
        for id in ids {
            subscriber.note_followed(id);
            subscriber.settle_streams(id);
        }
        subscriber.begin_checks();
        // known_peers may have changed while we were away.
        let known = subscriber.trust.known().clone();
        subscriber.set_known(known);
        subscriber.wake_all();
        Ok(subscriber)
    }

    fn take_record<R: CryptoRng + ?Sized>(
        &mut self,
        record: &Record,
        orders: &mut Vec<(u32, (PeerId, u32))>,
        now: Now,
        rng: &mut R,
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(&record.value);
        let version = reader.u8()?;
        if version == 0 || version > version_of(record.table) {
            return Err(WireError::Range);
        }
        if record.table == Table::Counter {
            self.sctr = reader.u64()?;
            return reader.finish();
        }
        let mut key = Reader::new(&record.key);
        if record.table == Table::Parked {
            return self.parking.restore(key.u64()?, &mut reader);
        }
        let id = PeerId::from_bytes(key.array()?);
        match record.table {
            Table::Peer => self.peers.insert(id, Box::new(read_peer(&mut reader, now, rng)?)).map_or((), drop),
            Table::Stream => {
                let stream = key.u32()?;
                let (order, held) = read_stream(version, id, stream, now, &mut reader)?;
                orders.push((order, (id, stream)));
                self.restore_closed(held.closed.iter().copied());
                self.streams.insert(id, stream, held);
            }
            Table::Run => {
                let run = read_run(version, id, key.array()?, &mut reader)?;
                self.take_up_run(run);
            }
            _ => {
                let number = key.array()?;
                let topic = std::str::from_utf8(key.rest()).map_err(|_| WireError::Text)?;
                let state = TopicState { name: Arc::from(topic), ..read_topic(version, &mut reader)? };
                self.take_up_topic(id, number, state, now, rng);
            }
        }
        reader.finish()
    }

    /// A topic of which there was a record: what is missing of it is told, or asked for, as before.
    fn take_up_topic<R: CryptoRng + ?Sized>(
        &mut self,
        id: PeerId,
        number: [u8; 5],
        mut state: TopicState,
        now: Now,
        rng: &mut R,
    ) {
        let Some(run) = self.runs.find_mut(id, number) else {
            return self.dirty.dead_topic(id, number, &state);
        };
        let key = (id, number, Arc::clone(&state.name));
        let gap_ms = state.has_untold(state.announced).then_some(now.mono_ms + GRACE_MS);
        state.gap = gap_ms.map(|at_ms| (at_ms, state.announced));
        if !state.is_settled() {
            self.peers
                .get_mut(&id)
                .into_iter()
                .for_each(|peer| peer.repair.want(number, &state.name, now.mono_ms, rng));
        }
        run.topics.push(state);
        if let Some(at_ms) = gap_ms {
            self.note_gap(key, at_ms);
        }
    }

    /// A run of which there was a record; one of a publisher that is not stored is left out.
    fn take_up_run(&mut self, mut run: Run) {
        let Some(peer) = self.peers.get_mut(&run.publisher) else {
            return self.dirty.dead_run(&run);
        };
        // Records of an earlier version have no order.
        while peer.runs.at(run.order).is_some() {
            run.order += 1;
        }
        peer.runs.insert(run.order, run.number);
        self.runs.push(run);
    }
}
