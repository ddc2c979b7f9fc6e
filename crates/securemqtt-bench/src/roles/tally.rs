//! What a receiving process has seen, and the answers that its control thread gives of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{control, now_ns, number, published_ns};
use crate::job::{Ask, Said};

/// So long after the last one no more are awaited.
const STALLED: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// Counted by those who receive, read by the control thread.
#[derive(Debug, Default)]
pub(super) struct Tally {
    readings: AtomicU64,
    last_ns: AtomicU64,
    disordered: AtomicU64,
    keyed: AtomicU64,
    keyed_ns: AtomicU64,
    ages_ns: Mutex<Vec<u64>>,
}

/// One who receives.
#[derive(Debug)]
pub(super) struct Receiver {
    tally: Arc<Tally>,
    timed: bool,
    next: Option<u64>,
}

impl Receiver {
    pub(super) fn new(tally: &Arc<Tally>, timed: bool) -> Self {
        Self { tally: Arc::clone(tally), timed, next: None }
    }

    /// Notes a reading. What has no number (a fleet's) has no order either.
    pub(super) fn note(&mut self, reading: &[u8]) {
        let now = now_ns();
        if let Some(number) = number(reading) {
            if self.next.is_some_and(|next| next != number) {
                self.tally.disordered.fetch_add(1, Ordering::Relaxed);
            }
            self.next = Some(number + 1);
        }
        if self.timed
            && let Some(published) = published_ns(reading)
        {
            let age = now.saturating_sub(published);
            self.tally.ages_ns.lock().unwrap_or_else(PoisonError::into_inner).push(age);
        }
        self.tally.last_ns.store(now, Ordering::Relaxed);
        self.tally.readings.fetch_add(1, Ordering::Release);
    }
}

impl Tally {
    /// A publisher's keys have come for the first time.
    pub(super) fn keyed(&self) {
        self.keyed_ns.store(now_ns(), Ordering::Relaxed);
        self.keyed.fetch_add(1, Ordering::Release);
    }

    /// Answers on a thread of its own.
    pub(super) fn answer(self: Arc<Self>) {
        control::each(move |ask| match ask {
            Ask::Expect { readings } => control::say(&self.delivered(readings)),
            Ask::ExpectKeys { publishers } => control::say(&self.has_keys(publishers)),
            other => Err(format!("a subscriber cannot {other:?}").into()),
        });
    }

    fn delivered(&self, expected: u64) -> Said {
        let readings = wait_for(|| self.readings.load(Ordering::Acquire), expected, STALLED);
        Said::Delivered {
            readings,
            last_ns: self.last_ns.load(Ordering::Relaxed),
            disordered: self.disordered.load(Ordering::Relaxed),
            ages_ns: std::mem::take(&mut *self.ages_ns.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn has_keys(&self, expected: u64) -> Said {
        let peers = wait_for(|| self.keyed.load(Ordering::Acquire), expected, STALLED);
        Said::Keyed { peers, last_ns: self.keyed_ns.load(Ordering::Relaxed) }
    }
}

/// Waits for a count, or until it has stood still for longer than `patience`; what it is then.
pub(crate) fn wait_for(count: impl Fn() -> u64, expected: u64, patience: Duration) -> u64 {
    let (mut seen, mut since) = (count(), Instant::now());
    loop {
        let now = count();
        if now >= expected || since.elapsed() > patience {
            return now;
        }
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "tests")]
mod tests {
    use super::super::Readings;
    use super::*;

    #[test]
    fn what_comes_twice_or_after_a_gap_is_counted_and_ages_are_taken_once() {
        let tally = Arc::new(Tally::default());
        let mut receiver = Receiver::new(&tally, true);
        let mut readings = Readings::new(96);
        let now = now_ns();
        let all: Vec<Vec<u8>> = (0..4).map(|_| readings.next(Some(now)).to_vec()).collect();
        for index in [0, 1, 1, 3] {
            receiver.note(&all[index]);
        }
        let Said::Delivered { readings, disordered, ages_ns, last_ns } = tally.delivered(4) else { panic!() };
        assert_eq!((readings, disordered, ages_ns.len()), (4, 2, 4));
        assert!(last_ns >= now && ages_ns.iter().all(|age| *age <= last_ns - now));
        let Said::Delivered { ages_ns, .. } = tally.delivered(4) else { panic!() };
        assert!(ages_ns.is_empty());
        tally.keyed();
        assert!(matches!(tally.has_keys(1), Said::Keyed { peers: 1, last_ns: 1.. }));
    }
}
