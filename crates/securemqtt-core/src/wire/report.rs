//! REPORT: what a subscriber has of each topic, and which frames it wants again.

use super::{Kind, Reader, WireError};
use crate::kdf::AckKey;
use crate::primitives::{NotAuthentic, TAG_LEN, hmac16, mac_eq, sha256_prefix};

/// A report's limit in bytes.
pub const MAX_REPORT_LEN: usize = 8 * 1024;
/// Topics in one report.
pub const MAX_REPORT_TOPICS: usize = 255;
/// `SHA-256(topic)[..8]`: names a topic in a report.
pub type TopicHash = [u8; 8];

/// The hash that names a topic in a report.
pub fn topic_hash(topic: &str) -> TopicHash {
    sha256_prefix(&[topic.as_bytes()])
}

/// A REPORT. Like ACK a MAC, with the same key; the type byte keeps the two apart.
///
/// ```text
///  type 1 | sid 8 | sctr 8 | n 1 | n x topic | tag 16      tag = HMAC-SHA256(ka, preceding bytes)[..16]
///  topic = run 5 | SHA-256(topic)[..8] | next 4 | m 2 | m x { from 4 | to 4 }
/// ```
/// Without topics (`n` = 0) it only asks for a RECEIPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The session.
    pub sid: [u8; 8],
    /// The subscriber's counter.
    pub sctr: u64,
    /// What it says of each topic, at most 255.
    pub topics: Vec<TopicReport>,
}

/// One topic of one run in a report: the subscriber wants nothing below `next` any more, but for the missing ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    /// The run.
    pub run: [u8; 5],
    /// The topic's hash.
    pub topic: TopicHash,
    /// Everything below is stored or not wanted, but for `missing`.
    pub next: u32,
    /// Half-open ranges below `next`, rising and apart: they are wanted again.
    pub missing: Vec<(u32, u32)>,
}

impl TopicReport {
    /// Bytes of this entry with so many ranges.
    pub fn encoded_len(ranges: usize) -> usize {
        5 + 8 + 4 + 2 + 8 * ranges
    }
}

impl Report {
    /// Bytes of a report besides its topics.
    pub const FIXED_LEN: usize = 1 + 8 + 8 + 1 + TAG_LEN;

    /// The bytes of the message. Only the first 255 topics go in, and the first 65,535 ranges of each.
    pub fn seal(&self, ka: &AckKey) -> Vec<u8> {
        let mut out = vec![Kind::Report.type_byte()];
        out.extend_from_slice(&self.sid);
        out.extend_from_slice(&self.sctr.to_be_bytes());
        let topics = self.topics.len().min(MAX_REPORT_TOPICS);
        out.push(u8::try_from(topics).unwrap_or(u8::MAX));
        for topic in &self.topics[..topics] {
            out.extend_from_slice(&topic.run);
            out.extend_from_slice(&topic.topic);
            out.extend_from_slice(&topic.next.to_be_bytes());
            let ranges = u16::try_from(topic.missing.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&ranges.to_be_bytes());
            for (from, to) in topic.missing.iter().take(usize::from(ranges)) {
                out.extend_from_slice(&from.to_be_bytes());
                out.extend_from_slice(&to.to_be_bytes());
            }
        }
        let tag = hmac16(ka.expose(), &[&out]);
        out.extend_from_slice(&tag);
        out
    }

    /// Reads the message, to find the session; nothing in it is authentic yet.
    ///
    /// # Errors
    /// [`WireError`] says which part is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_REPORT_LEN {
            return Err(WireError::Oversized);
        }
        let mut reader = Reader::of_kind(bytes, Kind::Report)?;
        let (sid, sctr) = (reader.array()?, reader.u64()?);
        let topics = (0..reader.u8()?).map(|_| TopicReport::decode(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        reader.take(TAG_LEN)?;
        reader.finish()?;
        Ok(Self { sid, sctr, topics })
    }

    /// Verifies the tag of a message that [`Report::decode`] has read.
    ///
    /// # Errors
    /// [`NotAuthentic`] when the session's key does not give this tag.
    pub fn verify(bytes: &[u8], ka: &AckKey) -> Result<(), NotAuthentic> {
        verify_tag(bytes, ka)
    }
}

impl TopicReport {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let (run, topic, next) = (reader.array()?, reader.array()?, reader.u32()?);
        let mut missing = Vec::new();
        let mut at = None;
        for _ in 0..reader.u16()? {
            let (from, to) = (reader.u32()?, reader.u32()?);
            if from >= to || to > next || at.is_some_and(|at| from <= at) {
                return Err(WireError::Range);
            }
            at = Some(to);
            missing.push((from, to));
        }
        Ok(Self { run, topic, next, missing })
    }
}

/// A message that ends with its HMAC under the session's `ka`.
pub(super) fn verify_tag(bytes: &[u8], ka: &AckKey) -> Result<(), NotAuthentic> {
    let (message, tag) = bytes.split_last_chunk::<TAG_LEN>().ok_or(NotAuthentic)?;
    if mac_eq(&hmac16(ka.expose(), &[message]), tag) { Ok(()) } else { Err(NotAuthentic) }
}
