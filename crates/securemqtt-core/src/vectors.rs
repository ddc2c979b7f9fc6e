//! The known-answer vectors of `vectors/`, for tests: fields by section and name.

use serde_json::Value;

/// A file of vectors.
pub(crate) struct Vectors(Value);

impl Vectors {
    /// `vectors/session.json`.
    pub(crate) fn session() -> Self {
        Self::parse(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/session.json")))
    }

    /// `vectors/repair.json`.
    pub(crate) fn repair() -> Self {
        Self::parse(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/repair.json")))
    }

    /// Reads a file.
    pub(crate) fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    fn value(&self, section: &str, field: &str, kind: &str) -> &Value {
        let found = &self.0[section][field][kind];
        assert!(!found.is_null(), "no {kind} {field} in {section}");
        found
    }

    /// The bytes of a field.
    pub(crate) fn hex(&self, section: &str, field: &str) -> Vec<u8> {
        hex::decode(self.value(section, field, "hex").as_str().unwrap()).unwrap()
    }

    /// The bytes of a field of known length.
    pub(crate) fn array<const N: usize>(&self, section: &str, field: &str) -> [u8; N] {
        self.hex(section, field).try_into().unwrap()
    }

    /// A field that is text.
    pub(crate) fn text(&self, section: &str, field: &str) -> &str {
        self.value(section, field, "text").as_str().unwrap()
    }
}
