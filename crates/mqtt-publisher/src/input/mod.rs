//! Where readings come from: one at a time, in constant memory, each with its place.

mod csv;
#[cfg(target_os = "linux")]
mod direct;
mod items;
mod jsonl;
mod lines;
mod message;
mod pump;
mod simulate;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use securemqtt_cli::exit::{Exit, Failure, Outcome};

pub use self::csv::CsvSource;
pub use self::items::Items;
pub use self::jsonl::LineSource;
pub use self::message::MessageSource;
pub use self::pump::Pace;
pub use self::simulate::VitalsSource;

/// The longest reading that is taken from a file or from stdin, in bytes.
pub const MAX_READING: usize = 1 << 20;

/// One reading, ready to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its line in the input, from 1, where the input has lines.
    pub line: Option<u64>,
    /// What is published.
    pub payload: Vec<u8>,
}

/// A piece of input that is no reading, and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The input's name: a path, or `stdin`.
    pub input: String,
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl Skipped {
    /// Names it on stderr.
    pub fn tell(&self) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr().lock(), "mqtt-publisher: {self}");
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, line, why } = self;
        write!(f, "{input}:{line}: {why}; skipped")
    }
}

/// What a source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A reading to publish.
    Reading(Reading),
    /// Bad data: to be named on stderr and counted, so that the exit code is 65 in the end.
    Skipped(Skipped),
}

/// Something that gives readings, one at a time; a call may block.
pub trait Source: Send {
    /// The next reading; `None` at the end of the input.
    ///
    /// # Errors
    /// The input cannot be read further.
    fn next(&mut self) -> Outcome<Option<Item>>;
}

/// The input that the flags chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `--simulate vitals`: endless.
    Vitals,
    /// `-m TEXT`: the same again and again; `--count`, or one, says how often.
    Message(String),
    /// `-f FILE`.
    File(PathBuf),
    /// `-l`: stdin, a reading a line.
    Stdin,
}

impl Input {
    /// Opens the input; `raw` means that readings need not be JSON.
    ///
    /// # Errors
    /// A file that is not there (exit 66), a message or a header that is no data (exit 65).
    pub fn open(&self, raw: bool) -> Outcome<Box<dyn Source>> {
        match self {
            Self::Vitals => Ok(Box::new(VitalsSource::new(getrandom::SysRng, std::time::SystemTime::now))),
            Self::Message(text) => Ok(Box::new(MessageSource::new(text, raw)?)),
            Self::File(path) => open_file(path, raw),
            // Not `io::stdin().lock()`: the lock is no `Send`, and a second buffer costs nothing.
            Self::Stdin => Ok(Box::new(LineSource::new("stdin", BufReader::with_capacity(BUFFER, io::stdin()), raw))),
        }
    }
}

const BUFFER: usize = 64 * 1024;

/// A `.csv` file gives its rows as objects; every other file, and every file with `raw`, its lines.
fn open_file(path: &Path, raw: bool) -> Outcome<Box<dyn Source>> {
    let file = File::open(path).and_then(refuse_directory).map_err(|error| Failure::reading(path, &error))?;
    let name = path.display().to_string();
    let buffered = BufReader::with_capacity(BUFFER, file);
    if is_csv(path) && !raw {
        return Ok(Box::new(CsvSource::new(&name, buffered)?));
    }
    Ok(Box::new(LineSource::new(&name, buffered, raw)))
}

/// Opening a directory succeeds; only reading it would fail.
fn refuse_directory(file: File) -> io::Result<File> {
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// An error while reading an input that was opened.
fn broken(input: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot read {input} further: {error}"))
}

/// Why these bytes are not one JSON text; `None` if they are.
fn not_json(bytes: &[u8]) -> Option<String> {
    // serde_json does not look at the encoding of what it ignores.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let column = error.valid_up_to() + 1;
            return Some(format!("not UTF-8 at byte {column}"));
        }
    };
    serde_json::from_str::<serde::de::IgnoredAny>(text).err().map(|error| format!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn exit_of(path: &Path) -> Exit {
        match Input::File(path.to_owned()).open(false) {
            Err(failure) => failure.exit(),
            Ok(_) => panic!("opened {}", path.display()),
        }
    }

    #[test]
    fn a_missing_file_and_a_directory_are_missing_input() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(exit_of(&directory.path().join("no.csv")), Exit::MissingInput);
        assert_eq!(exit_of(directory.path()), Exit::MissingInput);
    }

    #[test]
    fn json_is_named_by_what_is_wrong() {
        assert_eq!(not_json(br#"{"a": 1e400, "a": [null]}"#), None);
        assert_eq!(not_json(b"12"), None);
        assert_eq!(not_json(b"\"\xff\""), Some("not UTF-8 at byte 2".into()));
        assert!(not_json(b"{\"a\": }").is_some_and(|why| why.contains("column 7")));
        assert!(not_json(b"{} {}").is_some());
    }

    #[test]
    fn the_extension_decides() {
        assert!(is_csv(Path::new("a/b.CSV")));
        assert!(!is_csv(Path::new("csv")));
        assert!(!is_csv(Path::new("a.jsonl")));
    }
}
