//! What the two programs write to disk.

use std::thread;
use std::time::{Duration, Instant};

use super::super::Bench;
use super::super::contender::Contender;
use super::super::run::{self, PATIENCE, STALLED};
use super::super::throughput::SIZE;
use crate::outcome::Outcome;
use crate::process::Meter;
use crate::stats::count;

/// Who has written nothing for so long writes nothing more of these readings: reports and what they let go come sooner.
const CALM: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

/// Bytes a reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) publisher: f64,
    pub(super) subscriber: f64,
}

/// How many readings there are.
pub(super) fn readings(bench: &Bench) -> usize {
    bench.pick(20_000, 500)
}

/// One run.
///
/// # Errors
/// If a program is missing or ends, or readings are missing.
pub(super) fn measure(bench: &Bench, row: &Contender) -> Outcome<Written> {
    let broker = bench.broker()?;
    let directory = bench.directory()?;
    let (mut lines, printed) = row.start_programs(bench, &broker, directory.path(), false)?;
    let probes = run::probe(&mut lines, &printed)?;
    let meters = [lines.meter, printed.meter];
    let before = calm(meters)?;
    let (readings, probes_before) = (readings(bench), printed.lines().0);
    lines.lines(SIZE, readings)?;
    let all = probes + u64::try_from(readings)?;
    let least = probes_before + u64::try_from(readings)?;
    printed.wait_for(least, STALLED);
    let after = calm(meters)?;
    let came = printed.lines().0;
    if !(least..=all).contains(&came) {
        return Err(format!("{came} lines came, of {readings} readings and {probes} before them").into());
    }
    let each = |index: usize| -> Outcome<f64> {
        let bytes = usize::try_from(after[index].saturating_sub(before[index]))?;
        Ok(count(bytes) / count(readings))
    };
    Ok(Written { publisher: each(0)?, subscriber: each(1)? })
}

/// What both have written, when neither writes any more.
fn calm(meters: [Meter; 2]) -> Outcome<[u64; 2]> {
    let deadline = Instant::now() + PATIENCE;
    let written = || -> Outcome<[u64; 2]> { Ok([meters[0].written()?, meters[1].written()?]) };
    let (mut last, mut since) = (written()?, Instant::now());
    while since.elapsed() < CALM {
        if Instant::now() > deadline {
            return Err("the programs do not stop writing".into());
        }
        thread::sleep(POLL);
        let now = written()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}
