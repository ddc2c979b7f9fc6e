//! The publisher program: arguments in, exit code out.

mod app;
mod batch;
pub mod cli;
pub mod input;

use std::process::ExitCode;

use securemqtt_cli::bench::{LoadArgs, Shape};
use securemqtt_cli::exit::{Exit, Outcome, report};
use securemqtt_cli::identity::Role;
use securemqtt_cli::{bench, config, key, pages, peers, running, status};

use cli::{BenchArgs, Cli, Command};

/// Runs the program on the process's own arguments and returns its exit code.
pub fn run() -> ExitCode {
    match config::parse::<Cli>(std::env::args_os(), &cli::exclusive()) {
        Ok(cli) => report(Role::Publisher.program(), dispatch(&cli)),
        Err(code) => code,
    }
}

fn dispatch(cli: &Cli) -> Outcome<Exit> {
    cli.log.start()?;
    match &cli.command {
        None => app::run(cli),
        Some(Command::Key(command)) => key::run(command, &cli.state, Role::Publisher),
        Some(Command::Peers(args)) => peers::run(args, &cli.state, Role::Publisher),
        Some(Command::Status(args)) => status::run(*args, &cli.state, Role::Publisher),
        Some(Command::Rotate) => running::rotate(&cli.state),
        Some(Command::Bench(args)) => measure(args, cli),
        Some(Command::Completions(args)) => pages::completions(args, config::command::<Cli>()),
        Some(Command::Man) => pages::man(config::command::<Cli>()),
    }
}

fn measure(args: &BenchArgs, cli: &Cli) -> Outcome<Exit> {
    let shape = Shape { role: Role::Publisher, others: args.subscribers };
    let load = LoadArgs { no_spool: args.load.no_spool || cli.spool.no_spool, ..args.load.clone() };
    bench::run(shape, &load, &cli.broker, &cli.log)
}
