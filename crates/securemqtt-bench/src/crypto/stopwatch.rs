//! The processor time of this thread: what other processes do meanwhile does not count.

use std::time::Duration;

use nix::time::ClockId;

/// A running stopwatch.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Self {
        Self(now())
    }

    /// How much processor time this thread has had since.
    pub fn elapsed(self) -> Duration {
        now().saturating_sub(self.0)
    }

    /// The same in microseconds.
    pub fn micros(self) -> f64 {
        self.elapsed().as_secs_f64() * 1e6
    }
}

/// The clock is there on every Linux; without it all times are zero and no row is shown.
fn now() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}
