//! Exit codes, and the one error type that carries them.
//!
//! The numbers are those of `sysexits.h`, so that a supervisor can tell "try again later" (69, 75) from "a person must look"
//! (77, 78).

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What `--help` of both programs ends with: where flags may come from, and these codes.
pub const AFTER_HELP: &str = "\
Every long flag may also come from the environment (--state-dir as SECUREMQTT_STATE_DIR) or
from the file of --config.

Exit codes:
   0 done                     2 usage                   65 bad data
  66 missing input           69 broker unreachable      74 input/output
  75 time-out                76 protocol, taken over    77 credentials or peer refused
  78 configuration";

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done, or INT or TERM after a clean disconnect.
    Done = 0,
    /// 2: the arguments make no sense.
    Usage = 2,
    /// 65: input data that is not what it should be.
    BadData = 65,
    /// 66: an input file that is not there or cannot be read.
    MissingInput = 66,
    /// 69: the broker cannot be reached, and `--no-retry` was given.
    Unreachable = 69,
    /// 74: reading or writing failed.
    Io = 74,
    /// 75: a time-out.
    TimedOut = 75,
    /// 76: a protocol error, or another client took the session over.
    Protocol = 76,
    /// 77: credentials or a peer refused.
    Refused = 77,
    /// 78: the configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a program ends early: what happened, what to try, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

/// The result of everything that can end the program.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure that says what happened.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An end without a word: a closed pipe.
    pub fn closed_pipe() -> Self {
        Self::new(Exit::Done, "")
    }

    /// A file that was to be read and could not be: exit 66 where it is missing or forbidden, 74 otherwise.
    pub fn reading(path: &Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
                Exit::MissingInput
            }
            _ => Exit::Io,
        };
        Self::new(exit, format!("cannot read {}: {error}", path.display()))
    }

    /// A file that was to be written and could not be.
    pub fn writing(path: &Path, error: &io::Error) -> Self {
        Self::new(Exit::Io, format!("cannot write {}: {error}", path.display()))
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Standard input and output only: a file's error should name the file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::closed_pipe();
        }
        Self::new(Exit::Io, format!("input/output error: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Ends a program: says what went wrong on stderr, and returns the exit code.
pub fn report(program: &str, outcome: Outcome<Exit>) -> ExitCode {
    report_to(&mut io::stderr().lock(), program, outcome).into()
}

fn report_to(stderr: &mut impl Write, program: &str, outcome: Outcome<Exit>) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                // A closed stderr leaves nobody to tell.
                let _ = writeln!(stderr, "{program}: {failure}");
            }
            failure.exit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_then_what_to_try() {
        let failure = Failure::new(Exit::Refused, "wrong password").hint("check --password-file");
        let mut stderr = Vec::new();
        let exit = report_to(&mut stderr, "mqtt-publisher", Err(failure));
        assert_eq!(exit.code(), 77);
        assert_eq!(String::from_utf8_lossy(&stderr), "mqtt-publisher: wrong password\n  check --password-file\n");
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let mut stderr = Vec::new();
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report_to(&mut stderr, "mqtt-subscriber", Err(failure)), Exit::Done);
        assert!(stderr.is_empty());
    }

    #[test]
    fn a_missing_file_is_66_and_another_error_74() {
        let path = Path::new("readings.csv");
        let missing = Failure::reading(path, &io::ErrorKind::NotFound.into());
        assert_eq!(missing.exit(), Exit::MissingInput);
        let other = Failure::reading(path, &io::ErrorKind::TimedOut.into());
        assert_eq!(other.exit(), Exit::Io);
    }
}
