//! The primitives by AWS-LC, with the feature `aws-lc-rs`: the same formulas, in C and assembly, several times as fast.
//!
//! Keys are made and encoded by p256 all the same, and signatures made: theirs are deterministic (RFC 6979), AWS-LC's are not.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use aws_lc_rs::{digest, hmac};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use zeroize::Zeroizing;

use super::{NotAuthentic, SIGNATURE_LEN, TooLong};

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    // One part, as a frame's leaf has, needs no context on the heap.
    if let [part] = parts {
        return bytes(digest::digest(&digest::SHA256, part).as_ref());
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(part);
    }
    bytes(hash.finish().as_ref())
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(bytes(mac.sign().as_ref()))
}

/// By its formula (RFC 5869, section 2.2): AWS-LC keeps the key that it extracts to itself.
pub(super) fn hkdf_extract(salt: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    hmac(salt, &[ikm])
}

pub(super) fn hkdf_expand_into(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) -> Result<(), TooLong> {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = Prk::new_less_safe(HKDF_SHA256, prk);
    let okm = prk.expand(info, Len(out.len())).map_err(|_| TooLong)?;
    okm.fill(out).map_err(|_| TooLong)
}

#[expect(clippy::expect_used, reason = "every p256 secret is a valid scalar")]
fn private_key(secret: &SecretKey) -> PrivateKey {
    let scalar = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
    PrivateKey::from_private_key(&ECDH_P256, &*scalar).expect("a scalar from 1 to the order")
}

#[expect(clippy::expect_used, reason = "the public half of a valid scalar is a point")]
pub(super) fn public_key(secret: &SecretKey) -> PublicKey {
    let point = private_key(secret).compute_public_key().expect("a valid key has a public half");
    PublicKey::from_sec1_bytes(point.as_ref()).expect("a point on the curve")
}

#[expect(clippy::expect_used, reason = "every p256 public key is a point on the curve, and never the identity")]
pub(super) fn diffie_hellman(secret: &SecretKey, point: &PublicKey) -> Zeroizing<[u8; 32]> {
    let point = point.to_sec1_point(false);
    let peer = UnparsedPublicKey::new(&ECDH_P256, point.as_bytes());
    let shared = agree(&private_key(secret), peer, (), |shared| Ok(Zeroizing::new(bytes(shared))));
    shared.expect("two valid keys agree")
}

/// A key that is made ready once, to verify with.
#[derive(Clone, Debug)]
pub(super) struct Verifier(ParsedPublicKey);

impl Verifier {
    #[expect(clippy::expect_used, reason = "every p256 public key is a point on the curve, and never the identity")]
    pub(super) fn new(key: &PublicKey) -> Self {
        let point = key.to_sec1_point(false);
        Self(ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes()).expect("a point on the curve"))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), NotAuthentic> {
        self.0.verify_sig(message, signature).map_err(|_| NotAuthentic)
    }
}

/// The bytes of a result whose length the algorithm fixes.
fn bytes<const N: usize>(result: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&result[..N]);
    bytes
}
