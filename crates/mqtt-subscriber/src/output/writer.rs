//! Records to stdout or to a file.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use securemqtt_cli::exit::{Failure, Outcome};
use securemqtt_cli::logging::Talk;

use super::{Gap, Record, Template, demo, json};

/// How a record becomes a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// `[Decrypted] …`, for people; the topic too, if true.
    Demo(bool),
    /// One JSON object.
    Json,
    /// The payload's bytes; the topic in front, if true.
    Raw(bool),
    /// As `-F` says.
    Template(Template),
}

impl Style {
    /// Whether stdout is for people, so that status lines belong there too.
    pub fn is_demo(&self) -> bool {
        matches!(self, Self::Demo(_))
    }

    fn line(&self, record: &Record) -> Vec<u8> {
        match self {
            Self::Demo(verbose) => demo::line(record, *verbose).into_bytes(),
            Self::Json => json::line(record).into_bytes(),
            Self::Raw(false) => record.payload.clone(),
            Self::Raw(true) => [record.topic.as_bytes(), b" ", &record.payload].concat(),
            Self::Template(template) => template.line(record),
        }
    }
}

/// Where records go. Buffered: call [`Output::flush`] whenever nothing more is at hand.
pub struct Output {
    style: Style,
    file: Option<PathBuf>,
    to: BufWriter<Box<dyn Write + Send>>,
}

impl Output {
    /// To stdout, or to the end of a file.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(style: Style, file: Option<&Path>) -> Outcome<Self> {
        let to: Box<dyn Write + Send> = match file {
            None => Box::new(io::stdout()),
            Some(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                Box::new(opened.map_err(|error| Failure::writing(path, &error))?)
            }
        };
        Ok(Self { style, file: file.map(Path::to_owned), to: BufWriter::new(to) })
    }

    /// Puts a record out.
    ///
    /// # Errors
    /// It cannot be written; a closed pipe is the quiet failure.
    pub fn write(&mut self, record: &Record) -> Outcome<()> {
        let mut line = self.style.line(record);
        line.push(b'\n');
        let result = self.to.write_all(&line);
        result.map_err(|error| self.failure(error))
    }

    /// Puts out what happened to readings, in the format that has a place for it: JSON.
    ///
    /// # Errors
    /// As for [`Output::write`].
    pub fn gap(&mut self, gap: &Gap<'_>) -> Outcome<()> {
        self.event(json::event(gap, SystemTime::now()))
    }

    /// As [`Output::gap`], for a publisher that has gone silent, or is back.
    ///
    /// # Errors
    /// As for [`Output::write`].
    pub fn pulse(&mut self, event: &str, publisher: &str) -> Outcome<()> {
        self.event(json::pulse(event, publisher, SystemTime::now()))
    }

    fn event(&mut self, mut line: String) -> Outcome<()> {
        if self.style != Style::Json {
            return Ok(());
        }
        line.push('\n');
        let result = self.to.write_all(line.as_bytes());
        result.map_err(|error| self.failure(error))
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// As for [`Output::write`].
    pub fn flush(&mut self) -> Outcome<()> {
        let result = self.to.flush();
        result.map_err(|error| self.failure(error))
    }

    /// Says how things stand, in order with the records.
    ///
    /// # Errors
    /// As for [`Output::write`].
    pub fn say(&mut self, talk: &Talk, status: impl fmt::Display) -> Outcome<()> {
        if talk.on_stdout() {
            self.flush()?;
        }
        talk.say(status).map_err(Failure::from)
    }

    fn failure(&self, error: io::Error) -> Failure {
        match &self.file {
            Some(path) => Failure::writing(path, &error),
            None => Failure::from(error),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::output::fixture::record;

    #[test]
    fn a_file_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        for payload in [&b"1"[..], b"2"] {
            let mut output = Output::open(Style::Raw(false), Some(&path)).unwrap();
            output.write(&record(payload)).unwrap();
            output.flush().unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"1\n2\n");
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
        output.write(&record(b"1")).unwrap();
        assert!(output.flush().unwrap_err().message().contains("/dev/full"));
    }

    #[test]
    fn raw_is_the_bytes() {
        let record = record(b"\x00\xff");
        assert_eq!(Style::Raw(false).line(&record), b"\x00\xff");
        assert_eq!(Style::Raw(true).line(&record), b"telemetry/ward-7 \x00\xff");
    }
}
