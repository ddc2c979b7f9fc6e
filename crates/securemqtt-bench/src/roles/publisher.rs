//! Our publisher, driven as `mqtt-publisher` drives it: some readings at a time, with an ear for everything else in between.

use std::path::PathBuf;
use std::time::Duration;

use securemqtt_client::publisher::Publisher;
use tokio::time::Instant;

use super::control::{self, Questions, say};
use super::pace::Pace;
use super::{Readings, now_ns};
use crate::job::{Ask, Load, Said, Site};
use crate::ours;
use crate::outcome::Outcome;

/// As `--linger 10ms`, with the program's bounds on one message.
const LINGER: Duration = Duration::from_millis(10);
const MAX_READINGS: usize = 256;
const MAX_BYTES: usize = 8 << 10;
/// Readings that are taken before anything else is listened to, as by the program.
const MAX_AT_ONCE: usize = 64;

/// Waits for its subscribers, then publishes whenever it is asked to.
pub(super) async fn publish(site: &Site, state: PathBuf, load: &Load, spool: bool, subscribers: usize) -> Outcome<()> {
    let mut questions = control::listen();
    let (mut publisher, _state) = ours::publisher(site, &state, spool).await?;
    while publisher.engine().confirmed() < subscribers {
        publisher.next().await?;
    }
    say(&Said::Ready)?;
    let mut batch = Batch::new(load.linger);
    let mut readings = Readings::new(load.size);
    loop {
        let Ask::Publish { millis } = next_question(&mut publisher, &mut questions).await? else {
            return Err("it can only publish".into());
        };
        let (began_ns, before) = (now_ns(), readings.count());
        run(&mut publisher, load, Duration::from_millis(millis), &mut readings, &mut batch).await?;
        say(&Said::Published { readings: readings.count() - before, began_ns })?;
        settle(&mut publisher).await?;
        say(&Said::Settled)?;
    }
}

async fn next_question(publisher: &mut Publisher, questions: &mut Questions) -> Outcome<Ask> {
    loop {
        tokio::select! {
            biased;
            ask = questions.next() => return Ok(ask),
            notice = publisher.next() => drop(notice?),
        }
    }
}

async fn run(
    publisher: &mut Publisher,
    load: &Load,
    time: Duration,
    readings: &mut Readings,
    batch: &mut Batch,
) -> Outcome<()> {
    let deadline = Instant::now() + time;
    let mut pace = Pace::start(load.per_second)?;
    while Instant::now() < deadline {
        let is_ready = publisher.is_ready();
        tokio::select! {
            biased;
            notice = publisher.next() => drop(notice?),
            () = batch.due(), if is_ready => {
                batch.send(publisher, load)?;
                publisher.give_way().await;
            }
            moment = pace.next(), if is_ready => {
                moment?;
                let at_hand = if pace.is_even() { 1 } else { MAX_AT_ONCE };
                for _ in 0..at_hand {
                    let reading = readings.next(pace.is_even().then(now_ns));
                    take(publisher, load, batch, reading)?;
                    if !publisher.is_ready() {
                        break;
                    }
                }
                // Where there is always more at hand, the program goes on.
                if pace.is_even() {
                    publisher.give_way().await;
                }
            }
        }
    }
    batch.send(publisher, load)
}

fn take(publisher: &mut Publisher, load: &Load, batch: &mut Batch, reading: &[u8]) -> Outcome<()> {
    if !load.linger {
        publisher.publish(&load.topic, &[reading], ours::quality(load.qos), false)?;
    } else if batch.add(reading) {
        batch.send(publisher, load)?;
    }
    Ok(())
}

/// Until the broker has everything.
async fn settle(publisher: &mut Publisher) -> Outcome<()> {
    publisher.watch();
    while !publisher.is_drained() {
        publisher.next().await?;
    }
    Ok(())
}

/// Readings that are gathered, as the program gathers them.
struct Batch {
    gathers: bool,
    readings: Vec<Vec<u8>>,
    bytes: usize,
    due: Option<Instant>,
}

impl Batch {
    fn new(gathers: bool) -> Self {
        Self { gathers, readings: Vec::new(), bytes: 0, due: None }
    }

    /// Adds a reading; true when it is time to send.
    fn add(&mut self, reading: &[u8]) -> bool {
        self.bytes += reading.len();
        self.readings.push(reading.to_vec());
        self.due.get_or_insert_with(|| Instant::now() + LINGER);
        self.readings.len() >= MAX_READINGS || self.bytes >= MAX_BYTES
    }

    /// Waits until what was gathered is due.
    async fn due(&self) {
        match self.due.filter(|_| self.gathers) {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn send(&mut self, publisher: &mut Publisher, load: &Load) -> Outcome<()> {
        if !self.readings.is_empty() {
            let payloads: Vec<&[u8]> = self.readings.iter().map(Vec::as_slice).collect();
            publisher.publish(&load.topic, &payloads, ours::quality(load.qos), false)?;
            self.readings.clear();
        }
        (self.bytes, self.due) = (0, None);
        Ok(())
    }
}
