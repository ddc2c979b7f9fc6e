//! A fleet and its subscriber, a process each: what they are asked for, and what a reading takes.

use std::path::Path;
use std::time::Duration;

use super::super::Bench;
use super::super::run::PATIENCE;
use crate::job::{Ask, Job, Said, Site};
use crate::ours::Party;
use crate::outcome::Outcome;
use crate::process::{Role, Usage};
use crate::roles::now_ns;
use crate::stats::{count, count64};

/// Connections of a fleet.
pub(crate) const CONNECTIONS: usize = 8;
const FILTER: &str = "fleet/#";
/// Ten thousand first handshakes at 250 a second, and as long again.
const LONG: Duration = Duration::from_secs(180);

/// The two processes, and how many readings there were.
pub(super) struct Pair {
    /// Who publishes.
    pub fleet: Role,
    /// Who is measured.
    pub subscriber: Role,
    /// Since the subscriber's start.
    pub readings: u64,
    site: Site,
    publishers: usize,
}

impl Pair {
    /// Starts both, with state below a directory; nobody has a session yet.
    pub(super) fn start(site: &Site, state: &Path, publishers: usize) -> Outcome<Self> {
        let [monitor, captain] = ["monitor", "captain"].map(|name| Party::make(state, name));
        let (monitor, captain) = (monitor?, captain?);
        captain.knows([&monitor])?;
        let fleet = Job::Fleet {
            site: site.clone(),
            publishers,
            connections: CONNECTIONS,
            subscriber: captain.known_peers(),
            known_peers: monitor.known_peers(),
        };
        let fleet = Role::start(&fleet)?;
        fleet.ready(LONG)?;
        Ok(Self { fleet, subscriber: subscriber(site, &monitor)?, readings: 0, site: site.clone(), publishers })
    }

    /// The first handshakes: how many publishers have a session, and after how many seconds the last got it.
    pub(super) fn shake_hands(&mut self) -> Outcome<(usize, f64)> {
        let began_ns = now_ns();
        self.fleet.ask(Ask::Connect)?;
        self.subscriber.ask(Ask::ExpectKeys { publishers: u64::try_from(self.publishers)? })?;
        let Said::Keyed { peers, last_ns } = self.subscriber.hear(LONG)? else {
            return Err("a subscriber that does not count keys".into());
        };
        self.fleet.hear(LONG)?;
        Ok((usize::try_from(peers)?, count64(last_ns.saturating_sub(began_ns)) / 1e9))
    }

    /// One reading of each publisher behind its first tick: the processor time of such a first one.
    pub(super) fn first_readings(&mut self) -> Outcome<f64> {
        // Frames wait for a tick that names their run. Of a large fleet not every first one is taken, and the next comes when it
        // is asked for, not after 10 s.
        self.ask(Ask::Tick { rounds: 1, after_reading: false })?;
        self.publish(self.publishers)
    }

    /// One turn: the processor time of a reading, and a round of ticks that is no part of it.
    pub(super) fn turn(&mut self, bench: &Bench) -> Outcome<f64> {
        let reading_us = self.publish(bench.pick(50_000, 2_000).max(2 * self.publishers))?;
        // As publishers tick between their readings: the ledger goes with one whose signature is checked, a minute later at most.
        self.ask(Ask::Tick { rounds: 1, after_reading: false })?;
        Ok(reading_us)
    }

    /// The yardstick: the same fleet, and a plaintext subscriber in place of ours. It receives the same messages in the same way
    /// and opens nothing, when nobody else receives them; one of each publisher it has received.
    pub(super) fn plaintext(self) -> Outcome<Self> {
        let Self { fleet, subscriber, site, publishers, .. } = self;
        drop(subscriber);
        let job = Job::PlainSubscriber { site: site.clone(), topic: FILTER.to_owned(), qos: 1, timed: false };
        let mut pair = Self { fleet, subscriber: started(&job)?, readings: 0, site, publishers };
        pair.ask(Ask::Readings { count: u64::try_from(publishers)? })?;
        Ok(pair)
    }

    /// Asks the fleet for so many readings: the subscriber's processor time of each.
    fn publish(&mut self, readings: usize) -> Outcome<f64> {
        self.subscriber.begin()?;
        self.ask(Ask::Readings { count: u64::try_from(readings)? })?;
        Ok(micros(self.subscriber.usage()?, readings))
    }

    /// Asks the fleet for readings; all of them must come.
    pub(super) fn ask(&mut self, ask: Ask) -> Outcome<()> {
        self.fleet.ask(ask)?;
        let (came, _) = self.published()?;
        if came == self.readings {
            return Ok(());
        }
        Err(format!("{came} of {} readings came", self.readings).into())
    }

    /// Waits until the fleet has published.
    pub(super) fn sent(&mut self) -> Outcome<()> {
        let Said::Published { readings, .. } = self.fleet.hear(LONG)? else {
            return Err("a fleet that does not publish".into());
        };
        self.readings += readings;
        Ok(())
    }

    /// Waits until it has and the subscriber has all of it, or no more comes: how many in all, and when the last one came.
    pub(super) fn published(&mut self) -> Outcome<(u64, u64)> {
        self.sent()?;
        self.subscriber.ask(Ask::Expect { readings: self.readings })?;
        match self.subscriber.hear(LONG)? {
            Said::Delivered { readings, last_ns, .. } => Ok((readings, last_ns)),
            other => Err(format!("a subscriber said {other:?}").into()),
        }
    }
}

/// Our subscriber, for all that a fleet publishes.
pub(super) fn subscriber(site: &Site, party: &Party) -> Outcome<Role> {
    let states = vec![party.state.clone()];
    started(&Job::Subscribers { site: site.clone(), states, filter: FILTER.to_owned(), qos: 1, timed: false })
}

fn started(job: &Job) -> Outcome<Role> {
    let role = Role::start(job)?;
    role.ready(PATIENCE)?;
    Ok(role)
}

/// The processor time of each of so many pieces.
pub(super) fn micros(usage: Usage, pieces: usize) -> f64 {
    usage.cpu.as_secs_f64() * 1e6 / count(pieces)
}
