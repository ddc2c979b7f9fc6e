//! A subscriber taken up from its records.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::peer::{Peer, Session};
use super::runs::{Run, TopicState};
use super::store::VERSION;
use super::streams::HeldStream;
use super::{Config, Subscriber};
use crate::Now;
use crate::chain::ChainReceiver;
use crate::identity::{IdentityKey, PeerId};
use crate::kdf::{AckKey, GenerationSecret};
use crate::ranges::RangeSet;
use crate::record::{Record, RestoreError, Table};
use crate::stream::StreamVerifier;
use crate::trust::Trust;
use crate::wire::{Hello, Reader, WireError};

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
        subscriber.stream_order = orders.into_iter().map(|(_, at)| at).collect();
        // known_peers may have changed while we were away.
        let known = subscriber.trust.known().clone();
        subscriber.set_known(known);
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
        if reader.u8()? != VERSION {
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
        self.dirty.stored.insert((record.table, record.key.clone()));
        match record.table {
            Table::Peer => self.peers.insert(id, read_peer(&mut reader, now, rng)?).map_or((), drop),
            Table::Stream => {
                let stream = key.u32()?;
                let (order, held) = read_stream(id, stream, &mut reader)?;
                orders.push((order, (id, stream)));
                self.streams.insert((id, stream), held);
            }
            Table::Run => {
                let number = key.array()?;
                let run = read_run(id, &mut reader)?;
                self.runs.entry(number).or_default().push(run);
                self.peers.get_mut(&id).into_iter().for_each(|peer| peer.runs += 1);
            }
            _ => {
                let number = key.array()?;
                let topic = std::str::from_utf8(key.rest()).map_err(|_| WireError::Text)?.to_owned();
                let mut state = read_topic(&mut reader)?;
                if !state.window.contains(state.baseline.min(state.announced), state.announced) {
                    state.gap = Some((now.mono_ms + super::verdicts::GRACE_MS, state.announced));
                    self.gaps.insert((id, number, topic.clone()));
                    self.next_poll_ms = 0;
                }
                if let Some(run) = super::runs::run_mut(&mut self.runs, id, number) {
                    run.topics.insert(topic, state);
                }
            }
        }
        reader.finish()
    }
}

fn read_peer<R: CryptoRng + ?Sized>(reader: &mut Reader<'_>, now: Now, rng: &mut R) -> Result<Peer, WireError> {
    let hello_bytes = read_bytes(reader)?;
    let hello = Hello::decode(hello_bytes)?;
    let name = std::str::from_utf8(read_bytes(reader)?).ok().and_then(|name| name.parse().ok());
    let mut peer = Peer::new(hello, hello_bytes, name.ok_or(WireError::Text)?, false);
    let mut sessions = (0..reader.u8()?).map(|_| read_session(reader, now, rng)).collect::<Result<Vec<_>, _>>()?;
    if sessions.is_empty() || sessions.len() > 2 {
        return Err(WireError::Range);
    }
    peer.previous = if sessions.len() == 2 { sessions.pop() } else { None };
    peer.session = sessions.pop();
    Ok(peer)
}

fn read_session<R: CryptoRng + ?Sized>(reader: &mut Reader<'_>, now: Now, rng: &mut R) -> Result<Session, WireError> {
    let sid = reader.array()?;
    let ka = AckKey::new(Zeroizing::new(reader.array()?));
    let chain = ChainReceiver::decode(sid, reader)?;
    let made_unix_ms = reader.u64()?;
    let confirming = reader.u8()? != 0;
    Ok(Session::restored(sid, ka, chain, made_unix_ms, confirming, now, rng))
}

fn read_stream(id: PeerId, stream: u32, reader: &mut Reader<'_>) -> Result<(u32, HeldStream), WireError> {
    let flags = reader.u8()?;
    let verifier = StreamVerifier::from_bytes(&reader.array()?)?;
    let announced = reader.u8()?;
    let order = reader.u32()?;
    let mut kept = std::collections::VecDeque::new();
    for _ in 0..reader.u16()? {
        kept.push_back((reader.u8()?, GenerationSecret::new(Zeroizing::new(reader.array()?))));
    }
    let mut held = HeldStream::restored(id, stream, verifier, announced, kept);
    held.signed_frames = flags & 1 != 0;
    held.owed = flags & 2 != 0;
    Ok((order, held))
}

fn read_run(id: PeerId, reader: &mut Reader<'_>) -> Result<Run, WireError> {
    let mut run = Run::new(id, reader.u32()?);
    let flags = reader.u8()?;
    run.beaten = flags & 1 != 0;
    run.seen = reader.u32()?;
    let tick = reader.u32()?;
    run.tick = (flags & 2 != 0).then_some((tick, 0));
    Ok(run)
}

fn read_topic(reader: &mut Reader<'_>) -> Result<TopicState, WireError> {
    let mut state = TopicState {
        baseline: reader.u32()?,
        announced: reader.u32()?,
        forged_to: reader.u32()?,
        ..TopicState::default()
    };
    state.window = read_ranges(reader)?;
    state.reported = read_ranges(reader)?;
    Ok(state)
}

fn read_ranges(reader: &mut Reader<'_>) -> Result<RangeSet, WireError> {
    let mut set = RangeSet::default();
    let mut at = 0_u32;
    for _ in 0..reader.u16()? {
        let from = at.checked_add(reader.varint()?).ok_or(WireError::Range)?;
        at = from.checked_add(reader.varint()?).ok_or(WireError::Range)?;
        set.insert(from, at);
    }
    Ok(set)
}

pub(super) fn read_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = usize::from(reader.u16()?);
    reader.take(length)
}
