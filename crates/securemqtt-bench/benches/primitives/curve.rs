//! The P-256 operations of one handshake, both sides: two new key pairs, eight agreements (es, ss, ee, se on each
//! side), and the ECDSA of the first tick, signed and verified. No hash, no encoding, no state.

use std::hint::black_box;

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::Generate as _;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

const AGREEMENTS: usize = 8;
const KEY_PAIRS: usize = 2;
const TICK: &[u8] = &[7; 200];

/// One library's P-256.
pub(crate) trait Curve {
    fn handshake(&self);
}

/// The libraries by name.
pub(crate) fn curves() -> Vec<(&'static str, Box<dyn Curve>)> {
    vec![("p256", Box::new(P256::new())), ("ring", Box::new(Ring::new())), ("aws-lc-rs", Box::new(AwsLc::new()))]
}

struct P256 {
    signing: p256::ecdsa::SigningKey,
    peer: p256::PublicKey,
}

impl P256 {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let peer = p256::SecretKey::generate_from_rng(&mut rng).public_key();
        Self { signing: p256::ecdsa::SigningKey::generate_from_rng(&mut rng), peer }
    }
}

impl Curve for P256 {
    fn handshake(&self) {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for _ in 0..KEY_PAIRS {
            let secret = p256::SecretKey::generate_from_rng(&mut rng);
            black_box(secret.public_key());
            for _ in 0..AGREEMENTS / KEY_PAIRS {
                black_box(secret.diffie_hellman(&self.peer));
            }
        }
        let signature: p256::ecdsa::Signature = self.signing.sign(TICK);
        self.signing.verifying_key().verify(TICK, &signature).unwrap();
    }
}

struct Ring {
    rng: ring::rand::SystemRandom,
    peer: Vec<u8>,
    signing: ring::signature::EcdsaKeyPair,
}

impl Ring {
    fn new() -> Self {
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let rng = ring::rand::SystemRandom::new();
        let peer = ring::agreement::EphemeralPrivateKey::generate(&ring::agreement::ECDH_P256, &rng).unwrap();
        let peer = peer.compute_public_key().unwrap().as_ref().to_vec();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng).unwrap();
        Self { rng, peer, signing }
    }
}

impl Curve for Ring {
    /// ring's private keys agree once: the extra ones are drawn (a few bytes of randomness), not computed.
    fn handshake(&self) {
        use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
        use ring::signature::KeyPair as _;
        let secrets = (0..AGREEMENTS).map(|_| EphemeralPrivateKey::generate(&ECDH_P256, &self.rng).unwrap());
        for (index, secret) in secrets.enumerate() {
            if index < KEY_PAIRS {
                black_box(secret.compute_public_key().unwrap());
            }
            let peer = UnparsedPublicKey::new(&ECDH_P256, &self.peer);
            agree_ephemeral(secret, &peer, |shared| black_box(shared[0])).unwrap();
        }
        let signature = self.signing.sign(&self.rng, TICK).unwrap();
        let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED;
        let verifier = ring::signature::UnparsedPublicKey::new(algorithm, self.signing.public_key());
        verifier.verify(TICK, signature.as_ref()).unwrap();
    }
}

struct AwsLc {
    rng: aws_lc_rs::rand::SystemRandom,
    peer: Vec<u8>,
    signing: aws_lc_rs::signature::EcdsaKeyPair,
}

impl AwsLc {
    fn new() -> Self {
        use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let peer = PrivateKey::generate(&ECDH_P256).unwrap().compute_public_key().unwrap().as_ref().to_vec();
        let signing = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { rng: aws_lc_rs::rand::SystemRandom::new(), peer, signing }
    }
}

impl Curve for AwsLc {
    fn handshake(&self) {
        use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
        use aws_lc_rs::signature::KeyPair as _;
        for _ in 0..KEY_PAIRS {
            let secret = PrivateKey::generate(&ECDH_P256).unwrap();
            black_box(secret.compute_public_key().unwrap());
            for _ in 0..AGREEMENTS / KEY_PAIRS {
                let peer = UnparsedPublicKey::new(&ECDH_P256, &self.peer);
                agree(&secret, peer, (), |shared| {
                    black_box(shared[0]);
                    Ok(())
                })
                .unwrap();
            }
        }
        let signature = self.signing.sign(&self.rng, TICK).unwrap();
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
        let verifier = aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, self.signing.public_key());
        verifier.verify(TICK, signature.as_ref()).unwrap();
    }
}
