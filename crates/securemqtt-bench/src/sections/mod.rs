//! What is measured, a file a part.

mod contender;
mod crypto;
mod fanout;
mod fleet;
mod handshake;
mod idle;
mod latency;
mod restart;
mod run;
mod sizes;
mod throughput;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::broker::Broker;
use crate::cli::{Cli, Part};
use crate::outcome::Outcome;
use crate::report::Report;
use crate::tools::Tools;

/// What every part needs.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The programs beside ours.
    pub tools: Tools,
    /// On a disk, so that what is stored durably costs what it costs.
    pub scratch: PathBuf,
    /// Where plots go.
    pub out: PathBuf,
    /// Runs of every row.
    pub runs: usize,
    /// What the names of rows of the throughput contain.
    pub rows: String,
    /// Whether it is only to be seen that it works.
    pub quick: bool,
}

impl Bench {
    /// One of two: for a full run, or a quick one.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A broker for one run.
    ///
    /// # Errors
    /// If there is no Mosquitto, or it does not start.
    pub(crate) fn broker(&self) -> Outcome<Broker> {
        let program = self.tools.mosquitto.as_ref().ok_or("there is no Mosquitto")?;
        Broker::start(program, &self.scratch)
    }

    /// A directory for the state of one run.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn directory(&self) -> Outcome<TempDir> {
        Ok(TempDir::with_prefix_in("state-", &self.scratch)?)
    }

    /// Where a plot goes.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.out).join(name)
    }
}

/// Measures one part. What goes wrong in it is said in its section, and ends no other.
///
/// # Errors
/// If the report cannot be written.
pub(crate) fn measure(bench: &Bench, part: Part, report: &mut Report) -> Outcome<()> {
    match part {
        Part::Throughput => {
            report.sections([throughput::section(bench)])?;
            report.sections([sizes::section(bench)])
        }
        Part::Latency => report.sections([latency::section(bench)]),
        Part::Crypto => report.sections([crypto::section(bench)]),
        Part::Handshake => report.sections([handshake::section(bench)]),
        Part::Fleet => report.sections(fleet::sections(bench)),
        Part::Fanout => report.sections([fanout::section(bench)]),
        Part::Idle => report.sections([idle::section(bench)]),
        Part::Restart => report.sections([restart::section(bench)]),
    }
}

/// The parts that are wanted, in the order of the report.
pub(crate) fn parts(cli: &Cli) -> Vec<Part> {
    use Part::{Crypto, Fanout, Fleet, Handshake, Idle, Latency, Restart, Throughput};
    let all = [Throughput, Latency, Crypto, Handshake, Fleet, Fanout, Idle, Restart];
    all.into_iter().filter(|part| cli.wants(*part)).collect()
}

/// A line for whoever waits.
pub(crate) fn progress(text: &str) {
    // Nobody is there to be told.
    let _ = writeln!(std::io::stderr(), "{text}");
}
