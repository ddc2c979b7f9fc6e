//! Shell completions and the man page, both made from the flags themselves.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::{Exit, Outcome};

/// `completions SHELL`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell to write them for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes the completion script of `command` to stdout.
///
/// # Errors
/// Stdout cannot be written.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> Outcome<Exit> {
    let name = command.get_name().to_owned();
    // Rendered in memory, as the generator panics on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    write_stdout(&script)
}

/// Writes the man page of `command` to stdout.
///
/// # Errors
/// Stdout cannot be written.
pub fn man(mut command: Command) -> Outcome<Exit> {
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    write_stdout(&page)
}

/// Writes all of `bytes` to stdout.
pub(crate) fn write_stdout(bytes: &[u8]) -> Outcome<Exit> {
    use io::Write;
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(Exit::Done)
}

/// Renders every page of `command` and throws it away: for the tests of the programs.
///
/// # Errors
/// The man page cannot be rendered.
#[doc(hidden)]
pub fn render_all(mut command: Command) -> io::Result<usize> {
    use clap::ValueEnum;
    let mut all = Vec::new();
    for shell in Shell::value_variants() {
        clap_complete::generate(*shell, &mut command, "program", &mut all);
    }
    command.build();
    clap_mangen::Man::new(command).render(&mut all)?;
    Ok(all.len())
}
