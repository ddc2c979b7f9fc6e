//! What a peer is called: a petname, ours to choose.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::identity::PeerId;

/// A petname's limit in bytes.
pub const MAX_NAME_LEN: usize = 64;

/// A petname: 1 to 64 ASCII letters, digits, `-`, `_`, `.` or `@`, not beginning with `@` or `-`. Its clones share their text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a peer that proposed none: `publisher-3fa1`, from the first bytes of its id.
    pub fn from_role(role: &str, id: PeerId) -> Self {
        let [a, b, ..] = *id.as_bytes();
        Self(format!("{role}-{a:02x}{b:02x}").into())
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that cannot be a petname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name is 1 to 64 ASCII letters, digits, - _ . or @, and begins with a letter, digit, _ or .")
    }
}

impl std::error::Error for InvalidName {}

impl FromStr for PeerName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=MAX_NAME_LEN).contains(&text.len()) && !text.starts_with(['@', '-']);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        if fits && text.chars().all(plain) { Ok(Self(text.into())) } else { Err(InvalidName) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_fool_a_terminal_or_a_path_are_refused() {
        for bad in ["", "a\x1b[31m", "a\u{202e}b", "bett-ä", "a/b", "a b", "-rf", "@revoked", "a\0", &"x".repeat(65)] {
            assert_eq!(bad.parse::<PeerName>(), Err(InvalidName), "{bad:?}");
        }
        for good in ["a", "_", ".", "bed-3", "ward.7@site_2", &"x".repeat(64)] {
            assert_eq!(good.parse::<PeerName>().unwrap().as_str(), good);
        }
    }
}
