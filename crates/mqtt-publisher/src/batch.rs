//! `--linger`: readings that are gathered for a short while and sealed in one message.

use std::time::Duration;

use tokio::time::Instant;

use crate::input::Reading;

/// Readings in one message.
const MAX_READINGS: usize = 256;
/// Bytes of readings in one message: well below the packet limit of every broker.
const MAX_BYTES: usize = 8 * 1024;

/// The readings that are gathered.
#[derive(Debug)]
pub(crate) struct Batch {
    linger: Duration,
    readings: Vec<Reading>,
    bytes: usize,
    due: Option<Instant>,
}

impl Batch {
    pub(crate) fn new(linger: Duration) -> Self {
        Self { linger, readings: Vec::new(), bytes: 0, due: None }
    }

    /// Adds a reading; true when it is time to send, which without `--linger` is always.
    pub(crate) fn add(&mut self, reading: Reading) -> bool {
        self.bytes += reading.payload.len();
        self.readings.push(reading);
        let linger = self.linger;
        self.due.get_or_insert_with(|| Instant::now() + linger);
        linger.is_zero() || self.readings.len() >= MAX_READINGS || self.bytes >= MAX_BYTES
    }

    /// Takes out what was gathered.
    pub(crate) fn take(&mut self) -> Vec<Reading> {
        self.bytes = 0;
        self.due = None;
        std::mem::take(&mut self.readings)
    }

    /// Waits until the first reading has waited long enough. Safe to be cancelled.
    pub(crate) async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(len: usize) -> Reading {
        Reading { line: None, payload: vec![b'x'; len] }
    }

    #[test]
    fn without_linger_every_reading_goes_at_once() {
        let mut batch = Batch::new(Duration::ZERO);
        assert!(batch.add(reading(1)));
        assert_eq!(batch.take().len(), 1);
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_in_bytes() {
        let mut batch = Batch::new(Duration::from_secs(3600));
        assert_eq!((0..1000).take_while(|_| !batch.add(reading(1))).count(), MAX_READINGS - 1);
        batch.take();
        assert!(!batch.add(reading(MAX_BYTES - 1)));
        assert!(batch.add(reading(1)));
    }
}
