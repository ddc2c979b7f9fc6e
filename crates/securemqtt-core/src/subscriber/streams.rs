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

/// The first ticks of a stream come together.
const FIRST_TICKS_MS: u64 = 5_000;

#[derive(Debug)]
pub(super) struct HeldStream {
    publisher: PeerId,
    pub(super) id: u32,
    pub(super) signed_frames: bool,
    pub(super) verifier: StreamVerifier,
    kept: VecDeque<(u8, GenerationSecret)>,
    /// The latest generation that a verified tick was sealed in: it bounds steps, and never makes one.
    announced: u8,
    /// Whether the stream began while we had a session with its publisher.
    pub(super) owed: bool,
    /// When its first tick came: runs that begin after it are owed to us, too.
    first_tick_ms: Option<u64>,
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
    pub(super) fn new(publisher: PeerId, grant: &StreamGrant, owed: bool) -> Self {
        Self {
            publisher,
            id: grant.id,
            signed_frames: grant.signed_frames,
            verifier: grant.verifier.clone(),
            kept: VecDeque::from([(grant.generation, grant.secret.clone())]),
            announced: grant.generation,
            owed,
            first_tick_ms: None,
        }
    }

    pub(super) fn restored(
        publisher: PeerId,
        id: u32,
        verifier: StreamVerifier,
        announced: u8,
        kept: VecDeque<(u8, GenerationSecret)>,
    ) -> Self {
        Self { publisher, id, signed_frames: false, verifier, kept, announced, owed: false, first_tick_ms: None }
    }

    /// Whether all of a run that is new with this tick is owed to us: what began while we could read the stream. A
    /// publisher names its older runs in several ticks, where one does not take them all.
    pub(super) fn owes(&self, is_own_run: bool, now_ms: u64) -> bool {
        self.owed || self.first_tick_ms.is_some_and(|first| is_own_run || now_ms >= first + FIRST_TICKS_MS)
    }

    /// A verified tick of this stream was taken.
    pub(super) fn note_tick(&mut self, now_ms: u64) {
        self.first_tick_ms.get_or_insert(now_ms);
    }

    /// Whether runs that are seen from now on, also after a restart, are owed to us.
    pub(super) fn owes_later(&self) -> bool {
        self.owed || self.first_tick_ms.is_some()
    }

    /// The generations that are held.
    pub(super) fn kept(&self) -> &VecDeque<(u8, GenerationSecret)> {
        &self.kept
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
        self.forget();
    }

    /// Only what a signed tick has left behind is forgotten: an insider who steps ahead pushes nothing out.
    fn forget(&mut self) {
        let oldest = usize::from(self.announced).saturating_sub(KEPT - 1);
        while self.kept.len() > 1 && self.kept.front().is_some_and(|(held, _)| usize::from(*held) < oldest) {
            self.kept.pop_front();
        }
    }

    /// Takes note of the generation of a tick whose signature verified.
    pub(super) fn announce(&mut self, generation: u8) {
        self.announced = self.announced.max(generation);
        self.forget();
    }

    pub(super) fn announced(&self) -> u8 {
        self.announced
    }

    /// The latest generation that is held.
    pub(super) fn latest(&self) -> Option<u8> {
        self.kept.back().map(|(generation, _)| *generation)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::stream::StreamSecret;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    fn held(generation: u8) -> (StreamSecret, HeldStream) {
        let publisher = PeerId::from_bytes([1; 16]);
        let mut secret = StreamSecret::generate(publisher, false, &mut ChaCha20Rng::seed_from_u64(1));
        (0..generation).for_each(|_| assert!(secret.step()));
        let held = HeldStream::new(publisher, &secret.grant(), false);
        (secret, held)
    }

    #[test]
    fn a_generation_is_kept_only_by_commit() {
        let (mut secret, mut stream) = held(3);
        let derived = stream.derive(5, FRAME_STEPS).unwrap();
        assert_eq!(stream.latest(), Some(3), "deriving leaves the state as it was");
        (0..2).for_each(|_| assert!(secret.step()));
        assert_eq!(derived.secret.expose(), secret.secret().expose());
        stream.commit(derived);
        assert_eq!(stream.latest(), Some(5));
    }

    #[test]
    fn what_is_too_far_or_before_the_grant_has_no_secret() {
        let (_, mut stream) = held(3);
        assert_eq!(stream.derive(2, FRAME_STEPS).err(), Some(NoSecret::BeforeGrant));
        assert!(stream.derive(19, FRAME_STEPS).is_ok());
        assert_eq!(stream.derive(20, FRAME_STEPS).err(), Some(NoSecret::TooFar));
        assert_eq!(stream.derive(255, FRAME_STEPS).err(), Some(NoSecret::TooFar));
        stream.announce(100);
        assert!(stream.derive(116, FRAME_STEPS).is_ok());
        assert_eq!(stream.latest(), Some(3), "a tick raises the bound and nothing else");
    }

    #[test]
    fn the_last_generations_are_kept_for_late_frames() {
        let (_, mut stream) = held(0);
        for generation in 1..=20 {
            let derived = stream.derive(generation, FRAME_STEPS).unwrap();
            stream.commit(derived);
        }
        assert!(stream.derive(0, FRAME_STEPS).is_ok(), "frames alone push nothing out");
        stream.announce(20);
        assert!(stream.derive(13, FRAME_STEPS).is_ok());
        assert_eq!(stream.derive(12, FRAME_STEPS).err(), Some(NoSecret::BeforeGrant));
    }
}
