//! The programs and their disk: what they write to it, and how a subscriber comes back from it.

mod comeback;
mod disk;

use super::contender::{Contender, Kind};
use super::throughput::SIZE;
use super::{Bench, progress};
use crate::report::Section;
use crate::stats::{Summary, cell, whole};
use crate::table::Table;
use comeback::Comeback;
use disk::Written;

const ROWS: [Contender; 2] =
    [Contender::new("no spool", Kind::Programs, 1), Contender::new("spool", Kind::Programs, 1).spooled()];
const FLEETS: [usize; 2] = [1, 1_000];
const QUICK_FLEETS: [usize; 2] = [1, 10];
/// A subscriber is started again so often.
const STARTS: usize = 5;
const QUICK_STARTS: usize = 2;
/// More runs write the same.
const MAX_RUNS: usize = 3;

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    let mut section = Section::new("Disk and restart");
    disk(bench, &mut section);
    comebacks(bench, &mut section);
    section
}

fn disk(bench: &Bench, section: &mut Section) {
    section.note(format!(
        "mqtt-publisher -l and mqtt-subscriber, {} readings of {SIZE} bytes at QoS 1, as fast as they go. Bytes are of the pages \
         that the process has made dirty (`write_bytes` of the kernel), until neither writes any more.",
        whole(disk::readings(bench))
    ));
    let mut table = Table::new(["bytes written to disk, a reading", "mqtt-publisher", "mqtt-subscriber"]);
    for row in &ROWS {
        let mut runs: Vec<Written> = Vec::new();
        for _ in 0..bench.runs.min(MAX_RUNS) {
            match disk::measure(bench, row) {
                Ok(written) => runs.push(written),
                Err(why) => section.missing(&format!("bytes written to disk, {}: {why}.", row.name)),
            }
        }
        let of = |value: fn(&Written) -> f64| cell(Summary::of(runs.iter().map(value)));
        table.row([row.name.to_owned(), of(|run| run.publisher), of(|run| run.subscriber)]);
        progress(&format!("disk: {} done", row.name));
    }
    section.table(&table);
}

fn comebacks(bench: &Bench, section: &mut Section) {
    let starts = bench.pick(STARTS, QUICK_STARTS);
    section.note(format!(
        "mqtt-subscriber, stopped and started again {starts} times. While it is away every publisher that it knows publishes one \
         reading at QoS 1, which the broker keeps for it. Times are from its start to the reading on its stdout; resident is what \
         it has when all of them are out. The publishers are engines of the core in one process."
    ));
    let mut table =
        Table::new(["known publishers", "to the first reading, ms", "to the last one, ms", "resident, MiB"]);
    for publishers in bench.pick(FLEETS, QUICK_FLEETS) {
        let starts = comeback::measure(bench, publishers, starts);
        let starts = starts.unwrap_or_else(|why| {
            section.missing(&format!("a restart with {publishers} publishers: {why}."));
            Vec::new()
        });
        let of = |value: fn(&Comeback) -> f64| cell(Summary::of(starts.iter().map(value)));
        let shown = [of(|start| start.first_ms), of(|start| start.last_ms), of(|start| start.resident_mib)];
        table.row([whole(publishers)].into_iter().chain(shown));
        progress(&format!("restart: {publishers} publishers done"));
    }
    section.table(&table);
}
