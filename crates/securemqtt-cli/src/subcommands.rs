//! What the subcommands take of the program's own flags: those of the broker, and `-h`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use crate::broker::HEADING as BROKER;

/// The subcommands that connect: the broker's flags may stand behind their names, too.
const AT_BROKER: [&str; 1] = ["bench"];

/// Has the flags of the broker go on behind the name of a subcommand that connects.
pub(crate) fn for_arguments(command: Command, arguments: &[OsString]) -> Command {
    // Every start comes by here: only one that may name such a subcommand is parsed for it.
    if !arguments.iter().any(|argument| AT_BROKER.iter().any(|name| argument == name)) {
        return command;
    }
    // Asked for help, it would look no further.
    let arguments = arguments.iter().filter(|argument| *argument != "--help");
    let connects = match command.clone().ignore_errors(true).try_get_matches_from(arguments) {
        Ok(given) => given.subcommand_name().is_some_and(|name| AT_BROKER.contains(&name)),
        // `help bench`.
        Err(error) => error.kind() == ErrorKind::DisplayHelp,
    };
    let is_brokers = |arg: &Arg| connects && arg.get_help_heading() == Some(BROKER);
    command.mut_args(|arg| if is_brokers(&arg) { arg.global(true) } else { arg })
}

/// Most subcommands have no host, so that `-h` is free to mean what it means elsewhere.
pub(crate) fn with_short_help(command: Command) -> Command {
    let subcommands: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
    let help = if AT_BROKER.contains(&command.get_name()) { help } else { help.short('h') };
    subcommands.into_iter().fold(command.arg(help), |command, name| command.mut_subcommand(name, with_short_help))
}
