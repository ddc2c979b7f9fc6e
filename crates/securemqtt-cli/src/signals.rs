//! INT and TERM: the first asks for a clean end, the second ends at once. HUP: known_peers is read again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the operating system, or whoever uses it, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// INT or TERM.
    End,
    /// HUP.
    Reload,
}

/// Waits for INT, TERM and HUP.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over from the operating system. Needs a tokio runtime.
    ///
    /// # Errors
    /// The system does not give them.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next of them. Safe to be cancelled.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::End,
            _ = self.terminate.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// Waits for INT or TERM. Safe to be cancelled.
    pub async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}
