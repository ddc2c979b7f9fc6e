//! The numbered lines that one life of a publisher is given, and which of them it must have taken.
//!
//! Lines in the pipe to a program that is killed are gone with the pipe, and nobody can tell how far it had read. But it
//! reads in order: what arrives of a life that was killed must be its first lines, without a hole, and all of those that
//! it had plenty of time to take. A life that was not killed must arrive whole.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two lines.
const INTERVAL: Duration = Duration::from_millis(20);

/// A running publisher has taken, sealed and spooled a line after this time.
const TAKEN_AFTER: Duration = Duration::from_secs(5);

/// One life of a publisher.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) publisher: String,
    pub(super) number: usize,
    /// Lines in all.
    pub(super) written: usize,
    /// So many of the first ones must arrive.
    pub(super) must: usize,
}

/// Writes until it is told to rest.
pub(super) struct Feeder {
    publisher: String,
    life: usize,
    written: Arc<Mutex<Vec<Instant>>>,
    resting: Arc<AtomicBool>,
    thread: JoinHandle<ChildStdin>,
}

impl Feeder {
    pub(super) fn start(publisher: &str, life: usize, mut input: ChildStdin) -> Self {
        let (written, resting) = (Arc::<Mutex<Vec<Instant>>>::default(), Arc::<AtomicBool>::default());
        let (name, lines, rest) = (publisher.to_owned(), Arc::clone(&written), Arc::clone(&resting));
        let thread = thread::spawn(move || {
            while !rest.load(Ordering::SeqCst) {
                let number = lines.lock().unwrap().len();
                // Shorter than PIPE_BUF, so it goes in whole or not at all.
                if writeln!(input, "{{\"p\":\"{name}\",\"life\":{life},\"n\":{number}}}").is_err() {
                    break;
                }
                lines.lock().unwrap().push(Instant::now());
                thread::sleep(INTERVAL);
            }
            input
        });
        Self { publisher: publisher.to_owned(), life, written, resting, thread }
    }

    /// No further lines; stdin stays open as long as what it returns.
    pub(super) fn rest(self) -> (Life, ChildStdin) {
        self.resting.store(true, Ordering::SeqCst);
        let input = self.thread.join().unwrap();
        let written = self.written.lock().unwrap().len();
        (Life { publisher: self.publisher, number: self.life, written, must: written }, input)
    }

    /// After the end of the publisher, which ran undisturbed until `running_until`.
    pub(super) fn cut_off(self, running_until: Instant) -> Life {
        let times = Arc::clone(&self.written);
        let (life, _) = self.rest();
        let is_taken = |written: &&Instant| **written + TAKEN_AFTER < running_until;
        let must = times.lock().unwrap().iter().filter(is_taken).count();
        Life { must, ..life }
    }
}
