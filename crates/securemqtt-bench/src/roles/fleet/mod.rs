//! Many publishers in one process: the core's engines, each with its own identity, stream and session, multiplexed over a
//! few connections. What the subscriber and the broker see of them is what as many processes would send, but for the
//! connections. They keep nothing on disk: what they keep to send again, after a restart of the broker, is in memory.

mod engines;
mod kept;
mod lines;

use std::path::Path;
use std::time::Duration;

use rand_core::Rng as _;
use securemqtt_client::mqtt::LinkEvent;
use tokio::time::{Instant, sleep_until};

use super::control::{self, Questions, say};
use super::now_ns;
use crate::job::{Ask, Said, Site};
use crate::outcome::Outcome;
use engines::{Engines, rng};
use lines::Lines;

/// Readings that are sealed before they leave.
const AT_HAND: usize = 4_096;

/// Makes the fleet, then does what it is asked to.
pub(super) async fn sail(
    site: &Site,
    publishers: usize,
    connections: usize,
    subscriber: &Path,
    known_peers: &Path,
) -> Outcome<()> {
    let mut questions = control::listen();
    let engines = Engines::make(publishers, subscriber, known_peers)?;
    say(&Said::Ready)?;
    let first = questions.next().await;
    if first != Ask::Connect {
        return Err("a fleet connects first".into());
    }
    let lines = Lines::start(site, connections.clamp(1, publishers.max(1)))?;
    let mut fleet = Fleet { engines, lines, sent: 0 };
    fleet.join().await?;
    loop {
        let (ask, began_ns) = (fleet.wait(&mut questions).await?, now_ns());
        let readings = match ask {
            Ask::Tick { rounds, after_reading } => fleet.tick(rounds, after_reading).await?,
            Ask::Readings { count } => fleet.readings(count).await?,
            Ask::Announce => fleet.announce().await?,
            Ask::Reconnect { spread_ms } => fleet.reconnect(Duration::from_millis(spread_ms)).await?,
            other => return Err(format!("a fleet cannot {other:?}").into()),
        };
        say(&Said::Published { readings, began_ns })?;
    }
}

struct Fleet {
    engines: Engines,
    lines: Lines,
    /// Readings in all.
    sent: usize,
}

impl Fleet {
    /// Every connection up, every publisher announced, every session confirmed.
    async fn join(&mut self) -> Outcome<()> {
        let mut last_ns = now_ns();
        while self.engines.confirmed() < self.engines.len() {
            let before = self.engines.confirmed();
            let (line, event) = self.lines.next().await?;
            if matches!(event, LinkEvent::Connected { .. }) {
                self.subscribe(line)?;
                for index in self.lines.members(line, self.engines.len()) {
                    self.engines.connected(index);
                    self.send().await?;
                }
            } else {
                self.take(event).await?;
            }
            if self.engines.confirmed() > before {
                last_ns = now_ns();
            }
        }
        say(&Said::Keyed { peers: u64::try_from(self.engines.confirmed())?, last_ns })
    }

    /// The next question; messages are taken meanwhile.
    async fn wait(&mut self, questions: &mut Questions) -> Outcome<Ask> {
        loop {
            tokio::select! {
                biased;
                ask = questions.next() => return Ok(ask),
                event = self.lines.next() => self.take(event?.1).await?,
            }
        }
    }

    /// Ticks of all, hello included; then a reading on each connection, which shows that they have gone through.
    async fn tick(&mut self, rounds: usize, after_reading: bool) -> Outcome<u64> {
        let before = self.sent;
        for _ in 0..rounds {
            for index in 0..self.engines.len() {
                if after_reading {
                    self.publish(index).await?;
                }
                self.engines.tick(index)?;
                self.send().await?;
            }
        }
        let last = self.lines.count().min(self.engines.len());
        for index in self.engines.len() - last..self.engines.len() {
            self.publish(index).await?;
        }
        self.lines.drain().await?;
        Ok(u64::try_from(self.sent - before)?)
    }

