//! The age of a reading at its delivery, at a steady rate; everybody in turn.

use std::time::Duration;

use tempfile::TempDir;

use super::contender::{Contender, Kind, Shape};
use super::throughput::SIZE;
use super::{Bench, progress, run};
use crate::broker::Broker;
use crate::outcome::Outcome;
use crate::plot::{self, Labels, Legend, Line};
use crate::process::{Lines, Printed, Role};
use crate::report::Section;
use crate::roles::Readings;
use crate::stats::{Summary, cell, count64, percentile};
use crate::table::Table;

const PER_SECOND: u32 = 1_000;
const PLOT: &str = "latency.svg";

/// Each after the plaintext that it is compared with: our clients after rumqttc, our programs after mosquitto's.
static ROWS: [Contender; 9] = [
    Contender::new("rumqttc, plaintext, QoS 0", Kind::Plain, 0),
    Contender::new("securemqtt, QoS 0", Kind::Ours, 0),
    Contender::new("rumqttc, plaintext, QoS 1", Kind::Plain, 1),
    Contender::new("securemqtt, no spool, QoS 1", Kind::Ours, 1),
    Contender::new("securemqtt, spool, QoS 1", Kind::Ours, 1).spooled(),
    Contender::new("mosquitto_pub, mosquitto_sub, QoS 0", Kind::Mosquitto, 0),
    Contender::new("mqtt-publisher, mqtt-subscriber, QoS 0", Kind::Programs, 0),
    Contender::new("mosquitto_pub, mosquitto_sub, QoS 1", Kind::Mosquitto, 1),
    Contender::new("mqtt-publisher, mqtt-subscriber, no spool, QoS 1", Kind::Programs, 1),
];
const SHARES: [f64; 3] = [0.5, 0.9, 0.99];

/// What one turn of a row gave: percentiles in microseconds.
type Percentiles = [f64; 3];

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    // A turn of 500 readings: the machine is another one a few seconds later.
    let turn = Duration::from_millis(500);
    let turns = bench.pick(12, 2) * bench.runs;
    let mut section = Section::new("Latency");
    section.note(format!(
        "From the call that publishes to the delivery to the program, and with the programs from the line that goes into the one's \
         pipe to the line that comes out of the other's; {PER_SECOND} readings a second of {SIZE} bytes, by one clock. \
         Microseconds. Everybody runs all the time, each at a broker of its own, and publishes when it is its turn, for \
         {turn:?}; {turns} turns each. Medians of the turns, and in brackets their quartiles; ratios are to the plaintext of \
         the same round. The spool's share is one commit of the publisher's database with fdatasync."
    ));
    let shape = Shape { size: SIZE, time: turn, per_second: Some(PER_SECOND) };
    let mut courses: Vec<Course> = ROWS.iter().map(|row| Course::start(row, bench, shape)).collect();
    for _ in 0..turns {
        for course in &mut courses {
            course.take_turn(turn);
        }
    }
    progress("latency: done");
    for course in &courses {
        if let Err(why) = &course.crew {
            section.missing(&format!("{}: {why}.", course.row.name));
        }
    }
    section.table(&table(&courses));
    draw(bench, courses, &mut section);
    section
}

/// A row's processes, and what they have given.
struct Course {
    row: &'static Contender,
    crew: Outcome<Crew>,
    turns: Vec<Option<Percentiles>>,
    ages_ns: Vec<u64>,
}

/// Everybody whom a row needs. The broker is the last to go.
struct Crew {
    pair: Pair,
    _directory: TempDir,
    _broker: Broker,
}

/// Who publishes and who subscribes.
enum Pair {
    /// Clients, and how many readings there were.
    Roles { publisher: Role, subscriber: Role, readings: u64 },
    /// Programs, and the readings that they are given.
    Programs { programs: (Lines, Printed), readings: Readings },
}

impl Course {
    fn start(row: &'static Contender, bench: &Bench, shape: Shape) -> Self {
        let crew = Crew::start(row, bench, shape);
        Self { row, crew, turns: Vec::new(), ages_ns: Vec::new() }
    }

    /// One turn; the first that fails is the last.
    fn take_turn(&mut self, time: Duration) {
        let Ok(crew) = &mut self.crew else { return };
        match crew.pair.ages_ns(time) {
            Ok(ages_ns) => {
                self.turns.push(percentiles(&ages_ns));
                self.ages_ns.extend(ages_ns);
            }
            Err(why) => self.crew = Err(why),
        }
    }
}

