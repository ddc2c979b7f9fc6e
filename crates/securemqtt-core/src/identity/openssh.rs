//! A public identity key as OpenSSH writes it: a line with the wire encoding of RFC 5656, section 3.1, in base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::PublicKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;

use super::{Fingerprint, IdentityPublic};
use crate::primitives::sha256;

const SSH_TYPE: &str = "ecdsa-sha2-nistp256";
const SSH_CURVE: &str = "nistp256";

impl IdentityPublic {
    /// SHA-256 over the OpenSSH wire encoding (RFC 5656, section 3.1), as `ssh-keygen -lf` shows it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha256(&[&self.openssh_blob()]))
    }

    /// `ecdsa-sha2-nistp256 BASE64`, a line that OpenSSH reads.
    pub fn to_openssh(&self) -> String {
        format!("{SSH_TYPE} {}", STANDARD.encode(self.openssh_blob()))
    }

    /// Reads `ecdsa-sha2-nistp256 BASE64`; a comment behind it is ignored.
    ///
    /// # Errors
    /// [`InvalidOpenSsh`] says which part is wrong.
    pub fn from_openssh(line: &str) -> Result<Self, InvalidOpenSsh> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some(SSH_TYPE) => {}
            Some(other) => return Err(InvalidOpenSsh::KeyType(other.chars().take(40).collect())),
            None => return Err(InvalidOpenSsh::Truncated),
        }
        let blob =
            STANDARD.decode(words.next().ok_or(InvalidOpenSsh::Truncated)?).map_err(|_| InvalidOpenSsh::Base64)?;
        let mut rest = blob.as_slice();
        let kind = ssh_string(&mut rest)?;
        let curve = ssh_string(&mut rest)?;
        let point = ssh_string(&mut rest)?;
        if kind != SSH_TYPE.as_bytes() || curve != SSH_CURVE.as_bytes() || !rest.is_empty() {
            return Err(InvalidOpenSsh::Encoding);
        }
        if point.len() != 65 || point.first() != Some(&4) {
            return Err(InvalidOpenSsh::Encoding);
        }
        PublicKey::from_sec1_bytes(point).map(Self::from_point).map_err(|_| InvalidOpenSsh::Encoding)
    }

    fn openssh_blob(&self) -> Vec<u8> {
        let point = self.point.to_sec1_point(false);
        let mut blob = Vec::with_capacity(104);
        for part in [SSH_TYPE.as_bytes(), SSH_CURVE.as_bytes(), point.as_bytes()] {
            blob.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            blob.extend_from_slice(part);
        }
        blob
    }
}

fn ssh_string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], InvalidOpenSsh> {
    let (length, tail) = rest.split_first_chunk::<4>().ok_or(InvalidOpenSsh::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| InvalidOpenSsh::Encoding)?;
    let (string, tail) = tail.split_at_checked(length).ok_or(InvalidOpenSsh::Truncated)?;
    *rest = tail;
    Ok(string)
}

/// Why a line is not an OpenSSH P-256 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidOpenSsh {
    /// The key is of another type.
    KeyType(String),
    /// A part is missing.
    Truncated,
    /// The base64 does not decode.
    Base64,
    /// The blob is not an uncompressed P-256 point in OpenSSH encoding.
    Encoding,
}

impl fmt::Display for InvalidOpenSsh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyType(other) => {
                write!(f, "key type {other:?} instead of {SSH_TYPE}: securemqtt identities are P-256 keys")
            }
            Self::Truncated => f.write_str("the key is cut short"),
            Self::Base64 => f.write_str("the key is not valid base64"),
            Self::Encoding => f.write_str("the key is not a P-256 point in OpenSSH encoding"),
        }
    }
}

impl std::error::Error for InvalidOpenSsh {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Made once with `ssh-keygen -t ecdsa -b 256`, and its `ssh-keygen -lf`.
    const LINE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBOWDzblfxLhz8n15IEw79Z/EIXCYvpBSvC6A/aARvMdXEQRhfWNudq9GbbZ+WNFUrPH+ksjIGhufdCxw6ZMIJqA=";
    const FINGERPRINT: &str = "SHA256:yhvnApVcOmOGWRTLyVAzx/3kUmz4StMVZkUTDFdQ/vc";

    #[test]
    fn keys_and_fingerprints_are_those_of_openssh() {
        let key = IdentityPublic::from_openssh(&format!("{LINE} made once")).unwrap();
        assert_eq!(key.to_openssh(), LINE);
        assert_eq!(key.fingerprint().to_string(), FINGERPRINT);
        assert_eq!(FINGERPRINT.parse(), Ok(key.fingerprint()));
        assert_eq!(IdentityPublic::from_bytes(key.as_bytes()).unwrap(), key);
    }

    #[test]
    fn openssh_lines_that_are_no_identity_are_refused() {
        let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE4W";
        assert_eq!(IdentityPublic::from_openssh(other), Err(InvalidOpenSsh::KeyType("ssh-ed25519".to_owned())));
        assert_eq!(IdentityPublic::from_openssh(""), Err(InvalidOpenSsh::Truncated));
        assert_eq!(IdentityPublic::from_openssh("ecdsa-sha2-nistp256"), Err(InvalidOpenSsh::Truncated));
        assert_eq!(IdentityPublic::from_openssh("ecdsa-sha2-nistp256 %%%%"), Err(InvalidOpenSsh::Base64));

        let (_, base64) = LINE.split_once(' ').unwrap();
        let blob = STANDARD.decode(base64).unwrap();
        let read = |blob: &[u8]| IdentityPublic::from_openssh(&format!("{SSH_TYPE} {}", STANDARD.encode(blob)));
        for cut in 0..blob.len() {
            assert_eq!(read(&blob[..cut]), Err(InvalidOpenSsh::Truncated), "{cut}");
        }
        assert_eq!(read(&[&blob[..], &[0]].concat()), Err(InvalidOpenSsh::Encoding));
        let mut off_curve = blob.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        assert_eq!(read(&off_curve), Err(InvalidOpenSsh::Encoding));
        let mut huge = blob;
        huge[0] = 0xff;
        assert_eq!(read(&huge), Err(InvalidOpenSsh::Truncated));
    }
}
