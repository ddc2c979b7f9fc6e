//! How a role is asked and answers. When stdin ends, so does the process: nobody is there any more.

use std::io::{BufRead as _, Write as _};
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::job::{Ask, Said};
use crate::outcome::Outcome;

/// The questions to come.
pub(super) struct Questions(UnboundedReceiver<Ask>);

impl Questions {
    /// The next one. Safe to be cancelled.
    pub(super) async fn next(&mut self) -> Ask {
        match self.0.recv().await {
            Some(ask) => ask,
            // The thread ends the process.
            None => std::future::pending().await,
        }
    }
}

/// Reads questions on a thread of its own.
pub(super) fn listen() -> Questions {
    let (tell, asked) = unbounded_channel();
    each(move |ask| {
        // Nobody listens when the role has failed and is about to end.
        let _ = tell.send(ask);
        Ok(())
    });
    Questions(asked)
}

/// Answers questions on a thread of its own, away from what is measured.
pub(super) fn each(mut answer: impl FnMut(Ask) -> Outcome<()> + Send + 'static) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let answered = serde_json::from_str(&line).map_err(Into::into).and_then(&mut answer);
            if let Err(why) = answered {
                // Nothing is left to be told where even this cannot be said.
                let _ = say(&Said::Failed { why: why.to_string() });
                std::process::exit(1);
            }
        }
        std::process::exit(0);
    });
}

/// Says something.
pub(super) fn say(said: &Said) -> Outcome<()> {
    let line = serde_json::to_string(said)? + "\n";
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    Ok(stdout.flush()?)
}
