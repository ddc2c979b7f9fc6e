//! Whether a reading of one of ten thousand publishers takes a subscriber as long as one of ten: two fleets that are alive at
//! once, in turns. Voyages are made minutes apart, and a noisy host is another one by then.

use tempfile::TempDir;

use super::super::{Bench, progress};
use super::pair::Pair;
use crate::broker::Broker;
use crate::job::Site;
use crate::outcome::Outcome;
use crate::report::Section;
use crate::stats::{Summary, cell, whole};
use crate::table::Table;

const FLEETS: [usize; 2] = [10, 10_000];
const QUICK_FLEETS: [usize; 2] = [1, 50];
/// Turns of each fleet. Few are spoiled by the host, and the quartiles leave those out.
const TURNS: usize = 15;
const QUICK_TURNS: usize = 3;

/// A turn of the small fleet and the turn of the large one that follows it, in microseconds a reading.
type Round = [f64; 2];

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    let fleets = bench.pick(FLEETS, QUICK_FLEETS);
    let [few, many] = fleets.map(whole);
    let mut section = Section::new(&format!("Fleet: flat from {few} to {many} (in turns, publishers multiplexed)"));
    section.note(format!(
        "A fleet of {few} and one of {many} are alive at once, each with a broker, a process and a subscriber of its own; every \
         publisher has a session, and a tick and a first reading behind it. They publish readings in turns, one turn of the one \
         and one of the other, {} turns each; then the same again with plaintext rumqttc in place of each subscriber. \
         Microseconds of the subscriber's processor time: the medians of the turns, and in brackets their quartiles. The ratio \
         is that of neighbours, {many} publishers over {few} in the same round, so that a host that is slow for both does not \
         change it.",
        turns(bench)
    ));
    let mut table = table(fleets);
    if let Err(why) = measure(bench, fleets, &mut table) {
        section.missing(&format!("{why}."));
    }
    section.table(&table);
    progress("fleet: in turns done");
    section
}

fn turns(bench: &Bench) -> usize {
    bench.pick(TURNS, QUICK_TURNS)
}

/// Ours, then plaintext. What was measured before something failed is in the table.
fn measure(bench: &Bench, [few, many]: [usize; 2], table: &mut Table) -> Outcome<()> {
    let ours = [Neighbour::start(bench, few)?, Neighbour::start(bench, many)?];
    let [few, many] = in_turns(bench, ours, "securemqtt", table)?;
    in_turns(bench, [few.plaintext()?, many.plaintext()?], "rumqttc, plaintext", table)?;
    Ok(())
}

/// Adds the row of these two, and gives them back.
fn in_turns(bench: &Bench, mut both: [Neighbour; 2], name: &str, table: &mut Table) -> Outcome<[Neighbour; 2]> {
    let [few, many] = &mut both;
    let rounds = (0..turns(bench)).map(|_| Ok([few.turn(bench)?, many.turn(bench)?]));
    let rounds = rounds.collect::<Outcome<Vec<Round>>>()?;
    table.row(row(name, &rounds));
    Ok(both)
}

/// A fleet with everybody whom it needs. The broker is the last to go.
struct Neighbour {
    publishers: usize,
    pair: Pair,
    _directory: TempDir,
    _broker: Broker,
}

impl Neighbour {
    /// Starts everybody; every publisher has a session and a first reading behind it.
    fn start(bench: &Bench, publishers: usize) -> Outcome<Self> {
        let (broker, directory) = (bench.broker()?, bench.directory()?);
        let site = Site { port: broker.port, authority: None };
        let ready = || {
            let mut pair = Pair::start(&site, directory.path(), publishers)?;
            pair.shake_hands()?;
            pair.first_readings()?;
            Ok(pair)
        };
        Ok(Self { publishers, pair: named(publishers, ready())?, _directory: directory, _broker: broker })
    }

    fn plaintext(self) -> Outcome<Self> {
        Ok(Self { pair: named(self.publishers, self.pair.plaintext())?, ..self })
    }

    fn turn(&mut self, bench: &Bench) -> Outcome<f64> {
        named(self.publishers, self.pair.turn(bench))
    }
}

/// Says of a failure which fleet it was.
fn named<T>(publishers: usize, outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|why| format!("{} publishers: {why}", whole(publishers)).into())
}

fn table(fleets: [usize; 2]) -> Table {
    let [few, many] = fleets.map(whole);
    let fleet = |publishers: &str| format!("{publishers} publishers, µs a reading");
    Table::new(["subscriber".to_owned(), fleet(&few), fleet(&many), format!("{many} over {few}")])
}

fn row(name: &str, rounds: &[Round]) -> [String; 4] {
    let of = |value: fn(&Round) -> f64| cell(Summary::quartiles(rounds.iter().map(value)));
    [name.to_owned(), of(|[few, _]| *few), of(|[_, many]| *many), of(|[few, many]| many / few)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_is_slow_for_both_does_not_change_the_ratio() {
        let rounds = [[2.0, 3.0], [20.0, 30.0], [2.0, 3.0], [4.0, 6.0]];
        assert_eq!(row("ours", &rounds), ["ours", "3.00 (2.00–4.00)", "4.50 (3.00–6.00)", "1.50"]);
    }

    #[test]
    fn the_ratio_is_that_of_neighbours_and_not_of_the_medians() {
        let rounds = [[1.0, 1.1], [2.0, 4.0], [4.0, 4.4]];
        assert_eq!(row("ours", &rounds), ["ours", "2.00 (1.00–4.00)", "4.00 (1.10–4.40)", "1.10 (1.10–2.00)"]);
    }

    #[test]
    fn the_fleets_are_named_in_the_header_and_a_failure_names_its_own() {
        let mut table = table(FLEETS);
        table.row(row("ours", &[]));
        let text = table.to_string();
        assert!(text.contains("10,000 publishers, µs a reading") && text.contains("10,000 over 10"), "{text}");
        let failed = named::<()>(10_000, Err("it is gone".into()));
        assert_eq!(failed.err().map(|why| why.to_string()).as_deref(), Some("10,000 publishers: it is gone"));
    }
}
