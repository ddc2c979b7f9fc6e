//! Every derivation of the protocol, with its label. PROTOCOL.md, section "Key schedule", is this table; only the two
//! for what is stored are not in it, as they have nothing to do with the wire.
//!
//! `Expand` and `Extract` are HKDF-SHA256 (RFC 5869); `‖` joins bytes; integers are big-endian.

use zeroize::Zeroizing;

use crate::identity::{IdentityPublic, PeerId};
use crate::primitives::{AeadKey, hkdf_expand, hkdf_extract, sha256};
use crate::secret::secret;

/// The protocol name: `h = ck = SHA256(PROTOCOL)` at the start of a handshake.
pub const PROTOCOL: &[u8] = b"securemqtt/1 IK_P256_AES128GCM_SHA256";
const MAC_SALT: &[u8] = b"securemqtt/1 request mac";
const CK: &[u8] = b"ck";
const K: &[u8] = b"k";
const SID: &[u8] = b"sid";
const ACK: &[u8] = b"ack";
const WRAP: &[u8] = b"wrap";
const MAC: &[u8] = b"mac";
const ENTRY: &[u8] = b"entry";
const NEXT: &[u8] = b"next";
const GEN: &[u8] = b"gen";
const FRAME: &[u8] = b"frame";
const COMMIT: &[u8] = b"commit";
const STATE_SALT: &[u8] = b"securemqtt/1 state";
const RECORD: &[u8] = b"record";

secret!(
    /// `ck`: the chaining key of a handshake.
    ChainingKey, 32
);
secret!(
    /// `ka`: authenticates the ACKs, REPORTs and RECEIPTs of a session.
    AckKey, 32
);
secret!(
    /// `wk_i`: wraps entry `i + 1` of a session's key chain.
    WrapKey, 32
);
secret!(
    /// The key of a REQUEST's mac, from `DH(sp, ss)`: one for each pair of identities.
    RequestMacKey, 32
);
secret!(
    /// `gs`: the secret of one generation of a stream.
    GenerationSecret, 32
);
secret!(
    /// Seals what an end point stores.
    StateKey, 32
);

/// MixKey: `PRK = Extract(ck, dh)`; `ck = Expand(PRK, "ck", 32)`; `key ‖ iv = Expand(PRK, "k", 28)`.
pub(crate) fn mix_key(ck: &ChainingKey, dh: &[u8; 32]) -> (ChainingKey, AeadKey) {
    let prk = hkdf_extract(ck.expose(), dh);
    (ChainingKey::new(hkdf_expand(&prk, &[CK])), AeadKey::new(&hkdf_expand(&prk, &[K])))
}

/// Split: `sid = Expand(ck, "sid" ‖ h, 8)`, `ka = Expand(ck, "ack" ‖ h, 32)`, `wk_0 = Expand(ck, "wrap" ‖ h, 32)`.
pub(crate) fn split(ck: &ChainingKey, h: &[u8; 32]) -> ([u8; 8], AckKey, WrapKey) {
    let ck = ck.expose();
    (*hkdf_expand(ck, &[SID, h]), AckKey::new(hkdf_expand(ck, &[ACK, h])), WrapKey::new(hkdf_expand(ck, &[WRAP, h])))
}

/// `Expand(Extract("securemqtt/1 request mac", DH(sp, ss)), "mac" ‖ pkP ‖ pkS, 32)`.
pub(crate) fn request_mac_key(dh: &[u8; 32], publisher: &IdentityPublic, subscriber: &IdentityPublic) -> RequestMacKey {
    let prk = hkdf_extract(MAC_SALT, dh);
    RequestMacKey::new(hkdf_expand(&prk, &[MAC, publisher.as_bytes(), subscriber.as_bytes()]))
}

/// Entry `i`: `key ‖ iv = Expand(wk_{i−1}, "entry" ‖ salt, 28)`.
pub(crate) fn entry_key(wk: &WrapKey, salt: &[u8; 16]) -> AeadKey {
    AeadKey::new(&hkdf_expand(wk.expose(), &[ENTRY, salt]))
}

/// `wk_i = Expand(wk_{i−1}, "next", 32)`.
pub(crate) fn next_wrap_key(wk: &WrapKey) -> WrapKey {
    WrapKey::new(hkdf_expand(wk.expose(), &[NEXT]))
}

