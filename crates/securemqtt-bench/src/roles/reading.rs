//! The readings that are published: JSON of an exact length, with a number and, where there is room, the time.

use nix::time::ClockId;

/// Numbers and times begin here, so that all have the same length and none begins with a zero.
const FIRST_NUMBER: u64 = 1_000_000_000;
const FIRST_TIME: u64 = 1_000_000_000_000_000_000;
/// `{"n":1000000000}`.
pub(super) const SHORTEST: usize = 16;
const NUMBER: std::ops::Range<usize> = 5..15;
const TIME: std::ops::Range<usize> = 20..39;
/// The shortest that has a time.
const TIMED: usize = TIME.end + 10;

/// The machine's monotonic clock, which all processes share.
pub(crate) fn now_ns() -> u64 {
    let time = ClockId::CLOCK_MONOTONIC.now().map(std::time::Duration::from).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One reading after the other, in one buffer.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    buffer: Vec<u8>,
    next: u64,
}

impl Readings {
    /// Readings of so many bytes, at least [`SHORTEST`].
    pub(crate) fn new(size: usize) -> Self {
        let mut buffer = format!(r#"{{"n":{FIRST_NUMBER}"#).into_bytes();
        if size >= TIMED {
            buffer.extend_from_slice(format!(r#","t":{FIRST_TIME},"pad":""#).as_bytes());
            buffer.resize(size - 2, b'x');
            buffer.extend_from_slice(b"\"}");
        } else {
            buffer.resize(size.max(SHORTEST) - 1, b' ');
            buffer.push(b'}');
        }
        Self { buffer, next: 0 }
    }

    /// The next one, published at a time that its receiver can read.
    pub(crate) fn next(&mut self, at_ns: Option<u64>) -> &[u8] {
        write(&mut self.buffer[NUMBER], FIRST_NUMBER + self.next);
        self.next += 1;
        if let Some(at_ns) = at_ns.filter(|_| self.buffer.len() >= TIMED) {
            write(&mut self.buffer[TIME], FIRST_TIME + at_ns);
        }
        &self.buffer
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }
}

/// The number of a reading, from 0.
pub(crate) fn number(reading: &[u8]) -> Option<u64> {
    read(reading.get(NUMBER)?)?.checked_sub(FIRST_NUMBER)
}

/// When a reading was published.
pub(crate) fn published_ns(reading: &[u8]) -> Option<u64> {
    read(reading.get(TIME)?)?.checked_sub(FIRST_TIME)
}

fn write(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

fn read(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_reading_is_json_of_the_length_that_was_asked_for() {
        for size in [16, 17, 48, 49, 64, 96, 110, 4096] {
            let mut readings = Readings::new(size);
            readings.next(None);
            let reading = readings.next(Some(123)).to_vec();
            assert_eq!(reading.len(), size);
            let json: serde_json::Value = serde_json::from_slice(&reading).unwrap();
            assert_eq!(json["n"], FIRST_NUMBER + 1);
            assert_eq!(number(&reading), Some(1));
            assert_eq!(published_ns(&reading), (size >= TIMED).then_some(123));
            assert_eq!(readings.count(), 2);
        }
        assert_eq!(Readings::new(1).next(None).len(), SHORTEST);
    }

    #[test]
    fn other_texts_have_no_number() {
        assert_eq!(number(b"{}"), None);
        assert_eq!(number(br#"{"n":"not a number"}"#), None);
        assert_eq!(number(br#"{"n":0000000001}"#), None);
    }

    #[test]
    fn the_clock_goes_on() {
        let before = now_ns();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(now_ns() >= before + 1_000_000);
    }
}
