//! A counter that never repeats, also after kill -9: numbers are reserved on disk before they are used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use super::error::StateError;

/// 20 decimal digits and a line feed: a shorter file was cut.
const LENGTH: usize = 21;

/// A high-water mark on disk: numbers below it may have been used, those from it on have not.
#[derive(Debug)]
pub struct CounterLease {
    path: PathBuf,
    reserved: u64,
}

impl CounterLease {
    /// Reads the mark; 0 if there is no such file.
    pub(super) fn open(path: PathBuf) -> Result<Self, StateError> {
        let reserved = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).ok_or_else(|| StateError::Counter(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(source) => return Err(StateError::Read { path, source }),
        };
        Ok(Self { path, reserved })
    }

    /// The mark: start counting here after opening.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Moves the mark to `upto`, durably; numbers below it may be used from then on. It never moves back.
    ///
    /// # Errors
    /// If the file cannot be written; the mark stays where it was.
    pub fn reserve(&mut self, upto: u64) -> Result<(), StateError> {
        if upto > self.reserved {
            atomic::write(&self.path, format!("{upto:020}\n").as_bytes())?;
            self.reserved = upto;
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_suffix(b"\n").filter(|_| bytes.len() == LENGTH)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_mark_survives_and_never_moves_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counter");
        let mut lease = CounterLease::open(path.clone()).unwrap();
        assert_eq!(lease.reserved(), 0);
        lease.reserve(1000).unwrap();
        lease.reserve(5).unwrap();
        assert_eq!(CounterLease::open(path.clone()).unwrap().reserved(), 1000);
        lease.reserve(u64::MAX).unwrap();
        assert_eq!(CounterLease::open(path).unwrap().reserved(), u64::MAX);
    }

    #[test]
    fn a_damaged_counter_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("counter");
        for damaged in ["", "12\n", "0000000000000000012", "+0000000000000000012\n", "99999999999999999999\n"] {
            fs::write(&path, damaged).unwrap();
            assert!(matches!(CounterLease::open(path.clone()), Err(StateError::Counter(_))), "{damaged:?}");
        }
    }
}
