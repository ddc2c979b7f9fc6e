//! From one publisher to ten thousand, multiplexed, on one subscriber: first handshakes, memory, ticks, readings, and a
//! restart of the broker.

mod flat;
mod numbers;
mod pair;
mod voyage;

use super::{Bench, progress};
use crate::plot::{self, Labels, Legend, Line};
use crate::report::Section;
use crate::stats::{Summary, cell, count, whole};
use crate::table::Table;
use numbers::Voyage;

pub(super) use pair::CONNECTIONS;

const FLEETS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const QUICK_FLEETS: [usize; 3] = [1, 10, 50];
/// Fleets above this make one voyage: it takes minutes.
const REPEATED_TO: usize = 1_000;
/// More voyages of a fleet show nothing new.
const MAX_RUNS: usize = 3;
/// Seconds between two ticks of a publisher.
const TICK_SECONDS: f64 = 10.0;
const MEMORY_PLOT: &str = "fleet-memory.svg";
const CPU_PLOT: &str = "fleet-cpu.svg";

/// Measures it.
pub(super) fn sections(bench: &Bench) -> Vec<Section> {
    let fleets = bench.pick(&FLEETS[..], &QUICK_FLEETS[..]);
    let mut steady = Section::new("Fleet (publishers multiplexed)");
    let mut broken = Section::new("Fleet: first handshakes, and a restart of the broker (publishers multiplexed)");
    introduce(bench, &mut steady, &mut broken);
    let mut voyages: Vec<Vec<Voyage>> = Vec::new();
    for &publishers in fleets {
        let runs = if publishers > REPEATED_TO { 1 } else { bench.runs.min(MAX_RUNS) };
        let mut of_fleet = Vec::new();
        for _ in 0..runs {
            match voyage::make(bench, publishers) {
                Ok(voyage) => {
                    let not_back = voyage.not_back.iter();
                    not_back.for_each(|why| broken.missing(&format!("{publishers} publishers, restart: {why}.")));
                    let not_plain = voyage.not_plain.iter();
                    not_plain.for_each(|why| steady.missing(&format!("{publishers} publishers, plaintext: {why}.")));
                    if let Some(lost) = voyage.lost() {
                        broken.note(format!("**{publishers} publishers, restart: {lost}.**"));
                    }
                    of_fleet.push(voyage);
                }
                Err(why) => [&mut steady, &mut broken]
                    .into_iter()
                    .for_each(|section| section.missing(&format!("{publishers} publishers: {why}."))),
            }
        }
        progress(&format!("fleet: {publishers} publishers done"));
        voyages.push(of_fleet);
    }
    steady.table(&steady_table(fleets, &voyages));
    draw(bench, fleets, &voyages, &mut steady);
    broken.table(&broken_table(fleets, &voyages));
    vec![steady, flat::section(bench), broken]
}

fn introduce(bench: &Bench, steady: &mut Section, broken: &mut Section) {
    steady.note(format!(
        "Publishers are engines of the core in one process over at most {CONNECTIONS} MQTT connections; the subscriber is the real \
         client in a process of its own, with its state on disk. QoS 1, no spool. Processor time and memory are the \
         subscriber's. Ticks are made when asked for, and counted apart, each with its hello: a heartbeat tells nothing new, \
         a tick after a reading has its digest compared (the signature is checked once a minute, and whenever something \
         disagrees); the last column is the share of a core that such ticks take when every publisher sends one in \
         {TICK_SECONDS} s. The first reading of a topic \
         derives its key, and is not in the column of readings, each of which is the median of five turns. Beside it: the same \
         messages of the same fleet, received by plaintext rumqttc, which opens and stores nothing. What grows there with the \
         publishers is the machine's and the broker's. An idle subscriber knows no publisher."
    ));
    broken.note(format!(
        "First handshakes: from the fleet's first connection until the subscriber has everybody's keys; it asks at most 250 \
         publishers a second. Restart: the broker is stopped and started again with nothing kept; every publisher comes back \
         at a moment of its own within {} s, says hello and sends one reading, which it keeps (the fleet's memory stands in \
         for the publishers' disks). When the last is back all of them tick, which a publisher of its own does within \
         {TICK_SECONDS} s, and what came to the broker before the subscriber did is asked for and sent again. The time is \
         from the broker's start to the last reading; the processor time has all of this in it.",
        voyage::spread(bench).as_secs_f64()
    ));
}

