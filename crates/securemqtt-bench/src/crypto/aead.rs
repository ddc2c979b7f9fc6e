//! AES-128-GCM in place, with a key that is set up once.

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};

use super::Broken;

const KEY: [u8; 16] = [7; 16];

/// One library's AES-128-GCM.
pub trait Aead {
    /// Encrypts in place and returns the tag.
    ///
    /// # Errors
    /// If the library refuses.
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Broken>;
    /// Decrypts `ciphertext ‖ tag` in place.
    ///
    /// # Errors
    /// If the tag does not verify.
    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) -> Result<(), Broken>;
}

/// A library's name with it.
pub type Named = (&'static str, Box<dyn Aead>);

/// The libraries; ours first.
///
/// # Errors
/// If one of them refuses the key.
pub fn aeads() -> Result<Vec<Named>, Broken> {
    Ok(vec![
        ("aes-gcm", Box::new(aes_gcm::Aes128Gcm::new(&KEY.into()))),
        ("ring", Box::new(ring_key()?)),
        ("aws-lc-rs", Box::new(aws_lc_key()?)),
    ])
}

fn nonce(seq: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&seq.to_be_bytes());
    nonce
}

impl Aead for aes_gcm::Aes128Gcm {
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Broken> {
        self.encrypt_inout_detached(&nonce(seq).into(), aad, text.into()).map(Into::into).map_err(|_| Broken)
    }

    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) -> Result<(), Broken> {
        let (text, tag) = sealed.split_last_chunk_mut::<16>().ok_or(Broken)?;
        self.decrypt_inout_detached(&nonce(seq).into(), aad, text.into(), &(*tag).into()).map_err(|_| Broken)
    }
}

fn ring_key() -> Result<ring::aead::LessSafeKey, Broken> {
    let key = ring::aead::UnboundKey::new(&ring::aead::AES_128_GCM, &KEY).map_err(|_| Broken)?;
    Ok(ring::aead::LessSafeKey::new(key))
}

impl Aead for ring::aead::LessSafeKey {
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Broken> {
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce(seq));
        let tag = self.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(aad), text).map_err(|_| Broken)?;
        tag.as_ref().try_into().map_err(|_| Broken)
    }

    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) -> Result<(), Broken> {
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce(seq));
        self.open_in_place(nonce, ring::aead::Aad::from(aad), sealed).map(drop).map_err(|_| Broken)
    }
}

fn aws_lc_key() -> Result<aws_lc_rs::aead::LessSafeKey, Broken> {
    let key = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_128_GCM, &KEY).map_err(|_| Broken)?;
    Ok(aws_lc_rs::aead::LessSafeKey::new(key))
}

impl Aead for aws_lc_rs::aead::LessSafeKey {
    fn seal(&self, seq: u64, aad: &[u8], text: &mut [u8]) -> Result<[u8; 16], Broken> {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce(seq));
        let tag = self.seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(aad), text).map_err(|_| Broken)?;
        tag.as_ref().try_into().map_err(|_| Broken)
    }

    fn open(&self, seq: u64, aad: &[u8], sealed: &mut [u8]) -> Result<(), Broken> {
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce(seq));
        self.open_in_place(nonce, aws_lc_rs::aead::Aad::from(aad), sealed).map(drop).map_err(|_| Broken)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_agree_and_refuse_what_was_changed() {
        let sealed = aeads().unwrap().into_iter().map(|(_, aead)| {
            let mut text = *b"a reading";
            let tag = aead.seal(3, b"topic", &mut text).unwrap();
            [&text[..], &tag].concat()
        });
        let sealed: Vec<Vec<u8>> = sealed.collect();
        assert!(sealed.windows(2).all(|two| two[0] == two[1]));
        for (_, aead) in aeads().unwrap() {
            let mut good = sealed[0].clone();
            aead.open(3, b"topic", &mut good).unwrap();
            assert_eq!(good[..9], *b"a reading");
            assert_eq!(aead.open(4, b"topic", &mut sealed[0].clone()), Err(Broken));
        }
    }
}
