//! A subscriber, driven as `mqtt-subscriber` drives it: what is at hand is put out, then stored, then acknowledged.

use std::time::Duration;

use securemqtt_client::Notice;
use securemqtt_client::mqtt::AckToken;
use securemqtt_client::subscriber::{Subscriber, Told};
use tokio::sync::watch;

use super::party::Party;
use super::publisher::told;
use super::site::Site;
use super::tally::Tally;
use crate::exit::Outcome;

/// Messages that are put out, stored and acknowledged together, as in the program.
const MAX_GROUP: usize = 256;
/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs a subscriber until it is told to stop, or nobody is left to tell it.
pub(super) async fn run(
    site: &Site,
    tally: &Tally,
    index: usize,
    party: &Party,
    mut stop: watch::Receiver<bool>,
) -> Outcome<()> {
    let (mut subscriber, _state) = party.subscriber(site)?;
    let mut uncommitted: Vec<AckToken> = Vec::new();
    while !*stop.borrow() {
        if uncommitted.len() >= MAX_GROUP && subscriber.may_commit() {
            subscriber.commit(uncommitted.drain(..), None);
        }
        let next = if let Some(next) = subscriber.try_next()? {
            next
        } else {
            subscriber.commit(uncommitted.drain(..), None);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                next = subscriber.next() => next?,
            }
        };
        match next {
            Told::Arrived(arrival) => {
                for reading in &arrival.readings {
                    tally.arrived(index, &reading.delivery);
                }
                uncommitted.extend(arrival.ack);
            }
            Told::Notice(Notice::Trouble(trouble)) => told(trouble)?,
            Told::Notice(_) => {}
        }
    }
    finish(subscriber, uncommitted).await
}

async fn finish(mut subscriber: Subscriber, uncommitted: Vec<AckToken>) -> Outcome<()> {
    if subscriber.may_commit() {
        subscriber.commit(uncommitted, None);
    }
    Ok(subscriber.finish(PATIENCE).await?)
}
