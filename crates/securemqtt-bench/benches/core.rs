//! What the protocol costs beside its bare primitives: `cargo bench -p securemqtt-bench`.
//!
//! - `seal` and `open`: one reading of 110 bytes through the engines, against the same AEAD on the same bytes alone
//!   in the crate that we use (aes-gcm), in ring and in aws-lc-rs;
//! - `handshake`: HELLO to the acknowledged first entry and the first tick, both sides, against the Diffie-Hellman
//!   and ECDSA operations that it cannot do without;
//! - `digest`: what the ledger adds to a frame, and a tick's digest over 4,096 frames.
#![allow(clippy::unwrap_used, missing_docs, reason = "benchmarks")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use securemqtt_bench::crypto::{ASSOCIATED, Pair, READING, aeads, curves};
use securemqtt_core::ledger::{Ledger, leaf};
use securemqtt_core::subscriber;

/// Frames between two ticks.
const CHUNK: u64 = 4096;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    seal(&mut criterion);
    open(&mut criterion);
    handshake(&mut criterion);
    digest(&mut criterion);
    criterion.final_summary();
}

fn keyed() -> Pair {
    let mut pair = Pair::new(1).unwrap();
    pair.shake_hands();
    assert!(pair.is_keyed());
    pair
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Elements(1));
    let (mut pair, mut sealed) = (keyed(), 0);
    group.bench_function("securemqtt", |bencher| {
        bencher.iter(|| {
            sealed += 1;
            if sealed % CHUNK == 0 {
                pair.tick();
            }
            pair.seal().unwrap()
        });
    });
    for (name, aead) in aeads().unwrap() {
        let (mut buffer, mut seq) = (READING.to_vec(), 0);
        group.bench_function(BenchmarkId::new("bare", name), |bencher| {
            bencher.iter(|| {
                seq += 1;
                aead.seal(seq, black_box(ASSOCIATED), &mut buffer).unwrap()
            });
        });
    }
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Elements(1));
    let mut pair = keyed();
    group.bench_function("securemqtt", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let chunk = left.min(CHUNK);
                left -= chunk;
                let frames: Vec<_> = (0..chunk).map(|_| pair.seal().unwrap()).collect();
                let mut out = subscriber::Output::default();
                let start = Instant::now();
                for frame in &frames {
                    pair.open(frame, &mut out);
                    assert_eq!(out.deliveries.len(), 1);
                    out.deliveries.clear();
                }
                total += start.elapsed();
                let tick = pair.tick();
                pair.take_tick(&tick);
            }
            total
        });
    });
    for (name, aead) in aeads().unwrap() {
        let mut sealed = READING.to_vec();
        let tag = aead.seal(7, ASSOCIATED, &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        let mut buffer = sealed.clone();
        group.bench_function(BenchmarkId::new("bare", name), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&sealed);
                aead.open(7, black_box(ASSOCIATED), &mut buffer).unwrap();
            });
        });
    }
}

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    group.bench_function("securemqtt", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for seed in 0..count {
                let mut pair = Pair::new(seed).unwrap();
                let start = Instant::now();
                pair.shake_hands();
                total += start.elapsed();
                assert!(pair.is_keyed());
            }
            total
        });
    });
    for (name, curve) in curves().unwrap() {
        group.bench_function(BenchmarkId::new("bare", name), |bencher| bencher.iter(|| curve.handshake().unwrap()));
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
