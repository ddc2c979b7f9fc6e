//! The report: sections of notes, tables and plots, as Markdown, each written as soon as it is there.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use crate::outcome::Outcome;
use crate::table::Table;

/// The report as it grows, in a file and on stdout: a run that is interrupted has left what it had measured.
#[derive(Debug)]
pub(crate) struct Report {
    file: File,
    /// When the last section was there.
    last: Instant,
}

impl Report {
    /// An empty one in the place of an earlier one.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(crate) fn create(path: &Path) -> Outcome<Self> {
        Ok(Self { file: File::create(path)?, last: Instant::now() })
    }

    /// Adds text.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn text(&mut self, text: &str) -> Outcome<()> {
        self.file.write_all(text.as_bytes())?;
        self.last = Instant::now();
        let mut stdout = io::stdout().lock();
        // Whoever has stopped reading finds it in the file.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        Ok(())
    }

    /// Adds what was measured since the last addition, all of it at once.
    ///
    /// # Errors
    /// As [`Report::text`].
    pub(crate) fn sections(&mut self, sections: impl IntoIterator<Item = Section>) -> Outcome<()> {
        let took = format!("Measured in {:.0} s.", self.last.elapsed().as_secs_f64());
        sections.into_iter().try_for_each(|mut section| {
            section.note(took.as_str());
            self.text(&section.to_string())
        })
    }
}

/// One part of the report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    title: String,
    blocks: Vec<String>,
}

impl Section {
    /// An empty one.
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), blocks: Vec::new() }
    }

    /// Adds a paragraph.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.blocks.push(text.into());
    }

    /// Adds a table, unless it is empty.
    pub(crate) fn table(&mut self, table: &Table) {
        if !table.is_empty() {
            self.blocks.push(table.to_string().trim_end().to_owned());
        }
    }

    /// Adds a plot that lies beside the report.
    pub(crate) fn plot(&mut self, caption: &str, file: &str) {
        self.blocks.push(format!("![{caption}]({file})"));
    }

    /// Adds what could not be measured, each reason once.
    pub(crate) fn missing(&mut self, why: &str) {
        let text = format!("**Not measured:** {why}");
        if !self.blocks.contains(&text) {
            self.blocks.push(text);
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        self.blocks.iter().try_for_each(|block| writeln!(f, "{block}\n"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_in_the_file_as_soon_as_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.md");
        std::fs::write(&path, "an earlier, longer report").unwrap();
        let mut report = Report::create(&path).unwrap();
        report.text("# All\n\n").unwrap();
        report.sections([Section::new("One")]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# All\n\n## One\n\nMeasured in 0 s.\n\n");
        report.sections([Section::new("Two")]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("## Two\n\nMeasured in 0 s.\n\n"));
    }

    #[test]
    fn blocks_are_paragraphs_and_a_reason_stands_once() {
        let mut section = Section::new("Title");
        section.note("Text.");
        section.table(&Table::new(["empty"]));
        section.missing("no broker");
        section.missing("no broker");
        section.plot("Rate", "rate.svg");
        assert_eq!(section.to_string(), "## Title\n\nText.\n\n**Not measured:** no broker\n\n![Rate](rate.svg)\n\n");
    }
}
