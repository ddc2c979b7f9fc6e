//! Measures securemqtt beside what it is compared with: `cargo run --release -p securemqtt-bench`. BENCHMARKS.md says how
//! to read the results. Linux only: times and memory come from `/proc` and from its clocks.

mod broker;
mod cli;
pub mod crypto;
mod job;
mod machine;
mod ours;
pub mod outcome;
mod plot;
mod process;
mod report;
mod roles;
mod sections;
mod stats;
mod table;
mod tls;
mod tools;

use std::fs;
use std::process::ExitCode;

use clap::Parser as _;
use tempfile::TempDir;

use cli::{Cli, Command, Part};
use outcome::{Failure, Outcome};
use report::Report;
use sections::{Bench, progress};
use tools::{Tools, target_directory};

/// The report, in the directory of the plots.
const REPORT: &str = "report.md";

/// Runs the program on the process's own arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Role { job }) => roles::play(job),
        None => measure(&cli),
    };
    done.map_or_else(fail, |()| ExitCode::SUCCESS)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_or_else")]
fn fail(why: Failure) -> ExitCode {
    progress(&format!("securemqtt-bench: {why}"));
    ExitCode::FAILURE
}

/// Measures what is wanted, and prints and writes the report, a section at a time.
fn measure(cli: &Cli) -> Outcome<()> {
    let target = target_directory()?;
    let out = cli.out.clone().unwrap_or_else(|| target.join("bench"));
    fs::create_dir_all(&out)?;
    let scratch_directory = TempDir::with_prefix_in("bench-scratch-", &target)?;
    let tools = Tools::find(&target, cli.wants_programs(), cli.wants(Part::Throughput));
    let (scratch, rows) = (scratch_directory.path().to_owned(), cli.rows.clone());
    let bench = Bench { tools, scratch, out, runs: cli.runs(), rows, quick: cli.quick };

    let mut report = Report::create(&bench.file(REPORT))?;
    report.text(&introduction(&bench))?;
    for part in sections::parts(cli) {
        sections::measure(&bench, part, &mut report)?;
    }
    progress(&format!("written to {}", bench.file(REPORT).display()));
    Ok(())
}

/// What it was measured on, and what is missing.
fn introduction(bench: &Bench) -> String {
    let mut text = String::from("# securemqtt, measured\n\n");
    if bench.quick {
        text += "**A quick run: it shows that everything works. Its numbers are not to be quoted.**\n\n";
    }
    text += &machine::describe(&bench.tools, &bench.scratch).to_string();
    text.push('\n');
    for why in &bench.tools.missing {
        text.push_str(why);
        text.push_str("\n\n");
    }
    text
}
