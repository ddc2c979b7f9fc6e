//! What a program has written so far, in the order in which it arrived.

use std::fmt::Write as _;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Which of its two outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Filled by one thread for each stream.
#[derive(Clone, Default)]
pub(super) struct Capture(Arc<(Mutex<Captured>, Condvar)>);

#[derive(Default)]
struct Captured {
    lines: Vec<(Stream, String)>,
    /// Behind the last newline: a prompt, usually.
    unfinished: [String; 2],
    open: usize,
}

impl Capture {
    /// Reads `source` to its end, or drops it after `limit` lines.
    pub(super) fn follow(&self, stream: Stream, mut source: impl Read + Send + 'static, limit: Option<usize>) {
        self.lock().open += 1;
        let capture = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            let mut bytes = Vec::new();
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..count]);
                capture.take_lines(stream, &mut bytes);
                if limit.is_some_and(|limit| capture.lines(stream).len() >= limit) {
                    break;
                }
            }
            drop(source);
            capture.lock().open -= 1;
            capture.0.1.notify_all();
        });
    }

    fn take_lines(&self, stream: Stream, bytes: &mut Vec<u8>) {
        let mut captured = self.lock();
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // A terminal ends its lines with both.
            captured.lines.push((stream, line.trim_end_matches(['\r', '\n']).to_owned()));
        }
        captured.unfinished[stream as usize] = String::from_utf8_lossy(bytes).into_owned();
        self.0.1.notify_all();
    }

    /// The finished lines of one stream.
    pub(super) fn lines(&self, stream: Stream) -> Vec<String> {
        let captured = self.lock();
        let of_stream = captured.lines.iter().filter(|(of, _)| *of == stream);
        of_stream.map(|(_, line)| line.clone()).collect()
    }

    /// How many lines there are, as a place to wait from.
    pub(super) fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// `count` matches among the lines from number `from` on, an unfinished last line included; all that there are if
    /// time or the program ends before.
    pub(super) fn wait(
        &self,
        from: usize,
        count: usize,
        matches: impl Fn(&str) -> bool,
        timeout: Duration,
    ) -> Result<Vec<String>, Vec<String>> {
        let deadline = Instant::now() + timeout;
        let mut captured = self.lock();
        loop {
            let finished = captured.lines.iter().skip(from).map(|(_, line)| line);
            let all = finished.chain(captured.unfinished.iter().filter(|text| !text.is_empty()));
            let found: Vec<String> = all.filter(|line| matches(line)).take(count).cloned().collect();
            if found.len() == count {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || captured.open == 0 {
                return Err(found);
            }
            captured = self.0.1.wait_timeout(captured, left).unwrap().0;
        }
    }

    /// Waits until both streams have ended: all lines are in then.
    pub(super) fn wait_for_end(&self, timeout: Duration) {
        let captured = self.lock();
        let _ = self.0.1.wait_timeout_while(captured, timeout, |captured| captured.open > 0);
    }

    /// Everything, for the message of a failing test.
    pub(super) fn text(&self) -> String {
        let captured = self.lock();
        let mut text = String::new();
        for (stream, line) in &captured.lines {
            writeln!(text, "{stream:?}: {line}").unwrap();
        }
        for line in captured.unfinished.iter().filter(|text| !text.is_empty()) {
            writeln!(text, "(unfinished): {line}").unwrap();
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.0.0.lock().unwrap()
    }
}
