//! Records to stdout or to a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use securemqtt_cli::exit::{Failure, Outcome};
use securemqtt_cli::logging::Talk;
use securemqtt_client::state::Cursor;

use super::{Gap, Record, Style, json};

/// Lines that are gathered before they are handed on; of a file they wait for [`Output::sync`].
const PENDING: usize = 64 << 10;
/// As much as a pipe takes without a wait once it can be written to (POSIX: `PIPE_BUF`, on Linux).
const WITHOUT_WAIT: usize = 4096;

/// Where records go. Buffered: call [`Output::sync`] whenever nothing more is at hand.
///
/// A reader that stops reading, or a slow disk, must not stop the connection, which shares our thread: what may wait, waits
/// in another.
pub struct Output {
    style: Style,
    to: To,
    pending: Vec<u8>,
}

enum To {
    Stdout,
    File { path: PathBuf, file: Arc<File> },
}

/// What came of handing everything on.
#[derive(Debug, PartialEq, Eq)]
pub enum Synced {
    /// It is out, and a file survives a power cut up to this place.
    Done(Option<Cursor>),
    /// The disk is full, says the message; nothing is lost, and it can be tried again.
    Full(String),
}

impl Output {
    /// To stdout, or to the end of a file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(style: Style, file: Option<&Path>) -> Outcome<Self> {
        let to = match file {
            None => To::Stdout,
            Some(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                let file = opened.map_err(|error| Failure::writing(path, &error))?;
                To::File { path: path.to_owned(), file: Arc::new(file) }
            }
        };
        Ok(Self { style, to, pending: Vec::new() })
    }

    /// After a run that was killed: what it wrote to this file and did not store comes again, so it is cut off.
    ///
    /// Returns where it ends now.
    ///
    /// # Errors
    /// The file cannot be cut.
    pub fn resume(&mut self, cursor: Option<&Cursor>, clean: bool) -> Outcome<Option<Cursor>> {
        let To::File { path, file } = &self.to else { return Ok(None) };
        let fail = |error| Failure::writing(path, &error);
        let here = place(file).map_err(fail)?;
        let Some(cursor) = cursor.filter(|_| !clean) else { return Ok(Some(here)) };
        let is_the_same = (here.device, here.inode) == (cursor.device, cursor.inode);
        if is_the_same && here.length > cursor.length {
            file.set_len(cursor.length).and_then(|()| file.sync_data()).map_err(fail)?;
            return Ok(Some(cursor.clone()));
        }
        Ok(Some(here))
    }

    /// Puts a record out, with the next [`Output::relieve`] or [`Output::sync`].
    pub fn write(&mut self, record: &Record) {
        self.style.append(record, &mut self.pending);
    }

    /// Puts out what happened to readings, in the format that has a place for it: JSON.
    pub fn gap(&mut self, gap: &Gap<'_>) {
        self.event(&json::event(gap, SystemTime::now()));
    }

    /// As [`Output::gap`], for a publisher that has gone silent, or is back.
    pub fn pulse(&mut self, event: &str, publisher: &str) {
        self.event(&json::pulse(event, publisher, SystemTime::now()));
    }

    fn event(&mut self, line: &str) {
        if self.style == Style::Json {
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
    }

    /// A pipe gets what is gathered before it is too much; a file when it is synced.
    ///
    /// # Errors
    /// It cannot be written; a closed pipe is the quiet failure.
    pub async fn relieve(&mut self) -> Outcome<()> {
        if matches!(self.to, To::Stdout) && self.pending.len() >= PENDING {
            self.hand_on().await.map_err(|error| self.failure(error))?;
        }
        Ok(())
    }

    /// Hands everything on, however long that takes.
    ///
    /// # Errors
    /// As for [`Output::relieve`].
    pub fn flush(&mut self) -> Outcome<()> {
        let handed_on = match &self.to {
            To::Stdout => write_out(io::stdout(), &mut self.pending),
            To::File { file, .. } => write_out(&**file, &mut self.pending),
        };
        handed_on.map_err(|error| self.failure(error))
    }

    /// Hands everything on; a file to the disk.
    ///
    /// # Errors
    /// As for [`Output::relieve`]; a full disk is no error.
    pub async fn sync(&mut self) -> Outcome<Synced> {
        if self.pending.is_empty() {
            return Ok(Synced::Done(None));
        }
        let handed_on = match &self.to {
            To::Stdout => self.hand_on().await.map(|()| None),
            To::File { file, .. } => {
                let file = Arc::clone(file);
                self.elsewhere(move |lines| {
                    let cursor = append(&file, lines)?;
                    lines.clear();
                    Ok(Some(cursor))
                })
                .await
            }
        };
        match handed_on {
            Ok(cursor) => Ok(Synced::Done(cursor)),
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Ok(Synced::Full(self.failure(error).message().to_owned()))
            }
            Err(error) => Err(self.failure(error)),
        }
    }

    /// Writes what is gathered to stdout.
    async fn hand_on(&mut self) -> io::Result<()> {
        if self.pending.len() <= WITHOUT_WAIT && takes_more() {
            return write_out(io::stdout(), &mut self.pending);
        }
        self.elsewhere(|lines| write_out(io::stdout(), lines)).await
    }

    /// Does what may wait in another thread. What it leaves of the lines is still there.
    async fn elsewhere<T: Send + 'static>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let mut lines = std::mem::take(&mut self.pending);
        let done = tokio::task::spawn_blocking(move || (write(&mut lines), lines)).await;
        let (done, lines) = done.map_err(io::Error::other)?;
        self.pending = lines;
        done
    }

    /// Says how things stand, in order with the records.
    ///
    /// # Errors
    /// Stderr cannot be written.
    pub fn say(&mut self, talk: &Talk, status: impl fmt::Display) -> Outcome<()> {
        match talk.line_for_stdout(&status) {
            Some(line) if matches!(self.to, To::Stdout) => {
                self.line(&line);
                Ok(())
            }
            _ => talk.say(status).map_err(Failure::from),
        }
    }

    fn failure(&self, error: io::Error) -> Failure {
        match &self.to {
            To::File { path, .. } => Failure::writing(path, &error),
            To::Stdout => Failure::from(error),
        }
    }
}

