//! The P-256 operations of one handshake, both sides: two new key pairs, eight agreements (es, ss, ee, se on each
//! side), and the ECDSA of the first tick, signed and verified. No hash, no encoding, no state.

use std::hint::black_box;

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::Generate as _;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::Broken;

/// Agreements of a handshake, both sides together.
const AGREEMENTS: usize = 8;
const KEY_PAIRS: usize = 2;
const TICK: &[u8] = &[7; 200];

/// One library's P-256.
pub trait Curve {
    /// Does all of a handshake's operations.
    ///
    /// # Errors
    /// If one of them fails.
    fn handshake(&self) -> Result<(), Broken>;
    /// Generates a key pair and agrees once: the unit in which libraries are usually compared.
    ///
    /// # Errors
    /// If it fails.
    fn exchange(&self) -> Result<(), Broken>;
}

/// A library's name with it.
pub type Named = (&'static str, Box<dyn Curve>);

/// The libraries; ours first.
///
/// # Errors
/// If one of them cannot make a key.
pub fn curves() -> Result<Vec<Named>, Broken> {
    Ok(vec![("p256", Box::new(P256::new())), ("ring", Box::new(Ring::new()?)), ("aws-lc-rs", Box::new(AwsLc::new()?))])
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

    fn agree(&self, rng: &mut ChaCha20Rng, times: usize) {
        let secret = p256::SecretKey::generate_from_rng(rng);
        black_box(secret.public_key());
        for _ in 0..times {
            black_box(secret.diffie_hellman(&self.peer));
        }
    }
}

impl Curve for P256 {
    fn handshake(&self) -> Result<(), Broken> {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for _ in 0..KEY_PAIRS {
            self.agree(&mut rng, AGREEMENTS / KEY_PAIRS);
        }
        let signature: p256::ecdsa::Signature = self.signing.sign(TICK);
        self.signing.verifying_key().verify(TICK, &signature).map_err(|_| Broken)
    }

    fn exchange(&self) -> Result<(), Broken> {
        self.agree(&mut ChaCha20Rng::seed_from_u64(4), 1);
        Ok(())
    }
}

struct Ring {
    rng: ring::rand::SystemRandom,
    peer: Vec<u8>,
    signing: ring::signature::EcdsaKeyPair,
}

impl Ring {
    fn new() -> Result<Self, Broken> {
        use ring::agreement::{ECDH_P256, EphemeralPrivateKey};
        use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let rng = ring::rand::SystemRandom::new();
        let peer = EphemeralPrivateKey::generate(&ECDH_P256, &rng).map_err(|_| Broken)?;
        let peer = peer.compute_public_key().map_err(|_| Broken)?.as_ref().to_vec();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).map_err(|_| Broken)?;
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &rng);
        Ok(Self { rng, peer, signing: signing.map_err(|_| Broken)? })
    }

    /// ring's private keys agree once: the extra ones are drawn (a few bytes of randomness), not computed.
    fn agree(&self, with_public_key: bool) -> Result<(), Broken> {
        use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
        let secret = EphemeralPrivateKey::generate(&ECDH_P256, &self.rng).map_err(|_| Broken)?;
        if with_public_key {
            black_box(secret.compute_public_key().map_err(|_| Broken)?);
        }
        let peer = UnparsedPublicKey::new(&ECDH_P256, &self.peer);
        agree_ephemeral(secret, &peer, |shared| black_box(shared[0])).map(drop).map_err(|_| Broken)
    }
}

impl Curve for Ring {
    fn handshake(&self) -> Result<(), Broken> {
        use ring::signature::KeyPair as _;
        (0..AGREEMENTS).try_for_each(|index| self.agree(index < KEY_PAIRS))?;
        let signature = self.signing.sign(&self.rng, TICK).map_err(|_| Broken)?;
        let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED;
        let verifier = ring::signature::UnparsedPublicKey::new(algorithm, self.signing.public_key());
        verifier.verify(TICK, signature.as_ref()).map_err(|_| Broken)
    }

    fn exchange(&self) -> Result<(), Broken> {
        self.agree(true)
    }
}

struct AwsLc {
    rng: aws_lc_rs::rand::SystemRandom,
    peer: Vec<u8>,
    signing: aws_lc_rs::signature::EcdsaKeyPair,
}

impl AwsLc {
    fn new() -> Result<Self, Broken> {
        use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        let peer = PrivateKey::generate(&ECDH_P256).map_err(|_| Broken)?;
        let peer = peer.compute_public_key().map_err(|_| Broken)?.as_ref().to_vec();
        let signing = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| Broken)?;
        Ok(Self { rng: aws_lc_rs::rand::SystemRandom::new(), peer, signing })
    }

    fn agree(&self, times: usize) -> Result<(), Broken> {
        use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
        let secret = PrivateKey::generate(&ECDH_P256).map_err(|_| Broken)?;
        black_box(secret.compute_public_key().map_err(|_| Broken)?);
        (0..times).try_for_each(|_| {
            agree(&secret, UnparsedPublicKey::new(&ECDH_P256, &self.peer), Broken, |shared| {
                black_box(shared[0]);
                Ok(())
            })
        })
    }
}

impl Curve for AwsLc {
    fn handshake(&self) -> Result<(), Broken> {
        use aws_lc_rs::signature::KeyPair as _;
        (0..KEY_PAIRS).try_for_each(|_| self.agree(AGREEMENTS / KEY_PAIRS))?;
        let signature = self.signing.sign(&self.rng, TICK).map_err(|_| Broken)?;
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
        let verifier = aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, self.signing.public_key());
        verifier.verify(TICK, signature.as_ref()).map_err(|_| Broken)
    }

    fn exchange(&self) -> Result<(), Broken> {
        self.agree(1)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_library_does_the_work() {
        for (name, curve) in curves().unwrap() {
            assert_eq!(curve.handshake(), Ok(()), "{name}");
            assert_eq!(curve.exchange(), Ok(()), "{name}");
        }
    }
}
