//! The streams that a subscriber holds: enough to open, never to seal or sign.

use std::collections::{BTreeSet, VecDeque};

use crate::identity::PeerId;
use crate::kdf::{self, GenerationSecret, TrafficContext};
use crate::stream::{StreamGrant, StreamVerifier};

/// Generations that are kept for late frames; more while something is missing.
const KEPT: usize = 8;
/// How far a frame may be ahead of what is held, or of what a verified tick has announced.
pub(super) const FRAME_STEPS: u8 = 16;
/// How far a tick may be ahead.
pub(super) const TICK_STEPS: u8 = u8::MAX;

/// Which runs of a stream are owed to us from their first number on, when we get to know them. What was sealed before we
/// could read is not missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// None: it was in use when it was granted, and no signed tick of it has come yet.
    Nothing,
    /// Those that begin: a signed tick has come, first at this time of the monotonic clock. It may not have named all
    /// runs before it; those that follow at once do.
    Next(u64),
    /// All that we do not know: the stream came while we had a session, or all runs before have been named.
    All,
}

#[derive(Debug)]
pub(super) struct HeldStream {
    publisher: PeerId,
    pub(super) id: u32,
    pub(super) signed_frames: bool,
    pub(super) verifier: StreamVerifier,
    kept: VecDeque<(u8, GenerationSecret)>,
    /// The latest generation that a verified tick was sealed in: it bounds steps, and never makes one.
    announced: u8,
    /// Whether something of it is missing that may still come.
    pub(super) lacks: bool,
    /// What of it is owed to us.
    pub(super) owed: Owed,
    /// When a signed tick last named it as the current one, or it came, in milliseconds since 1970.
    pub(super) current_ms: u64,
    /// Its runs that are over and forgotten, but for their numbers.
    pub(super) closed: BTreeSet<[u8; 5]>,
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
    pub(super) fn new(publisher: PeerId, grant: &StreamGrant, owed: Owed, unix_ms: u64) -> Self {
        Self {
            publisher,
            id: grant.id,
            signed_frames: grant.signed_frames,
            verifier: grant.verifier.clone(),
            kept: VecDeque::from([(grant.generation, grant.secret.clone())]),
            announced: grant.generation,
            lacks: false,
            owed,
            current_ms: unix_ms,
            closed: BTreeSet::new(),
        }
    }

    pub(super) fn restored(
        publisher: PeerId,
        id: u32,
        verifier: StreamVerifier,
        announced: u8,
        kept: VecDeque<(u8, GenerationSecret)>,
    ) -> Self {
        Self {
            publisher,
            id,
            signed_frames: false,
            verifier,
            kept,
            announced,
            lacks: false,
            owed: Owed::Nothing,
            current_ms: 0,
            closed: BTreeSet::new(),
        }
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

    /// Keeps what was derived, after a frame verified under it. Whether that is a later generation than any before.
    pub(super) fn commit(&mut self, derived: Derived) -> bool {
        let latest = self.kept.back().map_or(0, |(generation, _)| *generation);
        let held = self.kept.len();
        self.kept.extend(derived.steps.into_iter().filter(|(generation, _)| *generation > latest));
        let stepped = self.kept.len() > held;
        self.forget();
        stepped
    }

    /// Only what a signed tick has left behind is forgotten, and nothing while frames are missing that it may open: an
    /// insider who steps ahead pushes nothing out.
    fn forget(&mut self) {
        if self.lacks {
            return;
        }
        let oldest = usize::from(self.announced).saturating_sub(KEPT - 1);
        while self.kept.len() > 1 && self.kept.front().is_some_and(|(held, _)| usize::from(*held) < oldest) {
            self.kept.pop_front();
        }
    }

    /// Takes note of the generation of a tick whose signature verified.
    pub(super) fn announce(&mut self, generation: u8) {
        self.announced = self.announced.max(generation);
    }

    /// Takes note of whether something is missing, now that a tick was taken.
    pub(super) fn settle(&mut self, lacks: bool) {
        self.lacks = lacks;
        self.forget();
    }

    pub(super) fn announced(&self) -> u8 {
        self.announced
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
        let held = HeldStream::new(publisher, &secret.grant(), Owed::Nothing, 0);
        (secret, held)
    }

    fn latest(stream: &HeldStream) -> Option<u8> {
        stream.kept.back().map(|(generation, _)| *generation)
    }

    #[test]
    fn a_generation_is_kept_only_by_commit() {
        let (mut secret, mut stream) = held(3);
        let derived = stream.derive(5, FRAME_STEPS).unwrap();
        assert_eq!(latest(&stream), Some(3), "deriving leaves the state as it was");
        (0..2).for_each(|_| assert!(secret.step()));
        assert_eq!(derived.secret.expose(), secret.secret().expose());
        assert!(stream.commit(derived));
        assert_eq!(latest(&stream), Some(5));
        let derived = stream.derive(4, FRAME_STEPS).unwrap();
        assert!(!stream.commit(derived), "it was held before");
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
        assert_eq!(latest(&stream), Some(3), "a tick raises the bound and nothing else");
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
        stream.settle(true);
        assert!(stream.derive(0, FRAME_STEPS).is_ok(), "something is missing");
        stream.settle(false);
        assert!(stream.derive(13, FRAME_STEPS).is_ok());
        assert_eq!(stream.derive(12, FRAME_STEPS).err(), Some(NoSecret::BeforeGrant));
    }
}
