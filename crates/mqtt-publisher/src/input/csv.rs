//! `-f FILE.csv`: the header gives the keys, each row an object.
//!
//! A field that is a JSON number stays one, digit for digit; `true` and `false` are themselves; an empty field is `null`;
//! everything else is a string, such as `007`, `1e400` or `NaN`. Quotes carry no type: `"12"` is a number too.
//! `csv-core` rather than `csv`, because only its caller owns the buffers: an unclosed quote must not read a whole file into
//! memory.

use std::collections::HashSet;
use std::io::{self, BufRead};

use csv_core::ReadRecordResult;
use securemqtt_cli::exit::{Exit, Failure, Outcome};

use super::{Item, MAX_READING, Reading, Skipped, Source, broken};

/// The most columns a file may have.
const MAX_COLUMNS: usize = 4096;

/// The rows of a CSV file, as JSON objects.
pub struct CsvSource<R> {
    name: String,
    records: Records<R>,
    /// Each key with its quotes and its colon, as it stands in the object.
    keys: Vec<String>,
}

impl<R: BufRead + Send> CsvSource<R> {
    /// Reads the header of `from`, called `name` in messages.
    ///
    /// # Errors
    /// There is no header, or it has names that are empty or stand twice.
    pub fn new(name: &str, from: R) -> Outcome<Self> {
        let mut records = Records::new(from);
        let read = records.next().map_err(|error| broken(name, &error))?;
        let bad = |line: u64, why: &str| {
            Failure::new(Exit::BadData, format!("{name}:{line}: {why}"))
                .hint("the first line of a .csv file names its columns; with --raw each line is sent as it is")
        };
        let Some(record) = read else {
            return Err(bad(1, "the file is empty"));
        };
        let keys = keys(&records, &record).map_err(|why| bad(record.line, &why))?;
        Ok(Self { name: name.to_owned(), records, keys })
    }

    fn object(&self, record: &Record) -> Result<Vec<u8>, String> {
        let (want, got) = (self.keys.len(), record.fields);
        if record.too_long {
            return Err(format!("longer than {MAX_READING} bytes (a quote that is never closed?)"));
        }
        if want != got {
            return Err(format!("{got} fields where the header has {want}"));
        }
        let mut object = String::from("{");
        for (index, (key, field)) in self.keys.iter().zip(self.records.fields(record)).enumerate() {
            let text = std::str::from_utf8(field).map_err(|_| format!("field {} is not UTF-8", index + 1))?;
            if index > 0 {
                object.push_str(", ");
            }
            object.push_str(key);
            push_value(&mut object, text);
        }
        object.push('}');
        Ok(object.into_bytes())
    }
}

impl<R: BufRead + Send> Source for CsvSource<R> {
    fn next(&mut self) -> Outcome<Option<Item>> {
        let read = self.records.next().map_err(|error| broken(&self.name, &error))?;
        let item = read.map(|record| match self.object(&record) {
            Ok(payload) => Item::Reading(Reading { line: Some(record.line), payload }),
            Err(why) => Item::Skipped(Skipped { input: self.name.clone(), line: record.line, why }),
        });
        Ok(item)
    }
}

fn keys<R>(records: &Records<R>, header: &Record) -> Result<Vec<String>, String> {
    if header.too_long {
        return Err(format!("the header has more than {MAX_COLUMNS} columns or {MAX_READING} bytes"));
    }
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for (index, field) in records.fields(header).enumerate() {
        let column = index + 1;
        let name = std::str::from_utf8(field).map_err(|_| format!("the name of column {column} is not UTF-8"))?.trim();
        if name.is_empty() {
            return Err(format!("column {column} has no name"));
        }
        if !seen.insert(name) {
            return Err(format!("the name {name:?} stands twice, in column {column} again"));
        }
        keys.push(format!("{}: ", json_string(name)));
    }
    Ok(keys)
}

