//! The bytes of a subscriber's records: how they are written, and how they and those of earlier versions are read.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::peer::Peer;
use super::runs::Run;
use super::session::Session;
use super::streams::{HeldStream, Owed};
use super::topics::TopicState;
use crate::Now;
use crate::chain::ChainReceiver;
use crate::identity::PeerId;
use crate::kdf::{AckKey, GenerationSecret};
use crate::ranges::RangeSet;
use crate::record::Table;
use crate::stream::StreamVerifier;
use crate::wire::{Hello, Reader, WireError, push_varint};

/// The flag of a stream of which unknown runs are owed to us.
const OWED: u8 = 0b10;

/// The version of the records of a table; earlier ones are read.
pub(super) fn version_of(table: Table) -> u8 {
    match table {
        Table::Topic => 3,
        Table::Stream | Table::Run => 2,
        _ => 1,
    }
}

/// `version | hello length 2 | hello | name length 2 | name | n 1 | n x { sid 8 | ka 32 | wk 32 | idx 4 | made 8 | confirming 1 }`.
pub(super) fn encode_peer(peer: &Peer) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + peer.hello_bytes.len());
    out.push(version_of(Table::Peer));
    push_bytes(&mut out, &peer.hello_bytes);
    push_bytes(&mut out, peer.name.as_str().as_bytes());
    let sessions: Vec<&Session> = peer.session.iter().chain(peer.previous.as_deref()).collect();
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

/// `version | flags | verifier 33 | announced | order 4 | n 2 | n x { generation | secret 32 } | current 8 | m 2 | m x run 5`;
/// version 1 ends before `current`.
pub(super) fn encode_stream(stream: &HeldStream, order: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + 33 * stream.kept().len());
    out.push(version_of(Table::Stream));
    let owed = match stream.owed {
        Owed::Nothing => 0,
        // After a restart the first ticks are long past.
        Owed::Next(_) | Owed::All => OWED,
    };
    out.push(u8::from(stream.signed_frames) | owed);
    out.extend_from_slice(stream.verifier.as_bytes());
    out.push(stream.announced());
    out.extend_from_slice(&u32::try_from(order).unwrap_or(u32::MAX).to_be_bytes());
    push_len(&mut out, stream.kept().len());
    for (generation, secret) in stream.kept() {
        out.push(*generation);
        out.extend_from_slice(secret.expose());
    }
    out.extend_from_slice(&stream.current_ms.to_be_bytes());
    push_len(&mut out, stream.closed.len());
    stream.closed.iter().for_each(|number| out.extend_from_slice(number));
    out
}

/// `version | stream 4 | flags | seen 4 | tick 4 | order 8`; version 1 ends before `order`.
pub(super) fn encode_run(run: &Run) -> Vec<u8> {
    let mut out = vec![version_of(Table::Run)];
    out.extend_from_slice(&run.stream.to_be_bytes());
    out.push(u8::from(run.seen.is_some()) | u8::from(run.tick.is_some()) << 1 | u8::from(run.finished) << 2);
    out.extend_from_slice(&run.seen.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&run.tick.map_or(0, |(seq, _)| seq).to_be_bytes());
    out.extend_from_slice(&run.order.to_be_bytes());
    out
}

/// `version | baseline varint | announced varint | forged to varint | window | reported | lost`: written for nearly every reading
/// where there are many publishers, so it is short. Versions 1 and 2 have numbers of 4 bytes and sets whose `n` has 2; version 1
/// has no `lost`.
pub(super) fn write_topic(out: &mut Vec<u8>, state: &TopicState) {
    out.push(version_of(Table::Topic));
    for number in [state.baseline, state.announced, state.forged_to] {
        push_varint(out, number);
    }
    for set in [&state.window, &state.reported, &state.lost] {
        push_ranges(out, set);
    }
}

/// `n varint | n x { gap varint | length varint }`.
fn push_ranges(out: &mut Vec<u8>, set: &RangeSet) {
    push_varint(out, u32::try_from(set.ranges().len()).unwrap_or(u32::MAX));
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

pub(super) fn read_peer<R: CryptoRng + ?Sized>(
    reader: &mut Reader<'_>,
    now: Now,
    rng: &mut R,
) -> Result<Peer, WireError> {
    let hello_bytes = read_bytes(reader)?;
    let hello = Hello::decode(hello_bytes)?;
    let name = std::str::from_utf8(read_bytes(reader)?).ok().and_then(|name| name.parse().ok());
    let mut peer = Peer::new(hello, hello_bytes, name.ok_or(WireError::Text)?, false);
    let mut sessions = (0..reader.u8()?).map(|_| read_session(reader, now, rng)).collect::<Result<Vec<_>, _>>()?;
    if sessions.is_empty() || sessions.len() > 2 {
        return Err(WireError::Range);
    }
    peer.previous = if sessions.len() == 2 { sessions.pop().map(Box::new) } else { None };
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

pub(super) fn read_stream(
    version: u8,
    id: PeerId,
    stream: u32,
    now: Now,
    reader: &mut Reader<'_>,
) -> Result<(u32, HeldStream), WireError> {
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
    held.owed = if flags & OWED == 0 { Owed::Nothing } else { Owed::All };
    held.current_ms = if version > 1 { reader.u64()? } else { now.unix_ms };
    for _ in 0..if version > 1 { reader.u16()? } else { 0 } {
        held.closed.insert(reader.array()?);
    }
    Ok((order, held))
}

pub(super) fn read_run(version: u8, id: PeerId, number: [u8; 5], reader: &mut Reader<'_>) -> Result<Run, WireError> {
    let mut run = Run::new(id, number, reader.u32()?, 0);
    let flags = reader.u8()?;
    let seen = reader.u32()?;
    run.seen = (flags & 1 != 0).then_some(seen);
    let tick = reader.u32()?;
    run.tick = (flags & 2 != 0).then_some((tick, 0));
    run.finished = flags & 4 != 0;
    run.order = if version > 1 { reader.u64()? } else { 0 };
    if run.order > u64::MAX / 2 {
        return Err(WireError::Range);
    }
    Ok(run)
}

pub(super) fn read_topic(version: u8, reader: &mut Reader<'_>) -> Result<TopicState, WireError> {
    let is_short = version > 2;
    let number = |reader: &mut Reader<'_>| if is_short { reader.varint() } else { reader.u32() };
    let ranges = |reader: &mut Reader<'_>| {
        let number = if is_short { reader.varint()? } else { reader.u16()?.into() };
        read_ranges(reader, number)
    };
    let mut state = TopicState {
        baseline: number(reader)?,
        announced: number(reader)?,
        forged_to: number(reader)?,
        window: ranges(reader)?,
        reported: ranges(reader)?,
        ..TopicState::default()
    };
    if version > 1 {
        state.lost = ranges(reader)?;
        return Ok(state);
    }
    // What had come stayed in the set of what was told.
    for &(from, to) in state.window.ranges() {
        state.reported.remove(from, to);
    }
    Ok(state)
}

fn read_ranges(reader: &mut Reader<'_>, number: u32) -> Result<RangeSet, WireError> {
    let mut set = RangeSet::default();
    let mut at = 0_u32;
    for _ in 0..number {
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
