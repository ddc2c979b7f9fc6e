//! One publisher with one subscriber and with many: what the publisher spends on a reading.

use std::time::Duration;

use super::run::{self, PATIENCE, Sample};
use super::throughput::SIZE;
use super::{Bench, progress};
use crate::job::{Job, Load, Site};
use crate::ours::Party;
use crate::outcome::Outcome;
use crate::process::Role;
use crate::report::Section;
use crate::stats::{Summary, cell, count, whole};
use crate::table::Table;

/// A rate at which a hundred subscribers on the same machine still keep up.
const PER_SECOND: u32 = 100;
const TOPIC: &str = "bench/vitals";

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    // Processor time is read to the nanosecond: 500 readings tell as much as 1,000.
    let time = bench.pick(Duration::from_secs(5), Duration::from_secs(1));
    let crowds = bench.pick([1, 100], [1, 5]);
    let mut section = Section::new("Fan-out");
    section.note(format!(
        "One publisher, {PER_SECOND} readings a second of {SIZE} bytes at QoS 1, no spool, for {time:?} a run. The subscribers \
         are real clients, each with its connection, identity and state, in one process. A reading is sealed once, whoever reads it."
    ));
    let mut runs: [Vec<f64>; 2] = Default::default();
    for round in 1..=bench.runs {
        for (subscribers, runs) in crowds.iter().zip(&mut runs) {
            match one(bench, *subscribers, time) {
                Ok(sample) => runs.push(sample.publisher.cpu.as_secs_f64() * 1e6 / count_sent(&sample, *subscribers)),
                Err(why) => section.missing(&format!("{subscribers} subscribers: {why}.")),
            }
        }
        progress(&format!("fan-out: round {round} done"));
    }
    section.table(&table(crowds, &runs));
    section
}

/// Readings that were published; what came is so many times that.
fn count_sent(sample: &Sample, subscribers: usize) -> f64 {
    crate::stats::count64(sample.sent) / count(subscribers)
}

fn table(crowds: [usize; 2], runs: &[Vec<f64>; 2]) -> Table {
    let mut table = Table::new(["subscribers", "publisher, µs a reading", "of one subscriber"]);
    for (subscribers, own) in crowds.iter().zip(runs) {
        let all = [Summary::of(own.iter().copied()), Summary::of(own.iter().zip(&runs[0]).map(|(own, one)| own / one))];
        let shown = all.map(cell);
        table.row([whole(*subscribers)].into_iter().chain(shown));
    }
    table
}

fn one(bench: &Bench, subscribers: usize, time: Duration) -> Outcome<Sample> {
    let broker = bench.broker()?;
    let directory = bench.directory()?;
    let site = Site { port: broker.port, authority: None };
    let publisher = Party::make(directory.path(), "publisher")?;
    let crowd: Vec<Party> = (0..subscribers)
        .map(|index| Party::make(directory.path(), &format!("subscriber-{index}")))
        .collect::<Outcome<_>>()?;
    publisher.knows(&crowd)?;
    crowd.iter().try_for_each(|party| party.knows([&publisher]))?;

    let states = crowd.into_iter().map(|party| party.state).collect();
    let job = Job::Subscribers { site: site.clone(), states, filter: TOPIC.to_owned(), qos: 1, timed: false };
    let mut receiving = Role::start(&job)?;
    receiving.ready(PATIENCE)?;
    let load = Load { topic: TOPIC.to_owned(), qos: 1, size: SIZE, per_second: Some(PER_SECOND), linger: false };
    let job = Job::Publisher { site, state: publisher.state, load, spool: false, subscribers };
    let mut publishing = Role::start(&job)?;
    publishing.ready(PATIENCE)?;
    run::roles(&mut publishing, &mut receiving, broker.meter()?, time, u64::try_from(subscribers)?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::tools::Tools;

    #[test]
    fn without_a_broker_the_section_says_so_once() {
        let directory = tempfile::tempdir().unwrap();
        let here = || directory.path().to_owned();
        let bench =
            Bench { tools: Tools::default(), scratch: here(), out: here(), runs: 2, rows: String::new(), quick: true };
        let text = section(&bench).to_string();
        assert_eq!(text.matches("5 subscribers: there is no Mosquitto").count(), 1, "{text}");
        assert!(text.contains("1 subscribers: there is no Mosquitto"), "{text}");
    }
}
