//! Exponential back-off with full jitter: the delay is uniform in `0..=ceiling`, and the ceiling doubles.
//!
//! Full jitter spreads a thousand sensors evenly over the ceiling when their broker comes back.

use std::time::Duration;

const FIRST_CEILING: Duration = Duration::from_millis(500);

/// The growing delays between attempts to connect.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        Self { ceiling: FIRST_CEILING.min(max), max }
    }

    pub(super) fn reset(&mut self) {
        self.ceiling = FIRST_CEILING.min(self.max);
    }

    /// The next delay, and a higher ceiling for the one after it.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.ceiling.mul_f64(random_fraction());
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        delay
    }
}

/// Uniform in 0..1; the middle if the system has no randomness to give.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_over() {
        let max = Duration::from_secs(2);
        let mut backoff = Backoff::new(max);
        for _ in 0..50 {
            assert!(backoff.next() <= max);
        }
        assert_eq!(backoff.ceiling, max);
        backoff.reset();
        assert!(backoff.next() <= FIRST_CEILING);
    }
}
