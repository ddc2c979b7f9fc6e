//! By ring, with the feature `ring`: the quickest for frames as short as ours, and here already, for TLS.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use zeroize::optimization_barrier;

use super::{NotAuthentic, TAG_LEN};

/// AES-128-GCM with its key schedule. ring leaves what it drops where it was, so we write another key's schedule over it.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        Self(schedule(key))
    }

    pub(super) fn encrypt(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LEN], NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| NotAuthentic)?;
        tag.as_ref().try_into().map_err(|_| NotAuthentic)
    }

    pub(super) fn decrypt(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NotAuthentic> {
        let (nonce, tag) = (Nonce::assume_unique_for_key(nonce), Tag::from(*tag));
        self.0.open_in_place_separate_tag(nonce, Aad::from(aad), tag, text, 0..).map(drop).map_err(|_| NotAuthentic)
    }

    /// Overwrites the schedule with that of a key of zeros, which no optimiser may leave out for nobody reads it (zeroize has
    /// this way for types that it does not know). Both are the same variant of ring's type, for the processor chooses it, and
    /// all of it is in place.
    fn wipe(&mut self) {
        self.0 = schedule(&[0; 16]);
        optimization_barrier(self);
    }
}

#[expect(clippy::expect_used, reason = "the length is in the type")]
fn schedule(key: &[u8; 16]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect("16 bytes"))
}

impl Drop for Cipher {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_key_is_that_of_zeros() {
        let sealed = |cipher: &Cipher| {
            let mut text = *b"a reading";
            let tag = cipher.encrypt([0; 12], b"topic", &mut text);
            (text, tag)
        };
        let mut cipher = Cipher::new(&[7; 16]);
        assert_ne!(sealed(&cipher), sealed(&Cipher::new(&[0; 16])));
        cipher.wipe();
        assert_eq!(sealed(&cipher), sealed(&Cipher::new(&[0; 16])));
    }
}
