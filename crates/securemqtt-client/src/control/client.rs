//! The side of the command line: asks and waits, without a runtime.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Answer, Command, line, socket};

/// Longer than the program takes to give up on others, or on itself.
const PATIENCE: Duration = Duration::from_secs(12);
/// The longest answer: a status names every peer.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is no answer, although somebody listens.
#[derive(Debug)]
#[non_exhaustive]
pub enum AskError {
    /// The socket cannot be used.
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program is busy, stopped or ending.
    NoAnswer(PathBuf),
    /// The program says no.
    Refused(String),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => {
                write!(f, "cannot ask the running program at {}: {source}", path.display())
            }
            Self::NoAnswer(path) => {
                write!(
                    f,
                    "the program that listens at {} does not answer: it is busy, stopped or ending",
                    path.display()
                )
            }
            Self::Refused(why) => write!(f, "the running program says: {why}"),
        }
    }
}

impl std::error::Error for AskError {}

/// Asks the program that holds a state directory. `None` when nobody listens there: no program runs, or one whose
/// socket could not be made ([`crate::state::StateDir::is_in_use`] tells which).
///
/// # Errors
/// Somebody listens, and does not answer or says no.
pub fn ask(state_dir: &Path, command: Command) -> Result<Option<Value>, AskError> {
    let path = socket(state_dir);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if means_nobody(&error) => return Ok(None),
        Err(source) => return Err(AskError::Io { path, source }),
    };
    let answer = exchange(stream, command).map_err(|source| match source.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            AskError::NoAnswer(path.clone())
        }
        _ => AskError::Io { path: path.clone(), source },
    })?;
    if answer.is_empty() {
        return Err(AskError::NoAnswer(path));
    }
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ok(value)) => Ok(Some(value)),
        Ok(Answer::Error(why)) => Err(AskError::Refused(why)),
        Err(error) => Err(AskError::Io { path, source: error.into() }),
    }
}

/// No socket, one that a killed program left behind, or a path that no socket can have.
fn means_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput
    )
}

fn exchange(mut stream: UnixStream, command: Command) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&line(&command))?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}
