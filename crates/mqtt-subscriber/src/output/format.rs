//! `-F FORMAT`: mosquitto_sub's letters, as far as they make sense here, and ours.

use std::fmt::Write;
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use super::{Record, json};

/// The letters, for the help text and for the message about an unknown one.
pub(crate) const LETTERS: &str = "\
%t topic, %p payload, %x %X payload in hex, %l its length, %q QoS, %r retained, %I time of arrival, %U the same in Unix \
seconds, %J %j JSON object with the payload as JSON or as text, %n publisher, %k its fingerprint, %s stream, %c sequence \
number, %u decryption time in µs, %% a percent sign; and \\n \\t \\r \\0 \\e \\\\";

/// A format, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Payload,
    HexLower,
    HexUpper,
    Length,
    Qos,
    Retain,
    Time,
    Unix,
    Json,
    JsonText,
    Publisher,
    Fingerprint,
    Stream,
    Sequence,
    DecryptTime,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(format: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            match (char, chars.clone().next()) {
                ('%', Some('%')) => text.push(b'%'),
                ('%', Some(letter)) => {
                    let field = field(letter).ok_or_else(|| unknown('%', letter))?;
                    parts.extend((!text.is_empty()).then(|| Part::Text(std::mem::take(&mut text))));
                    parts.push(Part::Field(field));
                }
                ('\\', Some(letter)) => {
                    text.push(escape(letter).ok_or_else(|| unknown('\\', letter))?);
                }
                ('%' | '\\', None) => {
                    return Err(format!("{char} at the end stands for nothing; there are {LETTERS}"));
                }
                _ => {
                    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            }
            chars.next();
        }
        parts.extend((!text.is_empty()).then_some(Part::Text(text)));
        Ok(Self(parts))
    }
}

fn unknown(sign: char, letter: char) -> String {
    format!("{sign}{letter} is unknown; there are {LETTERS}")
}

fn field(letter: char) -> Option<Field> {
    Some(match letter {
        't' => Field::Topic,
        'p' => Field::Payload,
        'x' => Field::HexLower,
        'X' => Field::HexUpper,
        'l' => Field::Length,
        'q' => Field::Qos,
        'r' => Field::Retain,
        'I' => Field::Time,
        'U' => Field::Unix,
        'J' => Field::Json,
        'j' => Field::JsonText,
        'n' => Field::Publisher,
        'k' => Field::Fingerprint,
        's' => Field::Stream,
        'c' => Field::Sequence,
        'u' => Field::DecryptTime,
        _ => return None,
    })
}

fn escape(letter: char) -> Option<u8> {
    Some(match letter {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        '0' => 0,
        'e' => 0x1b,
        '\\' => b'\\',
        _ => return None,
    })
}

impl Template {
    /// The line of a record, without the line feed at its end.
    pub(super) fn line(&self, record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.extend_from_slice(text),
                Part::Field(Field::Payload) => line.extend_from_slice(&record.payload),
                Part::Field(field) => line.extend_from_slice(field.text(record).as_bytes()),
            }
        }
        line
    }
}

impl Field {
    fn text(self, record: &Record) -> String {
        match self {
            Self::Topic => record.topic.to_string(),
            Self::Payload => String::from_utf8_lossy(&record.payload).into_owned(),
            Self::HexLower => hex(&record.payload),
            Self::HexUpper => hex(&record.payload).to_uppercase(),
            Self::Length => record.payload.len().to_string(),
            Self::Qos => record.qos_digit().to_string(),
            Self::Retain => u8::from(record.retain).to_string(),
            Self::Time => humantime::format_rfc3339_seconds(record.arrived).to_string(),
            Self::Unix => {
                let since = record.arrived.duration_since(UNIX_EPOCH).unwrap_or_default();
                format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
            }
            Self::Json => json::line(record),
            Self::JsonText => json::line_with_text(record),
            Self::Publisher => record.publisher.to_string(),
            Self::Fingerprint => record.fingerprint.to_string(),
            Self::Stream => record.stream.to_string(),
            Self::Sequence => record.seq.to_string(),
            Self::DecryptTime => format!("{:.2}", record.decrypt_us()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::output::fixture::record;

    fn format(template: &str) -> String {
        let template = Template::from_str(template).unwrap();
        String::from_utf8(template.line(&record("aµ".as_bytes()))).unwrap()
    }

    #[test]
    fn every_letter() {
        assert_eq!(format("%t: %p (%l) %x %X"), "telemetry/ward-7: aµ (3) 61c2b5 61C2B5");
        assert_eq!(format("%q%r %I %U"), "11 2016-08-10T08:49:03Z 1470818943.786368637");
        assert_eq!(format("%n %s %c %u µs"), "publisher-3fa1 7 12 0.41 µs");
        assert_eq!(format("100%%\\t\\\\é"), "100%\t\\é");
        assert!(format("%k").starts_with("SHA256:AAA"));
        assert!(format("%j").ends_with("\"payload\":\"aµ\"}"));
        assert!(format("%J").ends_with("\"payload_b64\":\"YcK1\"}"));
    }

    #[test]
    fn unknown_letters_are_refused() {
        for bad in ["%m", "a%", "\\q", "\\", "%é"] {
            let why = Template::from_str(bad).unwrap_err();
            assert!(why.contains("%t topic"), "{why}");
        }
    }

    #[test]
    fn bytes_are_printed_as_they_are() {
        let template = Template::from_str("%p").unwrap();
        assert_eq!(template.line(&record(b"\xff\0")), b"\xff\0");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[%\\\\tpJé ]{0,12}") {
            if let Ok(template) = Template::from_str(&text) {
                template.line(&record(b"1"));
            }
        }
    }
}
