//! Seal and open beside the bare AEAD, the digest apart, and the bytes that a frame costs.

use std::hint::black_box;
use std::time::Duration;

use securemqtt_core::ledger::leaf;
use securemqtt_core::subscriber;

use super::{Bench, progress};
use crate::crypto::{ASSOCIATED, Aead, Pair, READING, Stopwatch, aeads};
use crate::machine::ours;
use crate::outcome::Outcome;
use crate::report::Section;
use crate::stats::{Summary, cell, count, number};
use crate::table::Table;

/// Frames between two ticks, and pieces of work in a round.
const CHUNK: u16 = 4_096;
/// So many are timed at once. A frame is sent, or opened, while the cache has it: more would measure the memory instead.
const GROUP: u16 = 128;
/// Readings in one frame, for the overhead.
const GATHERED: usize = 100;

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    let mut section = Section::new("Cryptography");
    section.note(format!(
        "A reading of {} bytes through the engines in memory, in nanoseconds of this thread's processor time, beside the bare \
         AES-128-GCM of three libraries on the same bytes. Rows take turns, {CHUNK} pieces of work each, {GROUP} at a time. The digest's part \
         is one SHA-256 of the frame on each side (the leaf), and what a tick does for each frame that it covers.",
        READING.len()
    ));
    match timings(bench) {
        Ok(timings) => section.table(&table(&timings)),
        Err(why) => section.missing(&format!("cryptography: {why}.")),
    }
    match overhead() {
        Ok(table) => section.table(&table),
        Err(why) => section.missing(&format!("bytes of overhead: {why}.")),
    }
    progress("cryptography done");
    section
}

