//! The subscriber program: arguments in, exit code out.

mod app;
pub mod cli;
#[cfg(feature = "demo")]
mod demo;
pub mod output;

use std::process::ExitCode;

use securemqtt_cli::bench::Shape;
use securemqtt_cli::exit::{Exit, Outcome, report};
use securemqtt_cli::identity::Role;
use securemqtt_cli::{bench, config, key, pages, peers, status};

use cli::{BenchArgs, Cli, Command};

/// Runs the program on the process's own arguments and returns its exit code.
pub fn run() -> ExitCode {
    match config::parse::<Cli>(std::env::args_os(), &cli::exclusive()) {
        Ok(cli) => report(Role::Subscriber.program(), dispatch(&cli)),
        Err(code) => code,
    }
}

fn dispatch(cli: &Cli) -> Outcome<Exit> {
    cli.log.start()?;
    match &cli.command {
        None => app::run(cli),
        #[cfg(feature = "demo")]
        Some(Command::Demo(args)) => demo::run(args, cli),
        Some(Command::Key(command)) => key::run(command, &cli.state, Role::Subscriber),
        Some(Command::Peers(args)) => peers::run(args, &cli.state, Role::Subscriber),
        Some(Command::Status(args)) => status::run(*args, &cli.state, Role::Subscriber),
        Some(Command::Bench(args)) => measure(args, cli),
        Some(Command::Completions(args)) => pages::completions(args, config::command::<Cli>()),
        Some(Command::Man) => pages::man(config::command::<Cli>()),
    }
}

fn measure(args: &BenchArgs, cli: &Cli) -> Outcome<Exit> {
    let shape = Shape { role: Role::Subscriber, others: args.publishers };
    bench::run(shape, &args.load, &cli.broker, &cli.log)
}
