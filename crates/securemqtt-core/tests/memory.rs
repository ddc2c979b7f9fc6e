//! What a publisher costs a subscriber, in bytes that stay on the heap: pinned, keyed, with a reading read,
//! and with as many as come within a minute, between two ticks of which the signature is checked.
#![allow(clippy::unwrap_used, reason = "tests")]

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::peers::{KnownPeers, Peer, PeerName};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::{Now, publisher, subscriber};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PUBLISHERS: usize = 1_000;
/// Bounds, a little above what it is: 294, 1,911 and 2,612 bytes; and with a key that ring has made ready, 2,836.
const PINNED: usize = 310;
const KEYED: usize = 2_000;
const READ: usize = if cfg!(feature = "ring") { 2_840 } else { 2_620 };
/// Readings of each within a minute, and what all but the first may take: 16 bytes each, and what is kept ready for more.
const MANY: usize = 32;
const MORE: usize = 16 * (MANY - 1) + 8;
/// Of a frame, more than it is.
const FRAME: usize = 256;
/// From one to the next: faster, and handshakes are put off.
const PACE_MS: u64 = 10;

/// When this one comes.
fn now(index: usize) -> Now {
    let ms = u64::try_from(index).unwrap() * PACE_MS;
    Now { mono_ms: 1_000 + ms, unix_ms: 1_800_000_000_000 + ms }
}

/// As subscribers have them, each of its own length.
fn name(index: usize) -> PeerName {
    format!("publisher-{index:04}").parse().unwrap()
}

fn topic(index: usize) -> String {
    format!("plant/line-{}/sensor-{index:04}/vitals", index % 10)
}

fn key(index: usize) -> IdentityKey {
    IdentityKey::generate(&mut ChaCha20Rng::seed_from_u64(u64::try_from(index).unwrap()))
}

fn live() -> usize {
    dhat::HeapStats::get().curr_bytes
}

/// A subscriber that has pinned them all.
fn subscriber(own: &IdentityKey) -> subscriber::Subscriber {
    let line = |index| format!("{} {}\n", name(index), key(index).public().to_openssh());
    let known = KnownPeers::parse(&(0..PUBLISHERS).map(line).collect::<String>()).unwrap();
    let config = subscriber::Config {
        name: "monitor".parse().unwrap(),
        filters: vec!["#".to_owned()],
        exclude: Vec::new(),
        accept_rollback: false,
    };
    let trust = Trust::new(TrustMode::Strict, own.public().id(), known, Vec::new());
    subscriber::Subscriber::new(own.clone(), trust, config)
}

/// What passes between them, and what each of them has to store.
struct Wire {
    rng: ChaCha20Rng,
    out: subscriber::Output,
    answers: publisher::Output,
}

impl Wire {
    fn hears(&mut self, subscriber: &mut subscriber::Subscriber, topic: &str, payload: &[u8], now: Now) {
        subscriber.handle(topic, payload, now, &mut self.rng, &mut self.out);
        subscriber.take_changes();
        self.out.subscribe.clear();
        self.out.events.clear();
    }

    /// One publisher from its handshake to its first readings, which are not opened yet: their frames.
    fn introduce(
        &mut self,
        subscriber: &mut subscriber::Subscriber,
        own: &IdentityKey,
        index: usize,
    ) -> [Vec<u8>; MANY] {
        let (identity, now) = (key(index), now(index));
        let mut known = KnownPeers::default();
        let (name, key) = ("monitor".parse().unwrap(), own.public().clone());
        known.add(Peer { name, key, revoked: false, comment: None }).unwrap();
        let trust = Trust::new(TrustMode::Strict, identity.public().id(), known, Vec::new());
        let config = publisher::Config::new(self::name(index));
        let mut publisher = publisher::Publisher::new(identity, trust, config, now, &mut self.rng);
        publisher.connected(now, &mut self.answers);
        while !self.answers.send.is_empty() {
            for message in std::mem::take(&mut self.answers.send) {
                self.hears(subscriber, &message.topic, &message.payload, now);
            }
            for message in std::mem::take(&mut self.out.send) {
                publisher.handle(&message.topic, &message.payload, now, &mut self.rng, &mut self.answers);
            }
        }
        self.answers = publisher::Output::default();
        std::array::from_fn(|_| publisher.seal(&topic(index), br#"{"heart_rate": 83}"#).unwrap().to_vec())
    }
}

/// Bytes a publisher.
fn each(bytes: usize) -> usize {
    bytes / PUBLISHERS
}

#[test]
fn a_publisher_costs_a_subscriber_so_many_bytes() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let own = key(PUBLISHERS);
    let mut wire = Wire {
        rng: ChaCha20Rng::seed_from_u64(u64::MAX),
        out: subscriber::Output::default(),
        answers: publisher::Output::default(),
    };
    // What this test itself holds is there before anything is counted: the frames of all publishers, in the order of readings.
    let mut frames: [Vec<u8>; MANY] = std::array::from_fn(|_| Vec::with_capacity(PUBLISHERS * FRAME));

    let nothing = live();
    let mut subscriber = subscriber(&own);
    let pinned = each(live() - nothing);
    for index in 0..PUBLISHERS {
        for (frames, frame) in frames.iter_mut().zip(wire.introduce(&mut subscriber, &own, index)) {
            frames.extend(frame);
        }
    }
    assert_eq!(subscriber.keyed(), PUBLISHERS);
    let keyed = each(live() - nothing);
    let mut read = Vec::with_capacity(MANY);
    for frames in &frames {
        let frames = frames.chunks_exact(frames.len() / PUBLISHERS);
        for (index, frame) in frames.enumerate() {
            wire.hears(&mut subscriber, &topic(index), frame, now(PUBLISHERS));
            assert_eq!(wire.out.deliveries.drain(..).count(), 1);
        }
        read.push(each(live() - nothing));
    }
    // AWS-LC keeps its keys elsewhere, and in another size.
    if cfg!(not(feature = "aws-lc-rs")) {
        let (first, more) = (read[0], read[MANY - 1] - read[0]);
        let all = [pinned, keyed, first, more];
        let is_little = pinned <= PINNED && keyed <= KEYED && first <= READ && more <= MORE;
        assert!(is_little, "bytes pinned, keyed, with a reading, and what more of them take: {all:?}");
    }
}
