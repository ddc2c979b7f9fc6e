//! A started program: wait for its lines, type, send signals, wait for its end.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::capture::{Capture, Stream};
use super::{Home, PATIENCE, POLL, send_signal};

/// Killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// Of the program itself; `child` is `script` where it has a terminal.
    pid: u32,
    input: Option<ChildStdin>,
    output: Capture,
    home: Home,
    status: Option<ExitStatus>,
}

impl Running {
    pub(super) fn new(mut child: Child, pid: u32, home: Home) -> Self {
        let output = Capture::default();
        output.follow(Stream::Stderr, child.stderr.take().unwrap(), None);
        Self { input: child.stdin.take(), child, pid, output, home, status: None }
    }

    /// Reads stdout from now on; to its end, or for so many lines.
    pub(crate) fn read_stdout(&mut self, lines: Option<usize>) {
        self.output.follow(Stream::Stdout, self.child.stdout.take().unwrap(), lines);
    }

    /// For [`super::Program::home`] of the next run.
    pub(crate) fn home(&self) -> Home {
        self.home.clone()
    }

    /// For `/proc`.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The first line, of either output and however old, that contains `text`.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_line(|line| line.contains(text), PATIENCE)
    }

    /// The first line, of either output and however old, that `matches`. Panics with all output if none comes.
    pub(crate) fn wait_for_line(&self, matches: impl Fn(&str) -> bool, timeout: Duration) -> String {
        self.wait_for_lines(1, matches, timeout).remove(0)
    }

    /// The first `count` such lines.
    pub(crate) fn wait_for_lines(
        &self,
        count: usize,
        matches: impl Fn(&str) -> bool,
        timeout: Duration,
    ) -> Vec<String> {
        self.wait(0, count, matches, timeout)
    }

    /// Where the output stands now, for [`Self::wait_for_line_after`].
    pub(crate) fn mark(&self) -> usize {
        self.output.len()
    }

    /// The first line behind `mark` that `matches`.
    pub(crate) fn wait_for_line_after(&self, mark: usize, matches: impl Fn(&str) -> bool, timeout: Duration) -> String {
        self.wait(mark, 1, matches, timeout).remove(0)
    }

    fn wait(&self, from: usize, count: usize, matches: impl Fn(&str) -> bool, timeout: Duration) -> Vec<String> {
        self.output.wait(from, count, matches, timeout).unwrap_or_else(|found| {
            panic!("{} of {count} awaited lines came. The output:\n{}", found.len(), self.output.text())
        })
    }

    /// The finished lines of stdout so far; all output where it has a terminal.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.output.lines(Stream::Stdout)
    }

    /// The finished lines of stderr so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.output.lines(Stream::Stderr)
    }

    /// Both, for the message of a failing test.
    pub(crate) fn output(&self) -> String {
        self.output.text()
    }

    /// Types a line, and Return.
    pub(crate) fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its stdin is not open");
        writeln!(input, "{line}").unwrap();
    }

    /// The same, to a program that may be dying.
    pub(crate) fn try_type_line(&mut self, line: &str) {
        let _ = self.input.as_mut().map(|input| writeln!(input, "{line}"));
    }

    /// The end of stdin.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Its stdin, for somebody else to write to.
    pub(crate) fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("its stdin is not open")
    }

    /// All of stdin, on a thread: the program may answer before it has read everything, or end.
    pub(crate) fn feed(&mut self, text: String) {
        let mut input = self.input.take().unwrap();
        thread::spawn(move || {
            let _ = input.write_all(text.as_bytes());
        });
    }

    /// Sends a signal by its name: `INT`, `TERM`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(name, self.pid);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// The exit code, or 128 and the signal that ended it; all output is in by then. Panics if it does not end.
    pub(crate) fn wait_exit(&mut self, timeout: Duration) -> i32 {
        let deadline = Instant::now() + timeout;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "it has not ended. Its output:\n{}", self.output.text());
            thread::sleep(POLL);
        }
        self.output.wait_for_end(PATIENCE);
        let status = self.status.unwrap();
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
    }

    /// INT as Ctrl-C sends it, and the exit code.
    pub(crate) fn interrupt(&mut self) -> i32 {
        self.signal("INT");
        self.wait_exit(PATIENCE)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            // With a terminal the program and `script` are two processes; the second ends with the first.
            if self.pid != self.child.id() {
                let kill = format!("kill -s KILL {} 2>/dev/null", self.pid);
                let _ = std::process::Command::new("sh").args(["-c", &kill]).status();
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- the output of process {}\n{}---", self.pid, self.output.text());
        }
    }
}
