//! The streams that a subscriber holds: enough to open, never to seal or sign.

use std::collections::VecDeque;

use crate::identity::PeerId;
use crate::kdf::{self, GenerationSecret, TrafficContext};
use crate::stream::{StreamGrant, StreamVerifier};

/// Generations that are kept for late frames.
const KEPT: usize = 8;
/// How far a frame may be ahead of what is held, or of what a verified tick has announced.
pub(super) const FRAME_STEPS: u8 = 16;
/// How far a tick may be ahead.
pub(super) const TICK_STEPS: u8 = u8::MAX;

#[derive(Debug)]
pub(super) struct HeldStream {
    publisher: PeerId,
    pub(super) id: u32,
    pub(super) signed_frames: bool,
    pub(super) verifier: StreamVerifier,
    kept: VecDeque<(u8, GenerationSecret)>,
    /// The latest generation that a verified tick was sealed in: it bounds steps, and never makes one.
    announced: u8,
}

/// The secret of a generation, with those stepped over to reach it: nothing is committed yet.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) secret: GenerationSecret,
    steps: Vec<(u8, GenerationSecret)>,
}

/// Why there is no secret for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSecret {
    BeforeGrant,
    TooFar,
}

impl HeldStream {
    pub(super) fn new(publisher: PeerId, grant: &StreamGrant) -> Self {
        Self {
            publisher,
            id: grant.id,
            signed_frames: grant.signed_frames,
            verifier: grant.verifier.clone(),
            kept: VecDeque::from([(grant.generation, grant.secret.clone())]),
            announced: grant.generation,
        }
    }

    pub(super) fn context(&self, run: [u8; 5], generation: u8) -> TrafficContext {
        TrafficContext { publisher: self.publisher, stream: self.id, run, generation }
    }

    /// The secret of a generation, derived on a copy where it is ahead.
    pub(super) fn derive(&self, generation: u8, max_steps: u8) -> Result<Derived, NoSecret> {
        if let Some((_, secret)) = self.kept.iter().find(|(held, _)| *held == generation) {
            return Ok(Derived { secret: secret.clone(), steps: Vec::new() });
        }
        let (latest, secret) = self.kept.back().ok_or(NoSecret::BeforeGrant)?;
        if generation < *latest {
            return Err(NoSecret::BeforeGrant);
        }
        if generation > self.announced.max(*latest).saturating_add(max_steps) {
            return Err(NoSecret::TooFar);
        }
        let mut steps = Vec::new();
        let mut secret = secret.clone();
        for step in *latest + 1..=generation {
            secret = kdf::next_generation(&secret, self.publisher, self.id);
            steps.push((step, secret.clone()));
        }
        Ok(Derived { secret, steps })
    }

    /// Keeps what was derived, after a frame verified under it.
    pub(super) fn commit(&mut self, derived: Derived) {
        let latest = self.kept.back().map_or(0, |(generation, _)| *generation);
        self.kept.extend(derived.steps.into_iter().filter(|(generation, _)| *generation > latest));
        while self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    /// Takes note of the generation of a tick whose signature verified.
    pub(super) fn announce(&mut self, generation: u8) {
        self.announced = self.announced.max(generation);
    }

    #[cfg(test)]
    pub(super) fn latest(&self) -> Option<u8> {
        self.kept.back().map(|(generation, _)| *generation)
    }
}
