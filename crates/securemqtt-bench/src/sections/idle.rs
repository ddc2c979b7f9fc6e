//! The programs with nothing to do: memory, and how often they wake up.

use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::contender::introduced;
use super::{Bench, progress};
use crate::broker::HOST;
use crate::outcome::Outcome;
use crate::process::Meter;
use crate::report::Section;
use crate::stats::{Summary, cell, count64};
use crate::table::Table;

/// Until the handshake and what comes with it is over.
const SETTLE: Duration = Duration::from_secs(5);
/// Each takes 35 s, three ticks long; more show the same.
const MAX_RUNS: usize = 2;

/// A process that is only looked at, killed when dropped.
struct Watched {
    process: Child,
    /// Kept open: the end of its input would be the end of the publisher.
    _stdin: Option<ChildStdin>,
    meter: Meter,
}

impl Watched {
    fn start(command: &mut Command) -> Outcome<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let stdin = process.stdin.take();
        let meter = Meter::of(process.id())?;
        Ok(Self { process, _stdin: stdin, meter })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What one program did while it was watched.
#[derive(Clone, Copy, Debug)]
struct Rest {
    resident_mib: f64,
    sleeps: f64,
    cpu_ms: f64,
}

/// Measures it.
pub(super) fn section(bench: &Bench) -> Section {
    let time = bench.pick(Duration::from_secs(30), Duration::from_secs(3));
    let mut section = Section::new("Idle programs");
    section.note(format!(
        "mqtt-publisher -l with an input that says nothing, and mqtt-subscriber with its keys, watched for {time:?} after \
         {SETTLE:?}. Voluntary context switches of all threads are how often something woke up; ticks come every 10 s, \
         keep-alive every 60 s."
    ));
    let mut runs: [Vec<Rest>; 2] = Default::default();
    for _ in 0..bench.runs.min(MAX_RUNS) {
        match watch(bench, time) {
            Ok(rests) => runs.iter_mut().zip(rests).for_each(|(runs, rest)| runs.push(rest)),
            Err(why) => section.missing(&format!("idle programs: {why}.")),
        }
    }
    let mut table = Table::new(["program", "resident, MiB", "voluntary context switches", "processor time, ms"]);
    for (name, runs) in ["mqtt-publisher", "mqtt-subscriber"].into_iter().zip(&runs) {
        let of = |value: fn(&Rest) -> f64| Summary::of(runs.iter().map(value));
        let sleeps = of(|rest| rest.sleeps).map_or_else(|| cell(None), |sleeps| sleeps.whole());
        let shown = [cell(of(|rest| rest.resident_mib)), sleeps, cell(of(|rest| rest.cpu_ms))];
        table.row([name.to_owned()].into_iter().chain(shown));
    }
    section.table(&table);
    progress("idle programs done");
    section
}

fn watch(bench: &Bench, time: Duration) -> Outcome<[Rest; 2]> {
    let programs = bench.tools.programs.as_ref().ok_or("mqtt-publisher and mqtt-subscriber are not here")?;
    let broker = bench.broker()?;
    let directory = bench.directory()?;
    let port = broker.port.to_string();
    let [publisher, subscriber] = introduced(directory.path())?;
    let at = |command: &mut Command, state: &std::path::Path| {
        command.args(["-h", HOST, "-p", &port, "-t", "bench/vitals", "--state-dir"]).arg(state);
    };
    let mut subscribe = Command::new(&programs.subscribe);
    at(&mut subscribe, &subscriber.state);
    let mut publish = Command::new(&programs.publish);
    at(&mut publish, &publisher.state);
    let both = [Watched::start(publish.arg("-l"))?, Watched::start(&mut subscribe)?];
    thread::sleep(SETTLE);
    let before = [(both[0].meter.sleeps()?, both[0].meter.cpu()?), (both[1].meter.sleeps()?, both[1].meter.cpu()?)];
    thread::sleep(time);
    let rest = |index: usize| -> Outcome<Rest> {
        let (meter, (sleeps, cpu)) = (&both[index].meter, before[index]);
        Ok(Rest {
            resident_mib: count64(meter.resident_kib()?) / 1024.0,
            sleeps: count64(meter.sleeps()?.saturating_sub(sleeps)),
            cpu_ms: meter.cpu()?.saturating_sub(cpu).as_secs_f64() * 1e3,
        })
    };
    Ok([rest(0)?, rest(1)?])
}
