//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Measures securemqtt beside plaintext, TLS, the mosquitto clients and a Python demo, on a Mosquitto of its own.
///
/// Prints Markdown; writes the same and SVG plots to --out. BENCHMARKS.md says what each row means.
#[derive(Parser, Clone, Debug)]
#[command(name = "securemqtt-bench", version)]
pub(crate) struct Cli {
    /// Measure only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    pub only: Vec<Part>,

    /// Of the throughput, measure only rows that contain this text, and the first, with which they are compared
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub rows: String,

    /// Seconds in all: to see that it works, not to quote
    #[arg(long)]
    pub quick: bool,

    /// Runs of every row; the rows take turns
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub runs: Option<u16>,

    /// Where the report and the plots are written [default: bench in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// What this process is.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a process of the benchmark is.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    /// One of the processes that are measured
    #[command(hide = true)]
    Role {
        /// A line of JSON.
        job: String,
    },
}

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Readings a second and processor time, side by side; by payload size
    Throughput,
    /// Publish to delivery at 1,000 readings a second
    Latency,
    /// Seal, open and digest beside the bare AEAD; bytes of overhead
    Crypto,
    /// A handshake beside the bare Diffie-Hellman and ECDSA
    Handshake,
    /// 1 to 10,000 publishers on one subscriber; first handshakes, a restart of the broker
    Fleet,
    /// One publisher, 1 and 100 subscribers
    Fanout,
    /// The programs with nothing to do
    Idle,
    /// The programs' disk, and a subscriber that is started again
    Restart,
}

impl Cli {
    /// Whether a part is wanted.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether any part that is wanted measures `mqtt-publisher` and `mqtt-subscriber`.
    pub(crate) fn wants_programs(&self) -> bool {
        [Part::Throughput, Part::Latency, Part::Idle, Part::Restart].into_iter().any(|part| self.wants(part))
    }

    /// Runs of every row.
    pub(crate) fn runs(&self) -> usize {
        let usual = if self.quick { 1 } else { 3 };
        self.runs.map_or(usual, usize::from)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("bench").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn parts_are_named_in_one_list() {
        Cli::command().debug_assert();
        let cli = parse("--only crypto,fanout --quick");
        assert!(cli.wants(Part::Crypto) && cli.wants(Part::Fanout) && !cli.wants(Part::Fleet));
        assert!(parse("").wants(Part::Fleet) && parse("").wants_programs());
        assert!(["restart", "latency"].iter().all(|part| parse(&format!("--only {part}")).wants_programs()));
        assert!(!cli.wants_programs());
        assert!(Cli::try_parse_from(["bench", "--only", "nothing"]).is_err());
    }

    #[test]
    fn a_quick_run_is_one_run_unless_more_are_asked_for() {
        assert_eq!((parse("").runs(), parse("--quick").runs(), parse("--quick --runs 5").runs()), (3, 1, 5));
        assert!(Cli::try_parse_from(["bench", "--runs", "0"]).is_err());
    }
}
