//! One fleet from its first handshake to its return after a restart of the broker.

use std::thread;
use std::time::Duration;

use super::super::Bench;
use super::super::run::PATIENCE;
use super::numbers::Voyage;
use crate::broker::Broker;
use crate::job::{Ask, Job, Said, Site};
use crate::ours::Party;
use crate::outcome::Outcome;
use crate::process::{Role, Usage};
use crate::roles::now_ns;
use crate::stats::{Summary, count, count64};

/// Connections of a fleet.
pub(crate) const CONNECTIONS: usize = 8;
const FILTER: &str = "fleet/#";
/// Ten thousand first handshakes at 250 a second, and as long again.
const LONG: Duration = Duration::from_secs(180);
/// How often readings are measured: the median counts.
const TURNS: usize = 5;
/// So many ticks in all are made at least; one alone says little.
const TICKS: usize = 200;
/// Rounds of ticks after a restart. One is enough: a subscriber that was away finds the last tick of everybody at the broker.
/// Another comes when nothing has come for as long as the product waits for its next tick.
const ROUNDS: usize = 4;
/// Until an idle process has given back what its start needed.
const SETTLE: Duration = Duration::from_millis(500);

/// The two processes, and how many readings there were.
struct Pair {
    fleet: Role,
    subscriber: Role,
    readings: u64,
}

/// Makes one voyage.
///
/// # Errors
/// If a process fails, or readings are missing before the restart.
pub(super) fn make(bench: &Bench, publishers: usize) -> Outcome<Voyage> {
    let mut broker = bench.broker()?;
    let directory = bench.directory()?;
    let site = Site { port: broker.port, authority: None };
    let [monitor, idle, captain] = ["monitor", "idle", "captain"].map(|name| Party::make(directory.path(), name));
    let (monitor, idle, captain) = (monitor?, idle?, captain?);
    captain.knows([&monitor])?;

    let mut voyage = Voyage { publishers, idle_kib: resident(&subscriber(&site, &idle)?)?, ..Voyage::default() };
    let fleet = Job::Fleet {
        site: site.clone(),
        publishers,
        connections: CONNECTIONS,
        subscriber: captain.known_peers(),
        known_peers: monitor.known_peers(),
    };
    let fleet = Role::start(&fleet)?;
    fleet.ready(LONG)?;
    let mut pair = Pair { fleet, subscriber: subscriber(&site, &monitor)?, readings: 0 };
    handshakes(&mut pair, &mut voyage)?;
    readings(bench, &mut pair, &mut voyage)?;
    ticks(&mut pair, &mut voyage)?;
    if let Err(why) = restart(bench, &mut pair, &mut broker, &mut voyage) {
        (voyage.back_s, voyage.back_us, voyage.back_came) = (f64::NAN, f64::NAN, f64::NAN);
        voyage.not_back = Some(why.to_string());
    }
    voyage.plain_us = plaintext(bench, pair, &site, publishers).unwrap_or_else(|why| {
        voyage.not_plain = Some(why.to_string());
        f64::NAN
    });
    Ok(voyage)
}

fn restart(bench: &Bench, pair: &mut Pair, broker: &mut Broker, voyage: &mut Voyage) -> Outcome<()> {
    pair.subscriber.begin()?;
    pair.fleet.ask(Ask::Reconnect { spread_ms: u64::try_from(spread(bench).as_millis())? })?;
    broker.stop()?;
    broker.start_again()?;
    let up_ns = now_ns();
    let before = pair.readings;
    pair.sent()?;
    let (mut came, mut last_ns) = (before, up_ns);
    // What came to the broker before the subscriber did is gone from there: the ticks tell of it, and it is asked for again.
    for _ in 0..ROUNDS {
        pair.fleet.ask(Ask::Announce)?;
        (came, last_ns) = pair.published()?;
        if came == pair.readings {
            break;
        }
    }
    voyage.back_s = count64(last_ns.saturating_sub(up_ns)) / 1e9;
    voyage.back_us = micros(pair.subscriber.usage()?, voyage.publishers);
    voyage.back_came = count64(came.saturating_sub(before));
    Ok(())
}

/// Over which publishers come back after a restart.
pub(crate) fn spread(bench: &Bench) -> Duration {
    bench.pick(Duration::from_secs(5), Duration::from_millis(1_500))
}

fn subscriber(site: &Site, party: &Party) -> Outcome<Role> {
    let states = vec![party.state.clone()];
    started(&Job::Subscribers { site: site.clone(), states, filter: FILTER.to_owned(), qos: 1, timed: false })
}

fn started(job: &Job) -> Outcome<Role> {
    let role = Role::start(job)?;
    role.ready(PATIENCE)?;
    Ok(role)
}

