//! The symmetric state of a handshake (Noise, section 5.2): the transcript hash `h` and the chaining key `ck`.

use zeroize::Zeroizing;

use super::SessionKeys;
use crate::identity::IdentityPublic;
use crate::kdf::{self, ChainingKey, PROTOCOL};
use crate::primitives::{AeadKey, NotAuthentic, sha256};

#[derive(Clone)]
pub(super) struct SymmetricState {
    h: [u8; 32],
    ck: ChainingKey,
}

impl SymmetricState {
    /// `h = ck = SHA256(PROTOCOL)`, then MixHash(REQUEST clear header ‖ SHA256(hello)), MixHash(pkP).
    pub(super) fn new(header: &[u8], hello_hash: &[u8; 32], publisher: &IdentityPublic) -> Self {
        let h = sha256(&[PROTOCOL]);
        let mut state = Self { h, ck: ChainingKey::new(Zeroizing::new(h)) };
        state.mix_hash(&[header, hello_hash]);
        state.mix_hash(&[publisher.as_bytes()]);
        state
    }

    /// `h = SHA256(h ‖ data)`.
    pub(super) fn mix_hash(&mut self, data: &[&[u8]]) {
        let mut parts: Vec<&[u8]> = vec![&self.h];
        parts.extend_from_slice(data);
        self.h = sha256(&parts);
    }

    /// MixKey: a new chaining key, and a key that is used for one message.
    pub(super) fn mix_key(&mut self, dh: &[u8; 32]) -> AeadKey {
        let (ck, key) = kdf::mix_key(&self.ck, dh);
        self.ck = ck;
        key
    }

    /// Appends `{plain}` under `key` with `h` as associated data, and mixes the ciphertext into `h`.
    pub(super) fn encrypt_and_hash(
        &mut self,
        key: &AeadKey,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        let start = out.len();
        out.extend_from_slice(plain);
        key.seal(0, &self.h, out, start)?;
        self.mix_hash(&[&out[start..]]);
        Ok(())
    }

    /// Opens `sealed` and mixes it into `h`; on failure `h` stays as it was.
    pub(super) fn decrypt_and_hash(
        &mut self,
        key: &AeadKey,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let plain = Zeroizing::new(key.open(0, &self.h, sealed)?);
        self.mix_hash(&[sealed]);
        Ok(plain)
    }

    /// `rid = h[..8]`.
    pub(super) fn rid(&self) -> [u8; 8] {
        std::array::from_fn(|i| self.h[i])
    }

    /// The keys of the session.
    pub(super) fn split(self) -> SessionKeys {
        let (sid, ka, wk_0) = kdf::split(&self.ck, &self.h);
        SessionKeys { sid, ka, wk_0 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::vectors::Vectors;

    /// Plays one message of `vectors/session.json`: every h, ck and key, and every sealed part both ways.
    struct Player<'a> {
        vectors: &'a Vectors,
        section: &'a str,
        state: SymmetricState,
    }

    impl Player<'_> {
        fn hex(&self, field: &str) -> Vec<u8> {
            self.vectors.hex(self.section, field)
        }

        fn h_is(&self, field: &str) {
            assert_eq!(self.state.h[..], self.hex(field), "{field} in {}", self.section);
        }

        fn mix_hash(&mut self, data: &str) {
            self.state.mix_hash(&[&self.hex(data)]);
            self.h_is(&format!("h_{data}"));
        }

        /// MixKey; the key is shown to be the one in the file by what it seals.
        fn mix_key(&mut self, token: &str) -> AeadKey {
            let key = self.state.mix_key(&self.vectors.array(self.section, &format!("dh_{token}")));
            assert_eq!(self.state.ck.expose()[..], self.hex(&format!("ck_{token}")), "ck_{token}");
            let expected = AeadKey::new(&self.vectors.array(self.section, &format!("k_{token}")));
            let seal = |key: &AeadKey| {
                let mut sealed = Vec::new();
                key.seal(0, b"", &mut sealed, 0).unwrap();
                sealed
            };
            assert_eq!(seal(&key), seal(&expected), "k_{token}");
            key
        }

        fn seals(&mut self, key: &AeadKey, part: &str, plain: &[u8]) {
            let expected = self.hex(&format!("sealed_{part}"));
            let opened = self.state.clone().decrypt_and_hash(key, &expected).unwrap();
            assert_eq!(opened[..], *plain);
            let mut sealed = b"before".to_vec();
            self.state.encrypt_and_hash(key, plain, &mut sealed).unwrap();
            assert_eq!(sealed[6..], expected, "{part}");
            self.h_is(&format!("h_{part}"));
        }
    }

    #[test]
    fn every_step_of_the_transcript_is_as_in_the_vectors() {
        let vectors = Vectors::session();
        let identity = |name: &str| IdentityPublic::from_bytes(&vectors.hex("identities", name)).unwrap();
        let hello_hash = sha256(&[&vectors.hex("hello", "message")]);
        assert_eq!(sha256(&[PROTOCOL])[..], vectors.hex("request", "h_protocol"));

        let header = vectors.hex("request", "header");
        let state = SymmetricState::new(&header, &hello_hash, &identity("P_public"));
        let mut player = Player { vectors: &vectors, section: "request", state };
        player.h_is("h_pkP");
        player.mix_hash("e");
        let es = player.mix_key("es");
        player.seals(&es, "s", identity("S_public").as_bytes());
        let ss = player.mix_key("ss");
        player.seals(&ss, "payload", &vectors.hex("request", "payload"));
        assert_eq!(player.state.rid()[..], vectors.hex("request", "rid"));

        player.section = "grant";
        player.mix_hash("header");
        player.mix_hash("e");
        player.mix_key("ee");
        let se = player.mix_key("se");
        player.seals(&se, "payload", &vectors.hex("grant", "payload"));

        let session = player.state.split();
        assert_eq!(session.sid[..], vectors.hex("split", "sid"));
        assert_eq!(session.ka.expose()[..], vectors.hex("split", "ka"));
        assert_eq!(session.wk_0.expose()[..], vectors.hex("split", "wk_0"));
    }

    #[test]
    fn what_does_not_open_leaves_the_transcript_as_it_was() {
        let vectors = Vectors::session();
        let publisher = IdentityPublic::from_bytes(&vectors.hex("identities", "P_public")).unwrap();
        let mut state = SymmetricState::new(b"header", &[7; 32], &publisher);
        let key = AeadKey::new(&[1; 28]);
        let before = state.h;
        assert_eq!(state.decrypt_and_hash(&key, &[0; 40]).err(), Some(NotAuthentic));
        assert_eq!(state.h, before);
    }
}
