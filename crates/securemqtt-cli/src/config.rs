//! Arguments, environment, configuration file, default: in this order, and in this one place.
//!
//! Every long flag `--some-flag` may also come from the environment as `SECUREMQTT_SOME_FLAG`, or from the TOML file of
//! `--config` as `some-flag = …`. The file's values become clap's defaults, so that a value is checked by the same parser
//! wherever it comes from.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::FalseyValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser};

use crate::config_file::{ConfigFile, Entry};
use crate::exit::{Exit, Failure, report};
use crate::subcommands::{for_arguments, with_short_help};

/// Two flags (by their long names) that exclude each other; the one from the stronger source wins, and only two of them
/// on the command line are an error.
pub type Exclusive = (&'static str, &'static str);

/// Flags that a file may not hold: they make no sense there, or a secret does not belong there.
const NOT_IN_A_FILE: [&str; 4] = ["config", "help", "version", "password"];

/// Parses the arguments of a program. What it cannot parse it reports; then, and after `--help` or `--version`, it returns
/// the exit code.
///
/// # Errors
/// The program is to end with this exit code.
pub fn parse<T: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    exclusive: &[Exclusive],
) -> Result<T, std::process::ExitCode> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    resolve(&arguments, exclusive).map_err(|problem| match problem {
        Problem::Clap(error) => {
            // A closed pipe leaves nobody to tell.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }.into()
        }
        Problem::Help => {
            let _ = command::<T>().print_help();
            Exit::Done.into()
        }
        Problem::Config(failure) => report(T::command().get_name(), Err(failure)),
    })
}

/// The command of a program as it is parsed: for completions and the man page too.
pub fn command<T: Parser>() -> Command {
    let command = T::command().mut_args(with_environment);
    let subcommands: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    subcommands.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_short_help))
}

/// Why there are no settings.
#[derive(Debug)]
enum Problem {
    Clap(Box<clap::Error>),
    Config(Failure),
    /// A bare `-h`.
    Help,
}

impl From<clap::Error> for Problem {
    fn from(error: clap::Error) -> Self {
        Self::Clap(Box::new(error))
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::Config(failure)
    }
}

fn resolve<T: Parser>(arguments: &[OsString], exclusive: &[Exclusive]) -> Result<T, Problem> {
    let mut command = for_arguments(command::<T>(), arguments);
    let given = command.clone().try_get_matches_from(arguments)?;
    if asks_for_help(&given) {
        return Err(help(command, &given));
    }
    refuse_both(&mut command, &given, exclusive)?;
    let file = match given.try_get_one::<std::path::PathBuf>("config") {
        Ok(Some(path)) => Some(ConfigFile::read(path)?),
        _ => None,
    };
    let mut command = weaken(command, &given, exclusive);
    if let Some(file) = &file {
        command = with_file(command, &given, exclusive, file)?;
    }
    let matches = command.try_get_matches_from(arguments).map_err(|error| locate(error, file.as_ref()))?;
    Ok(T::from_arg_matches(&matches)?)
}

/// Adds the variable of a flag. Values never show in the help text: one of them is a password.
fn with_environment(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else {
        return arg;
    };
    if long == "help" || long == "version" {
        return arg;
    }
    let variable = variable_of(long);
    let arg = match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    };
    arg.env(variable).hide_env(true)
}

fn variable_of(long: &str) -> String {
    format!("SECUREMQTT_{}", long.replace('-', "_").to_uppercase())
}

/// The help that a bare `-h` asks for: of the program, or of a subcommand that has a host.
fn help(command: Command, given: &ArgMatches) -> Problem {
    let Some(name) = given.subcommand_name() else { return Problem::Help };
    let program = command.get_name().to_owned();
    match command.try_get_matches_from([program.as_str(), name, "--help"]) {
        Err(help) => help.into(),
        Ok(_) => Problem::Help,
    }
}

/// A bare `-h`: the host flag without its value.
fn asks_for_help(given: &ArgMatches) -> bool {
    typed(given, "host") && given.get_raw("host").is_none_or(|mut values| values.next().is_none())
}