/// The next generation: `gs' = Expand(gs, "gen" ‖ idP ‖ stream id, 32)`.
pub(crate) fn next_generation(gs: &GenerationSecret, publisher: PeerId, stream: u32) -> GenerationSecret {
    GenerationSecret::new(hkdf_expand(gs.expose(), &[GEN, publisher.as_bytes(), &stream.to_be_bytes()]))
}

/// Where a traffic key belongs: publisher, stream, run and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficContext {
    /// The publisher's id.
    pub publisher: PeerId,
    /// The stream's id.
    pub stream: u32,
    /// The run.
    pub run: [u8; 5],
    /// The generation.
    pub generation: u8,
}

/// Frames, batches and ticks of one topic:
/// `key ‖ iv = Expand(gs, "frame" ‖ idP ‖ stream id ‖ run ‖ generation ‖ SHA256(topic), 28)`.
pub(crate) fn traffic_key(gs: &GenerationSecret, at: &TrafficContext, topic: &str) -> AeadKey {
    AeadKey::new(&traffic_key_bytes(gs, at, topic))
}

pub(crate) fn traffic_key_bytes(gs: &GenerationSecret, at: &TrafficContext, topic: &str) -> Zeroizing<[u8; 28]> {
    let info: [&[u8]; 6] = [
        FRAME,
        at.publisher.as_bytes(),
        &at.stream.to_be_bytes(),
        &at.run,
        &[at.generation],
        &sha256(&[topic.as_bytes()]),
    ];
    hkdf_expand(gs.expose(), &info)
}

/// The commitment that a tick carries, since AES-GCM does not commit to its key:
/// `Expand(gs, "commit" ‖ idP ‖ stream id ‖ run ‖ generation, 16)`.
pub(crate) fn key_commitment(gs: &GenerationSecret, at: &TrafficContext) -> [u8; 16] {
    let info: [&[u8]; 5] = [COMMIT, at.publisher.as_bytes(), &at.stream.to_be_bytes(), &at.run, &[at.generation]];
    *hkdf_expand(gs.expose(), &info)
}

/// What is stored is sealed under `Extract("securemqtt/1 state", secret)`; the secret may have any length, and should have
/// at least 32 bytes that nobody can guess.
pub fn state_key(secret: &[u8]) -> StateKey {
    StateKey::new(hkdf_extract(STATE_SALT, secret))
}

