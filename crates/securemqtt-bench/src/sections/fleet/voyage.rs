//! One fleet from its first handshake to its return after a restart of the broker.

use std::thread;
use std::time::Duration;

use super::super::Bench;
use super::numbers::Voyage;
use super::pair::{Pair, micros, subscriber};
use crate::broker::Broker;
use crate::job::{Ask, Site};
use crate::ours::Party;
use crate::outcome::Outcome;
use crate::process::Role;
use crate::roles::now_ns;
use crate::stats::{Summary, count64};

/// How often readings are measured: the median counts.
const TURNS: usize = 5;
/// So many ticks in all are made at least; one alone says little.
const TICKS: usize = 200;
/// Rounds of ticks after a restart. One is enough: a subscriber that was away finds the last tick of everybody at the broker.
/// Another comes when nothing has come for as long as the product waits for its next tick.
const ROUNDS: usize = 4;
/// Until an idle process has given back what its start needed.
const SETTLE: Duration = Duration::from_millis(500);

/// Makes one voyage.
///
/// # Errors
/// If a process fails, or readings are missing before the restart.
pub(super) fn make(bench: &Bench, publishers: usize) -> Outcome<Voyage> {
    let mut broker = bench.broker()?;
    let directory = bench.directory()?;
    let site = Site { port: broker.port, authority: None };
    let idle = Party::make(directory.path(), "idle")?;
    let mut voyage = Voyage { publishers, idle_kib: resident(&subscriber(&site, &idle)?)?, ..Voyage::default() };
    let mut pair = Pair::start(&site, directory.path(), publishers)?;
    handshakes(&mut pair, &mut voyage)?;
    readings(bench, &mut pair, &mut voyage)?;
    ticks(&mut pair, &mut voyage)?;
    if let Err(why) = restart(bench, &mut pair, &mut broker, &mut voyage) {
        (voyage.back_s, voyage.back_us, voyage.back_came) = (f64::NAN, f64::NAN, f64::NAN);
        voyage.not_back = Some(why.to_string());
    }
    voyage.plain_us = plaintext(bench, pair).unwrap_or_else(|why| {
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

fn handshakes(pair: &mut Pair, voyage: &mut Voyage) -> Outcome<()> {
    pair.subscriber.begin()?;
    pair.fleet.begin()?;
    (voyage.keyed, voyage.keyed_s) = pair.shake_hands()?;
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
    voyage.first_reading_us = pair.first_readings()?;
    voyage.reading_us = in_turns(bench, pair)?;
    // These tell of the last of them; what else the ledger has stays for its minute.
    pair.ask(Ask::Tick { rounds: 3, after_reading: false })?;
    voyage.used_total_kib = resident(&pair.subscriber)?;
    Ok(())
}

/// The processor time of a reading.
fn in_turns(bench: &Bench, pair: &mut Pair) -> Outcome<f64> {
    let turns = (0..TURNS).map(|_| pair.turn(bench)).collect::<Outcome<Vec<f64>>>()?;
    Ok(Summary::of(turns).map_or(f64::NAN, |summary| summary.median))
}

/// The same of the yardstick.
fn plaintext(bench: &Bench, pair: Pair) -> Outcome<f64> {
    in_turns(bench, &mut pair.plaintext()?)
}

fn resident(role: &Role) -> Outcome<f64> {
    thread::sleep(SETTLE);
    Ok(count64(role.meter().resident_kib()?))
}
