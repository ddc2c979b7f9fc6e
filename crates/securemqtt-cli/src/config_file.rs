//! The TOML file of `--config`: flat keys, each with its place in the file.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use toml::de::{DeTable, DeValue};

use crate::exit::{Exit, Failure};

/// A configuration file, read and taken apart but not yet understood.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: String,
    entries: Vec<Entry>,
}

/// One `key = value` of the file.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The key: a flag's long name.
    pub(crate) key: String,
    /// Where the key starts, in bytes.
    pub(crate) key_at: usize,
    /// The value as it would be typed; several for an array.
    pub(crate) values: Vec<String>,
    /// Where the value starts, in bytes.
    pub(crate) value_at: usize,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or it is not TOML, or holds what no flag can be.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::new(Exit::Config, format!("cannot read the configuration {}: {error}", path.display()))
        })?;
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, text),
            Err(error) => Err(not_text(path, &error)),
        }
    }

    fn parse(path: &Path, text: String) -> Result<Self, Failure> {
        let mut file = Self { path: path.to_owned(), text, entries: Vec::new() };
        file.entries = file.take_apart()?;
        Ok(file)
    }

    /// Its keys and values, in the order in which they stand.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A failure at a place of this file: `FILE:LINE:COLUMN: what`.
    pub(crate) fn failure(&self, at: usize, what: impl std::fmt::Display) -> Failure {
        let (line, column) = line_and_column(&self.text, at);
        let path = self.path.display();
        Failure::new(Exit::Config, format!("{path}:{line}:{column}: {what}"))
    }

    fn take_apart(&self) -> Result<Vec<Entry>, Failure> {
        let table = DeTable::parse(&self.text).map_err(|error| {
            let at = error.span().map_or(self.text.len(), |span| span.start);
            let what = error.message().lines().next().unwrap_or("not TOML").to_owned();
            self.failure(at, what).hint("lines look like: host = \"broker.example\" or port = 1883")
        })?;
        let mut entries = table
            .get_ref()
            .iter()
            .map(|(key, value)| {
                Ok(Entry {
                    key: key.get_ref().to_string(),
                    key_at: key.span().start,
                    values: self.values(value.get_ref(), value.span())?,
                    value_at: value.span().start,
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        entries.sort_by_key(|entry| entry.key_at);
        Ok(entries)
    }

    fn values(&self, value: &DeValue<'_>, span: Range<usize>) -> Result<Vec<String>, Failure> {
        match value {
            DeValue::Array(items) => items.iter().map(|item| self.scalar(item.get_ref(), item.span())).collect(),
            scalar => Ok(vec![self.scalar(scalar, span)?]),
        }
    }

    fn scalar(&self, value: &DeValue<'_>, span: Range<usize>) -> Result<String, Failure> {
        match value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(yes) => Ok(yes.to_string()),
            other => {
                let what = format!("a {} cannot stand here", other.type_str());
                Err(self.failure(span.start, what).hint("keys are flat, without [tables]"))
            }
        }
    }
}

fn not_text(path: &Path, error: &FromUtf8Error) -> Failure {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let file = ConfigFile { path: path.to_owned(), text, entries: Vec::new() };
    file.failure(at, "not UTF-8")
}

/// Line and column (in characters), both from 1.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Failure> {
        ConfigFile::parse(Path::new("c.toml"), text.to_owned())
    }

    #[test]
    fn values_become_what_would_be_typed() {
        let file = parse("port = 1_883\nhost = \"h\"\nquiet = true\ntopic = [\"a\", \"b\"]\n").unwrap();
        let seen: Vec<_> = file.entries().iter().map(|e| (e.key.as_str(), e.values.join("|"))).collect();
        assert_eq!(
            seen,
            [
                ("port", "1883".to_owned()),
                ("host", "h".to_owned()),
                ("quiet", "true".to_owned()),
                ("topic", "a|b".to_owned()),
            ]
        );
    }

    #[test]
    fn a_half_written_file_names_line_and_column() {
        let failure = parse("host = \"h\"\nport = ").unwrap_err();
        assert_eq!(failure.exit(), Exit::Config);
        assert!(failure.message().starts_with("c.toml:2:"), "{failure}");
        let failure = parse("host = \"hal").unwrap_err();
        assert!(failure.message().starts_with("c.toml:1:"), "{failure}");
    }

    #[test]
    fn a_table_is_refused_where_it_stands() {
        let failure = parse("port = 1\n[broker]\nhost = \"h\"\n").unwrap_err();
        assert!(failure.message().starts_with("c.toml:2:"), "{failure}");
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, b"port = 1\nhost = \"\xff\"").unwrap();
        let failure = ConfigFile::read(&path).unwrap_err();
        assert!(failure.message().ends_with("c.toml:2:9: not UTF-8"), "{failure}");
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("a\nähost", 4), (2, 2));
        assert_eq!(line_and_column("", 9), (1, 1));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(?s).{0,64}") {
            let _ = parse(&text);
        }
    }
}
