//! What a publisher keeps of itself: its stream, its hellos, a rotation under way.

use zeroize::Zeroizing;

use super::hello::OwnHello;
use crate::stream::StreamSecret;
use crate::wire::{Hello, Reader, WireError};

/// The version of the record.
const VERSION: u8 = 1;
/// Runs of one stream.
pub(super) const MAX_RUNS: usize = 1024;

/// A stream with what must be remembered with it.
#[derive(Debug)]
pub(super) struct Epoch {
    /// When the stream was made, and when its generation began: milliseconds since 1970.
    pub(super) made_ms: u64,
    pub(super) stepped_ms: u64,
    /// Its runs: none of them is ever made again.
    pub(super) runs: Vec<[u8; 5]>,
}

/// The record, taken apart.
pub(super) struct Own {
    pub(super) stream: StreamSecret,
    pub(super) epoch: Epoch,
    pub(super) hello: OwnHello,
    pub(super) previous_hello: Option<OwnHello>,
    pub(super) challenge_ms: u64,
    /// The stream that a rotation under way has handed out.
    pub(super) next: Option<StreamSecret>,
    /// The order of the last run.
    pub(super) order: u32,
}

/// What [`Own`] is written from.
pub(super) struct OwnRef<'a> {
    pub(super) stream: &'a StreamSecret,
    pub(super) epoch: &'a Epoch,
    pub(super) hello: &'a OwnHello,
    pub(super) previous_hello: Option<&'a OwnHello>,
    pub(super) challenge_ms: u64,
    pub(super) next: Option<&'a StreamSecret>,
    pub(super) order: u32,
}

/// ```text
///  version | stream | made 8 | stepped 8 | n 2 | n x run 5 | hello | hello before, or nothing | challenge made 8
///  | next stream, or nothing | order 4
///  hello = length 2 | bytes        stream = length 2 | flags 1 | id 4 | generation 1 | secret 32 | signing key 32
/// ```
pub(super) fn encode(own: &OwnRef<'_>) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(vec![VERSION]);
    push(&mut out, &own.stream.encode());
    out.extend_from_slice(&own.epoch.made_ms.to_be_bytes());
    out.extend_from_slice(&own.epoch.stepped_ms.to_be_bytes());
    out.extend_from_slice(&u16::try_from(own.epoch.runs.len()).unwrap_or(u16::MAX).to_be_bytes());
    own.epoch.runs.iter().for_each(|run| out.extend_from_slice(run));
    push(&mut out, &own.hello.bytes);
    push(&mut out, own.previous_hello.map_or(&[][..], |hello| &hello.bytes));
    out.extend_from_slice(&own.challenge_ms.to_be_bytes());
    push(&mut out, &own.next.map(StreamSecret::encode).unwrap_or_default());
    out.extend_from_slice(&own.order.to_be_bytes());
    out
}

fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Reads the record of the publisher with this id.
pub(super) fn decode(publisher: crate::identity::PeerId, bytes: &[u8]) -> Result<Own, WireError> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != VERSION {
        return Err(WireError::Range);
    }
    let stream = StreamSecret::decode(publisher, take(&mut reader)?)?;
    let (made_ms, stepped_ms) = (reader.u64()?, reader.u64()?);
    let runs = (0..reader.u16()?).map(|_| reader.array()).collect::<Result<Vec<_>, _>>()?;
    let hello = OwnHello::new(take(&mut reader)?.to_vec());
    Hello::decode(&hello.bytes)?;
    let previous = take(&mut reader)?;
    let previous_hello = (!previous.is_empty()).then(|| OwnHello::new(previous.to_vec()));
    let challenge_ms = reader.u64()?;
    let next = take(&mut reader)?;
    let next = if next.is_empty() { None } else { Some(StreamSecret::decode(publisher, next)?) };
    let order = reader.u32()?;
    reader.finish()?;
    let epoch = Epoch { made_ms, stepped_ms, runs };
    Ok(Own { stream, epoch, hello, previous_hello, challenge_ms, next, order })
}

fn take<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = usize::from(reader.u16()?);
    reader.take(length)
}
