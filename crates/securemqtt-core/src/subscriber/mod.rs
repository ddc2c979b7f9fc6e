//! The subscriber's engine: publishers and their hellos, handshakes, key chains, streams, frames and ticks.
//!
//! It takes messages and the time, and says what to send, store and deliver. It opens and cannot seal.

mod ahead;
mod checks;
mod config;
mod due;
mod event;
mod filters;
mod frames;
mod gaps;
mod grants;
mod held;
mod hellos;
mod keys;
mod known;
mod limits;
mod missing;
mod new_runs;
mod next;
mod old_runs;
mod open;
mod order;
mod parking;
mod peer;
mod pulse;
mod records;
mod repair;
mod reports;
mod requests;
mod restore;
mod rollback;
mod runs;
mod session;
mod status;
mod store;
mod streams;
mod ticks;
mod topics;
mod verdicts;

use std::collections::{HashMap, HashSet};
use std::fmt;

use rand_core::CryptoRng;

pub use ahead::LOOK_AHEAD;
pub use config::Config;
pub use event::{Counters, Event, Reject, Span};
pub use status::KnownPublisher;
pub use store::Changes;

use crate::identity::{IdentityKey, PeerId};
use crate::topic::{CONTROL_PREFIX, Control};
use crate::trust::Trust;
use crate::{Delivery, Now, Outgoing, Qos};
use due::DueQueue;
use filters::MAX_EXACT_PEERS;
use gaps::TopicKey;
use held::HeldStreams;
use limits::Limits;
use open::Room;
use parking::Parking;
use peer::Peer;
use runs::Runs;
use store::Dirty;

/// Whoever was dismissed or revoked asks again after this long.
const DISMISSED_MS: u64 = 300_000;
/// Between two looks at everything that is not a publisher's.
const UPKEEP_MS: u64 = 60_000;

/// What a call leaves to be done, to be taken in this order.
#[derive(Debug, Default)]
pub struct Output {
    /// Filters to subscribe to.
    pub subscribe: Vec<String>,
    /// Messages to publish, in order.
    pub send: Vec<Outgoing>,
    /// Readings, each once.
    pub deliveries: Vec<Delivery>,
    /// What happened.
    pub events: Vec<Event>,
}

/// The engine.
pub struct Subscriber {
    identity: IdentityKey,
    id: PeerId,
    config: Config,
    trust: Trust,
    /// Boxed: the table is up to twice as large as what it holds.
    peers: HashMap<PeerId, Box<Peer>>,
    /// Publishers that were reported once as refused, with the first bytes of what they showed.
    reported: HashSet<[u8; 33]>,
    denied: HashSet<PeerId>,
    streams: HeldStreams,
    runs: Runs,
    /// The closed runs of all streams, each with the number of streams that have closed it.
    closed: HashMap<[u8; 5], u32>,
    parking: Parking,
    /// The last value of our counter that was used; that at the start; and that of this process's probes.
    sctr: u64,
    started: u64,
    probe_sctr: Option<u64>,
    /// Publishers whose frames wait until it is known whether we have read them before.
    held: HashSet<PeerId>,
    due: DueQueue,
    /// When it is polled though no publisher has anything due.
    upkeep_ms: u64,
    /// It is not polled again before, unless something is due sooner since.
    again_ms: u64,
    next_sweep_ms: u64,
    limits: Limits,
    counters: Counters,
    /// Topics with a gap to be reported.
    gaps: HashSet<TopicKey>,
    /// No grace of theirs ends before.
    gaps_ms: u64,
    wildcards: bool,
    dirty: Dirty,
    /// What every frame that is opened needs.
    room: Room,
}