/// Whether stdout takes something without a wait.
fn takes_more() -> bool {
    let stdout = io::stdout();
    let mut one = [PollFd::new(&stdout, PollFlags::OUT)];
    poll(&mut one, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Writes lines. After an error those that were not written are still there.
fn write_out(mut to: impl Write, lines: &mut Vec<u8>) -> io::Result<()> {
    while !lines.is_empty() {
        match to.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => drop(lines.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

/// Appends lines and has them on the disk: all of them or, where there is no room, none. A full disk may show only when the
/// data is synced, and the kernel may drop it then: asking for another sync would succeed, and the lines be gone.
fn append(mut file: &File, lines: &[u8]) -> io::Result<Cursor> {
    let before = file.metadata()?;
    if let Err(error) = file.write_all(lines).and_then(|()| file.sync_data()) {
        if before.is_file() {
            file.set_len(before.len())?;
        }
        return Err(error);
    }
    place(file)
}

fn place(file: &File) -> io::Result<Cursor> {
    let metadata = file.metadata()?;
    Ok(Cursor { device: metadata.dev(), inode: metadata.ino(), length: metadata.len() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::fixture::record;

    fn block_on<T>(done: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(done)
    }

    #[test]
    fn a_file_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        for payload in [&b"1"[..], b"2"] {
            let mut output = Output::open(Style::Raw(false), Some(&path)).unwrap();
            output.write(&record(payload));
            output.flush().unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n2\n");
    }

    /// Writes readings, each synced, and returns the last place.
    fn written(path: &Path, payloads: &[&[u8]]) -> Cursor {
        let mut output = Output::open(Style::Raw(false), Some(path)).unwrap();
        let mut cursor = None;
        for payload in payloads {
            output.write(&record(payload));
            let synced = block_on(output.sync()).unwrap();
            cursor = if let Synced::Done(cursor) = synced { cursor } else { None };
        }
        cursor.unwrap()
    }

    #[test]
    fn what_was_written_and_not_stored_is_cut_off_after_a_kill_and_only_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let stored = written(&path, &[b"1", b"2"]);
        written(&path, &[b"3"]);
        let resume = |path: &Path, cursor, clean| {
            Output::open(Style::Json, Some(path)).unwrap().resume(Some(cursor), clean).unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(resume(&path, &stored, true), b"1\n2\n3\n", "somebody else may have appended");
        let other = directory.path().join("other");
        std::fs::copy(&path, &other).unwrap();
        assert_eq!(resume(&other, &stored, false), b"1\n2\n3\n", "another file");
        assert_eq!(resume(&path, &stored, false), b"1\n2\n");
        std::fs::write(&path, b"1").unwrap();
        assert_eq!(resume(&path, &stored, false), b"1", "a shorter one is left as it is");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let failure = Output::open(Style::Json, Some(Path::new("/nonexistent/out"))).map(drop).unwrap_err();
        assert!(failure.message().contains("/nonexistent/out"), "{failure}");
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_silence() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let mut output = Output::open(Style::Raw(false), Some(full)).unwrap();
        output.write(&record(b"1"));
        assert!(output.flush().unwrap_err().message().contains("/dev/full"));
        for _ in 0..2 {
            assert!(
                matches!(block_on(output.sync()).unwrap(), Synced::Full(why) if why.contains("/dev/full")),
                "it is kept"
            );
        }
    }

    #[test]
    fn raw_is_the_bytes() {
        let record = record(b"\x00\xff");
        let line = |style: Style| {
            let mut line = Vec::new();
            style.append(&record, &mut line);
            line
        };
        assert_eq!(line(Style::Raw(false)), b"\x00\xff\n");
        assert_eq!(line(Style::Raw(true)), b"telemetry/ward-7 \x00\xff\n");
    }
}
