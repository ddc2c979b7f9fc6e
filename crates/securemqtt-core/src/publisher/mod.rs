//! The publisher's engine: hello, handshakes, the key chain of each subscriber, the stream and its ticks.
//!
//! It takes messages and the time, and says what to send and what happened. It seals and cannot open.

mod acks;
mod config;
mod event;
mod intake;
mod roster;
mod rotation;
mod sealer;
mod status;

use std::collections::{HashMap, HashSet};
use std::fmt;

use rand_core::CryptoRng;

pub use config::Config;
pub use event::{Counters, Event, Reject};
pub use sealer::{MAX_TOPICS, SealError};
pub use status::{KnownSubscriber, Rotating};

use crate::bucket::TokenBucket;
use crate::identity::{IdentityKey, IdentityPublic, PeerId};
use crate::peers::{KnownPeers, PeerName};
use crate::stream::StreamSecret;
use crate::topic::Control;
use crate::trust::Trust;
use crate::wire::{Hello, RunPositions, SUITE_1};
use crate::{Now, Outgoing, Qos};
use roster::{Member, Roster};
use rotation::Rotation;
use sealer::Sealer;

/// What a call leaves to be done. The caller takes both lists, and does them in this order.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages to publish, in order.
    pub send: Vec<Outgoing>,
    /// What happened.
    pub events: Vec<Event>,
}

/// A hello and its bytes.
#[derive(Debug)]
struct OwnHello {
    bytes: Vec<u8>,
    short: [u8; 8],
}

/// The engine.
pub struct Publisher {
    identity: IdentityKey,
    id: PeerId,
    config: Config,
    trust: Trust,
    hello: OwnHello,
    previous_hello: Option<OwnHello>,
    roster: Roster,
    /// Strangers that a person let in, until they confirm; and those shut out.
    approved: HashSet<PeerId>,
    denied: HashSet<PeerId>,
    asked: HashMap<PeerId, (PeerName, IdentityPublic)>,
    sealer: Sealer,
    /// The last runs before this one, still named in ticks.
    older_runs: Vec<RunPositions>,
    rotation: Option<Rotation>,
    due: Due,
    limits: Limits,
    counters: Counters,
}

/// When the next of each is due.
#[derive(Debug)]
struct Due {
    challenge: u64,
    tick: u64,
    ratchet: u64,
    rotate: u64,
}

/// The bounds on what strangers can cause.
#[derive(Debug)]
struct Limits {
    strangers: TokenBucket,
    retries: TokenBucket,
    reports: TokenBucket,
}

impl Publisher {
    /// A publisher with a new stream, a new run and a new challenge.
    pub fn new<R: CryptoRng + ?Sized>(
        identity: IdentityKey,
        trust: Trust,
        config: Config,
        now: Now,
        rng: &mut R,
    ) -> Self {
        let id = identity.public().id();
        let stream = StreamSecret::generate(id, config.signed_frames, rng);
        let at = now.mono_ms;
        Self {
            id,
            hello: new_hello(&identity, &config, rng),
            previous_hello: None,
            trust,
            roster: Roster::default(),
            approved: HashSet::new(),
            denied: HashSet::new(),
            asked: HashMap::new(),
            sealer: Sealer::new(stream, Control::Tick.topic(id), rng),
            older_runs: Vec::new(),
            rotation: None,
            due: Due {
                challenge: at + config.challenge_ms,
                tick: at + config.tick_ms,
                ratchet: at + config.ratchet_ms,
                rotate: at + config.rotate_ms,
            },
            limits: Limits {
                strangers: TokenBucket::new(40, 20),
                retries: TokenBucket::new(40, 20),
                reports: TokenBucket::new(10, 2),
            },
            counters: Counters::default(),
            identity,
            config,
        }
    }

    /// Our id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The trust rules; read them to write known_peers.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many subscribers are remembered, strangers included.
    pub fn remembered(&self) -> usize {
        self.roster.len()
    }

    /// How many subscribers have a confirmed session.
    pub fn confirmed(&self) -> usize {
        self.roster.active().count()
    }

    /// The current stream's id.
    pub fn stream(&self) -> u32 {
        self.sealer.stream().id()
    }

    /// The current run.
    pub fn run(&self) -> [u8; 5] {
        self.sealer.run()
    }

