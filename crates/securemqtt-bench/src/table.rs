//! A Markdown table whose columns line up in plain text, too.

use std::fmt;

/// A table. The first column is text, the others are numbers and stand to the right.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(|name| clean(name.into())).collect(), rows: Vec::new() }
    }

    /// Adds a row. What is missing of it is a dash; what is too much is left out.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(|cell| clean(cell.into())).collect();
        row.resize(self.header.len(), "–".to_owned());
        self.rows.push(row);
    }

    /// Whether it has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
        (0..self.header.len()).map(width).collect()
    }
}

/// A cell is one line and has no bar of its own.
fn clean(cell: String) -> String {
    if cell.contains(['|', '\n']) { cell.replace('|', "\\|").replace('\n', " ") } else { cell }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for (index, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width - cell.chars().count());
                if index == 0 { write!(f, "| {cell}{gap} |")? } else { write!(f, " {gap}{cell} |")? }
            }
            writeln!(f)
        };
        line(f, &self.header)?;
        for (index, width) in widths.iter().enumerate() {
            if index == 0 {
                write!(f, "|{}|", "-".repeat(width + 2))?;
            } else {
                write!(f, "{}:|", "-".repeat(width + 1))?;
            }
        }
        writeln!(f)?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(["what", "readings/s"]);
        table.row(["plain", "52,000"]);
        table.row(["ours, µs", "7"]);
        assert_eq!(
            table.to_string(),
            "| what     | readings/s |\n\
             |----------|-----------:|\n\
             | plain    |     52,000 |\n\
             | ours, µs |          7 |\n"
        );
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_header() {
        let mut table = Table::new(["a", "b", "c"]);
        assert!(table.is_empty());
        table.row(["only"]);
        table.row(["1", "2", "3", "4"]);
        let bars: Vec<usize> = table.to_string().lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(bars, [4, 4, 4, 4]);
        assert!(table.to_string().contains("–") && !table.to_string().contains('4'));
    }

    #[test]
    fn a_bar_or_a_line_feed_in_a_cell_does_not_break_the_table() {
        let mut table = Table::new(["a|b"]);
        table.row(["x\ny"]);
        let lines: Vec<String> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines, ["| a\\|b |", "|------|", "| x y  |"]);
    }
}
