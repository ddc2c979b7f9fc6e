//! The publisher program: arguments in, exit code out.

mod app;
mod batch;
pub mod cli;
pub mod input;

use std::process::ExitCode;

use securemqtt_cli::exit::{Exit, Outcome, report};
use securemqtt_cli::identity::Role;
use securemqtt_cli::{config, key, pages, peers, running, status};

use cli::{Cli, Command};

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
        Some(Command::Completions(args)) => pages::completions(args, config::command::<Cli>()),
        Some(Command::Man) => pages::man(config::command::<Cli>()),
    }
}
