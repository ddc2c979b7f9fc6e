//! AES-128-GCM, with the nonces of a stream. Of two features that both have it, `ring` is asked first.

#[cfg(not(any(feature = "ring", feature = "aws-lc-rs")))]
#[path = "aes_gcm.rs"]
mod cipher;
#[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
#[path = "aws_lc.rs"]
mod cipher;
#[cfg(feature = "ring")]
#[path = "ring.rs"]
mod cipher;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{NotAuthentic, TAG_LEN};

/// An AES-128-GCM key with its 12-byte base nonce (NIST SP 800-38D). The key schedule is expanded once;
/// the nonce of message `seq` is `iv xor seq` as in TLS 1.3 (RFC 8446, section 5.3).
pub struct AeadKey {
    cipher: cipher::Cipher,
    iv: [u8; 12],
}

impl AeadKey {
    /// From `key 16 ‖ iv 12`.
    pub fn new(key_iv: &[u8; 28]) -> Self {
        let key = Zeroizing::new(std::array::from_fn(|i| key_iv[i]));
        Self { cipher: cipher::Cipher::new(&key), iv: std::array::from_fn(|i| key_iv[16 + i]) }
    }

    #[inline]
    fn nonce(&self, seq: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        if let Some(end) = nonce.last_chunk_mut() {
            *end = (u64::from_be_bytes(*end) ^ seq).to_be_bytes();
        }
        nonce
    }

    /// Encrypts `buffer[start..]` in place and appends the tag.
    ///
    /// # Errors
    /// [`NotAuthentic`] beyond the length limit of GCM (2^36 − 32 bytes), never for a reading.
    pub fn seal(&self, seq: u64, aad: &[u8], buffer: &mut Vec<u8>, start: usize) -> Result<(), NotAuthentic> {
        let text = buffer.get_mut(start..).ok_or(NotAuthentic)?;
        let tag = self.seal_in_place(seq, aad, text)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Encrypts in place, and returns the tag.
    ///
    /// # Errors
    /// [`NotAuthentic`] beyond the length limit of GCM (2^36 − 32 bytes), never for a reading.
    #[expect(clippy::inline_always, reason = "a call that hands on a call")]
    #[inline(always)]
    pub fn seal_in_place(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], NotAuthentic> {
        self.cipher.encrypt(self.nonce(seq), aad, text)
    }

    /// Decrypts `ciphertext ‖ tag` into a new buffer; nothing is released before the tag verifies.
    ///
    /// # Errors
    /// [`NotAuthentic`] when key, nonce, associated data, ciphertext or tag differ from those sealed.
    pub fn open(&self, seq: u64, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let (text, tag) = sealed.split_last_chunk().ok_or(NotAuthentic)?;
        let mut plain = text.to_vec();
        self.open_in_place(seq, aad, &mut plain, tag)?;
        Ok(plain)
    }

    /// Decrypts in place, if the tag verifies; if not, what is left is no plaintext.
    ///
    /// # Errors
    /// [`NotAuthentic`] when key, nonce, associated data, ciphertext or tag differ from those sealed.
    #[expect(clippy::inline_always, reason = "a call that hands on a call")]
    #[inline(always)]
    pub fn open_in_place(
        &self,
        seq: u64,
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NotAuthentic> {
        self.cipher.decrypt(self.nonce(seq), aad, text, tag)
    }
}

impl Drop for AeadKey {
    fn drop(&mut self) {
        self.iv.zeroize();
    }
}

// The cipher wipes itself; the base nonce is wiped above.
impl ZeroizeOnDrop for AeadKey {}

impl std::fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AeadKey([secret])")
    }
}
