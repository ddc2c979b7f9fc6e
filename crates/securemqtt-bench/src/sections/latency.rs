//! The age of a reading at its delivery, at a steady rate.

use std::time::Duration;

use super::contender::{Contender, Kind, Shape};
use super::throughput::SIZE;
use super::{Bench, progress};
use crate::plot::{self, Labels, Legend, Line};
use crate::report::Section;
use crate::stats::{Summary, cell, count64, number, percentile};
use crate::table::Table;

const PER_SECOND: u32 = 1_000;
const PLOT: &str = "latency.svg";

/// Each after the plaintext that it is compared with.
const ROWS: [Contender; 5] = [
    Contender::new("rumqttc, plaintext, QoS 0", Kind::Plain, 0),
    Contender::new("securemqtt, QoS 0", Kind::Ours, 0),
    Contender::new("rumqttc, plaintext, QoS 1", Kind::Plain, 1),
    Contender::new("securemqtt, no spool, QoS 1", Kind::Ours, 1),
    Contender::new("securemqtt, spool, QoS 1", Kind::Ours, 1).spooled(),
];
const SHARES: [f64; 3] = [0.5, 0.9, 0.99];

/// The percentiles of one run, in microseconds.
type Percentiles = [f64; 3];

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    // 6,000 readings a run: the last hundredth of them is 60.
    let time = bench.pick(Duration::from_secs(6), Duration::from_secs(1));
    let mut section = Section::new("Latency");
    section.note(format!(
        "From the call that publishes to the delivery to the program, {PER_SECOND} readings a second of {SIZE} bytes for \
         {time:?} a run, by one clock. Microseconds. The spool's share is one commit of the publisher's database with fdatasync."
    ));
    let shape = Shape { size: SIZE, time, per_second: Some(PER_SECOND) };
    let mut runs: Vec<Vec<Percentiles>> = vec![Vec::new(); ROWS.len()];
    let mut pooled: Vec<Vec<u64>> = vec![Vec::new(); ROWS.len()];
    for round in 1..=bench.runs {
        for ((row, runs), pooled) in ROWS.iter().zip(&mut runs).zip(&mut pooled) {
            match row.run(bench, shape) {
                Ok(run) => {
                    runs.extend(percentiles(&run.ages_ns));
                    pooled.extend(run.ages_ns);
                }
                Err(why) => section.missing(&format!("{}: {why}.", row.name)),
            }
        }
        progress(&format!("latency: round {round} done"));
    }
    section.table(&table(&runs));
    draw(bench, pooled, &mut section);
    section
}

fn percentiles(ages_ns: &[u64]) -> Option<Percentiles> {
    let mut sorted = ages_ns.to_vec();
    sorted.sort_unstable();
    let [p50, p90, p99] = SHARES.map(|share| percentile(&sorted, share));
    Some([p50?, p90?, p99?].map(|age| count64(age) / 1e3))
}

fn table(runs: &[Vec<Percentiles>]) -> Table {
    let mut table = Table::new(["what", "p50", "p90", "p99", "p50, of plaintext"]);
    let summary = |runs: &[Percentiles], share: usize| Summary::of(runs.iter().map(|run| run[share]));
    let mut plain = None;
    for (row, runs) in ROWS.iter().zip(runs) {
        let all: Vec<Option<Summary>> = (0..SHARES.len()).map(|share| summary(runs, share)).collect();
        if row.kind == Kind::Plain {
            plain = all[0];
        }
        let ratio = all[0].zip(plain).map_or_else(|| "–".to_owned(), |(row, plain)| number(row.median / plain.median));
        let shown = all.iter().map(|value| cell(*value));
        table.row(std::iter::once(row.name.to_owned()).chain(shown).chain([ratio]));
    }
    table
}

fn draw(bench: &Bench, pooled: Vec<Vec<u64>>, section: &mut Section) {
    let line = |(row, mut ages): (&Contender, Vec<u64>)| {
        ages.sort_unstable();
        Line { name: row.name.to_owned(), points: plot::distribution(&ages, 1e3) }
    };
    let lines: Vec<Line> = ROWS.iter().zip(pooled).map(line).collect();
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
        let runs: Vec<Vec<Percentiles>> = [100.0, 110.0, 200.0, 210.0, 400.0].map(|p50| vec![[p50, 0.0, 0.0]]).into();
        let ratios: Vec<String> = table(&runs)
            .to_string()
            .lines()
            .skip(2)
            .filter_map(|line| Some(line.trim_end_matches(" |").rsplit(' ').next()?.to_owned()))
            .collect();
        assert_eq!(ratios, ["1.00", "1.10", "1.00", "1.05", "2.00"]);
    }

    #[test]
    fn percentiles_are_microseconds() {
        let ages: Vec<u64> = (1..=100).rev().map(|micros| micros * 1_000).collect();
        assert_eq!(percentiles(&ages), Some([50.0, 90.0, 99.0]));
        assert_eq!(percentiles(&[]), None);
    }
}