    /// The filters to subscribe to, after every CONNACK.
    pub fn filters(&self) -> Vec<String> {
        vec![Control::In.topic(self.id)]
    }

    /// The connection is up, again perhaps: hello, keys and a tick, which opens the run.
    pub fn connected(&mut self, now: Now, out: &mut Output) {
        out.send.push(self.hello_message(Qos::AtLeastOnce));
        let keys: Vec<Outgoing> = self
            .roster
            .active()
            .filter(|(_, _, active)| !active.chain.is_settled())
            .map(|(id, _, active)| keys_message(self.id, id, active.chain.keys()))
            .collect();
        out.send.extend(keys);
        self.tick(now, Qos::AtLeastOnce, false, false, out);
    }

    /// Seals one reading for a topic.
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn seal(&mut self, topic: &str, reading: &[u8]) -> Result<Vec<u8>, SealError> {
        self.sealer.seal(topic, reading).map(|(_, frame)| frame)
    }

    /// Seals several readings for a topic as one message.
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn seal_batch(&mut self, topic: &str, readings: &[&[u8]]) -> Result<Vec<u8>, SealError> {
        self.sealer.seal_batch(topic, readings).map(|(_, frame)| frame)
    }

    /// When [`Publisher::poll`] is next due, on the monotonic clock.
    pub fn next_poll_ms(&self) -> u64 {
        let generation_full = self.sealer.frames_in_generation() >= self.config.ratchet_frames;
        if generation_full || self.sealer.tick_is_due() || self.sealer.is_exhausting() && self.rotation.is_none() {
            return 0;
        }
        let due = self.due.challenge.min(self.due.tick).min(self.due.ratchet).min(self.due.rotate);
        self.rotation.as_ref().map_or(due, |rotation| due.min(rotation.deadline_ms))
    }

    /// Does what is due: a challenge, a generation, a rotation, a tick.
    pub fn poll<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        if now.mono_ms >= self.due.challenge {
            self.renew_challenge(now, rng, out);
        }
        let generation_full = self.sealer.frames_in_generation() >= self.config.ratchet_frames;
        if now.mono_ms >= self.due.ratchet || generation_full {
            self.due.ratchet = now.mono_ms + self.config.ratchet_ms;
            if !self.sealer.step() {
                self.rotate(now, rng, out);
            }
        }
        if now.mono_ms >= self.due.rotate || self.sealer.is_exhausting() && self.rotation.is_none() {
            self.rotate(now, rng, out);
        }
        if self.rotation.as_ref().is_some_and(|rotation| rotation.is_over(now)) {
            self.switch(now, rng, out);
        }
        if now.mono_ms >= self.due.tick || self.sealer.tick_is_due() {
            self.due.tick = now.mono_ms + self.config.tick_ms;
            out.send.push(self.hello_message(Qos::AtMostOnce));
            self.tick(now, Qos::AtMostOnce, true, false, out);
        }
    }

    /// The last tick of the run, before a clean disconnect.
    pub fn finish(&mut self, now: Now, out: &mut Output) {
        self.tick(now, Qos::AtLeastOnce, true, true, out);
    }

    /// A person's answer to [`Event::AskPeer`]. A subscriber that was let in is pinned when it confirms.
    pub fn decide(&mut self, id: PeerId, allow: bool) {
        if self.asked.remove(&id).is_some() {
            let list = if allow { &mut self.approved } else { &mut self.denied };
            list.insert(id);
        }
    }

    /// The file of known peers has changed: whoever is no longer allowed loses the next stream.
    /// A new challenge tells whoever was refused, and may be let in now, to ask again.
    pub fn set_known<R: CryptoRng + ?Sized>(&mut self, known: KnownPeers, now: Now, rng: &mut R, out: &mut Output) {
        let before = self.trust.known();
        let stood = |key| before.by_key(key).is_some_and(|peer| !peer.revoked);
        if known.iter().any(|peer| !peer.revoked && !stood(&peer.key)) {
            self.renew_challenge(now, rng, out);
        }
        self.trust.set_known(known);
        let gone: Vec<PeerId> =
            self.roster.granted().filter(|(_, member)| !self.stays(member)).map(|(id, _)| id).collect();
        for id in &gone {
            self.dismiss(*id, rng, out);
        }
        if !gone.is_empty() {
            self.rotate(now, rng, out);
        }
    }

    /// Whether a member with a session, or with a GRANT that it has not confirmed, keeps the stream that it holds.
    fn stays(&self, member: &Member) -> bool {
        match self.trust.known().by_key(&member.key) {
            Some(peer) => !peer.revoked,
            // A stranger is pinned when it confirms.
            None => member.active.is_none() && self.may_join(&member.key, &member.name),
        }
    }

    fn renew_challenge<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        self.due.challenge = now.mono_ms + self.config.challenge_ms;
        let hello = new_hello(&self.identity, &self.config, rng);
        self.previous_hello = Some(std::mem::replace(&mut self.hello, hello));
        out.send.push(self.hello_message(Qos::AtLeastOnce));
    }

    fn hello_message(&self, qos: Qos) -> Outgoing {
        Outgoing { topic: Control::Hello.topic(self.id), payload: self.hello.bytes.clone(), qos, retain: true }
    }

    /// One tick, or several where the topics do not fit in one.
    fn tick(&mut self, now: Now, qos: Qos, timed: bool, last: bool, out: &mut Output) {
        let mut waiting = usize::MAX;
        loop {
            let Ok(payload) = self.sealer.tick(&self.older_runs, now.unix_ms, last) else { return };
            out.send.push(Outgoing { topic: Control::Tick.topic(self.id), payload, qos, retain: true });
            let left = self.sealer.unannounced_topics();
            // A topic too long to be named beside the older runs waits until those are gone.
            if left == 0 || left >= waiting {
                break;
            }
            waiting = left;
        }
        if timed {
            self.sealer.move_marks();
        }
    }
}

