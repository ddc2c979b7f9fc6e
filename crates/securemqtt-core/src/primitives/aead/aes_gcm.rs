//! By RustCrypto's aes-gcm: the default.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes128Enc;

use super::{NotAuthentic, TAG_LEN};

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
