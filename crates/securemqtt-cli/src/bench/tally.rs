//! What was published, and what has arrived where: each reading has a number, from 0 for every publisher.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use securemqtt_core::Delivery;

use super::SHORTEST;
use super::site::is_greeting;
use crate::exit::{Exit, Failure, Outcome};

/// Numbers begin here, so that all are as long as the first.
const FIRST_NUMBER: u64 = 1_000_000_000;
const NUMBER: std::ops::Range<usize> = 5..15;
/// A latency is told to three digits, and to a minute.
const DIGITS: u8 = 3;
const LONGEST_MICROS: u64 = 60_000_000;

/// One reading after the other, in one buffer: JSON of an exact length.
#[derive(Debug)]
pub(super) struct Readings {
    buffer: Vec<u8>,
    next: u64,
}

impl Readings {
    pub(super) fn new(size: usize) -> Self {
        let mut buffer = format!(r#"{{"n":{FIRST_NUMBER}"#).into_bytes();
        buffer.resize(size.max(SHORTEST as usize) - 1, b' ');
        buffer.push(b'}');
        Self { buffer, next: 0 }
    }

    pub(super) fn next(&mut self) -> &[u8] {
        let mut number = FIRST_NUMBER + self.next;
        for digit in self.buffer[NUMBER].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
        self.next += 1;
        &self.buffer
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.next
    }
}

/// The number of a reading.
fn number(reading: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(reading.get(NUMBER)?).ok()?;
    text.parse::<u64>().ok()?.checked_sub(FIRST_NUMBER)
}

/// What is shared by those who publish, those who receive and the one who looks at both.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of every publisher, when its first readings were published: of these the latency is measured.
    published_at: Vec<Mutex<Vec<Instant>>>,
    received: Vec<Mutex<Received>>,
    /// No latency.
    none: Histogram<u64>,
}

/// What one subscriber has received.
#[derive(Debug)]
struct Received {
    /// Of every publisher, when the first sign of it could be read.
    greeted: Vec<Option<Instant>>,
    /// Of every publisher, which of its numbers have come.
    seen: Vec<Vec<bool>>,
    readings: u64,
    twice: u64,
    last: Option<Instant>,
    micros: Histogram<u64>,
}

impl Tally {
    /// Nothing yet, of so many.
    pub(super) fn new(publishers: usize, subscribers: usize) -> Outcome<Self> {
        let micros: Histogram<u64> = Histogram::new_with_max(LONGEST_MICROS, DIGITS)
            .map_err(|error| Failure::new(Exit::Io, format!("no histogram: {error}")))?;
        let received = || Received {
            greeted: vec![None; publishers],
            seen: vec![Vec::new(); publishers],
            readings: 0,
            twice: 0,
            last: None,
            micros: micros.clone(),
        };
        Ok(Self {
            published_at: (0..publishers).map(|_| Mutex::default()).collect(),
            received: (0..subscribers).map(|_| Mutex::new(received())).collect(),
            none: micros,
        })
    }

    /// The next reading of a publisher is published now.
    pub(super) fn published(&self, publisher: usize) {
        if let Some(moments) = self.published_at.get(publisher) {
            hold(moments).push(Instant::now());
        }
    }

    /// A subscriber has a reading.
    pub(super) fn arrived(&self, subscriber: usize, delivery: &Delivery) {
        let now = Instant::now();
        let Some(publisher) = delivery.topic.rsplit('/').next().and_then(|index| index.parse::<usize>().ok()) else {
            return;
        };
        let (Some(moments), Some(received)) = (self.published_at.get(publisher), self.received.get(subscriber)) else {
            return;
        };
        let mut received = hold(received);
        if is_greeting(&delivery.topic) {
            received.greeted[publisher].get_or_insert(now);
            return;
        }
        let Some(number) = number(&delivery.payload) else { return };
        if received.is_new(publisher, number) {
            let published = usize::try_from(number).ok().and_then(|number| hold(moments).get(number).copied());
            if let Some(published) = published {
                let micros = u64::try_from((now - published).as_micros()).unwrap_or(u64::MAX);
                received.micros.saturating_record(micros.max(1));
            }
        }
        received.last = Some(now);
    }