fn new_hello<R: CryptoRng + ?Sized>(identity: &IdentityKey, config: &Config, rng: &mut R) -> OwnHello {
    let mut challenge = [0; 16];
    rng.fill_bytes(&mut challenge);
    let hello = Hello { suites: vec![SUITE_1], key: identity.public().clone(), challenge, name: config.name.clone() };
    let bytes = hello.encode();
    OwnHello { short: Hello::short_hash(&bytes), bytes }
}

fn keys_message(publisher: PeerId, subscriber: PeerId, payload: Vec<u8>) -> Outgoing {
    Outgoing { topic: Control::Keys(subscriber).topic(publisher), payload, qos: Qos::AtLeastOnce, retain: true }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({}, {:?}, {} confirmed)", self.id, self.sealer, self.confirmed())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::trust::TrustMode;
    use crate::wire::{Kind, MAX_TICK_LEN};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    const NOW: Now = Now { mono_ms: 0, unix_ms: 0 };

    fn publisher() -> (Publisher, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let identity = IdentityKey::generate(&mut rng);
        let trust = Trust::new(TrustMode::Strict, identity.public().id(), KnownPeers::default(), Vec::new());
        let config = Config::new("publisher".parse().unwrap());
        (Publisher::new(identity, trust, config, NOW, &mut rng), rng)
    }

    fn ticks(out: &Output) -> usize {
        let ticks = out.send.iter().filter(|message| Kind::of(&message.payload) == Ok(Kind::Tick));
        ticks.inspect(|tick| assert!(tick.payload.len() <= MAX_TICK_LEN)).count()
    }

    #[test]
    fn many_topics_take_several_ticks_and_one_that_never_fits_takes_no_more() {
        let (mut publisher, mut rng) = publisher();
        for rotation in 0..4 {
            for topic in 0..40 {
                publisher.seal(&format!("{topic}/{}", "x".repeat(200)), b"").unwrap();
            }
            let mut out = Output::default();
            publisher.poll(Now { mono_ms: 10_000 * (rotation + 1), unix_ms: 0 }, &mut rng, &mut out);
            assert!((2..=8).contains(&ticks(&out)), "{} ticks", ticks(&out));
            publisher.rotate(NOW, &mut rng, &mut Output::default());
        }
        publisher.seal(&"y".repeat(7_000), b"").unwrap();
        let mut out = Output::default();
        publisher.finish(NOW, &mut out);
        assert!(ticks(&out) <= 2, "{} ticks", ticks(&out));
    }
}
