//! What the protocol costs beside its bare primitives: `cargo bench -p securemqtt-bench`.
//!
//! - `seal` and `open`: one reading of 110 bytes through the engines, against the same AEAD on the same bytes alone
//!   in the crate that we use (aes-gcm), in ring and in aws-lc-rs;
//! - `handshake`: HELLO to the acknowledged first entry and the first tick, both sides, against the Diffie-Hellman
//!   and ECDSA operations that it cannot do without;
//! - `digest`: what the ledger adds to a frame, and a tick's digest over 4,096 frames.
#![allow(clippy::unwrap_used, missing_docs, reason = "benchmarks")]

mod primitives;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::ledger::{Ledger, leaf};
use securemqtt_core::peers::{KnownPeers, Peer};
use securemqtt_core::record::{Record, Table};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::{Now, publisher, subscriber};

/// A reading as telemetry has them.
const READING: &[u8; 110] =
    br#"{"patient_id": 101, "heart_rate": 83, "temperature": 36.7, "spo2": 98, "ts": "2027-01-15T08:00:00.00Z", "q":1}"#;
const TOPIC: &str = "hospital/ward-7/bed-3/vitals";
/// Frames between two ticks.
const CHUNK: u64 = 4096;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    sizes();
    seal(&mut criterion);
    open(&mut criterion);
    handshake(&mut criterion);
    digest(&mut criterion);
    criterion.final_summary();
}

/// A publisher and a subscriber that have pinned each other.
struct Pair {
    p: IdentityKey,
    s: IdentityKey,
    publisher: publisher::Publisher,
    rng: ChaCha20Rng,
    now: Now,
    sctr: u64,
    hello: (String, Vec<u8>),
}

fn pin(name: &str, key: &IdentityKey) -> KnownPeers {
    let mut known = KnownPeers::default();
    let key = key.public().clone();
    known.add(Peer { name: name.parse().unwrap(), key, revoked: false, comment: None }).unwrap();
    known
}

impl Pair {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (p, s) = (IdentityKey::generate(&mut rng), IdentityKey::generate(&mut rng));
        let now = Now { mono_ms: 1_000, unix_ms: 1_800_000_000_000 };
        let trust = Trust::new(TrustMode::Strict, p.public().id(), pin("monitor", &s), Vec::new());
        let config = publisher::Config::new("bed-3".parse().unwrap());
        let mut publisher = publisher::Publisher::new(p.clone(), trust, config, now, &mut rng);
        let mut out = publisher::Output::default();
        publisher.connected(now, &mut out);
        let hello = out.send.swap_remove(0);
        Self { p, s, publisher, rng, now, sctr: 0, hello: (hello.topic, hello.payload) }
    }

    fn new_subscriber(&mut self) -> subscriber::Subscriber {
        // A second later, with counters of its own: rates and replays do not matter here.
        self.now.mono_ms += 1_000;
        self.sctr += 16;
        let trust = Trust::new(TrustMode::Strict, self.s.public().id(), pin("bed-3", &self.p), Vec::new());
        let config =
            subscriber::Config { name: "monitor".parse().unwrap(), filters: vec!["#".to_owned()], exclude: Vec::new() };
        let value = [&[1], &self.sctr.to_be_bytes()[..]].concat();
        let counter = Record { table: Table::Counter, key: Vec::new(), value: value.into() };
        subscriber::Subscriber::restore(self.s.clone(), trust, config, &[counter], self.now, &mut self.rng).unwrap()
    }

    /// HELLO, REQUEST, GRANT, ACK, KEYS with TICK, ACK. Returns the bytes of each message but the clearing of KEYS.
    fn shake_hands(&mut self, subscriber: &mut subscriber::Subscriber) -> Vec<(&'static str, usize)> {
        let mut sizes = vec![("HELLO", self.hello.1.len())];
        let mut out = subscriber::Output::default();
        subscriber.handle(&self.hello.0, &self.hello.1, self.now, &mut self.rng, &mut out);
        for round in [["REQUEST", "GRANT", ""], ["ACK", "KEYS", "TICK"], ["ACK", "", ""]] {
            let mut answers = publisher::Output::default();
            for message in std::mem::take(&mut out.send) {
                sizes.push((round[0], message.payload.len()));
                self.publisher.handle(&message.topic, &message.payload, self.now, &mut self.rng, &mut answers);
            }
            for (answer, name) in answers.send.iter().filter(|answer| !answer.payload.is_empty()).zip(&round[1..]) {
                sizes.push((name, answer.payload.len()));
                subscriber.handle(&answer.topic, &answer.payload, self.now, &mut self.rng, &mut out);
            }
        }
        sizes
    }

    /// Seals as the driver does, ticks included; the ticks are appended.
    fn seal(&mut self, ticks: &mut publisher::Output) -> Vec<u8> {
        let frame = self.publisher.seal(TOPIC, READING).unwrap();
        if self.publisher.next_poll_ms() == 0 {
            self.publisher.poll(self.now, &mut self.rng, ticks);
        }
        frame
    }
}

