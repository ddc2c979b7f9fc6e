//! AES-128-GCM in place, with a key that is set up once.

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};

const KEY: [u8; 16] = [7; 16];

/// One library's AES-128-GCM.
pub(crate) trait Aead {
    /// Encrypts in place and returns the tag.
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> [u8; 16];
    /// Decrypts `ciphertext ‖ tag` in place.
    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]);
}

/// The libraries by name.
pub(crate) fn aeads() -> Vec<(&'static str, Box<dyn Aead>)> {
    vec![
        ("aes-gcm", Box::new(aes_gcm::Aes128Gcm::new(&KEY.into()))),
        ("ring", Box::new(ring_key())),
        ("aws-lc-rs", Box::new(aws_lc_key())),
    ]
}

fn nonce(seq: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&seq.to_be_bytes());
    nonce
}

impl Aead for aes_gcm::Aes128Gcm {
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        self.encrypt_inout_detached(&nonce(seq).into(), aad, text.into()).unwrap().into()
    }

    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_last_chunk_mut::<16>().unwrap();
        self.decrypt_inout_detached(&nonce(seq).into(), aad, text.into(), &(*tag).into()).unwrap();
    }
}

fn ring_key() -> ring::aead::LessSafeKey {
    ring::aead::LessSafeKey::new(ring::aead::UnboundKey::new(&ring::aead::AES_128_GCM, &KEY).unwrap())
}

impl Aead for ring::aead::LessSafeKey {
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce(seq));
        let tag = self.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(aad), text).unwrap();
        tag.as_ref().try_into().unwrap()
    }

    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) {
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce(seq));
        self.open_in_place(nonce, ring::aead::Aad::from(aad), sealed).unwrap();
    }
}

fn aws_lc_key() -> aws_lc_rs::aead::LessSafeKey {
    aws_lc_rs::aead::LessSafeKey::new(aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_128_GCM, &KEY).unwrap())
}

impl Aead for aws_lc_rs::aead::LessSafeKey {
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce(seq));
        let tag = self.seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(aad), text).unwrap();
        tag.as_ref().try_into().unwrap()
    }

    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce(seq));
        self.open_in_place(nonce, aws_lc_rs::aead::Aad::from(aad), sealed).unwrap();
    }
}
