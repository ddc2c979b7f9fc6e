//! Frames that subscribers want again: each once, however many ask for it, and not faster than a rate.

use std::collections::VecDeque;

use super::segment::SpooledFrame;
use super::spool::{Place, Spool, Stretch};
use crate::bucket::TokenBucket;
use crate::ranges::RangeSet;
use crate::wire::topic_hash;

/// What was sent again is not sent again for so long: the next report may have crossed it.
const PAUSE_MS: u64 = 5_000;
/// Ranges that wait at one time: subscribers ask again.
const MAX_WAITING: usize = 4_096;
/// Burst and rate a second of frames that are sent again.
const RATE: (u32, u32) = (2_000, 2_000);
/// Frames that are handed out in one go.
const CHUNK: u32 = 64;

/// Frames of one segment to be published again, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    /// The segment.
    pub segment: u64,
    /// The run.
    pub run: [u8; 5],
    /// The hash of the topic.
    pub topic: [u8; 8],
    /// The first number.
    pub from: u32,
    /// One past the last.
    pub to: u32,
}

impl Resend {
    /// Whether a frame of the segment is among those.
    pub fn wants(&self, frame: &SpooledFrame<'_>) -> bool {
        let within = frame.from < self.to && self.from < frame.to;
        within && frame.run == self.run && topic_hash(frame.topic) == self.topic
    }
}

/// What is wanted again.
#[derive(Debug)]
pub(super) struct Repair {
    waiting: VecDeque<(Place, u32, u32)>,
    recent: VecDeque<(u64, Place, u32, u32)>,
    bucket: TokenBucket,
}

impl Repair {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), recent: VecDeque::new(), bucket: TokenBucket::new(RATE.0, RATE.1) }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes note of what somebody lacks.
    pub(super) fn ask(&mut self, place: Place, from: u32, to: u32, now_ms: u64) {
        while self.recent.front().is_some_and(|(at, ..)| at + PAUSE_MS <= now_ms) {
            self.recent.pop_front();
        }
        let mut known = RangeSet::default();
        let recent = self.recent.iter().map(|&(_, place, from, to)| (place, from, to));
        for (_, from, to) in self.waiting.iter().copied().chain(recent).filter(|(at, ..)| *at == place) {
            known.insert(from, to);
        }
        for (from, to) in known.missing(from, to, MAX_WAITING) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back((place, from, to));
            }
        }
    }

    /// The next frames, as the rate allows.
    pub(super) fn next(&mut self, spool: &Spool, now_ms: u64) -> Vec<Resend> {
        let mut resends = Vec::new();
        let mut left = CHUNK;
        while left > 0
            && let Some((place, from, to)) = self.waiting.pop_front()
        {
            // What is no longer kept the next tick says.
            let Some(Stretch { from, to: end, segment }) = spool.index().find(place, from, to) else { continue };
            let wanted = left.min(end - from);
            let granted = u32::try_from((0..wanted).take_while(|_| self.bucket.take(now_ms)).count()).unwrap_or(0);
            let end = from + granted;
            if granted > 0 {
                resends.push(Resend { segment, run: place.0, topic: place.1, from, to: end });
                self.recent.push_back((now_ms, place, from, end));
            }
            if end < to {
                self.waiting.push_front((place, end, to));
            }
            left -= granted;
            if granted < wanted {
                break;
            }
        }
        resends
    }
}
