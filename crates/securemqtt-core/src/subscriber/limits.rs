//! The rates of what a subscriber takes and sends, and what becomes of a message that it refuses.

use super::{Event, Output, Reject, Subscriber};
use crate::Now;
use crate::bucket::TokenBucket;

/// The token buckets: what strangers can cause, and what we ask of all publishers.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) hellos: TokenBucket,
    pub(super) requests: TokenBucket,
    pub(super) reports: TokenBucket,
    /// REPORTs that we send to all publishers, and numbers that we ask of all of them.
    pub(super) sent: TokenBucket,
    pub(super) wanted: TokenBucket,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self {
            hellos: TokenBucket::new(200, 50),
            requests: TokenBucket::new(500, 250),
            reports: TokenBucket::new(10, 2),
            sent: TokenBucket::new(500, 250),
            wanted: TokenBucket::new(500, 250),
        }
    }
}

impl Subscriber {
    pub(super) fn reject(&mut self, topic: &str, why: Reject, now: Now, out: &mut Output) {
        match why {
            Reject::Duplicate => {
                self.counters.duplicates += 1;
                return;
            }
            Reject::Replay => self.counters.replays += 1,
            Reject::Conflict | Reject::BadSignature => self.counters.forged += 1,
            Reject::BeforeGrant => {
                self.counters.before_grant += 1;
                return;
            }
            Reject::ParkingFull => self.counters.parking_full += 1,
            Reject::RateLimited => self.counters.rate_limited += 1,
            Reject::Handshake(_) | Reject::NotAuthentic | Reject::Keys => self.counters.rejected += 1,
        }
        if self.limits.reports.take(now.mono_ms) {
            out.events.push(Event::Rejected { topic: topic.to_owned(), why });
        }
    }
}
