//! A subscriber that is stopped, and comes back to readings that waited for it.

use std::process::Command;
use std::thread;
use std::time::Duration;

use super::super::Bench;
use super::super::fleet::CONNECTIONS;
use super::super::run::{PATIENCE, STALLED};
use crate::broker::HOST;
use crate::job::{Ask, Job, Said, Site};
use crate::ours::Party;
use crate::outcome::Outcome;
use crate::process::{Printed, Role};
use crate::roles::now_ns;
use crate::stats::count64;

const FILTER: &str = "fleet/#";
/// Until it has given back what its start needed.
const SETTLE: Duration = Duration::from_millis(500);

/// One start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comeback {
    /// From the start of the process to its first reading.
    pub(super) first_ms: f64,
    /// The same to the last one.
    pub(super) last_ms: f64,
    pub(super) resident_mib: f64,
}

/// Makes so many publishers known, then stops the subscriber and starts it again, so many times.
///
/// # Errors
/// If the program is missing, a process ends, or a reading does not come.
pub(super) fn measure(bench: &Bench, publishers: usize, starts: usize) -> Outcome<Vec<Comeback>> {
    let programs = bench.tools.programs.as_ref().ok_or("mqtt-subscriber is not here")?;
    let broker = bench.broker()?;
    let directory = bench.directory()?;
    let [monitor, captain] = ["monitor", "captain"].map(|name| Party::make(directory.path(), name));
    let (monitor, captain) = (monitor?, captain?);
    captain.knows([&monitor])?;
    let mut fleet = fleet(publishers, broker.port, &captain, &monitor)?;
    let port = broker.port.to_string();
    let start = || {
        let mut command = Command::new(&programs.subscribe);
        command.args(["-h", HOST, "-p", &port, "-t", FILTER, "-q", "1", "--output", "raw", "--state-dir"]);
        command.arg(&monitor.state);
        Printed::start(command, false)
    };

    let mut subscriber = start()?;
    fleet.ask(Ask::Connect)?;
    let Said::Keyed { .. } = fleet.hear(PATIENCE)? else { return Err("a fleet that does not connect".into()) };
    publish(&mut fleet, publishers)?;
    all_of(&subscriber, publishers)?;
    let mut comebacks = Vec::new();
    for _ in 0..starts {
        subscriber.stop(PATIENCE)?;
        publish(&mut fleet, publishers)?;
        let began_ns = now_ns();
        subscriber = start()?;
        let last_ns = all_of(&subscriber, publishers)?;
        let first_ns = subscriber.first_ns().ok_or("no reading came")?;
        thread::sleep(SETTLE);
        comebacks.push(Comeback {
            first_ms: millis(began_ns, first_ns),
            last_ms: millis(began_ns, last_ns),
            resident_mib: count64(subscriber.meter.resident_kib()?) / 1024.0,
        });
    }
    Ok(comebacks)
}

/// A fleet that knows the subscriber, and that the subscriber knows.
fn fleet(publishers: usize, port: u16, captain: &Party, monitor: &Party) -> Outcome<Role> {
    let fleet = Role::start(&Job::Fleet {
        site: Site { port, authority: None },
        publishers,
        connections: CONNECTIONS,
        subscriber: captain.known_peers(),
        known_peers: monitor.known_peers(),
    })?;
    fleet.ready(PATIENCE)?;
    Ok(fleet)
}

/// A reading of each; the broker has them all.
fn publish(fleet: &mut Role, publishers: usize) -> Outcome<()> {
    fleet.ask(Ask::Readings { count: u64::try_from(publishers)? })?;
    match fleet.hear(PATIENCE)? {
        Said::Published { .. } => Ok(()),
        other => Err(format!("a fleet said {other:?}").into()),
    }
}

/// When the last of so many readings came.
fn all_of(subscriber: &Printed, publishers: usize) -> Outcome<u64> {
    let (came, last_ns) = subscriber.wait_for(u64::try_from(publishers)?, STALLED);
    if came == u64::try_from(publishers)? {
        Ok(last_ns)
    } else {
        Err(format!("{came} of {publishers} readings came").into())
    }
}

fn millis(from_ns: u64, to_ns: u64) -> f64 {
    count64(to_ns.saturating_sub(from_ns)) / 1e6
}
