//! The moment at which something is due, at the price of one wake-up.
//!
//! tokio sorts its timers into slots of a millisecond, of 64 ms, of 4 s and so on, and wakes up whenever one moves to a finer
//! slot: three times for the ten seconds between two ticks. Where Linux gives a timer of its own, long waits are left to that.

use std::pin::Pin;
#[cfg(any(target_os = "linux", test))]
use std::time::Duration;
use std::time::Instant;

use tokio::time::Sleep;

#[cfg(target_os = "linux")]
use timer::Timer;

/// Shorter waits come and go with the traffic, when nobody counts wake-ups and a system call would cost more.
#[cfg(any(target_os = "linux", test))]
const LONG: Duration = Duration::from_secs(1);

/// A moment to wait for, set anew at little cost.
#[derive(Debug)]
pub(crate) struct Alarm {
    at: Instant,
    wait: Wait,
    near: Pin<Box<Sleep>>,
    #[cfg(target_os = "linux")]
    far: Option<Timer>,
}

/// What is waited with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Near,
    #[cfg(target_os = "linux")]
    Far,
    /// With nothing: the moment has come.
    Over,
}

impl Alarm {
    /// Needs a tokio runtime.
    pub(crate) fn new() -> Self {
        let at = Instant::now();
        Self {
            at,
            wait: Wait::Over,
            near: Box::pin(tokio::time::sleep_until(at.into())),
            #[cfg(target_os = "linux")]
            far: Timer::new().inspect_err(|error| tracing::debug!(%error, "no timer of its own")).ok(),
        }
    }

    /// Waits until this moment. Safe to be cancelled, and to be asked again for the same moment or another.
    pub(crate) async fn until(&mut self, at: Instant) {
        if self.at != at {
            self.at = at;
            self.set();
        }
        #[cfg(target_os = "linux")]
        if self.wait == Wait::Far {
            match &self.far {
                Some(far) if far.rings().await.is_ok() => self.wait = Wait::Over,
                _ => {
                    self.far = None;
                    self.set();
                }
            }
        }
        if self.wait == Wait::Near {
            self.near.as_mut().await;
            self.wait = Wait::Over;
        }
    }

    fn set(&mut self) {
        #[cfg(target_os = "linux")]
        {
            let left = self.at.saturating_duration_since(Instant::now());
            if left >= LONG && self.far.as_ref().is_some_and(|far| far.set(left).is_ok()) {
                self.wait = Wait::Far;
                return;
            }
        }
        self.near.as_mut().reset(self.at.into());
        self.wait = Wait::Near;
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use crate::fd::readable;

    /// A timer that the kernel keeps.
    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Self(readable(timer)?))
        }

        /// Rings once, after this time; what it was set to before is forgotten.
        pub(super) fn set(&self, left: Duration) -> io::Result<()> {
            let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
            Ok(())
        }

        /// Waits until it has rung. Safe to be cancelled.
        pub(super) async fn rings(&self) -> io::Result<()> {
            loop {
                let mut ready = self.0.readable().await?;
                // Fails where it was set anew before this ring was heard.
                if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?)) {
                    ready.clear_ready();
                    return read.map(drop);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rings(alarm: &mut Alarm, at: Instant) {
        assert!(tokio::time::timeout(LONG * 10, alarm.until(at)).await.is_ok(), "it never rings");
        assert!(Instant::now() >= at);
    }

    fn is_far(alarm: &Alarm) -> bool {
        alarm.wait != Wait::Near
    }

    #[tokio::test]
    async fn it_rings_at_its_moment_near_or_far_and_again_when_asked_again() {
        let mut alarm = Alarm::new();
        for wait in [LONG + Duration::from_millis(50), Duration::from_millis(50), Duration::ZERO] {
            let at = Instant::now() + wait;
            rings(&mut alarm, at).await;
            rings(&mut alarm, at).await;
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_goes_on_and_one_that_was_changed_does_not() {
        let mut alarm = Alarm::new();
        let start = Instant::now();
        let (late, later) = (start + LONG * 2, start + LONG * 3);
        for at in [late, later, late, late] {
            assert!(tokio::time::timeout(Duration::from_millis(20), alarm.until(at)).await.is_err());
            assert_eq!(is_far(&alarm), cfg!(target_os = "linux"));
        }
        rings(&mut alarm, start + LONG / 2).await;
        assert!(start.elapsed() < LONG * 2, "it waited for what it was set to before");
        rings(&mut alarm, later).await;
    }
}
