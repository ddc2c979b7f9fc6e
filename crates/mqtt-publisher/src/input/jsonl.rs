//! `-l` and `-f FILE.jsonl`: a reading a line.

use std::io::{self, BufRead};

use securemqtt_cli::exit::{Failure, Outcome};

use super::lines::{Line, Lines};
use super::{Item, MAX_READING, Reading, Skipped, Source, broken, not_json};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a reader, published byte for byte without their endings. Empty lines are passed over, as mosquitto does.
#[derive(Debug)]
pub struct LineSource<R> {
    name: String,
    from: R,
    raw: bool,
    line: u64,
    lines: Lines,
}

impl<R: BufRead> LineSource<R> {
    /// Reads `from`, called `name` in messages; with `raw` a line need not be JSON.
    pub fn new(name: &str, from: R, raw: bool) -> Self {
        Self { name: name.to_owned(), from, raw, line: 0, lines: Lines::default() }
    }

    /// The next reading, `None` at the end. One that waits for its reader is not lost: the next call goes on with it.
    ///
    /// # Errors
    /// Those of the reader.
    pub(super) fn read(&mut self) -> io::Result<Option<Item>> {
        while let Some(line) = self.lines.next(&mut self.from, MAX_READING)? {
            self.line += 1;
            if let Some(item) = self.item(line) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// What it reads from.
    pub(super) fn reader(&self) -> &R {
        &self.from
    }

    /// An error of the reader, in the words of the program.
    pub(super) fn broken(&self, error: &io::Error) -> Failure {
        broken(&self.name, error)
    }

    fn item(&self, line: Line) -> Option<Item> {
        let mut payload = self.lines.line();
        if self.line == 1 && !self.raw {
            payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
        }
        if line == Line::TooLong {
            return Some(self.skip(format!("longer than {MAX_READING} bytes")));
        }
        let blank = if self.raw { payload } else { payload.trim_ascii() };
        if blank.is_empty() {
            return None;
        }
        match not_json(payload).filter(|_| !self.raw) {
            Some(why) => Some(self.skip(why)),
            None => Some(Item::Reading(Reading { line: Some(self.line), payload: payload.to_vec() })),
        }
    }

    fn skip(&self, why: String) -> Item {
        Item::Skipped(Skipped { input: self.name.clone(), line: self.line, why })
    }
}

impl<R: BufRead + Send> Source for LineSource<R> {
    fn next(&mut self) -> Outcome<Option<Item>> {
        self.read().map_err(|error| self.broken(&error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all(input: &[u8], raw: bool) -> Vec<String> {
        let mut source = LineSource::new("in.jsonl", input, raw);
        let mut seen = Vec::new();
        while let Some(item) = source.next().unwrap() {
            seen.push(match item {
                Item::Reading(reading) => {
                    format!("{} {}", reading.line.unwrap(), String::from_utf8_lossy(&reading.payload))
                }
                Item::Skipped(skipped) => skipped.to_string(),
            });
        }
        seen
    }

    #[test]
    fn bad_lines_are_named_and_the_rest_goes_on() {
        let seen = all(b"{\"a\":1}\r\n\n{\"a\":\n\"\xff\"\n[2] ", false);
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert_eq!(seen[0], "1 {\"a\":1}");
        assert!(seen[1].starts_with("in.jsonl:3: not JSON: "), "{}", seen[1]);
        assert_eq!(seen[2], "in.jsonl:4: not UTF-8 at byte 2; skipped");
        assert_eq!(seen[3], "5 [2] ");
    }

    #[test]
    fn an_endless_line_is_named_and_skipped() {
        let mut input = vec![b'7'; MAX_READING + 1];
        input.extend_from_slice(b"\n8\n");
        let seen = all(&input, false);
        assert_eq!(seen, ["in.jsonl:1: longer than 1048576 bytes; skipped", "2 8"]);
    }

    #[test]
    fn raw_takes_any_bytes_but_no_empty_line() {
        let mut source = LineSource::new("stdin", &b"\n \xff\n"[..], true);
        let first = source.next().unwrap();
        let want = Reading { line: Some(2), payload: b" \xff".to_vec() };
        assert_eq!(first, Some(Item::Reading(want)));
        assert_eq!(source.next().unwrap(), None);
    }

    #[test]
    fn a_byte_order_mark_is_no_data() {
        assert_eq!(all(b"\xef\xbb\xbf{}\n", false), ["1 {}"]);
    }
}
