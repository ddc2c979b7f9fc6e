//! The processor time of a handshake, both sides together, beside the bare operations that it contains.

use super::{Bench, progress};
use crate::crypto::{Pair, Stopwatch, curves};
use crate::machine::ours;
use crate::outcome::Outcome;
use crate::plot;
use crate::report::Section;
use crate::stats::{Summary, cell, number};
use crate::table::Table;

const PLOT: &str = "handshake.svg";

/// Microseconds, round by round.
type Row = (String, Vec<f64>);

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    let mut section = Section::new("Handshake");
    section.note(
        "HELLO to the acknowledged first entry of the key chain and the first tick, both engines in one thread, in \
         microseconds of its processor time. Bare: two new P-256 key pairs, eight agreements, one ECDSA signature and its \
         verification, and nothing else. Rows take turns.",
    );
    match measure(bench) {
        Ok((rows, sizes)) => {
            section.table(&table(&rows));
            section.note(sizes);
            draw(bench, &rows, &mut section);
        }
        Err(why) => section.missing(&format!("the handshake: {why}.")),
    }
    progress("handshake done");
    section
}

fn measure(bench: &Bench) -> Outcome<(Vec<Row>, String)> {
    let curves = curves()?;
    let mut rows: Vec<Row> = vec![(ours(), Vec::new())];
    for kind in ["bare", "one key pair and one agreement,"] {
        rows.extend(curves.iter().map(|(name, _)| (format!("{kind} {name}"), Vec::new())));
    }
    let mut sizes = Vec::new();
    for round in 0..bench.pick(20 * u64::try_from(bench.runs)?, 5) {
        let mut pair = Pair::new(round)?;
        let watch = Stopwatch::start();
        sizes = pair.shake_hands();
        rows[0].1.push(watch.micros());
        if !pair.is_keyed() {
            return Err("the engines did not agree".into());
        }
        for (index, (_, curve)) in curves.iter().enumerate() {
            let watch = Stopwatch::start();
            curve.handshake()?;
            rows[1 + index].1.push(watch.micros());
            let watch = Stopwatch::start();
            curve.exchange()?;
            rows[1 + curves.len() + index].1.push(watch.micros());
        }
    }
    let bytes: usize = sizes.iter().filter(|(name, _)| *name != "TICK").map(|(_, bytes)| bytes).sum();
    let each: Vec<String> = sizes.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    Ok((rows, format!("Bytes of its messages: {}; {bytes} without the tick.", each.join(", "))))
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["µs", "both sides", "securemqtt is so many times this"]);
    let Some((_, ours)) = rows.first() else { return table };
    for (name, values) in rows {
        let ratio = Summary::of(ours.iter().zip(values).map(|(ours, value)| ours / value));
        let shown = [Summary::of(values.iter().copied()), ratio].map(cell);
        table.row([name.clone()].into_iter().chain(shown));
    }
    table
}

fn draw(bench: &Bench, rows: &[Row], section: &mut Section) {
    let whole = rows.iter().filter(|(name, _)| !name.starts_with("one"));
    let bars: Vec<(String, f64)> =
        whole.filter_map(|(name, values)| Some((name.clone(), Summary::of(values.iter().copied())?.median))).collect();
    match plot::bars(&bench.file(PLOT), "A handshake, both sides", "µs of processor time", &bars) {
        Ok(()) => section.plot("What a handshake costs", PLOT),
        Err(why) => section.missing(&format!("the plot of handshakes: {why}.")),
    }
    let ours = bars.first().map_or(0.0, |bar| bar.1);
    section.note(format!("{} handshakes a second on one core, both sides.", number(1e6 / ours)));
}
