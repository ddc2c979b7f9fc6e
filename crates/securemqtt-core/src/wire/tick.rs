//! TICK: the plaintext of a publisher's signed heartbeat.

use super::{Reader, WireError};
use crate::primitives::SIGNATURE_LEN;

/// A tick's limit in bytes, sealed.
pub const MAX_TICK_LEN: usize = 8 * 1024;
/// Bytes of a tick besides its topics and older runs, generously.
const FIXED_LEN: usize = 256;
/// Bytes of the topics of an older run.
pub(crate) const OLDER_RUN_LEN: usize = MAX_TICK_LEN / 4;

/// The plaintext of a TICK, before its signature.
///
/// ```text
///  flags 1 | key commitment 16 | clock 8 | n 2 | n x run | signature 64
///  run   = run 5 | stream id 4 | n 2 | n x topic
///  topic = length 2 | topic | first kept 4 | from 4 | next 4 | digest 32
/// ```
/// This run comes first. `flags`: bit 0 asks for a REPORT, bit 1 is set in a run's last tick; others are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickBody {
    /// Bit 0: the publisher asks each subscriber for a REPORT.
    pub report_wanted: bool,
    /// Bit 1: the last tick of its run.
    pub last: bool,
    /// See [`crate::kdf`]: binds the ciphertext to its key.
    pub commitment: [u8; 16],
    /// Milliseconds since 1970 at the publisher.
    pub clock_ms: u64,
    /// Where each run stands; the tick's own run first.
    pub runs: Vec<RunPositions>,
}

/// Where one run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPositions {
    /// The run.
    pub run: [u8; 5],
    /// Its stream.
    pub stream: u32,
    /// Its topics.
    pub topics: Vec<TopicPosition>,
}

/// Where one topic of a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPosition {
    /// The topic.
    pub topic: String,
    /// The first sequence number that the publisher could still send again.
    pub first_kept: u32,
    /// Where the digest begins.
    pub from: u32,
    /// The next sequence number: everything below has been sealed.
    pub next: u32,
    /// SHA-256 over `SHA-256(frame)[..16]` of each frame in `from..next`, in order.
    pub digest: [u8; 32],
}

const FLAG_REPORT: u8 = 0b01;
const FLAG_LAST: u8 = 0b10;
const FLAGS_KNOWN: u8 = FLAG_REPORT | FLAG_LAST;

impl TickBody {
    /// The bytes that are signed, then sealed with the signature behind them.
    pub fn encode(&self) -> Vec<u8> {
        let flag = |set, flag| if set { flag } else { 0 };
        let mut out = vec![flag(self.report_wanted, FLAG_REPORT) | flag(self.last, FLAG_LAST)];
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.clock_ms.to_be_bytes());
        push_count(&mut out, self.runs.len());
        for run in &self.runs {
            out.extend_from_slice(&run.run);
            out.extend_from_slice(&run.stream.to_be_bytes());
            push_count(&mut out, run.topics.len());
            for topic in &run.topics {
                topic.encode_into(&mut out);
            }
        }
        out
    }

    /// Splits a tick's plaintext into body bytes, body and signature.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(plain: &[u8]) -> Result<(&[u8], Self, &[u8; SIGNATURE_LEN]), WireError> {
        let (bytes, signature) = plain.split_last_chunk().ok_or(WireError::Truncated)?;
        let mut reader = Reader::new(bytes);
        let flags = reader.u8()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(WireError::Range);
        }
        let commitment = reader.array()?;
        let clock_ms = reader.u64()?;
        let runs = (0..reader.u16()?).map(|_| RunPositions::decode(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        reader.finish()?;
        if runs.is_empty() {
            return Err(WireError::Range);
        }
        let (report_wanted, last) = (flags & FLAG_REPORT != 0, flags & FLAG_LAST != 0);
        Ok((bytes, Self { report_wanted, last, commitment, clock_ms, runs }, signature))
    }
}

impl TickBody {
    /// Bytes for the topics of a tick's own run, beside the older runs that it names.
    pub(crate) fn room(older: &[RunPositions]) -> usize {
        let older_len: usize = older.iter().map(|run| 11 + run.topics_len()).sum();
        MAX_TICK_LEN.saturating_sub(FIXED_LEN + older_len)
    }

    /// Whether a topic that this tick does not name has no frames in its run: there was room to name it.
    pub(crate) fn rules_out(&self, index: usize, topic: &str) -> bool {
        let room = if index == 0 { Self::room(&self.runs[1..]) } else { OLDER_RUN_LEN };
        self.runs[index].topics_len() + TopicPosition::encoded_len(topic) <= room
    }
}

impl RunPositions {
    fn topics_len(&self) -> usize {
        self.topics.iter().map(|topic| TopicPosition::encoded_len(&topic.topic)).sum()
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let run = reader.array()?;
        let stream = reader.u32()?;
        let topics = (0..reader.u16()?).map(|_| TopicPosition::decode(reader)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { run, stream, topics })
    }
}

impl TopicPosition {
    /// Bytes of this entry.
    pub fn encoded_len(topic: &str) -> usize {
        2 + topic.len() + 4 + 4 + 4 + 32
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        push_count(out, self.topic.len());
        out.extend_from_slice(self.topic.as_bytes());
        for number in [self.first_kept, self.from, self.next] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.digest);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let length = usize::from(reader.u16()?);
        let topic = std::str::from_utf8(reader.take(length)?).map_err(|_| WireError::Text)?.to_owned();
        crate::topic::validate_topic(&topic).map_err(|_| WireError::Text)?;
        let position = Self {
            topic,
            first_kept: reader.u32()?,
            from: reader.u32()?,
            next: reader.u32()?,
            digest: reader.array()?,
        };
        if position.from > position.next || position.first_kept > position.next {
            return Err(WireError::Range);
        }
        Ok(position)
    }
}

fn push_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}