fn push_value(object: &mut String, text: &str) {
    let trimmed = text.trim();
    match trimmed {
        "" => object.push_str("null"),
        "true" | "false" => object.push_str(trimmed),
        // Refuses what JSON's grammar refuses, and what is beyond a double.
        _ if serde_json::from_str::<serde_json::Number>(trimmed).is_ok() => {
            object.push_str(trimmed);
        }
        _ => object.push_str(&json_string(text)),
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where a record stands in the buffers of [`Records`].
struct Record {
    line: u64,
    fields: usize,
    too_long: bool,
}

/// The records of a reader, in buffers of fixed size.
struct Records<R> {
    from: R,
    core: csv_core::Reader,
    line: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl<R> Records<R> {
    fn fields(&self, record: &Record) -> impl Iterator<Item = &[u8]> {
        let ends = &self.ends[..record.fields];
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(ends.iter().copied()).map(|(start, end)| &self.bytes[start..end])
    }
}

impl<R: BufRead> Records<R> {
    fn new(from: R) -> Self {
        Self { from, core: csv_core::Reader::new(), line: 1, bytes: vec![0; MAX_READING], ends: vec![0; MAX_COLUMNS] }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        self.skip_line_ends()?;
        let line = self.line;
        let (mut used, mut fields, mut too_long) = (0, 0, false);
        loop {
            let chunk = fill(&mut self.from)?;
            let (result, read, written, ended) =
                self.core.read_record(chunk, &mut self.bytes[used..], &mut self.ends[fields..]);
            self.line += line_feeds(&chunk[..read]);
            self.from.consume(read);
            used += written;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (used, fields, too_long) = (0, 0, true);
                }
                ReadRecordResult::Record => {
                    return Ok(Some(Record { line, fields, too_long }));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    /// The parser passes over empty lines by itself, but then a record's line is not known.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let chunk = fill(&mut self.from)?;
            let ends = chunk.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.line += line_feeds(&chunk[..ends]);
            let more = ends > 0 && ends == chunk.len();
            self.from.consume(ends);
            if !more {
                return Ok(());
            }
        }
    }
}

fn fill<R: BufRead>(from: &mut R) -> io::Result<&[u8]> {
    // A first call that is interrupted leaves the buffer as it was; the second returns it.
    while let Err(error) = from.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    from.fill_buf()
}

fn line_feeds(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn all(input: &[u8]) -> Vec<String> {
        let from = BufReader::with_capacity(7, input);
        let mut source = CsvSource::new("in.csv", from).unwrap();
        let mut seen = Vec::new();
        while let Some(item) = source.next().unwrap() {
            seen.push(match item {
                Item::Reading(reading) => {
                    let payload = String::from_utf8(reading.payload).unwrap();
                    serde_json::from_str::<serde_json::Value>(&payload).unwrap();
                    format!("{} {payload}", reading.line.unwrap())
                }
                Item::Skipped(skipped) => skipped.to_string(),
            });
        }
        seen
    }

    fn refused(input: &[u8]) -> String {
        let failure = CsvSource::new("in.csv", input).map(drop).unwrap_err();
        assert_eq!(failure.exit(), Exit::BadData);
        failure.message().to_owned()
    }

    #[test]
    fn numbers_stay_numbers_as_they_are_written() {
        let seen = all(b"a,b,c,d\n1,36.70,-0,1E2\n007,1e400,+1,.5\n12345678901234567890123,NaN,true,\n");
        assert_eq!(
            seen,
            [
                r#"2 {"a": 1, "b": 36.70, "c": -0, "d": 1E2}"#,
                r#"3 {"a": "007", "b": "1e400", "c": "+1", "d": ".5"}"#,
                r#"4 {"a": 12345678901234567890123, "b": "NaN", "c": true, "d": null}"#,
            ]
        );
    }

    #[test]
    fn quotes_line_breaks_and_spaces() {
        let seen = all(b"id, note\r\n\r\n1,\"a \"\"b\"\"\nc\"\r\n2, x ");
        assert_eq!(seen, [r#"3 {"id": 1, "note": "a \"b\"\nc"}"#, r#"5 {"id": 2, "note": " x "}"#,]);
    }

    #[test]
    fn unreadable_rows_are_named_and_the_rest_goes_on() {
        let seen = all(b"a,b\n1\n1,2,3\n\xff,1\n5,6\n");
        assert_eq!(
            seen,
            [
                "in.csv:2: 1 fields where the header has 2; skipped",
                "in.csv:3: 3 fields where the header has 2; skipped",
                "in.csv:4: field 1 is not UTF-8; skipped",
                r#"5 {"a": 5, "b": 6}"#,
            ]
        );
    }

    #[test]
    fn an_unclosed_quote_is_bounded_and_named() {
        let mut input = b"a\n1\n\"".to_vec();
        input.resize(3 * MAX_READING, b'x');
        let mut source = CsvSource::new("in.csv", input.as_slice()).unwrap();
        source.next().unwrap();
        let Some(Item::Skipped(skipped)) = source.next().unwrap() else { unreachable!("a row of 3 MiB") };
        assert_eq!(skipped.line, 3);
        assert!(skipped.why.contains("never closed"), "{skipped}");
        assert_eq!(source.next().unwrap(), None);
    }

    #[test]
    fn headers_that_cannot_be_keys_are_refused() {
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"a,b, a\n").contains("\"a\" stands twice, in column 3"));
        assert!(refused(b"\na,,b\n").contains("in.csv:2: column 2 has no name"));
        assert!(refused(b"\xff,b\n").contains("not UTF-8"));
        assert!(refused(",".repeat(MAX_COLUMNS).as_bytes()).contains("columns"));
    }

    #[test]
    fn a_header_alone_has_no_readings_and_a_mark_is_no_data() {
        assert!(all(b"a,b\n").is_empty());
        assert_eq!(all(b"\xef\xbb\xbfa\n1\n"), [r#"2 {"a": 1}"#]);
    }

    proptest! {
        #[test]
        fn every_row_that_is_given_is_json(rows in "[a1,\"\r\n .e-]{0,60}") {
            let _ = all(format!("a,b\n{rows}").as_bytes());
        }
    }
}
