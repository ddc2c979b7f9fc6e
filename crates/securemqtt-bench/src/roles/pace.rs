//! The moments at which readings come: so many a second, or whenever there is room for one.
//!
//! The kernel keeps the time, in a timer that is set once. One of tokio's is set anew after each reading, with a system call
//! and a wake-up of its own; who does that before its reading is written, and who after it, would be what the latency tells.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::outcome::Outcome;

/// See the module.
#[derive(Debug)]
pub(super) enum Pace {
    /// As fast as they go.
    Free,
    /// So many a second.
    Even(Moments),
}

/// What the kernel tells of.
#[derive(Debug)]
pub(super) struct Moments {
    timer: AsyncFd<File>,
    /// Moments that have come and had no reading yet: the rate holds.
    owed: u64,
}

impl Pace {
    /// Begins now. Needs a tokio runtime.
    #[allow(deprecated, reason = "its successor is unsafe, for types that lie about their descriptor: File does not")]
    pub(super) fn start(per_second: Option<u32>) -> Outcome<Self> {
        let Some(per_second) = per_second else { return Ok(Self::Free) };
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let interval = TimeSpec::from(Duration::from_secs(1) / per_second.max(1));
        timer.set(Expiration::Interval(interval), TimerSetTimeFlags::empty())?;
        let timer = AsyncFd::with_interest(File::from(OwnedFd::from(timer)), Interest::READABLE)?;
        Ok(Self::Even(Moments { timer, owed: 0 }))
    }

    /// Waits for the next one. Safe to be cancelled.
    pub(super) async fn next(&mut self) -> Outcome<()> {
        match self {
            Self::Free => Ok(()),
            Self::Even(moments) => moments.next().await,
        }
    }

    /// Whether there are so many a second.
    pub(super) fn is_even(&self) -> bool {
        matches!(self, Self::Even(_))
    }
}

impl Moments {
    async fn next(&mut self) -> Outcome<()> {
        while self.owed == 0 {
            let mut ready = self.timer.readable().await?;
            let mut count = [0; 8];
            if let Ok(read) = ready.try_io(|timer| timer.get_ref().read(&mut count)) {
                read?;
                // All there was: the next look waits for the kernel to tell.
                ready.clear_ready();
                self.owed = u64::from_ne_bytes(count);
            }
        }
        self.owed -= 1;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test]
    async fn so_many_come_a_second_and_those_that_were_missed_at_once() {
        let mut pace = Pace::start(Some(100)).unwrap();
        assert!(pace.is_even());
        let start = Instant::now();
        pace.next().await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(10));
        std::thread::sleep(Duration::from_millis(50));
        pace.next().await.unwrap();
        for _ in 0..4 {
            timeout(Duration::ZERO, pace.next()).await.unwrap().unwrap();
        }
        for _ in 0..10 {
            pace.next().await.unwrap();
        }
        assert!(start.elapsed() >= Duration::from_millis(160));
    }

    #[tokio::test]
    async fn without_a_rate_there_is_nothing_to_wait_for() {
        let mut pace = Pace::start(None).unwrap();
        timeout(Duration::ZERO, pace.next()).await.unwrap().unwrap();
        assert!(!pace.is_even());
    }
}
