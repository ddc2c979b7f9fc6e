//! What was read, by whoever reads it: a thread, or nobody but us.

use std::io;

use securemqtt_cli::exit::Outcome;

#[cfg(target_os = "linux")]
use super::direct::Direct;
use super::pump::{Pace, Pumped, pump};
use super::{Input, Item, Source};

/// What was read. It ends with the input, and after an error.
#[derive(Debug)]
pub enum Items {
    /// A thread reads: it may wait.
    Pumped(Pumped),
    /// We do, when there is something.
    #[cfg(target_os = "linux")]
    Direct(Box<Direct>),
}

impl Items {
    /// Starts reading. Needs a tokio runtime.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(input: &Input, source: Box<dyn Source>, raw: bool, pace: Pace) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if *input == Input::Stdin
            && pace.interval.is_zero()
            && let Some(direct) = Direct::stdin(raw, pace.count)
        {
            return Ok(Self::Direct(Box::new(direct)));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (input, raw);
        Ok(Self::Pumped(pump(source, pace)?))
    }

    /// The next one. Safe to be cancelled.
    pub async fn next(&mut self) -> Option<Outcome<Item>> {
        match self {
            Self::Pumped(pumped) => pumped.next().await,
            #[cfg(target_os = "linux")]
            Self::Direct(direct) => direct.next().await,
        }
    }

    /// The next one of those that came with the last.
    pub fn at_hand(&mut self) -> Option<Outcome<Item>> {
        match self {
            Self::Pumped(pumped) => pumped.at_hand(),
            #[cfg(target_os = "linux")]
            Self::Direct(direct) => direct.at_hand(),
        }
    }
}
