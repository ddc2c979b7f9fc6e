//! Identity keys: a static P-256 key a party, its id in topics, its fingerprint for people.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::primitives::{
    InvalidPoint, POINT_LEN, diffie_hellman, parse_point, point_bytes, public_key, sha256, sha256_prefix,
};

const SSH_TYPE: &str = "ecdsa-sha2-nistp256";
const SSH_CURVE: &str = "nistp256";

/// A private identity key. It cannot be printed, and is wiped on drop.
#[derive(Clone)]
pub struct IdentityKey {
    secret: SecretKey,
    public: IdentityPublic,
}

impl IdentityKey {
    /// A new key.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::from_secret(SecretKey::generate_from_rng(rng))
    }

    /// From the 32-byte big-endian scalar.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is zero or not below the group order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidKey> {
        SecretKey::from_slice(bytes).map(Self::from_secret).map_err(|_| InvalidKey)
    }

    fn from_secret(secret: SecretKey) -> Self {
        let public = IdentityPublic::from_point(public_key(&secret));
        Self { secret, public }
    }

    /// The 32-byte scalar, to be written to a key file.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    /// The public half.
    pub fn public(&self) -> &IdentityPublic {
        &self.public
    }

    /// `DH(self, peer)`, 32 bytes.
    pub(crate) fn diffie_hellman(&self, peer: &PublicKey) -> Zeroizing<[u8; 32]> {
        diffie_hellman(&self.secret, peer)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({}, [secret])", self.public.fingerprint())
    }
}

impl zeroize::ZeroizeOnDrop for IdentityKey {}

/// Bytes that are not a P-256 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a P-256 private key")
    }
}

impl std::error::Error for InvalidKey {}

/// A public identity key: 33 bytes on the wire, validated.
#[derive(Clone)]
pub struct IdentityPublic {
    bytes: [u8; POINT_LEN],
    point: PublicKey,
}

impl IdentityPublic {
    /// From the compressed point.
    ///
    /// # Errors
    /// [`InvalidPoint`] unless it is exactly 33 bytes, first 02 or 03, on the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidPoint> {
        parse_point(bytes).map(Self::from_point)
    }

    pub(crate) fn from_point(point: PublicKey) -> Self {
        Self { bytes: point_bytes(&point), point }
    }

    /// The compressed point, 33 bytes.
    pub fn as_bytes(&self) -> &[u8; POINT_LEN] {
        &self.bytes
    }

    pub(crate) fn point(&self) -> &PublicKey {
        &self.point
    }

    /// `SHA-256(33-byte key)[..16]`, the id in topics.
    pub fn id(&self) -> PeerId {
        PeerId(sha256_prefix(&[&self.bytes]))
    }

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

impl PartialEq for IdentityPublic {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for IdentityPublic {}

impl fmt::Debug for IdentityPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublic({})", self.fingerprint())
    }
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
pub struct Fingerprint([u8; 32]);

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

    #[test]
    fn ids_and_fingerprints_have_one_spelling() {
        let id = IdentityPublic::from_openssh(LINE).unwrap().id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "00", &id.to_string().to_uppercase(), &format!("{id}0"), "äääääääääääääääá"] {
            assert!(bad.parse::<PeerId>().is_err(), "{bad}");
        }
        for bad in ["", "SHA256:", "yhvnApVcOmOGWRTLyVAzx/3kUmz4StMVZkUTDFdQ/vc", "MD5:aa", "SHA256:%"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn scalars_outside_the_group_are_refused() {
        assert_eq!(IdentityKey::from_bytes(&[0; 32]).err(), Some(InvalidKey));
        assert_eq!(IdentityKey::from_bytes(&[0xff; 32]).err(), Some(InvalidKey));
        let key = IdentityKey::from_bytes(&[1; 32]).unwrap();
        assert_eq!(*key.to_bytes(), [1; 32]);
    }
}
