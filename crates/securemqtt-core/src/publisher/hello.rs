//! Our hello, as it is sent and as it is told apart.

use rand_core::CryptoRng;

use super::Config;
use crate::identity::IdentityKey;
use crate::wire::{Hello, SUITE_1};

/// A hello and its bytes.
#[derive(Debug)]
pub(super) struct OwnHello {
    pub(super) bytes: Vec<u8>,
    pub(super) short: [u8; 8],
}

impl OwnHello {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { short: Hello::short_hash(&bytes), bytes }
    }

    /// With a new challenge.
    pub(super) fn make<R: CryptoRng + ?Sized>(identity: &IdentityKey, config: &Config, rng: &mut R) -> Self {
        let mut challenge = [0; 16];
        rng.fill_bytes(&mut challenge);
        let (key, name) = (identity.public().clone(), config.name.clone());
        Self::new(Hello { suites: vec![SUITE_1], key, challenge, name }.encode())
    }
}
