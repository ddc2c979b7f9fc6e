//! Our subscriber, driven as `mqtt-subscriber` drives it: what is at hand is put out, then stored, then acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use securemqtt_client::Notice;
use securemqtt_client::mqtt::AckToken;
use securemqtt_client::subscriber::{Subscriber, Told};
use securemqtt_core::subscriber::Event;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::control::say;
use super::tally::{Receiver, Tally};
use crate::job::{Said, Site};
use crate::ours;
use crate::outcome::Outcome;

/// Messages that are put out, stored and acknowledged together, as in the program.
const MAX_GROUP: usize = 256;

/// Starts one subscriber for each state directory; counts what all of them put out.
pub(super) async fn subscribe(site: &Site, states: Vec<PathBuf>, filter: &str, qos: u8, timed: bool) -> Outcome<()> {
    let tally = Arc::new(Tally::default());
    Arc::clone(&tally).answer();
    let (tell_connected, mut connected) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    let count = states.len();
    for state in states {
        let (subscriber, directory) = ours::subscriber(site, Path::new(&state), filter, qos)?;
        let one = One {
            subscriber,
            receiver: Receiver::new(&tally, timed),
            tally: Arc::clone(&tally),
            connected: tell_connected.clone(),
            uncommitted: Vec::new(),
        };
        all.spawn(async move {
            let _held = directory;
            one.run().await
        });
    }
    for _ in 0..count {
        tokio::select! {
            _ = connected.recv() => {}
            Some(ended) = all.join_next() => return ended?,
        }
    }
    say(&Said::Ready)?;
    // None of them ends but by a failure.
    all.join_next().await.unwrap_or(Ok(Ok(())))?
}

struct One {
    subscriber: Subscriber,
    receiver: Receiver,
    tally: Arc<Tally>,
    connected: mpsc::UnboundedSender<()>,
    uncommitted: Vec<AckToken>,
}

impl One {
    async fn run(mut self) -> Outcome<()> {
        loop {
            if self.uncommitted.len() >= MAX_GROUP && self.subscriber.may_commit() {
                self.commit();
            }
            let told = if let Some(told) = self.subscriber.try_next()? {
                told
            } else {
                self.commit();
                self.subscriber.next().await?
            };
            match told {
                Told::Arrived(arrival) => {
                    arrival.readings.iter().for_each(|reading| self.receiver.note(&reading.delivery.payload));
                    self.uncommitted.push(arrival.ack);
                }
                Told::Notice(Notice::Connected) => {
                    // Only the first of them is awaited.
                    let _ = self.connected.send(());
                }
                Told::Notice(Notice::Event(Event::Keyed { first: true, .. })) => self.tally.keyed(),
                Told::Notice(_) => {}
            }
        }
    }

    fn commit(&mut self) {
        self.subscriber.commit(self.uncommitted.drain(..), None);
    }
}
