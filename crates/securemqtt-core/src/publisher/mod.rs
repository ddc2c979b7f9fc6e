//! The publisher's engine: hello, handshakes, the key chain of each subscriber, the stream and its ticks.
//!
//! It takes messages and the time, and says what to send and what happened. It seals and cannot open.

mod acks;
mod admission;
mod config;
mod due;
mod event;
mod heartbeat;
mod hello;
mod intake;
mod kept;
mod leaving;
mod member;
mod own;
mod past;
mod repair;
mod reports;
mod restore;
mod roster;
mod rotation;
mod sealer;
mod segment;
mod spool;
mod status;
mod store;
mod twins;

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use rand_core::CryptoRng;

pub use config::Config;
pub use event::{Counters, Event, Reject};
pub use kept::Spooled;
use leaving::Losses;
pub use repair::Resend;
pub use reports::Unreported;
pub use sealer::{MAX_TOPICS, SealError};
pub use segment::{SpooledFrame, frames};
pub use status::{KnownSubscriber, Rotating};

use crate::bucket::TokenBucket;
use crate::identity::{IdentityKey, IdentityPublic, PeerId};
use crate::peers::PeerName;
use crate::stream::StreamSecret;
use crate::topic::Control;
use crate::trust::Trust;
use crate::{Now, Outgoing, Qos};
use due::Due;
use hello::OwnHello;
use own::Epoch;
use past::PastRuns;
use repair::Repair;
use roster::Roster;
use rotation::Rotation;
use sealer::Sealer;
use spool::Spool;
use store::Dirty;
use twins::Twins;

/// What a call leaves to be done. The caller takes both lists, and does them in this order.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages to publish, in order.
    pub send: Vec<Outgoing>,
    /// Frames to publish again, from the spool.
    pub resend: Vec<Resend>,
    /// What happened.
    pub events: Vec<Event>,
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
    /// The stream's age and runs, and this run's place in the order of runs.
    epoch: Epoch,
    order: u32,
    /// Whether it is known on disk how far each topic was sealed.
    is_exact: bool,
    past: PastRuns,
    rotation: Option<Rotation>,
    /// A stream that was handed out before the restart and not used yet.
    restored_next: Option<StreamSecret>,
    spool: Spool,
    /// All frames in segments below were handed to the broker.
    released: u64,
    /// The front segment that a subscriber holds up: looked at again with its next report, and with the next tick.
    held_up: Option<u64>,
    repair: Repair,
    losses: Losses,
    /// Whether ticks ask until everything is reported.
    confirming: bool,
    twins: Twins,
    /// Last words to subscribers that were shut out while there was no connection.
    farewells: Vec<Outgoing>,
    dirty: Dirty,
    challenge_unix_ms: u64,
    started_unix_ms: u64,
    last_tick_ms: u64,
    repair_ms: u64,
    due: Due,
    limits: Limits,
    counters: Counters,
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
        let hello = OwnHello::make(&identity, &config, rng);
        let sealer = Sealer::new(stream, Control::Tick.topic(id), &[], rng);
        let epoch = Epoch { made_ms: now.unix_ms, stepped_ms: now.unix_ms, runs: vec![sealer.run()] };
        Self {
            id,
            hello,
            previous_hello: None,
            trust,
            roster: Roster::default(),
            approved: HashSet::new(),
            denied: HashSet::new(),
            asked: HashMap::new(),
            sealer,
            epoch,
            order: 0,
            is_exact: config.spool_max > 0,
            past: PastRuns::default(),
            rotation: None,
            restored_next: None,
            spool: Spool::new(config.spool_max),
            released: 0,
            held_up: None,
            repair: Repair::new(),
            losses: Losses::default(),
            confirming: false,
            twins: Twins::default(),
            farewells: Vec::new(),
            dirty: Dirty { own: true, run: true, ..Dirty::default() },
            challenge_unix_ms: now.unix_ms,
            started_unix_ms: now.unix_ms,
            last_tick_ms: now.mono_ms,
            repair_ms: 0,
            due: Due::from(now, &config),
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
        vec![Control::In.topic(self.id), Control::Tick.topic(self.id)]
    }

    /// Seals one reading for a topic, which is not kept for anybody.
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn seal(&mut self, topic: &str, reading: &[u8]) -> Result<Bytes, SealError> {
        let (_, frame) = self.sealer.seal(topic, reading)?;
        self.sealer.release_last();
        Ok(frame)
    }

    /// Seals several readings for a topic as one message, which is not kept for anybody.
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn seal_batch(&mut self, topic: &str, readings: &[&[u8]]) -> Result<Bytes, SealError> {
        let (_, frame) = self.sealer.seal_batch(topic, readings)?;
        self.sealer.release_last();
        Ok(frame)
    }

    /// A run of a stream, which no run of it was before.
    fn new_sealer<R: CryptoRng + ?Sized>(&mut self, stream: StreamSecret, rng: &mut R) -> Sealer {
        let sealer = Sealer::new(stream, Control::Tick.topic(self.id), &self.epoch.runs, rng);
        self.epoch.runs.push(sealer.run());
        self.is_exact = self.config.spool_max > 0;
        self.dirty.own = true;
        self.dirty.run = true;
        sealer
    }

    fn new_epoch(&mut self, now: Now) {
        self.epoch = Epoch { made_ms: now.unix_ms, stepped_ms: now.unix_ms, runs: Vec::new() };
        self.due.rotate = now.mono_ms + self.config.rotate_ms;
        self.due.ratchet = now.mono_ms + self.config.ratchet_ms;
    }
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
    use crate::peers::KnownPeers;
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
