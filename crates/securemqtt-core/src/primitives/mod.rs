//! The cryptographic primitives of suite 1, one function each, headed by its formula.
//!
//! Everything else in this crate goes through these few functions, and so do the Wycheproof tests.
//! No length of theirs depends on data from the network. Who does the work is a feature: RustCrypto, or AWS-LC; and of AES-GCM
//! also ring.

mod aead;
#[cfg(feature = "aws-lc-rs")]
#[path = "aws_lc.rs"]
mod backend;
#[cfg(not(feature = "aws-lc-rs"))]
#[path = "rustcrypto.rs"]
mod backend;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use aead::AeadKey;

/// Bytes of a compressed P-256 point (SEC 1, section 2.3.3).
pub const POINT_LEN: usize = 33;
/// Bytes of a GCM tag and of a truncated MAC.
pub const TAG_LEN: usize = 16;
/// Bytes of an ECDSA P-256 signature, `r ‖ s`.
pub const SIGNATURE_LEN: usize = 64;

/// A message that does not authenticate. It says no more on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

impl std::fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the message does not authenticate")
    }
}

impl std::error::Error for NotAuthentic {}

/// `SHA-256(part_0 ‖ part_1 ‖ …)` (FIPS 180-4): 32 bytes.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    backend::sha256(parts)
}

/// The first `N` bytes of [`sha256`]; `N` is at most 32.
pub fn sha256_prefix<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 32) };
    let digest = sha256(parts);
    std::array::from_fn(|i| digest[i])
}

/// `HMAC-SHA256(key, part_0 ‖ part_1 ‖ …)[..16]` (RFC 2104).
pub fn hmac16(key: &[u8; 32], parts: &[&[u8]]) -> [u8; TAG_LEN] {
    let full = backend::hmac(key, parts);
    std::array::from_fn(|i| full[i])
}

/// Whether two MACs are equal, in constant time.
pub fn mac_eq(a: &[u8; TAG_LEN], b: &[u8; TAG_LEN]) -> bool {
    a.ct_eq(b).into()
}

/// `HKDF-Extract(salt, ikm)` with SHA-256 (RFC 5869, section 2.2): a 32-byte pseudorandom key.
pub fn hkdf_extract(salt: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    backend::hkdf_extract(salt, ikm)
}

/// `HKDF-Expand(prk, info_0 ‖ info_1 ‖ …, out.len())` with SHA-256 (RFC 5869, section 2.3).
///
/// # Errors
/// [`TooLong`] for more than 8,160 bytes (255 blocks).
pub fn hkdf_expand_into(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) -> Result<(), TooLong> {
    backend::hkdf_expand_into(prk, info, out)
}

/// More output than HKDF can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// [`hkdf_expand_into`] for a length fixed at compile time, at most 255 bytes.
pub fn hkdf_expand<const N: usize>(prk: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255) };
    let mut out = Zeroizing::new([0; N]);
    #[expect(clippy::expect_used, reason = "the length is checked at compile time")]
    hkdf_expand_into(prk, info, &mut *out).expect("N is at most 255");
    out
}

/// Validates exactly 33 bytes as a compressed P-256 point: prefix 02 or 03, on the curve.
/// (The identity has no such encoding. `from_sec1_bytes` alone takes prefix 05 too.)
///
/// # Errors
/// [`InvalidPoint`] for anything else.
pub fn parse_point(bytes: &[u8]) -> Result<PublicKey, InvalidPoint> {
    match bytes {
        [0x02 | 0x03, rest @ ..] if rest.len() == POINT_LEN - 1 => {
            PublicKey::from_sec1_bytes(bytes).map_err(|_| InvalidPoint)
        }
        _ => Err(InvalidPoint),
    }
}

/// Bytes that are not a compressed P-256 point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPoint;

impl std::fmt::Display for InvalidPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a compressed P-256 point (33 bytes, first 02 or 03, on the curve)")
    }
}

impl std::error::Error for InvalidPoint {}

/// The compressed encoding of a point: 33 bytes.
pub fn point_bytes(key: &PublicKey) -> [u8; POINT_LEN] {
    let point = key.to_sec1_point(true);
    let bytes = point.as_bytes();
    std::array::from_fn(|i| bytes.get(i).copied().unwrap_or_default())
}

/// `DH(secret, point)`: the 32-byte x-coordinate (NIST SP 800-56A, section 5.7.1.2).
pub fn diffie_hellman(secret: &SecretKey, point: &PublicKey) -> Zeroizing<[u8; 32]> {
    backend::diffie_hellman(secret, point)
}

/// The public half of a key: `secret · G`.
pub fn public_key(secret: &SecretKey) -> PublicKey {
    backend::public_key(secret)
}

/// ECDSA P-256 with SHA-256 (FIPS 186-5; deterministic, RFC 6979): `r ‖ s`, 64 bytes.
pub fn sign(key: &SigningKey, message: &[u8]) -> [u8; SIGNATURE_LEN] {
    let signature: Signature = key.sign(message);
    signature.to_bytes().into()
}

/// What verifies an ECDSA P-256 signature with SHA-256 (FIPS 186-5).
#[derive(Clone, Debug)]
pub struct Verifier(backend::Verifier);

impl Verifier {
    /// For the signatures of this key.
    pub fn new(key: &PublicKey) -> Self {
        Self(backend::Verifier::new(key))
    }

    /// Verifies `r ‖ s`.
    ///
    /// # Errors
    /// [`NotAuthentic`] when key, message or signature differ from those signed.
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), NotAuthentic> {
        self.0.verify(message, signature)
    }
}
