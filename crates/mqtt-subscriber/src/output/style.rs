//! How a record becomes a line.

use super::{Record, Template, demo, json};

/// See the module.
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

    /// Whether it shows how long the opening of a reading took.
    pub fn shows_times(&self) -> bool {
        !matches!(self, Self::Raw(_))
    }

    pub(super) fn append(&self, record: &Record, lines: &mut Vec<u8>) {
        match self {
            Self::Demo(verbose) => lines.extend_from_slice(demo::line(record, *verbose).as_bytes()),
            Self::Json => lines.extend_from_slice(json::line(record).as_bytes()),
            Self::Raw(verbose) => {
                if *verbose {
                    lines.extend_from_slice(record.topic.as_bytes());
                    lines.push(b' ');
                }
                lines.extend_from_slice(&record.payload);
            }
            Self::Template(template) => lines.extend_from_slice(&template.line(record)),
        }
        lines.push(b'\n');
    }
}