fn handshakes(pair: &mut Pair, voyage: &mut Voyage) -> Outcome<()> {
    pair.subscriber.begin()?;
    pair.fleet.begin()?;
    let began_ns = now_ns();
    pair.fleet.ask(Ask::Connect)?;
    pair.subscriber.ask(Ask::ExpectKeys { publishers: u64::try_from(voyage.publishers)? })?;
    let Said::Keyed { peers, last_ns } = pair.subscriber.hear(LONG)? else {
        return Err("a subscriber that does not count keys".into());
    };
    voyage.keyed = usize::try_from(peers)?;
    voyage.keyed_s = count64(last_ns.saturating_sub(began_ns)) / 1e9;
    pair.fleet.hear(LONG)?;
    voyage.handshake_us = micros(pair.subscriber.usage()?, voyage.publishers);
    voyage.fleet_handshake_us = micros(pair.fleet.usage()?, voyage.publishers);
    voyage.keyed_total_kib = resident(&pair.subscriber)?;
    Ok(())
}

/// Ticks with nothing new, and ticks that each follow a reading, whose own time is known.
fn ticks(pair: &mut Pair, voyage: &mut Voyage) -> Outcome<()> {
    let rounds = TICKS.div_ceil(voyage.publishers);
    let all = rounds * voyage.publishers;
    // What was published before is told by these.
    pair.ask(Ask::Tick { rounds: 1, after_reading: false })?;
    pair.subscriber.begin()?;
    pair.ask(Ask::Tick { rounds, after_reading: false })?;
    voyage.heartbeat_us = micros(pair.subscriber.usage()?, all);
    pair.subscriber.begin()?;
    pair.ask(Ask::Tick { rounds, after_reading: true })?;
    voyage.tick_us = micros(pair.subscriber.usage()?, all) - voyage.reading_us;
    Ok(())
}

fn readings(bench: &Bench, pair: &mut Pair, voyage: &mut Voyage) -> Outcome<()> {
    // Frames wait for a tick that names their run. Of a large fleet not every first one is taken, and the next comes when it
    // is asked for, not after 10 s.
    pair.ask(Ask::Tick { rounds: 1, after_reading: false })?;
    pair.subscriber.begin()?;
    pair.ask(Ask::Readings { count: u64::try_from(voyage.publishers)? })?;
    voyage.first_reading_us = micros(pair.subscriber.usage()?, voyage.publishers);
    voyage.reading_us = in_turns(bench, pair, voyage.publishers)?;
    // These tell of the last of them; what else the ledger has stays for its minute.
    pair.ask(Ask::Tick { rounds: 3, after_reading: false })?;
    voyage.used_total_kib = resident(&pair.subscriber)?;
    Ok(())
}

/// The processor time of a reading.
fn in_turns(bench: &Bench, pair: &mut Pair, publishers: usize) -> Outcome<f64> {
    let count = bench.pick(50_000, 2_000).max(2 * publishers);
    let turns = (0..TURNS).map(|_| {
        pair.subscriber.begin()?;
        pair.ask(Ask::Readings { count: u64::try_from(count)? })?;
        let reading_us = micros(pair.subscriber.usage()?, count);
        // As publishers tick between their readings: the ledger goes with one whose signature is checked, a minute later at most.
        pair.ask(Ask::Tick { rounds: 1, after_reading: false })?;
        Ok(reading_us)
    });
    let turns = turns.collect::<Outcome<Vec<f64>>>()?;
    Ok(Summary::of(turns).map_or(f64::NAN, |summary| summary.median))
}

/// The yardstick: the same fleet's messages, received in the same way and not opened, when nobody else receives them.
fn plaintext(bench: &Bench, pair: Pair, site: &Site, publishers: usize) -> Outcome<f64> {
    let Pair { fleet, subscriber, .. } = pair;
    drop(subscriber);
    let job = Job::PlainSubscriber { site: site.clone(), topic: FILTER.to_owned(), qos: 1, timed: false };
    let subscriber = started(&job)?;
    let mut pair = Pair { fleet, subscriber, readings: 0 };
    pair.ask(Ask::Readings { count: u64::try_from(publishers)? })?;
    in_turns(bench, &mut pair, publishers)
}

impl Pair {
    /// Asks the fleet for readings; all of them must come.
    fn ask(&mut self, ask: Ask) -> Outcome<()> {
        self.fleet.ask(ask)?;
        let (came, _) = self.published()?;
        if came == self.readings {
            return Ok(());
        }
        Err(format!("{came} of {} readings came", self.readings).into())
    }

    /// Waits until the fleet has published.
    fn sent(&mut self) -> Outcome<()> {
        let Said::Published { readings, .. } = self.fleet.hear(LONG)? else {
            return Err("a fleet that does not publish".into());
        };
        self.readings += readings;
        Ok(())
    }

    /// Waits until it has and the subscriber has all of it, or no more comes: how many in all, and when the last one came.
    fn published(&mut self) -> Outcome<(u64, u64)> {
        self.sent()?;
        self.subscriber.ask(Ask::Expect { readings: self.readings })?;
        match self.subscriber.hear(LONG)? {
            Said::Delivered { readings, last_ns, .. } => Ok((readings, last_ns)),
            other => Err(format!("a subscriber said {other:?}").into()),
        }
    }
}

fn resident(role: &Role) -> Outcome<f64> {
    thread::sleep(SETTLE);
    Ok(count64(role.meter().resident_kib()?))
}

fn micros(usage: Usage, pieces: usize) -> f64 {
    usage.cpu.as_secs_f64() * 1e6 / count(pieces)
}
