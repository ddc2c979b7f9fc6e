//! A source on a thread of its own: files and stdin block, the connection must not.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use securemqtt_cli::exit::Outcome;
use tokio::sync::mpsc;

use super::{Item, Source};

/// Readings that wait ready, and as many again that were taken.
const AHEAD: usize = 64;

/// How fast, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one reading to the next.
    pub interval: Duration,
    /// After how many readings the input ends; bad data does not count.
    pub count: Option<u64>,
}

impl Pace {
    /// With a pause, readings that wait ready would only grow old.
    fn ahead(self) -> usize {
        if self.interval.is_zero() { AHEAD } else { 1 }
    }
}

/// What the thread has read.
#[derive(Debug)]
pub struct Pumped {
    from: mpsc::Receiver<Outcome<Item>>,
    /// The next one is the last.
    at_hand: Vec<Outcome<Item>>,
}

impl Pumped {
    /// The next one. Safe to be cancelled.
    pub(super) async fn next(&mut self) -> Option<Outcome<Item>> {
        if self.at_hand.is_empty() {
            // All that is there: the thread that reads is woken once for them, and not for each.
            self.from.recv_many(&mut self.at_hand, AHEAD).await;
            self.at_hand.reverse();
        }
        self.at_hand.pop()
    }

    /// The next one of those that came with the last.
    pub(super) fn at_hand(&mut self) -> Option<Outcome<Item>> {
        self.at_hand.pop()
    }
}

/// Starts reading. Dropping what comes of it ends the thread at its next reading. A thread of its own rather than tokio's: one
/// that waits on a terminal must not hold up the end of the program.
///
/// # Errors
/// The system gives no thread.
pub(super) fn pump(source: Box<dyn Source>, pace: Pace) -> io::Result<Pumped> {
    let (to, from) = mpsc::channel(pace.ahead());
    thread::Builder::new().name("input".to_owned()).spawn(move || run(source, pace, &to))?;
    Ok(Pumped { from, at_hand: Vec::new() })
}

fn run(mut source: Box<dyn Source>, pace: Pace, to: &mpsc::Sender<Outcome<Item>>) {
    let mut readings = 0;
    let mut due = Instant::now();
    while pace.count.is_none_or(|count| readings < count) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let Some(item) = source.next().transpose() else {
            return;
        };
        if let Ok(Item::Reading(_)) = &item {
            readings += 1;
            // After a pause it goes on at its pace, without a burst.
            due = Instant::now().max(due + pace.interval);
        }
        let last = item.is_err();
        if to.blocking_send(item).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::{LineSource, MessageSource};

    fn drain(source: Box<dyn Source>, interval: Duration, count: Option<u64>) -> usize {
        let mut items = pump(source, Pace { interval, count }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::iter::from_fn(|| runtime.block_on(items.next())).count()
    }

    #[test]
    fn count_counts_readings_and_not_bad_data() {
        let lines = || Box::new(LineSource::new("in", &b"1\nx\n2\n3\n"[..], false));
        assert_eq!(drain(lines(), Duration::ZERO, Some(2)), 3);
        assert_eq!(drain(lines(), Duration::ZERO, None), 4);
        assert_eq!(drain(lines(), Duration::ZERO, Some(0)), 0);
    }

    #[test]
    fn readings_keep_their_distance() {
        let start = Instant::now();
        let message = Box::new(MessageSource::new("1", false).unwrap());
        assert_eq!(drain(message, Duration::from_millis(20), Some(4)), 4);
        assert!(start.elapsed() >= Duration::from_millis(60));
    }
}
