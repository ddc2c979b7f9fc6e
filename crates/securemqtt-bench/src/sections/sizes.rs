//! Throughput by the size of a reading.

use std::time::Duration;

use super::contender::{Contender, Kind, Shape};
use super::{Bench, progress};
use crate::plot::{self, Labels, Legend, Line};
use crate::report::Section;
use crate::stats::{Summary, cell, count, whole};
use crate::table::Table;

const SIZES: [usize; 6] = [16, 64, 256, 1024, 4096, 16_384];
const QUICK_SIZES: [usize; 2] = [16, 1024];
const PLOT: &str = "throughput-by-size.svg";
/// Thirty cells of 2 s: three minutes. A third run would show the same.
const MAX_RUNS: usize = 2;

const ROWS: [Contender; 5] = [
    Contender::new("rumqttc, plaintext, QoS 0", Kind::Plain, 0),
    Contender::new("securemqtt, QoS 0", Kind::Ours, 0),
    Contender::new("rumqttc, plaintext, QoS 1", Kind::Plain, 1),
    Contender::new("securemqtt, no spool, QoS 1", Kind::Ours, 1),
    Contender::new("securemqtt, spool, QoS 1", Kind::Ours, 1).spooled(),
];

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    let mut section = Section::new("Throughput by payload size");
    section.note("Readings a second, as above. A message of 16 KiB is bound by copying, one of 16 bytes by MQTT.");
    let sizes = bench.pick(&SIZES[..], &QUICK_SIZES[..]);
    let mut lines: Vec<Line> = ROWS.iter().map(|row| Line { name: row.name.to_owned(), points: Vec::new() }).collect();
    let mut table = Table::new(std::iter::once("bytes").chain(ROWS.iter().map(|row| row.name)));
    for &size in sizes {
        let rates = measure(bench, size, &mut section);
        for (line, rate) in lines.iter_mut().zip(&rates) {
            line.points.extend(rate.map(|rate| (count(size), rate.median)));
        }
        let shown = rates.iter().map(|rate| cell(*rate));
        table.row(std::iter::once(whole(size)).chain(shown));
    }
    section.table(&table);
    let labels = Labels {
        title: "Readings a second by payload size",
        x: "bytes of a reading",
        y: "readings/s",
        legend: Legend::UpperRight,
    };
    match plot::lines(&bench.file(PLOT), labels, &lines) {
        Ok(()) => section.plot("Readings a second by payload size", PLOT),
        Err(why) => section.missing(&format!("the plot by payload size: {why}.")),
    }
    section
}

/// The rates of all rows at one size.
fn measure(bench: &Bench, size: usize, section: &mut Section) -> Vec<Option<Summary>> {
    let time = bench.pick(Duration::from_secs(2), Duration::from_millis(200));
    let shape = Shape { size, time, per_second: None };
    let mut rates = vec![Vec::new(); ROWS.len()];
    for _ in 0..bench.runs.min(MAX_RUNS) {
        for (row, rates) in ROWS.iter().zip(&mut rates) {
            match row.run(bench, shape) {
                Ok(run) => rates.push(run.rate()),
                Err(why) => section.missing(&format!("{} with {size} bytes: {why}.", row.name)),
            }
        }
    }
    progress(&format!("throughput by size: {size} bytes done"));
    rates.into_iter().map(Summary::of).collect()
}
