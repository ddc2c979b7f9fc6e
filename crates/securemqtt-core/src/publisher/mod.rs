//! The publisher's engine: hello, handshakes, the key chain of each subscriber, the stream and its ticks.
//!
//! It takes messages and the time, and says what to send and what happened. It seals and cannot open.

mod acks;
mod config;
mod event;
mod intake;
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

use rand_core::CryptoRng;

pub use config::Config;
pub use event::{Counters, Event, Reject};
pub use repair::Resend;
use reports::Losses;
pub use reports::Unreported;
pub use sealer::{MAX_TOPICS, SealError};
pub use segment::{SpooledFrame, frames};
pub use status::{KnownSubscriber, Rotating};

use crate::bucket::TokenBucket;
use crate::identity::{IdentityKey, IdentityPublic, PeerId};
use crate::peers::{KnownPeers, PeerName};
use crate::stream::StreamSecret;
use crate::topic::Control;
use crate::trust::Trust;
use crate::wire::{Hello, SUITE_1};
use crate::{Now, Outgoing, Qos};
use own::Epoch;
use past::PastRuns;
use repair::Repair;
use roster::{Member, Roster};
use rotation::Rotation;
use sealer::{Reach, Sealer};
use spool::Spool;
use store::Dirty;
use twins::Twins;

/// Ticks that name older runs at one time.
const MAX_TICKS: usize = 32;
/// Between ticks while the spool is full.
const FULL_TICK_MS: u64 = 2_000;
/// Between ticks while reports of everything are awaited.
const CONFIRM_TICK_MS: u64 = 1_000;
/// Between two handfuls of frames that are sent again.
const REPAIR_MS: u64 = 20;

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

/// A hello and its bytes.
#[derive(Debug)]
struct OwnHello {
    bytes: Vec<u8>,
    short: [u8; 8],
}

impl OwnHello {
    fn new(bytes: Vec<u8>) -> Self {
        Self { short: Hello::short_hash(&bytes), bytes }
    }
}

