//! Time and randomness for the engines, which have neither.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use securemqtt_core::Now;

/// The operating system's random numbers. Without them nothing can go on: it aborts rather than be predictable.
pub(crate) type OsRng = UnwrapErr<SysRng>;

pub(crate) fn rng() -> OsRng {
    UnwrapErr(SysRng)
}

/// Ten years: no program runs for longer, and every clock can express it.
const FAR_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// A monotonic clock that starts with the driver, beside the calendar's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        self.read().now
    }

    /// All clocks at once, for everything that is done in one go.
    pub(crate) fn read(&self) -> Moment {
        let (instant, calendar) = (Instant::now(), SystemTime::now());
        let unix = calendar.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Now { mono_ms: millis(instant.duration_since(self.start)), unix_ms: millis(unix) };
        Moment { now, instant, calendar }
    }

    /// The moment of a monotonic time; far away where it cannot be expressed.
    pub(crate) fn instant(&self, mono_ms: u64) -> Instant {
        self.start + Duration::from_millis(mono_ms.min(FAR_MS))
    }
}

/// What the clocks said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Now,
    pub(crate) instant: Instant,
    pub(crate) calendar: SystemTime,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