fn of(voyages: &[Voyage], value: impl Fn(&Voyage) -> Option<f64>) -> String {
    cell(Summary::of(voyages.iter().filter_map(value)))
}

/// The same of a number of things.
fn whole_of(voyages: &[Voyage], value: impl Fn(&Voyage) -> f64) -> String {
    Summary::of(voyages.iter().map(value)).map_or_else(|| cell(None), |summary| summary.whole())
}

fn steady_table(fleets: &[usize], voyages: &[Vec<Voyage>]) -> Table {
    let mut table = Table::new([
        "publishers",
        "keyed",
        "idle subscriber, MiB",
        "KiB a publisher, keyed",
        "KiB a publisher, after readings",
        "µs a reading",
        "plaintext rumqttc, µs a message",
        "µs a first reading",
        "µs a heartbeat",
        "µs a tick after a reading",
        "such ticks, % of a core",
    ]);
    for (publishers, voyages) in fleets.iter().zip(voyages) {
        let each = count(*publishers);
        table.row([
            whole(*publishers),
            whole_of(voyages, |voyage| count(voyage.keyed)),
            of(voyages, |voyage| Some(voyage.idle_kib / 1024.0)),
            of(voyages, Voyage::keyed_kib),
            of(voyages, Voyage::used_kib),
            of(voyages, |voyage| Some(voyage.reading_us)),
            of(voyages, |voyage| Some(voyage.plain_us)),
            of(voyages, |voyage| Some(voyage.first_reading_us)),
            of(voyages, |voyage| Some(voyage.heartbeat_us)),
            of(voyages, |voyage| Some(voyage.tick_us)),
            of(voyages, |voyage| Some(voyage.tick_us * each / TICK_SECONDS / 1e4)),
        ]);
    }
    table
}

fn broken_table(fleets: &[usize], voyages: &[Vec<Voyage>]) -> Table {
    let mut table = Table::new([
        "publishers",
        "all keyed after, s",
        "subscriber, µs a handshake",
        "fleet, µs a handshake",
        "all back after a restart, s",
        "subscriber, µs a publisher",
        "readings that came",
    ]);
    for (publishers, voyages) in fleets.iter().zip(voyages) {
        table.row([
            whole(*publishers),
            of(voyages, |voyage| Some(voyage.keyed_s)),
            of(voyages, |voyage| Some(voyage.handshake_us)),
            of(voyages, |voyage| Some(voyage.fleet_handshake_us)),
            of(voyages, |voyage| Some(voyage.back_s)),
            of(voyages, |voyage| Some(voyage.back_us)),
            whole_of(voyages, |voyage| voyage.back_came),
        ]);
    }
    table
}

fn draw(bench: &Bench, fleets: &[usize], voyages: &[Vec<Voyage>], section: &mut Section) {
    let line = |name: &str, value: &dyn Fn(&Voyage) -> Option<f64>| {
        let point = |(publishers, voyages): (&usize, &Vec<Voyage>)| {
            Some((count(*publishers), Summary::of(voyages.iter().filter_map(value))?.median))
        };
        Line { name: name.to_owned(), points: fleets.iter().zip(voyages).filter_map(point).collect() }
    };
    let memory = [
        line("keyed", &Voyage::keyed_kib),
        line("after readings", &Voyage::used_kib),
        line("the goal", &|voyage| voyage.keyed_kib().map(|_| 4.0)),
    ];
    let cpu = [
        line("a reading", &|voyage| Some(voyage.reading_us)),
        line("a message, plaintext rumqttc", &|voyage| Some(voyage.plain_us)),
        line("a heartbeat", &|voyage| Some(voyage.heartbeat_us)),
        line("a tick after a reading", &|voyage| Some(voyage.tick_us)),
    ];
    let x = "publishers";
    let plots = [
        (
            MEMORY_PLOT,
            Labels { title: "Memory of the subscriber", x, y: "KiB a publisher", legend: Legend::UpperRight },
            &memory[..],
        ),
        (
            CPU_PLOT,
            Labels { title: "Processor time of the subscriber", x, y: "µs", legend: Legend::UpperLeft },
            &cpu[..],
        ),
    ];
    // Of small fleets no memory is told.
    for (file, labels, lines) in plots.into_iter().filter(|plot| plot.2.iter().any(|line| !line.points.is_empty())) {
        match plot::lines(&bench.file(file), labels, lines) {
            Ok(()) => section.plot(labels.title, file),
            Err(why) => section.missing(&format!("{}: {why}.", labels.title)),
        }
    }
}
