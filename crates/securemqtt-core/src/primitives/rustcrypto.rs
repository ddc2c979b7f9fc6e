//! The primitives by RustCrypto: the default.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes128Enc;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{NotAuthentic, SIGNATURE_LEN, TAG_LEN, TooLong};

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

/// AES-128-GCM with its key schedule: half of one, for GCM never decrypts a block. It wipes itself: aes-gcm's feature
/// `zeroize`.
pub(super) struct Cipher(AesGcm<Aes128Enc, U12>);

impl Cipher {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self(AesGcm::new(key.into()))
    }

    // Never in line, and nor is what decrypts: there is one AES-GCM, as it was optimised here, and a test counts the same.
    #[inline(never)]
    pub(super) fn encrypt(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], NotAuthentic> {
        let tag = self.0.encrypt_inout_detached(&nonce.into(), aad, text.into()).map_err(|_| NotAuthentic)?;
        Ok(tag.into())
    }

    #[inline(never)]
    pub(super) fn decrypt(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NotAuthentic> {
        self.0.decrypt_inout_detached(&nonce.into(), aad, text.into(), tag.into()).map_err(|_| NotAuthentic)
    }
}
