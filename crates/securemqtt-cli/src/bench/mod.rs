//! `bench`: what our own protocol makes of the user's own broker. Both sides run in this process, with identities and state
//! directories made for the run; the user's are not opened, and nothing is left at the broker.

mod group;
mod pace;
mod party;
mod phases;
mod progress;
mod publisher;
mod report;
mod site;
mod subscriber;
mod tally;
mod tap;

use std::sync::Arc;

use clap::Args;
use securemqtt_core::Qos;

use crate::broker::{BrokerArgs, INSECURE};
use crate::exit::{Exit, Failure, Outcome};
use crate::identity::Role;
use crate::logging::{LogArgs, Talk};
use crate::pages::write_stdout;
use crate::signals::Signals;
use group::Group;
use progress::Progress;
use report::{Figures, Report};
use site::Site;
use tap::Tap;

/// The shortest reading: JSON with a number in it.
const SHORTEST: u32 = 16;
/// The longest: more than any telemetry, and less than every broker takes.
const LONGEST: u32 = 65_536;

/// What is measured; which side there are several of is the program's to say.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// How long to measure: one half latency, the other throughput; handshakes come before
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,

    /// Readings a second of each publisher while latency is measured
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,

    /// Bytes of a reading
    #[arg(long, value_name = "BYTES", default_value_t = 96, value_parser = clap::value_parser!(u32).range(i64::from(SHORTEST)..=i64::from(LONGEST)))]
    pub size: u32,

    /// Keep nothing to be sent again: what the broker loses is lost
    #[arg(long)]
    pub no_spool: bool,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How many of each side there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The program that is asked: of its side there is one.
    pub role: Role,
    /// How many there are of the other side.
    pub others: u16,
}

impl Shape {
    /// Publishers and subscribers, with so many on the other side.
    fn counts(self, others: usize) -> (usize, usize) {
        match self.role {
            Role::Publisher => (1, others),
            Role::Subscriber => (others, 1),
        }
    }
}

/// Runs `bench`: to its end, or to INT or TERM.
///
/// # Errors
/// The broker cannot be reached or refuses something; the keys or readings do not come; the system fails.
pub fn run(shape: Shape, load: &LoadArgs, broker: &BrokerArgs, log: &LogArgs) -> Outcome<Exit> {
    let scratch = tempfile::Builder::new().prefix("securemqtt-bench-").tempdir();
    let scratch = scratch.map_err(|error| Failure::writing(&std::env::temp_dir(), &error))?;
    let site = Arc::new(Site::new(load, broker, scratch.path())?);
    if broker.is_insecure() {
        log.talk("Bench", false).say(INSECURE)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(measure(shape, load, &site, log));
    runtime.shutdown_background();
    exit
}

async fn measure(shape: Shape, load: &LoadArgs, site: &Arc<Site>, log: &LogArgs) -> Outcome<Exit> {
    let (talk, progress) = (log.talk("Bench", false), Progress::new(log));
    let mut signals = Signals::new()?;
    let tap = tokio::select! {
        tap = Tap::reach(site) => tap?,
        () = signals.end() => return Ok(Exit::Done),
    };
    let mut group = Group::new(Arc::clone(site));
    let measured = tokio::select! {
        figures = phases::all(&mut group, shape, load, &progress) => figures.map(Some),
        () = signals.end() => Ok(None),
    };
    progress.done();
    let cleaned = tokio::select! {
        cleaned = clean_up(group, tap, talk) => cleaned,
        // A second signal.
        () = signals.end() => return Ok(Exit::Done),
    };
    // What went wrong first is told first; the rest follows from it.
    match measured? {
        None => Ok(Exit::Done),
        Some(figures) => {
            conclude(&Report::new(shape, load, site, figures), load.json).and_then(|exit| cleaned.map(|()| exit))
        }
    }
}

/// Everybody leaves, and takes along what the broker would keep.
async fn clean_up(mut group: Group, tap: Tap, talk: Talk) -> Outcome<()> {
    let finished = group.finish().await;
    if let [first, others @ ..] = tap.clear(group.retained()).await.as_slice() {
        let more = others.len();
        talk.say(format_args!(
            "The broker may keep what could not be cleared: {first} and {more} more; clear one with mosquitto_pub -r -n -t TOPIC"
        ))?;
    }
    finished
}

/// Prints what was measured; what is missing decides how it ends.
fn conclude(report: &Report, json: bool) -> Outcome<Exit> {
    let text = if json { format!("{}\n", report.json()) } else { report.table() };
    write_stdout(text.as_bytes())?;
    verdict(report)
}

fn verdict(report: &Report) -> Outcome<Exit> {
    let Figures { expected, twice, .. } = report.figures;
    if twice > 0 {
        let message = format!("{twice} readings were delivered twice, which must never happen");
        return Err(Failure::new(Exit::Protocol, message).hint("please report it, with the broker's name and version"));
    }
    let missing = report.figures.missing();
    if missing == 0 || report.qos == Qos::AtMostOnce {
        return Ok(Exit::Done);
    }
    let hint = if report.spool {
        "the broker lost them and did not pass on what was sent again: its log may say why"
    } else {
        "the broker drops what it cannot pass on at once: raise what it queues (Mosquitto: max_queued_messages), or leave out --no-spool"
    };
    Err(Failure::new(Exit::TimedOut, format!("{missing} of {expected} readings did not arrive")).hint(hint))
}
