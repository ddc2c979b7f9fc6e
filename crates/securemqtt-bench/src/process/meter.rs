//! What a process has used, from the operating system: processor time, memory, and how often it woke up.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use crate::outcome::Outcome;

/// Reads the figures of one live process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    pid: u32,
    clock: ClockId,
}

/// Processor time over a span, and the memory at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// All threads, user and system.
    pub cpu: Duration,
    /// The most that was ever resident, in KiB.
    pub peak_kib: u64,
}

impl Meter {
    /// The meter of a process.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
        Ok(Self { pid, clock })
    }

    /// Processor time since the process began, to the nanosecond.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn cpu(self) -> Outcome<Duration> {
        Ok(self.clock.now()?.into())
    }

    /// The processor time since `before`, and the memory.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn since(self, before: Duration) -> Outcome<Usage> {
        Ok(Usage { cpu: self.cpu()?.saturating_sub(before), peak_kib: self.field("VmHWM")? })
    }

    /// What is resident now, in KiB.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn resident_kib(self) -> Outcome<u64> {
        self.field("VmRSS")
    }

    /// Bytes of the pages that it has made dirty so far (`write_bytes`): what its files cost the disk, and no socket or pipe.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn written(self) -> Outcome<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid))?;
        number(&io, "write_bytes")
            .ok_or_else(|| format!("the system does not say what process {} writes", self.pid).into())
    }

    /// How often its threads have gone to sleep of their own accord; threads that have ended do not count.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn sleeps(self) -> Outcome<u64> {
        let mut sleeps = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            sleeps += number(&status, "voluntary_ctxt_switches").unwrap_or(0);
        }
        Ok(sleeps)
    }

    fn field(self, name: &str) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        number(&status, name).ok_or_else(|| format!("process {} has ended", self.pid).into())
    }
}

/// The number of a line `name: 123 kB`, or without a unit.
fn number(status: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok();
    status.lines().find_map(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_costs_time_and_memory() {
        let meter = Meter::of(std::process::id()).unwrap();
        let before = meter.cpu().unwrap();
        let mut sum = 0_u64;
        while meter.cpu().unwrap() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let usage = meter.since(before).unwrap();
        assert!(usage.cpu >= Duration::from_millis(20) && usage.peak_kib > 500, "{usage:?}");
        assert!(meter.resident_kib().unwrap() <= usage.peak_kib);
    }

    #[test]
    fn a_sleep_is_counted() {
        // Another process: the threads of other tests end in this one, and take what they have slept along.
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut to, mut from) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let meter = Meter::of(cat.id()).unwrap();
        let mut say = || {
            to.write_all(b"x").unwrap();
            from.read_exact(&mut [0]).unwrap();
        };
        say();
        let (sleeps, start) = (meter.sleeps().unwrap(), Instant::now());
        while meter.sleeps().unwrap() <= sleeps {
            assert!(start.elapsed() < Duration::from_secs(10), "it sleeps whenever it has answered");
            say();
        }
        drop(to);
        assert!(cat.wait().unwrap().success());
    }

    #[test]
    fn what_is_written_to_a_file_is_counted() {
        let meter = Meter::of(std::process::id()).unwrap();
        let before = meter.written().unwrap();
        // Below the target directory, as the state of a run: in memory nothing is written.
        let mut file = tempfile::tempfile_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        assert!(meter.written().unwrap() >= before + (1 << 20));
    }

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let status = "Name:\tx\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t5\nVmHWM:\t  1234 kB\n";
        assert_eq!(number(status, "voluntary_ctxt_switches"), Some(5));
        assert_eq!(number(status, "VmHWM"), Some(1234));
        assert_eq!(number(status, "VmRSS"), None);
        assert_eq!(number("cancelled_write_bytes: 1\nwrite_bytes: 4096\n", "write_bytes"), Some(4096));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_meter() {
        assert!(Meter::of(u32::MAX).is_err());
    }
}