/// What is counted rather than timed.
#[expect(clippy::print_stderr, reason = "a benchmark talks to a person")]
fn sizes() {
    let mut pair = Pair::new();
    let mut subscriber = pair.new_subscriber();
    let sizes = pair.shake_hands(&mut subscriber);
    let without_ticks = sizes.iter().filter(|(name, _)| *name != "TICK").map(|(_, size)| size).sum::<usize>();
    let frame = pair.seal(&mut publisher::Output::default());
    eprintln!("handshake: {sizes:?}, {without_ticks} bytes without the tick");
    eprintln!("frame: {} bytes over a reading of {}", frame.len() - READING.len(), READING.len());
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Elements(1));
    let mut pair = Pair::new();
    let mut ticks = publisher::Output::default();
    group.bench_function("securemqtt", |bencher| {
        bencher.iter(|| {
            ticks.send.clear();
            pair.seal(&mut ticks)
        });
    });
    for (name, aead) in primitives::aeads() {
        let mut buffer = READING.to_vec();
        let mut seq = 0;
        group.bench_function(BenchmarkId::new("bare", name), |bencher| {
            bencher.iter(|| {
                seq += 1;
                aead.seal(seq, black_box(b"headerhospital/ward-7/bed-3/vitals"), &mut buffer)
            });
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(1));
    let mut pair = Pair::new();
    let mut subscriber = pair.new_subscriber();
    pair.shake_hands(&mut subscriber);
    group.bench_function("securemqtt", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let chunk = left.min(CHUNK);
                left -= chunk;
                let mut ticks = publisher::Output::default();
                let frames: Vec<Vec<u8>> = (0..chunk).map(|_| pair.seal(&mut ticks)).collect();
                pair.now.mono_ms += 1_000;
                let mut out = subscriber::Output::default();
                let start = Instant::now();
                for frame in &frames {
                    subscriber.handle(TOPIC, frame, pair.now, &mut pair.rng, &mut out);
                    assert_eq!(out.deliveries.len(), 1);
                    out.deliveries.clear();
                }
                total += start.elapsed();
                for tick in ticks.send {
                    subscriber.handle(&tick.topic, &tick.payload, pair.now, &mut pair.rng, &mut out);
                }
            }
            total
        });
    });
    for (name, aead) in primitives::aeads() {
        let aad = b"headerhospital/ward-7/bed-3/vitals";
        let mut sealed = READING.to_vec();
        let tag = aead.seal(7, aad, &mut sealed);
        sealed.extend_from_slice(&tag);
        let mut buffer = sealed.clone();
        group.bench_function(BenchmarkId::new("bare", name), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&sealed);
                aead.open(7, black_box(aad), &mut buffer);
            });
        });
    }
}

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    let mut pair = Pair::new();
    group.bench_function("securemqtt", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                let mut subscriber = pair.new_subscriber();
                let start = Instant::now();
                pair.shake_hands(&mut subscriber);
                total += start.elapsed();
                assert_eq!(subscriber.keyed(), 1);
            }
            total
        });
    });
    for (name, curve) in primitives::curves() {
        group.bench_function(BenchmarkId::new("bare", name), |bencher| bencher.iter(|| curve.handshake()));
    }
}

fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    let frame = [7; 135];
    group.throughput(Throughput::Elements(1));
    group.bench_function("leaf", |bencher| bencher.iter(|| leaf(black_box(&frame))));
    let mut ledger = Ledger::default();
    let count = u32::try_from(CHUNK).unwrap();
    (0..count).for_each(|seq| ledger.note(seq, seq + 1, leaf(&seq.to_be_bytes())));
    group.throughput(Throughput::Elements(CHUNK));
    group.bench_function("tick over 4096 frames", |bencher| bencher.iter(|| ledger.digest(0, black_box(count))));
}