/// Two exclusive flags on one command line.
fn refuse_both(command: &mut Command, given: &ArgMatches, exclusive: &[Exclusive]) -> Result<(), clap::Error> {
    match exclusive.iter().find(|(a, b)| typed(given, a) && typed(given, b)) {
        Some((a, b)) => {
            Err(command.error(ErrorKind::ArgumentConflict, format!("--{a} and --{b} cannot be used together")))
        }
        None => Ok(()),
    }
}

/// Takes the environment away from a flag whose rival was typed.
fn weaken(command: Command, given: &ArgMatches, exclusive: &[Exclusive]) -> Command {
    let beaten = |arg: &Arg| {
        arg.get_long()
            .is_some_and(|long| !typed(given, long) && rivals(exclusive, long).any(|rival| typed(given, rival)))
    };
    command.mut_args(|arg| if beaten(&arg) { arg.env(None::<&str>) } else { arg })
}

/// Makes the file's values the defaults.
fn with_file(
    mut command: Command,
    given: &ArgMatches,
    exclusive: &[Exclusive],
    file: &ConfigFile,
) -> Result<Command, Failure> {
    for entry in file.entries() {
        let arg = flag_of(&command, entry).ok_or_else(|| unknown_key(&command, file, entry))?;
        let (id, many) = (arg.get_id().clone(), takes_many(arg));
        if entry.values.len() != 1 && !many {
            return Err(file.failure(entry.value_at, format!("`{}` takes one value", entry.key)));
        }
        let explicit = |flag| matches!(source(given, flag), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        if !rivals(exclusive, &entry.key).any(explicit) {
            let values = entry.values.clone();
            command = command.mut_arg(id, |arg| arg.default_values(values));
        }
    }
    Ok(command)
}

fn flag_of<'a>(command: &'a Command, entry: &Entry) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(&entry.key))
        .filter(|_| !NOT_IN_A_FILE.contains(&entry.key.as_str()))
}

fn takes_many(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn unknown_key(command: &Command, file: &ConfigFile, entry: &Entry) -> Failure {
    if entry.key == "password" {
        return file
            .failure(entry.key_at, "a password may not stand in this file")
            .hint("use `password-file`, or SECUREMQTT_PASSWORD");
    }
    let known: Vec<&str> =
        command.get_arguments().filter_map(Arg::get_long).filter(|long| !NOT_IN_A_FILE.contains(long)).collect();
    file.failure(entry.key_at, format!("unknown key `{}`", entry.key))
        .hint(format!("the keys are the long flags: {}", known.join(", ")))
}

/// Says where in the file a value stands that its flag refuses.
fn locate(error: clap::Error, file: Option<&ConfigFile>) -> Problem {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return error.into();
    };
    let long = flag.trim_start_matches('-').split([' ', '=', '[']).next().unwrap_or_default();
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => return error.into(),
    };
    let entry = file.and_then(|file| {
        let entry = file.entries().iter().find(|entry| entry.key == long)?;
        entry.values.iter().any(|v| v == value).then_some((file, entry))
    });
    match entry {
        Some((file, entry)) => {
            let why = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            file.failure(entry.value_at, format!("`{long}` cannot be {value:?}{why}")).into()
        }
        None => error.into(),
    }
}

fn rivals<'a>(exclusive: &'a [Exclusive], flag: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    exclusive.iter().filter_map(move |&(a, b)| {
        if a == flag {
            Some(b)
        } else if b == flag {
            Some(a)
        } else {
            None
        }
    })
}

fn typed(given: &ArgMatches, long: &str) -> bool {
    source(given, long) == Some(ValueSource::CommandLine)
}

/// Where a flag's value comes from. Ids are the long names with underscores, as clap derives them.
fn source(given: &ArgMatches, long: &str) -> Option<ValueSource> {
    let id = long.replace('-', "_");
    given.try_contains_id(&id).ok().filter(|&is| is)?;
    given.value_source(&id)
}

/// Reads a file that holds a secret on its first line, as `--password-file` does.
///
/// # Errors
/// The file cannot be read: a mistake in the configuration.
pub(crate) fn read_secret(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Config, format!("cannot read {}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
