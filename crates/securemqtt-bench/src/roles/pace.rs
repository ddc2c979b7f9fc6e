//! How fast readings come: as fast as they go, or so many a second.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The moments at which readings come.
pub(super) enum Pace {
    Free,
    Even(Interval),
}

impl Pace {
    /// Begins now.
    pub(super) fn start(per_second: Option<u32>) -> Self {
        match per_second {
            None => Self::Free,
            Some(per_second) => {
                let mut moments = interval_at(Instant::now(), Duration::from_secs(1) / per_second.max(1));
                // Those that were missed come at once: the rate holds.
                moments.set_missed_tick_behavior(MissedTickBehavior::Burst);
                Self::Even(moments)
            }
        }
    }

    /// Waits for the next one. Safe to be cancelled.
    pub(super) async fn next(&mut self) {
        if let Self::Even(moments) = self {
            moments.tick().await;
        }
    }

    /// Whether readings carry the time.
    pub(super) fn is_timed(&self) -> bool {
        matches!(self, Self::Even(_))
    }
}
