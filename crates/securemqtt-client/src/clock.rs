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
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: millis(self.start.elapsed()), unix_ms: millis(unix) }
    }

    /// The moment of a monotonic time; far away where it cannot be expressed.
    pub(crate) fn instant(&self, mono_ms: u64) -> Instant {
        self.start + Duration::from_millis(mono_ms.min(FAR_MS))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
