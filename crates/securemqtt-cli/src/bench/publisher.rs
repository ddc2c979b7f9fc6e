//! A publisher, driven as `mqtt-publisher` drives it: some readings at a time, with an ear for everything else in between.

use std::sync::Arc;
use std::time::Duration;

use securemqtt_client::publisher::{PublishError, Publisher};
use securemqtt_client::{Notice, Trouble};
use securemqtt_core::Qos;
use securemqtt_core::publisher::Event;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::pace::{LOOK_AGAIN, Pace, Window};
use super::party::Party;
use super::site::Site;
use super::tally::{Readings, Tally};
use crate::exit::{Exit, Failure, Outcome};

/// Readings that are taken before anything else is listened to, as by the program.
const MAX_AT_ONCE: usize = 64;
/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a publisher is asked for. Where no more can come, it finishes.
#[derive(Debug)]
pub(super) struct Order {
    /// Readings a second; otherwise as fast as they go, and to the end of what is under way.
    pub(super) per_second: Option<u32>,
    /// When to stop.
    pub(super) until: Instant,
    /// Told how many it has published by then, from its beginning.
    pub(super) done: oneshot::Sender<u64>,
}

/// Runs a publisher until no more orders can come.
pub(super) async fn run(
    site: Arc<Site>,
    tally: Arc<Tally>,
    index: usize,
    party: &Party,
    orders: mpsc::Receiver<Order>,
) -> Outcome<()> {
    let (publisher, _state) = party.publisher(&site).await?;
    let topic = site.topic(index);
    let readings = Readings::new(site.size);
    let window = Window::new(tally.publishers(), Instant::now());
    let mut one = One { site, tally, index, topic, publisher, orders, readings, window, owes_greeting: false };
    while let Some(order) = one.next_order().await? {
        one.publish(&order).await?;
        if order.per_second.is_none() {
            one.settle().await?;
        }
        // Nobody listens where the run was interrupted.
        let _ = order.done.send(one.readings.count());
    }
    // Or the end would not be told that its last tick has come back.
    one.publisher.watch();
    Ok(one.publisher.finish(PATIENCE).await.map(drop)?)
}

struct One {
    site: Arc<Site>,
    tally: Arc<Tally>,
    index: usize,
    topic: String,
    publisher: Publisher,
    orders: mpsc::Receiver<Order>,
    readings: Readings,
    window: Window,
    /// A subscriber has confirmed the keys, and gets a first reading.
    owes_greeting: bool,
}

impl One {
    async fn next_order(&mut self) -> Outcome<Option<Order>> {
        loop {
            self.greet()?;
            tokio::select! {
                biased;
                order = self.orders.recv() => return Ok(order),
                notice = self.publisher.next() => self.tell(notice?)?,
            }
        }
    }

    async fn publish(&mut self, order: &Order) -> Outcome<()> {
        let mut pace = Pace::start(order.per_second);
        while Instant::now() < order.until {
            let has_room = pace.is_even() || self.has_room();
            let is_ready = has_room && self.publisher.is_ready();
            tokio::select! {
                biased;
                // One order at a time: this is the end.
                _ = self.orders.recv() => return Ok(()),
                notice = self.publisher.next() => self.tell(notice?)?,
                () = sleep_until(order.until) => {}
                () = sleep(LOOK_AGAIN), if !has_room => {}
                () = pace.next(), if is_ready => self.take(&pace)?,
            }
        }
        Ok(())
    }

    fn has_room(&mut self) -> bool {
        self.window.is_open(self.readings.count(), self.tally.reached(self.index), Instant::now())
    }

    fn take(&mut self, pace: &Pace) -> Outcome<()> {
        let at_hand = if pace.is_even() { 1 } else { MAX_AT_ONCE };
        for _ in 0..at_hand {
            if pace.is_even() {
                self.tally.published(self.index);
            }
            published(self.publisher.publish(&self.topic, &[self.readings.next()], self.site.qos, false))?;
            if !self.publisher.is_ready() {
                break;
            }
        }
        Ok(())
    }

    /// Until the broker has everything.
    async fn settle(&mut self) -> Outcome<()> {
        self.publisher.watch();
        while !self.publisher.is_drained() {
            tokio::select! {
                biased;
                _ = self.orders.recv() => return Ok(()),
                notice = self.publisher.next() => self.tell(notice?)?,
            }
        }
        Ok(())
    }

    fn greet(&mut self) -> Outcome<()> {
        if self.owes_greeting && self.publisher.is_ready() {
            self.owes_greeting = false;
            let topic = self.site.greeting(self.index);
            published(self.publisher.publish(&topic, &[b"{}"], Qos::AtLeastOnce, false))?;
        }
        Ok(())
    }

    fn tell(&mut self, notice: Notice<Event>) -> Outcome<()> {
        match notice {
            Notice::Event(Event::Confirmed { .. }) => self.owes_greeting = true,
            Notice::Trouble(trouble) => told(trouble)?,
            _ => {}
        }
        Ok(())
    }
}

/// What ends the run, and what is only said.
pub(super) fn told(trouble: Trouble) -> Outcome<()> {
    match trouble {
        Trouble::PublishRefused { .. } | Trouble::SubscriptionRefused { .. } => {
            Err(Failure::new(Exit::Refused, trouble.to_string()).hint(
                "the parties of a bench are new each time: for as long as it runs, let this user read and write securemqtt/v1/# and securemqtt-bench/#, or name one who may, with -u",
            ))
        }
        other => {
            tracing::warn!("{other}");
            Ok(())
        }
    }
}

fn published(outcome: Result<(), PublishError>) -> Outcome<()> {
    outcome.map_err(|error| match error {
        PublishError::Link(error) => error.into(),
        PublishError::Seal(error) => Failure::new(Exit::Protocol, error.to_string()),
    })
}