impl Subscriber {
    /// A subscriber that remembers nothing.
    pub fn new(identity: IdentityKey, trust: Trust, config: Config) -> Self {
        Self {
            id: identity.public().id(),
            identity,
            config,
            trust,
            peers: HashMap::new(),
            reported: HashSet::new(),
            denied: HashSet::new(),
            streams: HeldStreams::default(),
            runs: Runs::default(),
            closed: HashMap::new(),
            parking: Parking::default(),
            sctr: 0,
            started: 0,
            probe_sctr: None,
            held: HashSet::new(),
            due: DueQueue::default(),
            upkeep_ms: 0,
            again_ms: 0,
            next_sweep_ms: 0,
            limits: Limits::new(),
            counters: Counters::default(),
            gaps: HashSet::new(),
            gaps_ms: u64::MAX,
            wildcards: false,
            dirty: Dirty::default(),
            room: Room::default(),
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

    /// The connection is up again: what went unanswered is repeated now, spread over a second where there is much of it.
    pub fn connected<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R) {
        let spread = if self.peers.len() > MAX_EXACT_PEERS { 1000 } else { 100 };
        for peer in self.peers.values_mut() {
            peer.repeat_at(now.mono_ms + u64::from(rng.next_u32() % spread));
        }
        self.connect_checks(spread, now, rng);
        self.wake_all();
        (self.upkeep_ms, self.again_ms) = (now.mono_ms, self.again_ms.min(now.mono_ms));
    }

    /// Takes a message from the broker.
    #[inline]
    pub fn handle<R: CryptoRng + ?Sized>(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        // An empty payload is a cleared retained message.
        if payload.is_empty() {
            return;
        }
        if topic.starts_with(CONTROL_PREFIX) {
            self.on_control(topic, payload, now, rng, out);
        } else {
            self.on_frame(topic, payload, now, out);
        }
    }

    #[inline(never)]
    fn on_control<R: CryptoRng + ?Sized>(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: Now,
        rng: &mut R,
        out: &mut Output,
    ) {
        let Some((publisher, control)) = Control::parse(topic) else { return };
        let result = match control {
            Control::Hello => self.on_hello(publisher, payload, now, rng, out),
            Control::Tick => self.on_tick(publisher, payload, now, rng, out),
            Control::To(id) if id == self.id => self.on_to(publisher, payload, now, rng, out),
            Control::Keys(id) if id == self.id => self.on_keys(publisher, payload, now, rng, out),
            Control::To(_) | Control::Keys(_) | Control::In => Ok(()),
        };
        if let Err(why) = result {
            self.reject(topic, why, now, out);
        }
        self.wake(publisher);
    }

    /// When [`Subscriber::poll`] is next due, on the monotonic clock.
    pub fn next_poll_ms(&self) -> u64 {
        self.due.first_ms().min(self.gaps_ms).min(self.upkeep_ms).max(self.again_ms)
    }

    /// Does what is due: requests, repeats, renewals, reports of gaps and of silence.
    pub fn poll<R: CryptoRng + ?Sized>(&mut self, now: Now, rng: &mut R, out: &mut Output) {
        if now.mono_ms < self.next_poll_ms() {
            return;
        }
        for id in self.take_due(now) {
            self.poll_peer(id, now, rng, out);
            self.wake(id);
        }
        self.report_gaps(now, rng, out);
        self.forget_replaced(now, out);
        self.counters.parking_full += self.parking.expire(now.unix_ms);
        (self.upkeep_ms, self.again_ms) = (now.mono_ms + UPKEEP_MS, now.mono_ms + 1);
    }

    /// The next value of our counter. It is stored with what has changed, and what carries it leaves after that.
    fn next_sctr(&mut self) -> u64 {
        self.sctr = self.sctr.saturating_add(1);
        self.dirty.counter = true;
        self.sctr
    }

    fn send_in(publisher: PeerId, payload: Vec<u8>, out: &mut Output) {
        let topic = Control::In.topic(publisher);
        out.send.push(Outgoing { topic, payload, qos: Qos::AtLeastOnce, retain: false });
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({}, {} publishers, {} streams)", self.id, self.peers.len(), self.streams.len())
    }
}
