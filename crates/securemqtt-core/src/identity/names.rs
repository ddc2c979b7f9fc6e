//! What a public identity key is called: its id in topics, its fingerprint for people.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// `SHA-256(identity key)[..16]`: 32 hex digits in topics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) [u8; 16]);

impl PeerId {
    /// From its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// A string that is not what it should be: an id of 32 lower-case hex digits, or a fingerprint `SHA256:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidText(&'static str);

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl std::error::Error for InvalidText {}

impl FromStr for PeerId {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const WANTED: InvalidText = InvalidText("32 lower-case hex digits");
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(WANTED);
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WANTED)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WANTED)?;
        }
        Ok(Self(id))
    }
}

/// A fingerprint, `SHA256:` and 43 base64 characters: the same string as `ssh-keygen -lf`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(super) [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const WANTED: InvalidText = InvalidText("a fingerprint: SHA256: and 43 characters of base64");
        let digits = text.strip_prefix("SHA256:").ok_or(WANTED)?;
        let bytes = STANDARD_NO_PAD.decode(digits.trim_end_matches('=')).map_err(|_| WANTED)?;
        bytes.try_into().map(Self).map_err(|_| WANTED)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::identity::IdentityKey;

    #[test]
    fn ids_and_fingerprints_have_one_spelling() {
        let id = IdentityKey::from_bytes(&[1; 32]).unwrap().public().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00", &id.to_string().to_uppercase(), &format!("{id}0"), "äääääääääääääääá"] {
            assert!(bad.parse::<PeerId>().is_err(), "{bad}");
        }
        for bad in ["", "SHA256:", "yhvnApVcOmOGWRTLyVAzx/3kUmz4StMVZkUTDFdQ/vc", "MD5:aa", "SHA256:%"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
