//! How fast readings come: so many a second, or as fast as the subscribers get them.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Readings under way at once where none is to wait, of all publishers together: more than fill the way to a distant broker
/// and back, and as many as Mosquitto queues for a subscriber without being told to.
const UNDER_WAY: u64 = 1_000;
/// Of one publisher, at least.
const LEAST: u64 = 32;
/// Between two looks at how far the subscribers are.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Of what is under way for so long the rest is lost, or comes when it is sent again.
const STUCK: Duration = Duration::from_secs(1);

/// The moments at which readings come.
#[derive(Debug)]
pub(super) enum Pace {
    /// As fast as they go.
    Free,
    /// So many a second.
    Even(Interval),
}

impl Pace {
    /// Begins now.
    pub(super) fn start(per_second: Option<u32>) -> Self {
        per_second.map_or(Self::Free, |per_second| {
            let mut moments = interval_at(Instant::now(), Duration::from_secs(1) / per_second.max(1));
            // Those that were missed come at once: the rate holds.
            moments.set_missed_tick_behavior(MissedTickBehavior::Burst);
            Self::Even(moments)
        })
    }

    /// Waits for the next one. Safe to be cancelled.
    pub(super) async fn next(&mut self) {
        if let Self::Even(moments) = self {
            moments.tick().await;
        }
    }

    /// Whether there are so many a second.
    pub(super) fn is_even(&self) -> bool {
        matches!(self, Self::Even(_))
    }
}

/// How many readings may be under way: a publisher takes them into its spool much faster than they are delivered.
pub(super) struct Window {
    size: u64,
    reached: u64,
    since: Instant,
}

impl Window {
    /// The part of one publisher, of so many.
    pub(super) fn new(publishers: usize, now: Instant) -> Self {
        let publishers = u64::try_from(publishers).unwrap_or(u64::MAX).max(1);
        Self { size: (UNDER_WAY / publishers).max(LEAST), reached: 0, since: now }
    }

    /// Whether more may be published, when every subscriber is so far.
    pub(super) fn is_open(&mut self, published: u64, reached: u64, now: Instant) -> bool {
        if reached > self.reached {
            (self.reached, self.since) = (reached, now);
        } else if now - self.since > STUCK {
            (self.reached, self.since) = (published, now);
        }
        published.saturating_sub(self.reached) < self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_with_what_arrives_and_does_not_wait_for_what_is_lost() {
        let now = Instant::now();
        let mut window = Window::new(4, now);
        assert!(window.is_open(249, 0, now) && !window.is_open(250, 0, now));
        assert!(window.is_open(250, 1, now) && !window.is_open(251, 1, now));
        let later = now + STUCK * 2;
        assert!(window.is_open(251, 1, later) && window.is_open(500, 1, later) && !window.is_open(501, 1, later));
        assert!(!window.is_open(501, 251, later) && window.is_open(501, 252, later));
    }
}
