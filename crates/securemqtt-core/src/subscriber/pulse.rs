//! The rhythm of a publisher: when its ticks stay away, and when one was sealed.

/// The rhythm of a publisher's ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    pub(super) last_ms: Option<u64>,
    pub(super) interval_ms: u64,
    pub(super) silent: bool,
    /// Our clock less the publisher's, by the fastest of its signed ticks.
    offset_ms: Option<i64>,
}

/// Ticks are not expected more often than this.
const MIN_INTERVAL_MS: u64 = 10_000;

impl Pulse {
    /// A tick came; returns whether that ends a silence.
    pub(super) fn beat(&mut self, now_ms: u64) -> bool {
        if let Some(last) = self.last_ms.filter(|_| !self.silent) {
            // The longest recent interval, which fades.
            self.interval_ms = (now_ms - last.min(now_ms)).max(self.interval_ms - self.interval_ms / 8);
        }
        self.last_ms = Some(now_ms);
        std::mem::take(&mut self.silent)
    }

    /// When a signed tick was sealed, by our clock: its way is taken to be as long as the shortest so far.
    pub(super) fn sealed_ms(&mut self, clock_ms: u64, now_ms: u64) -> u64 {
        let clock = i64::try_from(clock_ms).unwrap_or(i64::MAX);
        let offset = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub(clock);
        // One millisecond a tick makes room for clocks that drift.
        let shortest = self.offset_ms.map_or(offset, |held| offset.min(held.saturating_add(1)));
        self.offset_ms = Some(shortest);
        u64::try_from(clock.saturating_add(shortest)).unwrap_or(0)
    }

    /// When three intervals without a tick are over.
    pub(super) fn silent_at(&self) -> Option<u64> {
        self.last_ms.filter(|_| !self.silent).map(|last| last + 3 * self.interval_ms.max(MIN_INTERVAL_MS))
    }
}