/// A sealed frame that was spooled.
#[derive(Debug)]
pub struct Spooled {
    /// The bytes to publish, when the spool with them is durable.
    pub frame: Vec<u8>,
    /// Its segment.
    pub segment: u64,
    /// One past its last number.
    pub to: u32,
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
        let hello = new_hello(&identity, &config, rng);
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
            repair: Repair::new(),
            losses: Losses::default(),
            confirming: false,
            twins: Twins::default(),
            farewells: Vec::new(),
            dirty: Dirty { own: true, run: true, ..Dirty::default() },
            challenge_unix_ms: now.unix_ms,
            started_unix_ms: now.unix_ms,
            last_tick_ms: at,
            repair_ms: 0,
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
        vec![Control::In.topic(self.id), Control::Tick.topic(self.id)]
    }

    /// The connection is up, again perhaps: hello, keys and a tick, which opens the run.
    pub fn connected(&mut self, now: Now, out: &mut Output) {
        out.send.push(self.hello_message(Qos::AtLeastOnce));
        out.send.append(&mut self.farewells);
        let keys: Vec<Outgoing> = self
            .roster
            .active()
            .filter(|(_, _, active)| !active.chain.is_settled())
            .map(|(id, _, active)| keys_message(self.id, id, active.chain.keys()))
            .collect();
        out.send.extend(keys);
        self.tick(now, Qos::AtLeastOnce, false, false, out);
    }

    /// Seals one reading for a topic, which is not kept for anybody.
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn seal(&mut self, topic: &str, reading: &[u8]) -> Result<Vec<u8>, SealError> {
        let (seq, frame) = self.sealer.seal(topic, reading)?;
        self.sealer.release(topic, seq + 1);
        Ok(frame)
    }

    /// Seals several readings for a topic as one message, which is not kept for anybody.
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn seal_batch(&mut self, topic: &str, readings: &[&[u8]]) -> Result<Vec<u8>, SealError> {
        let (_, frame) = self.sealer.seal_batch(topic, readings)?;
        self.sealer.release(topic, u32::MAX);
        Ok(frame)
    }

    /// Seals a reading, or several as one message, and keeps the frame to be sent again. It may be published when what
    /// [`Publisher::take_changes`] gives next is durable; then tell [`Publisher::handed_over`].
    ///
    /// # Errors
    /// [`SealError`] when the topic cannot be used or a counter is at its end.
    pub fn spool(&mut self, topic: &str, readings: &[&[u8]], qos: Qos, retain: bool) -> Result<Spooled, SealError> {
        let (from, frame) = match readings {
            [reading] => self.sealer.seal(topic, reading)?,
            readings => self.sealer.seal_batch(topic, readings)?,
        };
        let to = from + u32::try_from(readings.len()).unwrap_or(0);
        let run = self.sealer.run();
        let segment = self.spool.push(&SpooledFrame { topic, frame: &frame, qos, retain, run, from, to });
        Ok(Spooled { frame, segment, to })
    }

    /// Whether the spool takes a message of so many bytes; what may go for it goes.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.spool.has_room(bytes) || self.make_room(bytes);
        if !has_room {
            // Whoever holds it up is asked sooner than by the usual ticks.
            self.due.tick = self.due.tick.min(self.last_tick_ms + FULL_TICK_MS);
        }
        has_room
    }

    /// Makes room whatever is lost by it.
    pub fn force_room(&mut self, bytes: usize) {
        if !self.has_room(bytes) {
            self.drop_oldest(bytes);
        }
    }

    /// The frames that are in memory only: bytes.
    pub fn unstored(&self) -> usize {
        self.spool.unstored()
    }

    /// The first segment that is kept, and the last: frames in between may have to be read from there.
    pub fn segments(&self) -> (u64, u64) {
        (self.spool.first(), self.spool.last())
    }

    /// The first segment of which not everything is with the broker: at a start, from here on it is all sent again.
    pub fn first_unacknowledged(&self) -> Option<u64> {
        let first = self.spool.acknowledged_below().max(self.spool.first());
        (!self.spool.is_empty()).then_some(first)
    }

    /// No more frames go into the last segment: it is whole when the next changes are durable.
    pub fn close_segment(&mut self) {
        self.spool.close_tail();
    }

    /// How much is kept to be sent again: bytes, and frames that the broker has not acknowledged.
    pub fn kept(&self) -> (usize, u64) {
        (self.spool.size(), self.spool.unacknowledged())
    }

    /// A frame of the spool was handed to the broker.
    pub fn handed_over(&mut self, segment: u64, run: [u8; 5], topic: &str, to: u32) {
        if run == self.sealer.run() {
            self.sealer.release(topic, to);
        }
        self.released = self.released.max(segment);
    }

    /// So were all frames of the segments below this one. What older runs have been waiting for a tick tells, before the
    /// next frame goes.
    pub fn handed_over_below(&mut self, segment: u64, now: Now, out: &mut Output) {
        let before = self.released;
        self.released = before.max(segment);
        if self.past.waited(before, self.released) {
            self.tick(now, Qos::AtLeastOnce, false, false, out);
        }
    }

    /// So were all frames that there are.
    pub fn all_handed_over(&mut self, now: Now, out: &mut Output) {
        self.handed_over_below(self.spool.last() + u64::from(!self.spool.is_empty()), now, out);
    }

    /// The broker has acknowledged so many frames of a segment.
    pub fn acknowledged(&mut self, segment: u64, frames: u32) {
        self.spool.acknowledge(segment, frames);
        self.trim();
    }

    /// When [`Publisher::poll`] is next due, on the monotonic clock.
    pub fn next_poll_ms(&self) -> u64 {
        let generation_full = self.sealer.frames_in_generation() >= self.config.ratchet_frames;
        if generation_full || self.sealer.tick_is_due() || self.sealer.is_exhausting() && self.rotation.is_none() {
            return 0;
        }
        if !self.repair.is_idle() {
            return self.repair_ms;
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
            if self.step() {
                self.epoch.stepped_ms = now.unix_ms;
            } else {
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
            let pause = if self.confirming { CONFIRM_TICK_MS } else { u64::MAX };
            self.due.tick = now.mono_ms + self.config.tick_ms.min(pause);
            out.send.push(self.hello_message(Qos::AtMostOnce));
            self.tick(now, Qos::AtMostOnce, true, false, out);
            self.tell_losses(out);
        }
        if !self.repair.is_idle() && now.mono_ms >= self.repair_ms {
            self.repair_ms = now.mono_ms + REPAIR_MS;
            out.resend.extend(self.repair.next(&self.spool, now.mono_ms));
        }
        self.forget_stream_before(now);
    }

    /// The last tick of the run, before a clean disconnect.
    pub fn finish(&mut self, now: Now, out: &mut Output) {
        self.is_exact = true;
        self.dirty.run = true;
        self.tell_losses(out);
        self.tick(now, Qos::AtLeastOnce, true, true, out);
    }

    /// Steps the ratchet, durably before the next frame; false at the last generation.
    fn step(&mut self) -> bool {
        self.dirty.own = true;
        self.sealer.step()
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
        let gone = self.gone();
        for id in &gone {
            self.dismiss(*id, rng, out);
        }
        if !gone.is_empty() {
            self.rotate(now, rng, out);
        }
    }

    /// The members that hold the stream and may not.
    fn gone(&self) -> Vec<PeerId> {
        self.roster.granted().filter(|(_, member)| !self.stays(member)).map(|(id, _)| id).collect()
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
        self.challenge_unix_ms = now.unix_ms;
        self.dirty.own = true;
        let hello = new_hello(&self.identity, &self.config, rng);
        self.previous_hello = Some(std::mem::replace(&mut self.hello, hello));
        out.send.push(self.hello_message(Qos::AtLeastOnce));
    }

    fn hello_message(&self, qos: Qos) -> Outgoing {
        Outgoing { topic: Control::Hello.topic(self.id), payload: self.hello.bytes.clone(), qos, retain: true }
    }

    /// One tick, or several where the topics or the older runs do not fit in one.
    fn tick(&mut self, now: Now, qos: Qos, timed: bool, last: bool, out: &mut Output) {
        self.last_tick_ms = now.mono_ms;
        let asks = self.asks();
        // What is not sent yet is announced by the tick after it, or by the last one: the next start sends it.
        let reach = if last { Reach::Sealed } else { Reach::Released };
        let turns = if qos == Qos::AtLeastOnce { self.past.ticks().min(MAX_TICKS) } else { 1 };
        let mut waiting = usize::MAX;
        for turn in 0.. {
            let left = self.sealer.unannounced_topics(reach);
            // A topic too long to be named beside the older runs goes without them.
            let older =
                if turn < turns && left < waiting { self.past.named(&self.spool, self.released) } else { Vec::new() };
            let spool = &self.spool;
            let made =
                self.sealer.tick(&older, now.unix_ms, sealer::TickKind { asks, last, reach }, |run, position| {
                    spool.first_kept(run, position)
                });
            let Ok(payload) = made else { return };
            out.send.push(Outgoing { topic: Control::Tick.topic(self.id), payload, qos, retain: true });
            let left = self.sealer.unannounced_topics(reach);
            if turn + 1 >= turns && (left == 0 || left >= waiting && older.is_empty()) {
                break;
            }
            waiting = left;
        }
        if asks {
            self.note_asking();
        }
        if timed {
            self.sealer.move_marks(reach);
        }
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

fn new_hello<R: CryptoRng + ?Sized>(identity: &IdentityKey, config: &Config, rng: &mut R) -> OwnHello {
    let mut challenge = [0; 16];
    rng.fill_bytes(&mut challenge);
    let hello = Hello { suites: vec![SUITE_1], key: identity.public().clone(), challenge, name: config.name.clone() };
    OwnHello::new(hello.encode())
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