/// Nanoseconds of one piece of work, round by round.
#[derive(Debug, Default)]
struct Timings {
    seal: Vec<f64>,
    open: Vec<f64>,
    leaf: Vec<f64>,
    tick_made: Vec<f64>,
    tick_taken: Vec<f64>,
    /// By library: seal and open.
    bare: Vec<(&'static str, Vec<f64>, Vec<f64>)>,
}

fn timings(bench: &Bench) -> Outcome<Timings> {
    let mut pair = Pair::new(1)?;
    pair.shake_hands();
    let aeads = aeads()?;
    let mut timings = Timings::default();
    timings.bare.extend(aeads.iter().map(|(name, _)| (*name, Vec::new(), Vec::new())));
    for _ in 0..bench.pick(25 * bench.runs, 3) {
        engines(&mut pair, &mut timings)?;
        for ((_, aead), (_, seal, open)) in aeads.iter().zip(&mut timings.bare) {
            let [sealing, opening] = bare(aead.as_ref())?;
            seal.push(nanos_each(sealing));
            open.push(nanos_each(opening));
        }
    }
    Ok(timings)
}

/// One round of a library: seal and open.
fn bare(aead: &dyn Aead) -> Outcome<[Duration; 2]> {
    let mut text = *READING;
    let mut sealed = READING.to_vec();
    let tag = aead.seal(7, ASSOCIATED, &mut sealed)?;
    sealed.extend_from_slice(&tag);
    let mut buffer = sealed.clone();
    let mut times = [Duration::ZERO; 2];
    for group in 0..u64::from(CHUNK / GROUP) {
        let watch = Stopwatch::start();
        for seq in 0..u64::from(GROUP) {
            let seq = group * u64::from(GROUP) + seq;
            black_box(aead.seal(seq, black_box(ASSOCIATED), &mut text)?);
        }
        times[0] += watch.elapsed();
        let watch = Stopwatch::start();
        for _ in 0..GROUP {
            buffer.copy_from_slice(&sealed);
            aead.open(7, black_box(ASSOCIATED), &mut buffer)?;
        }
        times[1] += watch.elapsed();
    }
    Ok(times)
}

/// One round of ours: seal, open, the leaves again by themselves, and a tick.
fn engines(pair: &mut Pair, timings: &mut Timings) -> Outcome<()> {
    let mut frames = Vec::with_capacity(GROUP.into());
    let mut out = subscriber::Output::default();
    let [mut sealing, mut opening, mut leaves] = [Duration::ZERO; 3];
    for _ in 0..CHUNK / GROUP {
        frames.clear();
        let watch = Stopwatch::start();
        for _ in 0..GROUP {
            frames.push(pair.seal()?);
        }
        sealing += watch.elapsed();

        let watch = Stopwatch::start();
        for frame in &frames {
            pair.open(frame, &mut out);
            if out.deliveries.len() != 1 {
                return Err("a frame did not open".into());
            }
            out.deliveries.clear();
        }
        opening += watch.elapsed();

        let watch = Stopwatch::start();
        for frame in &frames {
            black_box(leaf(frame));
        }
        leaves += watch.elapsed();
    }
    timings.seal.push(nanos_each(sealing));
    timings.open.push(nanos_each(opening));
    timings.leaf.push(nanos_each(leaves));

    let watch = Stopwatch::start();
    let tick = pair.tick();
    timings.tick_made.push(nanos_each(watch.elapsed()));
    let watch = Stopwatch::start();
    pair.take_tick(&tick);
    timings.tick_taken.push(nanos_each(watch.elapsed()));
    Ok(())
}

/// Nanoseconds of each piece of work in a round.
fn nanos_each(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(CHUNK)
}

fn table(timings: &Timings) -> Table {
    let columns = ["ns", "seal", "of bare aes-gcm", "of the fastest", "open", "of bare aes-gcm", "of the fastest"];
    let mut table = Table::new(columns);
    let less = |all: &[f64], part: &[f64]| -> Vec<f64> { all.iter().zip(part).map(|(all, part)| all - part).collect() };
    let Some((_, bare_seal, bare_open)) = timings.bare.first() else { return table };
    let fastest_seal = fastest(timings.bare.iter().map(|(_, seal, _)| seal));
    let fastest_open = fastest(timings.bare.iter().map(|(_, _, open)| open));
    let mut row = |name: &str, seal: &[f64], open: &[f64]| {
        let ratio =
            |ours: &[f64], bare: &[f64]| cell(Summary::of(ours.iter().zip(bare).map(|(ours, bare)| ours / bare)));
        let shown = |values: &[f64]| cell(Summary::of(values.iter().copied()));
        let [seal, open] = [(seal, bare_seal, &fastest_seal), (open, bare_open, &fastest_open)]
            .map(|(ours, bare, fastest)| [shown(ours), ratio(ours, bare), ratio(ours, fastest)]);
        table.row([name.to_owned()].into_iter().chain(seal).chain(open));
    };
    for (name, seal, open) in &timings.bare {
        row(&format!("bare {name}"), seal, open);
    }
    let leaf = &timings.leaf;
    let ours = ours();
    row(&format!("{ours} without the leaf"), &less(&timings.seal, leaf), &less(&timings.open, leaf));
    row("the leaf alone", leaf, leaf);
    row(&ours, &timings.seal, &timings.open);
    row("a tick, for each of 4,096 frames", &timings.tick_made, &timings.tick_taken);
    table
}

/// The least of the libraries, round by round.
fn fastest<'a>(libraries: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let least = |least: Vec<f64>, next: Vec<f64>| least.iter().zip(next).map(|(a, b)| a.min(b)).collect();
    libraries.cloned().reduce(least).unwrap_or_default()
}

/// Bytes of a frame that are no reading.
fn overhead() -> Outcome<Table> {
    let mut pair = Pair::new(1)?;
    let first = pair.seal()?.len() - READING.len();
    for _ in 0..(1 << 14) {
        pair.seal()?;
    }
    let later = pair.seal()?.len() - READING.len();
    let readings = vec![&READING[..]; GATHERED];
    let gathered = pair.seal_batch(&readings)?.len() - GATHERED * READING.len();
    let mut table = Table::new(["bytes of overhead in MQTT's payload", "a frame", "a reading"]);
    let mut row = |name: &str, bytes: usize, readings: usize| {
        table.row([name.to_owned(), bytes.to_string(), number(count(bytes) / count(readings))]);
    };
    row("one reading a frame, the first", first, 1);
    row("one reading a frame, number 16,385 of its topic", later, 1);
    row("100 readings a frame", gathered, GATHERED);
    Ok(table)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn overhead_is_what_the_protocol_says() {
        let text = overhead().unwrap().to_string();
        let last: Vec<&str> = text.lines().map(|line| line.rsplit('|').nth(1).unwrap().trim()).skip(2).collect();
        assert_eq!(last[..2], ["24.0", "26.0"]);
        assert!(last[2].parse::<f64>().unwrap() < 2.0, "{text}");
    }
}