    /// How many publishers there are.
    pub(super) fn publishers(&self) -> usize {
        self.published_at.len()
    }

    /// How far every subscriber has come with the readings of a publisher, whether or not all before have arrived.
    pub(super) fn reached(&self, publisher: usize) -> u64 {
        let reached = |received: &Mutex<Received>| hold(received).seen.get(publisher).map_or(0, Vec::len);
        self.received.iter().map(reached).min().and_then(|reached| u64::try_from(reached).ok()).unwrap_or_default()
    }

    /// How many pairs are keyed, and when the last one of them was.
    pub(super) fn greeted(&self) -> (usize, Option<Instant>) {
        let moments = self.received.iter().flat_map(|received| hold(received).greeted.clone()).flatten();
        moments.fold((0, None), |(count, last), moment| (count + 1, last.max(Some(moment))))
    }

    /// How many readings have arrived, each counted once at each subscriber, and when the last one did.
    pub(super) fn readings(&self) -> (u64, Option<Instant>) {
        let all = self.received.iter().map(|received| {
            let received = hold(received);
            (received.readings, received.last)
        });
        all.fold((0, None), |(sum, last), (readings, at)| (sum + readings, last.max(at)))
    }

    /// How many came more than once.
    pub(super) fn twice(&self) -> u64 {
        self.received.iter().map(|received| hold(received).twice).sum()
    }

    /// All latencies, in microseconds.
    pub(super) fn micros(&self) -> Histogram<u64> {
        self.received.iter().fold(self.none.clone(), |mut all, received| {
            // Both have the same bounds.
            let _ = all.add(&hold(received).micros);
            all
        })
    }
}

impl Received {
    fn is_new(&mut self, publisher: usize, number: u64) -> bool {
        let (Some(seen), Ok(index)) = (self.seen.get_mut(publisher), usize::try_from(number)) else { return false };
        if seen.len() <= index {
            seen.resize(index + 1, false);
        }
        if std::mem::replace(&mut seen[index], true) {
            self.twice += 1;
            return false;
        }
        self.readings += 1;
        true
    }
}

/// A lock that a panic elsewhere does not spoil: the program ends with that panic anyway.
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::identity::PeerId;

    use super::*;

    fn delivery(topic: &str, payload: &[u8]) -> Delivery {
        let (publisher, stream, run, seq) = (PeerId::from_bytes([1; 16]), 1, [0; 5], 0);
        Delivery { topic: topic.into(), payload: payload.to_vec().into(), publisher, stream, run, seq }
    }

    #[test]
    fn every_reading_is_json_of_the_length_that_was_asked_for() {
        for size in [16, 17, 96, 4096] {
            let mut readings = Readings::new(size);
            readings.next();
            let reading = readings.next().to_vec();
            assert_eq!((reading.len(), number(&reading), readings.count()), (size, Some(1), 2));
            assert!(serde_json::from_slice::<serde_json::Value>(&reading).is_ok());
        }
    }

    #[test]
    fn a_reading_counts_once_at_each_subscriber_and_its_latency_too() {
        let tally = Tally::new(2, 2).unwrap();
        let mut readings = Readings::new(16);
        let all: Vec<Vec<u8>> = (0..3).map(|_| readings.next().to_vec()).collect();
        tally.published(1);
        for (subscriber, index) in [(0, 0), (0, 2), (0, 2), (1, 0)] {
            tally.arrived(subscriber, &delivery("securemqtt-bench/x/1", &all[index]));
        }
        assert_eq!((tally.readings().0, tally.twice(), tally.micros().len()), (3, 1, 2));
        assert_eq!((tally.reached(0), tally.reached(1)), (0, 1), "as far as the slower of the two");
        assert_eq!(tally.greeted(), (0, None));
        tally.arrived(0, &delivery("securemqtt-bench/x/greeting/1", b"{}"));
        assert_eq!((tally.greeted().0, tally.readings().0), (1, 3));
    }
}
