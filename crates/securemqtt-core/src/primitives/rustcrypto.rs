//! The primitives by RustCrypto: the default.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{NotAuthentic, SIGNATURE_LEN, TooLong};

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104, section 3)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

pub(super) fn hkdf_extract(salt: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    let out = Zeroizing::new(prk.into());
    prk.as_mut_slice().zeroize();
    out
}

pub(super) fn hkdf_expand_into(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) -> Result<(), TooLong> {
    let hkdf = Hkdf::<Sha256>::from_prk(prk).map_err(|_| TooLong)?;
    hkdf.expand_multi_info(info, out).map_err(|_| TooLong)
}

pub(super) fn public_key(secret: &SecretKey) -> PublicKey {
    secret.public_key()
}

pub(super) fn diffie_hellman(secret: &SecretKey, point: &PublicKey) -> Zeroizing<[u8; 32]> {
    let shared = secret.diffie_hellman(point);
    Zeroizing::new((*shared.raw_secret_bytes()).into())
}

/// A key that is made ready once, to verify with.
#[derive(Clone, Debug)]
pub(super) struct Verifier(VerifyingKey);

impl Verifier {
    pub(super) fn new(key: &PublicKey) -> Self {
        Self(VerifyingKey::from(*key))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), NotAuthentic> {
        let signature = Signature::from_slice(signature).map_err(|_| NotAuthentic)?;
        self.0.verify(message, &signature).map_err(|_| NotAuthentic)
    }
}