    /// A tick of all, which tells what there is to be asked for again. It waits for nothing: who lacks something asks later.
    async fn announce(&mut self) -> Outcome<u64> {
        for index in 0..self.engines.len() {
            self.engines.tick(index)?;
            self.send().await?;
        }
        Ok(0)
    }

    /// So many readings, in turn. Some thousands are sealed before the first of them leaves: real publishers seal each on its own,
    /// and one process that does so for many of them, each out of the cache, would not send them as closely as it does for few.
    async fn readings(&mut self, count: u64) -> Outcome<u64> {
        let mut left = usize::try_from(count)?;
        while left > 0 {
            let some = left.min(AT_HAND);
            let turn = (self.sent..self.sent + some).map(|number| number % self.engines.len()).collect::<Vec<_>>();
            let sealed = turn.iter().map(|&index| self.engines.seal(index)).collect::<Outcome<Vec<_>>>()?;
            for (&index, (topic, frame)) in turn.iter().zip(sealed) {
                self.lines.publish(index, topic, frame).await?;
            }
            self.sent += some;
            for index in turn {
                self.tick_if_due(index).await?;
            }
            left -= some;
        }
        self.lines.drain().await?;
        Ok(count)
    }

    /// Each comes back at a moment of its own, says hello and sends a reading, which it keeps: the subscriber may be away.
    async fn reconnect(&mut self, spread: Duration) -> Outcome<u64> {
        let mut turns: Vec<(Instant, usize)> = Vec::new();
        let (mut waiting, mut published) = (self.lines.count(), 0);
        while waiting > 0 || !turns.is_empty() {
            let due = turns.last().map_or_else(|| Instant::now() + spread, |turn| turn.0);
            tokio::select! {
                biased;
                () = sleep_until(due), if !turns.is_empty() => {
                    if let Some((_, index)) = turns.pop() {
                        self.engines.connected(index);
                        self.send().await?;
                        let reading = self.engines.spool(index)?;
                        self.pass_on(index, reading).await?;
                        published += 1;
                    }
                }
                event = self.lines.next() => match event? {
                    (line, LinkEvent::Connected { .. }) => {
                        self.subscribe(line)?;
                        waiting = waiting.saturating_sub(1);
                        let (now, mut rng) = (Instant::now(), rng());
                        let moment = |index| (now + spread.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX)), index);
                        turns.extend(self.lines.members(line, self.engines.len()).map(moment));
                        // The next one is the last of the list.
                        turns.sort_unstable_by(|a, b| b.cmp(a));
                    }
                    (_, event) => self.take(event).await?,
                },
            }
        }
        self.lines.drain().await?;
        self.engines.acknowledged();
        Ok(published)
    }

    /// A reading that is not kept.
    async fn publish(&mut self, index: usize) -> Outcome<()> {
        let reading = self.engines.seal(index)?;
        self.pass_on(index, reading).await
    }

    async fn pass_on(&mut self, index: usize, (topic, frame): (String, Vec<u8>)) -> Outcome<()> {
        self.sent += 1;
        self.lines.publish(index, topic, frame).await?;
        self.tick_if_due(index).await
    }

    async fn tick_if_due(&mut self, index: usize) -> Outcome<()> {
        if self.engines.is_due(index) {
            self.engines.tick(index)?;
            self.send().await?;
        }
        Ok(())
    }

    fn subscribe(&self, line: usize) -> Outcome<()> {
        let members = self.lines.members(line, self.engines.len());
        self.lines.subscribe(line, members.flat_map(|index| self.engines.filters(index)))
    }

    async fn take(&mut self, event: LinkEvent) -> Outcome<()> {
        match event {
            LinkEvent::Message(message) => {
                self.engines.handle(&message.topic, &message.payload)?;
                self.send().await
            }
            LinkEvent::Failed(error) => Err(error.into()),
            LinkEvent::SubscriptionRefused { filter, reason } => Err(format!("{filter}: {reason}").into()),
            _ => Ok(()),
        }
    }

    /// What the engines want sent.
    async fn send(&mut self) -> Outcome<()> {
        while let Some((index, message)) = self.engines.next_message() {
            self.lines.send(index, message).await?;
        }
        Ok(())
    }
}