/// One stored record: `key ‖ iv = Expand(state key, "record" ‖ salt, 28)`, with a new salt each time it is stored.
pub fn state_record_key(key: &StateKey, salt: &[u8; 16]) -> AeadKey {
    AeadKey::new(&hkdf_expand(key.expose(), &[RECORD, salt]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::primitives::{diffie_hellman, parse_point};
    use crate::vectors::Vectors;

    fn context(vectors: &Vectors, generation: u8) -> TrafficContext {
        context_of_run(vectors, "stream 1", generation)
    }

    fn context_of_run(vectors: &Vectors, run: &str, generation: u8) -> TrafficContext {
        TrafficContext {
            publisher: PeerId::from_bytes(vectors.array("identities", "P_id")),
            stream: u32::from_be_bytes(vectors.array("stream 1", "stream_id")),
            run: vectors.array(run, "run"),
            generation,
        }
    }

    fn secret(vectors: &Vectors, section: &str, field: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(vectors.array(section, field))
    }

    #[test]
    fn the_request_mac_key_is_as_in_the_vectors() {
        let vectors = Vectors::session();
        let public = |name: &str| IdentityPublic::from_bytes(&vectors.hex("identities", name)).unwrap();
        let dh = secret(&vectors, "request", "dh_ss");
        let key = request_mac_key(&dh, &public("P_public"), &public("S_public"));
        assert_eq!(key.expose()[..], vectors.hex("request", "mac_key"));
    }

    #[test]
    fn every_diffie_hellman_is_as_in_the_vectors_from_both_sides() {
        let vectors = Vectors::session();
        let scalar = |section: &str, field: &str| p256::SecretKey::from_slice(&vectors.hex(section, field)).unwrap();
        let point = |section: &str, field: &str| parse_point(&vectors.hex(section, field)).unwrap();
        let (p, s) = (("identities", "P_"), ("identities", "S_"));
        let (e_s, e_p) = (("request", "e_"), ("grant", "e_"));
        for (token, section, a, b) in
            [("es", "request", e_s, p), ("ss", "request", s, p), ("ee", "grant", e_p, e_s), ("se", "grant", e_p, s)]
        {
            let shared = vectors.hex(section, &format!("dh_{token}"));
            for ((of, name), (with, peer)) in [(a, b), (b, a)] {
                let peer = if peer == "e_" { "e".to_owned() } else { format!("{peer}public") };
                let dh = diffie_hellman(&scalar(of, &format!("{name}secret")), &point(with, &peer));
                assert_eq!(dh[..], shared, "{token}");
            }
        }
    }

    #[test]
    fn the_key_chain_is_as_in_the_vectors() {
        let vectors = Vectors::session();
        let mut wk = WrapKey::new(secret(&vectors, "split", "wk_0"));
        for i in 1..=3 {
            let section = format!("keys {i}");
            let aad = vectors.hex(&section, "aad");
            let sealed = vectors.hex(&section, "sealed");
            for key in [entry_key(&wk, &vectors.array(&section, "salt")), AeadKey::new(&vectors.array(&section, "key"))]
            {
                assert_eq!(key.open(0, &aad, &sealed).unwrap(), vectors.hex(&section, "payload"));
            }
            wk = next_wrap_key(&wk);
            assert_eq!(wk.expose()[..], vectors.hex(&section, &format!("wk_{i}")));
        }
    }

    #[test]
    fn generations_and_traffic_keys_are_as_in_the_vectors() {
        let vectors = Vectors::session();
        let gs_0 = GenerationSecret::new(secret(&vectors, "stream 1", "gs_0"));
        let at = context(&vectors, 0);
        let gs_1 = next_generation(&gs_0, at.publisher, at.stream);
        assert_eq!(gs_1.expose()[..], vectors.hex("generation 1", "gs_1"));
        for (section, gs, generation) in [
            ("frame 0", &gs_0, 0),
            ("batch 1", &gs_0, 0),
            ("long batch", &gs_0, 0),
            ("frame 300", &gs_0, 0),
            ("tick 2", &gs_0, 0),
            ("frame 4", &gs_1, 1),
            ("tick 3", &gs_1, 1),
            ("last tick", &gs_1, 1),
        ] {
            let key = traffic_key_bytes(gs, &context(&vectors, generation), vectors.text(section, "topic"));
            assert_eq!(key[..], vectors.hex(section, "key"), "{section}");
        }
    }

    #[test]
    fn a_second_run_of_a_stream_has_keys_of_its_own_as_in_the_vectors() {
        let vectors = Vectors::repair();
        let gs = GenerationSecret::new(secret(&vectors, "stream 1", "gs_0"));
        let at = context_of_run(&vectors, "second run", 0);
        for section in ["frame 0 of the second run", "first tick of the second run"] {
            let key = traffic_key_bytes(&gs, &at, vectors.text(section, "topic"));
            assert_eq!(key[..], vectors.hex(section, "key"), "{section}");
        }
        assert_eq!(key_commitment(&gs, &at)[..], vectors.hex("first tick of the second run", "commitment"));
    }

    /// Computed with Python's hmac and cryptography: a state that was sealed must open for ever.
    #[test]
    fn what_is_stored_stays_readable() {
        let secret: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let key = state_key(&secret);
        assert_eq!(hex::encode(key.expose()), "099d6c51a2194dc22ba3de8ab91b022b82d9f7f5f69e11fae2ae00b7b874f45b");
        let sealed = hex::decode("20a5d093117402ab74c8dce4836eb6b5894a031e0b63093e").unwrap();
        assert_eq!(state_record_key(&key, &[0xa5; 16]).open(0, b"aad", &sealed).unwrap(), b"a record");
    }

    #[test]
    fn commitments_are_as_in_the_vectors() {
        let vectors = Vectors::session();
        for (section, gs, generation) in [
            ("tick 0", ("stream 1", "gs_0"), 0),
            ("tick 2", ("stream 1", "gs_0"), 0),
            ("tick 3", ("generation 1", "gs_1"), 1),
        ] {
            let gs = GenerationSecret::new(secret(&vectors, gs.0, gs.1));
            let commitment = key_commitment(&gs, &context(&vectors, generation));
            assert_eq!(commitment[..], vectors.hex(section, "commitment"), "{section}");
        }
    }
}
