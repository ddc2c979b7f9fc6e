//! Identity keys: a static P-256 key a party, and its public half.

mod names;
mod openssh;

use std::fmt;

use p256::elliptic_curve::Generate as _;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub use self::names::{Fingerprint, InvalidText, PeerId};
pub use self::openssh::InvalidOpenSsh;
use crate::primitives::{InvalidPoint, POINT_LEN, diffie_hellman, parse_point, point_bytes, public_key, sha256_prefix};

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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn scalars_outside_the_group_are_refused() {
        assert_eq!(IdentityKey::from_bytes(&[0; 32]).err(), Some(InvalidKey));
        assert_eq!(IdentityKey::from_bytes(&[0xff; 32]).err(), Some(InvalidKey));
        let key = IdentityKey::from_bytes(&[1; 32]).unwrap();
        assert_eq!(*key.to_bytes(), [1; 32]);
    }
}
