//! The report: sections of notes, tables and plots, as Markdown.

use std::fmt;

use crate::table::Table;

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
mod tests {
    use super::*;

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
