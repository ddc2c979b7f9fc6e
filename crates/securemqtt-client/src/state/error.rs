//! What can be wrong with the state on disk, in words for the person who has to fix it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use securemqtt_core::peers::ParseError;

use super::identity::IdentityProblem;
use super::key::KeyProblem;

/// The sort of a [`StateError`]: what an exit code needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateErrorKind {
    /// A file or mode that a person has to put right (exit 78).
    Config,
    /// The system would not read or write (exit 74).
    Io,
}

/// Why the state on disk cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum StateError {
    /// A directory or file that others may read or change.
    Mode {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The bits it should have.
        wanted: u32,
    },
    /// Something else stands where the directory should be.
    NotADirectory(PathBuf),
    /// Another process holds the directory.
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process, if it left its number.
        holder: Option<u32>,
    },
    /// The state was opened for reading only.
    ReadOnly(PathBuf),
    /// A file cannot be read.
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The identity file is not one.
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: IdentityProblem,
    },
    /// The known_peers file has a bad line.
    Peers {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        error: ParseError,
    },
    /// The counter file is not one.
    Counter(PathBuf),
    /// The database is damaged, or of a later version.
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The database is sealed, and not with the key at hand.
    Sealed {
        /// The file.
        path: PathBuf,
        /// Where the key is from; none if there is none.
        key: Option<PathBuf>,
    },
    /// The file of the state key is none.
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// The database takes nothing.
    NotStored {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The system gives no randomness.
    Random,
}

impl StateError {
    /// The sort of error.
    pub fn kind(&self) -> StateErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } | Self::NotStored { .. } | Self::Random => StateErrorKind::Io,
            _ => StateErrorKind::Config,
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { path, mode, wanted } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is open to other users (mode {mode:04o}) and may have been read or changed; if you trust it, run: chmod {wanted:o} {path}"
                )
            }
            Self::NotADirectory(path) => write!(f, "{} is not a directory; name one with --state-dir", path.display()),
            Self::Locked { path, holder } => {
                write!(f, "{} is in use by another process", path.display())?;
                if let Some(pid) = holder {
                    write!(f, " ({pid})")?;
                }
                f.write_str("; stop it, or give this one its own --state-dir")
            }
            Self::ReadOnly(path) => write!(f, "{} is open for reading only", path.display()),
            Self::Read { path, source } => write!(f, "cannot read {}: {source}; {}", path.display(), read_hint(source)),
            Self::Write { path, source } => write!(f, "cannot write {}: {}", path.display(), write_problem(source)),
            Self::Identity { path, problem } => write!(f, "{} {problem}", path.display()),
            Self::Peers { path, error } => write!(f, "{}, {error}; correct or remove the line", path.display()),
            Self::Database { path, why } => write!(
                f,
                "the state in {path} cannot be read: {why}; to start without it, run `mv {path} {path}.damaged`. {COST}",
                path = path.display()
            ),
            Self::Sealed { path, key } => {
                let path = path.display();
                match key {
                    None => write!(f, "{path} is sealed, and there is no key; name")?,
                    Some(key) => write!(f, "{path} is sealed with another key than {}; name", key.display())?,
                }
                write!(
                    f,
                    " the file of the key it was sealed with as --state-key-file, or, if that is lost, start without the \
                     state: `mv {path} {path}.sealed`. {COST}"
                )
            }
            Self::Key { path, problem } => {
                let path = path.display();
                match problem {
                    KeyProblem::Unreadable(why) => {
                        write!(f, "cannot read the state key {path}: {why}; check --state-key-file")
                    }
                    KeyProblem::TooShort(length) => write!(
                        f,
                        "the state key {path} has only {length} bytes; it takes 32 or more that nobody can guess: \
                         umask 077; head -c 32 /dev/urandom > {path}"
                    ),
                    KeyProblem::TooLong => {
                        write!(f, "{path} is no key of a state: it has more than 64 KiB; check --state-key-file")
                    }
                }
            }
            Self::NotStored { path, why } => write!(f, "cannot store the state in {}: {why}", path.display()),
            Self::Counter(path) => write!(
                f,
                "{} is damaged, and guessing the counter could repeat one; restore the whole directory from a backup, or start over with another --state-dir",
                path.display()
            ),
            Self::Random => {
                f.write_str("the system gives no random bytes; check that /dev/urandom or getrandom(2) is allowed here")
            }
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Key { problem: KeyProblem::Unreadable(source), .. } => Some(source),
            Self::Peers { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What is lost with a database.
const COST: &str = "That costs a subscriber its sessions, which are made anew, readings that wait for a key, and the memory \
                    of what it has read: what a broker or a publisher sends again is shown again. It costs a publisher \
                    its sessions, and the readings that it has not sent yet";

fn read_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "check the path, or create it by running once without it",
        io::ErrorKind::PermissionDenied => "check its owner and mode",
        io::ErrorKind::InvalidData => "it is not a text file",
        _ => "check the disk",
    }
}

fn write_problem(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::StorageFull => "the disk is full; make room and start again".to_owned(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up; make room and start again".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only; name another with --state-dir".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "no permission; check the owner and mode, or name another with --state-dir".to_owned()
        }
        _ => format!("{source}; check the disk, or name another with --state-dir"),
    }
}