impl Crew {
    fn start(row: &Contender, bench: &Bench, shape: Shape) -> Outcome<Self> {
        let (broker, directory) = (bench.broker()?, bench.directory()?);
        let mut pair = if row.kind.has_pipes() {
            let mut programs = row.start_programs(bench, &broker, directory.path(), true)?;
            run::probe(&mut programs.0, &programs.1)?;
            Pair::Programs { programs, readings: Readings::new(shape.size) }
        } else {
            let [publisher, subscriber] = row.start_roles(bench, &broker, directory.path(), shape)?;
            Pair::Roles { publisher, subscriber, readings: 0 }
        };
        // A warm-up.
        pair.ages_ns(shape.time)?;
        Ok(Self { pair, _directory: directory, _broker: broker })
    }
}

impl Pair {
    /// Publishes for so long: the age of each reading at its delivery.
    fn ages_ns(&mut self, time: Duration) -> Outcome<Vec<u64>> {
        match self {
            Self::Roles { publisher, subscriber, readings } => run::ages_ns(publisher, subscriber, readings, time),
            Self::Programs { programs, readings } => run::ages_of_lines_ns(programs, readings, PER_SECOND, time),
        }
    }
}

fn percentiles(ages_ns: &[u64]) -> Option<Percentiles> {
    let mut sorted = ages_ns.to_vec();
    sorted.sort_unstable();
    let [p50, p90, p99] = SHARES.map(|share| percentile(&sorted, share));
    Some([p50?, p90?, p99?].map(|age| count64(age) / 1e3))
}

fn table(courses: &[Course]) -> Table {
    let mut table = Table::new(["what", "p50", "p90", "p99", "p50, of plaintext"]);
    let mut plain: &[Option<Percentiles>] = &[];
    for Course { row, turns, .. } in courses {
        if matches!(row.kind, Kind::Plain | Kind::Mosquitto) {
            plain = turns;
        }
        let shares =
            (0..SHARES.len()).map(|share| Summary::quartiles(turns.iter().filter_map(|turn| Some((*turn)?[share]))));
        let ratios = turns.iter().zip(plain).filter_map(|(ours, plain)| Some((*ours)?[0] / (*plain)?[0]));
        let cells = shares.chain([Summary::quartiles(ratios)]).map(cell);
        table.row(std::iter::once(row.name.to_owned()).chain(cells));
    }
    table
}

fn draw(bench: &Bench, courses: Vec<Course>, section: &mut Section) {
    let line = |mut course: Course| {
        course.ages_ns.sort_unstable();
        Line { name: course.row.name.to_owned(), points: plot::distribution(&course.ages_ns, 1e3) }
    };
    // Pipes are no part of the others.
    let clients = courses.into_iter().filter(|course| !course.row.kind.has_pipes());
    let lines: Vec<Line> = clients.map(line).collect();
    let labels = Labels {
        title: "Latency at 1,000 readings a second",
        x: "µs, at most",
        y: "% of the readings",
        legend: Legend::LowerMiddle,
    };
    match plot::lines(&bench.file(PLOT), labels, &lines) {
        Ok(()) => section.plot("The distribution of latencies", PLOT),
        Err(why) => section.missing(&format!("the plot of latencies: {why}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_compared_with_the_plaintext_above_it() {
        let course = |row: &'static Contender, p50s: [f64; 3]| Course {
            row,
            crew: Err("over".into()),
            turns: p50s.map(|p50| Some([p50, 0.0, 0.0])).into(),
            ages_ns: Vec::new(),
        };
        // The second round is a slow one for everybody.
        let clients = [[100.0, 300.0, 100.0], [110.0, 330.0, 110.0], [200.0; 3], [210.0; 3], [400.0; 3]];
        let programs = [[300.0; 3], [360.0; 3], [400.0; 3], [440.0; 3]];
        let courses: Vec<Course> =
            ROWS.iter().zip(clients.into_iter().chain(programs)).map(|(row, p50s)| course(row, p50s)).collect();
        let ratios: Vec<String> = table(&courses)
            .to_string()
            .lines()
            .skip(2)
            .filter_map(|line| Some(line.trim_end_matches(" |").rsplit(' ').next()?.to_owned()))
            .collect();
        assert_eq!(ratios, ["1.00", "1.10", "1.00", "1.05", "2.00", "1.00", "1.20", "1.00", "1.10"]);
    }

    #[test]
    fn percentiles_are_microseconds() {
        let ages: Vec<u64> = (1..=100).rev().map(|micros| micros * 1_000).collect();
        assert_eq!(percentiles(&ages), Some([50.0, 90.0, 99.0]));
        assert_eq!(percentiles(&[]), None);
    }
}
