//! Questions to a person, one at a time, on a thread of their own: the connection goes on meanwhile.

use std::io;
use std::sync::mpsc;
use std::thread;

use securemqtt_core::identity::{Fingerprint, PeerId};
use securemqtt_core::peers::PeerName;
use tokio::sync::mpsc as answers;

use crate::prompt::ask_trust;

/// One question: whether to trust a peer.
type Question = (PeerId, PeerName, Fingerprint);

/// The questions that were asked, and their answers.
#[derive(Debug)]
pub struct Questions {
    ask: mpsc::Sender<Question>,
    answers: answers::UnboundedReceiver<(PeerId, bool)>,
}

impl Questions {
    /// Starts the thread, which waits for the first question.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new() -> io::Result<Self> {
        let (ask, questions) = mpsc::channel::<Question>();
        let (answer, answers) = answers::unbounded_channel();
        thread::Builder::new().name("questions".to_owned()).spawn(move || {
            for (id, name, fingerprint) in questions {
                // No terminal any more: nobody said yes.
                let allow = ask_trust(name.as_str(), &fingerprint.to_string()).unwrap_or(false);
                if answer.send((id, allow)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { ask, answers })
    }

    /// Asks whether to trust a peer.
    pub fn ask(&self, id: PeerId, name: &PeerName, fingerprint: Fingerprint) {
        // The thread ends with this side only.
        let _ = self.ask.send((id, name.clone(), fingerprint));
    }

    /// The next answer. Safe to be cancelled.
    pub async fn answer(&mut self) -> (PeerId, bool) {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}
