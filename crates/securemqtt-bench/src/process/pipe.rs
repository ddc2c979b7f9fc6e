//! Programs that know nothing of the benchmark: one that publishes the lines of its stdin, one that prints what comes.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Meter;
use crate::outcome::Outcome;
use crate::roles::{Readings, now_ns, published_ns, wait_for};

/// Bytes handed over at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// A program that publishes lines; killed when dropped.
#[derive(Debug)]
pub(crate) struct Lines {
    process: Child,
    stdin: ChildStdin,
    /// Its figures.
    pub meter: Meter,
}

impl Lines {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let stdin = process.stdin.take().ok_or("a pipe is missing")?;
        let meter = Meter::of(process.id())?;
        Ok(Self { process, stdin, meter })
    }

    /// Hands a line over, without waiting for anything.
    ///
    /// # Errors
    /// If the program has ended.
    pub(crate) fn line(&mut self, line: &str) -> Outcome<()> {
        Ok(self.stdin.write_all(&as_line(line.as_bytes()))?)
    }

    /// Hands over so many lines of `size` bytes; as fast as the program takes them.
    ///
    /// # Errors
    /// If the program has ended.
    pub(crate) fn lines(&mut self, size: usize, count: usize) -> Outcome<()> {
        Ok(self.stdin.write_all(&reading_line(size).repeat(count))?)
    }

    /// Hands over so many readings a second for so long, each with its time. Returns how many.
    ///
    /// # Errors
    /// If the program has ended.
    pub(crate) fn steadily(&mut self, readings: &mut Readings, per_second: u32, time: Duration) -> Outcome<u64> {
        let (interval, start, before) = (Duration::from_secs(1) / per_second, Instant::now(), readings.count());
        let mut due = start;
        while due < start + time {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.stdin.write_all(&as_line(readings.next(Some(now_ns()))))?;
            due += interval;
        }
        Ok(readings.count() - before)
    }

    /// Hands over lines of `size` bytes for so long; as fast as the program takes them. Returns how many.
    ///
    /// # Errors
    /// If the program has ended.
    pub(crate) fn flood(&mut self, size: usize, time: Duration) -> Outcome<u64> {
        let each = (CHUNK / (size + 1)).max(1);
        let chunk = reading_line(size).repeat(each);
        let deadline = Instant::now() + time;
        let mut lines = 0;
        while Instant::now() < deadline {
            self.stdin.write_all(&chunk)?;
            lines += u64::try_from(each)?;
        }
        Ok(lines)
    }
}

fn reading_line(size: usize) -> Vec<u8> {
    as_line(Readings::new(size).next(None))
}

fn as_line(reading: &[u8]) -> Vec<u8> {
    [reading, b"\n"].concat()
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program that prints lines; killed when dropped.
#[derive(Debug)]
pub(crate) struct Printed {
    process: Child,
    count: Arc<Count>,
    /// Its figures.
    pub meter: Meter,
}

#[derive(Debug, Default)]
struct Count {
    lines: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Of the readings with a time.
    ages_ns: Mutex<Vec<u64>>,
}

impl Count {
    /// Notes what has come; `rest` is the line that has begun before it, and then the one that has begun in it.
    fn note_ages(&self, chunk: &[u8], now: u64, rest: &mut Vec<u8>) {
        let mut ages_ns = self.ages_ns.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                ages_ns.extend(published_ns(rest).map(|published| now.saturating_sub(published)));
                rest.clear();
            }
        }
    }
}

impl Printed {
    /// Starts it, and counts what it prints; notes the ages of readings, where these are `timed`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(mut command: Command, timed: bool) -> Outcome<Self> {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut stdout = process.stdout.take().ok_or("a pipe is missing")?;
        let meter = Meter::of(process.id())?;
        let count = Arc::new(Count::default());
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            let (mut chunk, mut rest) = (vec![0; CHUNK], Vec::new());
            while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                let now = now_ns();
                let lines: u64 = chunk[..length].iter().map(|byte| u64::from(*byte == b'\n')).sum();
                if timed {
                    counted.note_ages(&chunk[..length], now, &mut rest);
                }
                counted.last_ns.store(now, Ordering::Relaxed);
                if lines > 0 && counted.lines.load(Ordering::Relaxed) == 0 {
                    counted.first_ns.store(now, Ordering::Relaxed);
                }
                counted.lines.fetch_add(lines, Ordering::Release);
            }
        });
        Ok(Self { process, count, meter })
    }

    /// How many lines there were, and when the last ones came.
    pub(crate) fn lines(&self) -> (u64, u64) {
        let lines = self.count.lines.load(Ordering::Acquire);
        (lines, self.count.last_ns.load(Ordering::Relaxed))
    }

    /// When the first line came.
    pub(crate) fn first_ns(&self) -> Option<u64> {
        (self.lines().0 > 0).then(|| self.count.first_ns.load(Ordering::Relaxed))
    }

    /// Waits until so many ages were noted, or no more come for `patience`; takes them.
    pub(crate) fn ages_ns(&self, count: u64, patience: Duration) -> Vec<u64> {
        let noted = || self.count.ages_ns.lock().unwrap_or_else(PoisonError::into_inner);
        wait_for(|| u64::try_from(noted().len()).unwrap_or(u64::MAX), count, patience);
        std::mem::take(&mut *noted())
    }

    /// Asks it to end, as a service manager does, and waits for that.
    ///
    /// # Errors
    /// If it does not end.
    pub(crate) fn stop(&mut self, patience: Duration) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGTERM)?;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err("a program did not stop".into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until there were so many lines, or none for `patience`.
    pub(crate) fn wait_for(&self, lines: u64, patience: Duration) -> (u64, u64) {
        wait_for(|| self.lines().0, lines, patience);
        self.lines()
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_handed_over_whole_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut cat = Command::new("cat");
        cat.arg(&fifo);
        let mut printed = Printed::start(cat, true).unwrap();
        assert_eq!(printed.first_ns(), None);
        let mut into = Command::new("sh");
        into.args(["-c", "exec cat > \"$0\""]).arg(&fifo);
        let mut lines = Lines::start(into).unwrap();
        lines.line("{}").unwrap();
        assert_eq!(printed.wait_for(1, Duration::from_secs(20)).0, 1);
        let first = printed.first_ns();
        let flooded = lines.flood(96, Duration::from_millis(20)).unwrap();
        assert_eq!(printed.wait_for(flooded + 1, Duration::from_secs(20)).0, flooded + 1);
        assert!(printed.meter.cpu().unwrap() > Duration::ZERO && lines.meter.resident_kib().unwrap() > 0);
        assert_eq!(printed.wait_for(flooded + 2, Duration::from_millis(20)).0, flooded + 1, "no more come");
        lines.lines(96, 3).unwrap();
        assert_eq!(printed.wait_for(flooded + 4, Duration::from_secs(20)).0, flooded + 4);
        assert!(first.is_some() && printed.first_ns() == first);
        printed.ages_ns(0, Duration::ZERO);
        let mut readings = Readings::new(96);
        let start = Instant::now();
        assert_eq!(lines.steadily(&mut readings, 100, Duration::from_millis(50)).unwrap(), 5);
        let ages_ns = printed.ages_ns(5, Duration::from_secs(20));
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert!(
            ages_ns.len() == 5 && ages_ns.iter().all(|age| Duration::from_nanos(*age) < start.elapsed()),
            "{ages_ns:?}"
        );
        assert!(printed.ages_ns(1, Duration::from_millis(20)).is_empty(), "they are taken once");
        printed.stop(Duration::from_secs(20)).unwrap();
    }
}
