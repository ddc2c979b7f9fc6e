//! A publisher taken up from its records: the same stream and sessions, in a new run.

use rand_core::CryptoRng;

use super::own::{self, MAX_RUNS, Own};
use super::past::{PastRun, bare_position};
use super::store::VERSION;
use super::{Config, Output, Publisher};
use crate::Now;
use crate::identity::IdentityKey;
use crate::record::{Record, RestoreError, Table};
use crate::stream::StreamSecret;
use crate::trust::Trust;
use crate::wire::{Reader, RunPositions, WireError};

/// The result of reading one record.
type Read = Result<(), WireError>;

impl Publisher {
    /// The publisher whose state was stored, in a new run: its stream, sessions and hellos go on. With no records it is a
    /// new one. Give it the segments of its spool with [`Publisher::restore_segment`] next, then call
    /// [`Publisher::begin`].
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
        let mut publisher = Self::new(identity, trust, config, now, rng);
        let mut sorted: Vec<&Record> = records.iter().filter(|record| record.table != Table::Segment).collect();
        sorted.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        for record in sorted {
            let table = record.table;
            publisher.take_record(record, now, rng).map_err(|why| RestoreError { table, why })?;
        }
        publisher.past.sort();
        Ok(publisher)
    }

    fn take_record<R: CryptoRng + ?Sized>(&mut self, record: &Record, now: Now, rng: &mut R) -> Read {
        match record.table {
            Table::Own => {
                let own = own::decode(self.id, &record.value)?;
                self.take_own(own, now, rng);
                Ok(())
            }
            Table::Member => self.roster.restore(&record.value),
            Table::OwnRun => self.take_run(&record.key, &record.value),
            Table::OwnTopic => self.take_topic(&record.key, &record.value),
            Table::Mark => {
                let mut reader = versioned(&record.value)?;
                self.dirty.mark = reader.u64()?;
                self.spool.restore_acknowledged(self.dirty.mark);
                reader.finish()
            }
            _ => Err(WireError::Range),
        }
    }

    /// The stream goes on in a new run, which `new` has drawn for another stream.
    fn take_own<R: CryptoRng + ?Sized>(&mut self, own: Own, now: Now, rng: &mut R) {
        let Own { stream, epoch, hello, previous_hello, challenge_ms, next, order } = own;
        (self.hello, self.previous_hello, self.challenge_unix_ms) = (hello, previous_hello, challenge_ms);
        let age = now.unix_ms.abs_diff(challenge_ms);
        self.due.challenge = now.mono_ms + self.config.challenge_ms.saturating_sub(age);
        self.order = order + 1;
        self.epoch = epoch;
        self.restored_next = next;
        self.sealer = self.new_sealer(stream, rng);
    }

    fn take_run(&mut self, key: &[u8], value: &[u8]) -> Read {
        let mut reader = versioned(value)?;
        let (stream, order, exact) = (reader.u32()?, reader.u32()?, reader.u8()? != 0);
        reader.finish()?;
        let run = key.try_into().map_err(|_| WireError::Range)?;
        let positions = RunPositions { run, stream, topics: Vec::new() };
        if exact {
            self.past.push(PastRun { positions, order, last_segment: None });
        } else {
            // Nobody knows how far it went: it is named to nobody.
            self.dirty.runs_gone.push(positions);
        }
        Ok(())
    }

    fn take_topic(&mut self, key: &[u8], value: &[u8]) -> Read {
        let mut reader = versioned(value)?;
        let next = reader.u32()?;
        reader.finish()?;
        let (run, topic) = key.split_first_chunk::<5>().ok_or(WireError::Range)?;
        let topic = std::str::from_utf8(topic).map_err(|_| WireError::Text)?.to_owned();
        if let Some(past) = self.past.get_mut(*run) {
            past.positions.topics.push(bare_position(topic, next));
        }
        Ok(())
    }

    /// Takes up a segment of the spool, in the order of the numbers. The bytes stay on disk.
    ///
    /// # Errors
    /// [`RestoreError`] when it is damaged.
    pub fn restore_segment(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), RestoreError> {
        let damaged = |why| RestoreError { table: Table::Segment, why };
        let number = key.try_into().map(u64::from_be_bytes).map_err(|_| damaged(WireError::Range))?;
        for (run, _) in self.spool.restore(number, bytes).map_err(damaged)? {
            if let Some(past) = self.past.get_mut(run) {
                past.last_segment = Some(number);
            }
        }
        Ok(())
    }

    /// After the last segment: what fell due while there was no process is done, before the first frame of the new run.
    pub fn begin<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        self.dirty.own = true;
        self.dirty.run = true;
        self.released = self.spool.acknowledged_below();
        for gone in self.past.prune(&self.spool) {
            self.dirty.runs_gone.push(gone.positions);
        }
        let gone = self.gone();
        for id in &gone {
            self.dismiss(*id, rng, out);
        }
        let age = now.unix_ms.abs_diff(self.epoch.made_ms);
        let next = self.restored_next.take();
        let is_due = !gone.is_empty()
            || age >= self.config.rotate_ms
            || self.epoch.runs.len() > MAX_RUNS
            || self.sealer.stream().signed_frames() != self.config.signed_frames;
        if is_due {
            self.begin_on_new_stream(now, rng, out);
        } else if let Some(next) = next {
            // The rotation had handed it out already.
            self.adopt(next, now, rng);
        } else {
            self.due.rotate = now.mono_ms + (self.config.rotate_ms - age);
            self.step_if_due(now, rng, out);
        }
    }

    fn step_if_due<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        let age = now.unix_ms.abs_diff(self.epoch.stepped_ms);
        let left = self.config.ratchet_ms.saturating_sub(age);
        self.due.ratchet = now.mono_ms + left;
        if left > 0 {
            return;
        }
        self.due.ratchet = now.mono_ms + self.config.ratchet_ms;
        if self.step() {
            self.epoch.stepped_ms = now.unix_ms;
        } else {
            self.begin_on_new_stream(now, rng, out);
        }
    }

    /// No frame of this run is sealed yet: the new stream is used at once, and its keys go out before its first tick.
    fn begin_on_new_stream<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        let next = StreamSecret::generate(self.id, self.config.signed_frames, rng);
        self.hand_out(&next, now, rng, out);
        self.adopt(next, now, rng);
    }

    fn adopt<R: CryptoRng + ?Sized>(&mut self, stream: StreamSecret, now: Now, rng: &mut R) {
        self.new_epoch(now);
        self.sealer = self.new_sealer(stream, rng);
    }
}

fn versioned(value: &[u8]) -> Result<Reader<'_>, WireError> {
    let mut reader = Reader::new(value);
    if reader.u8()? == VERSION { Ok(reader) } else { Err(WireError::Range) }
}
