//! Steps of the ratchet, late frames and forged generations.

use securemqtt_core::publisher::Config;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{FrameHeader, Kind};

use crate::insider::{Insider, seal_as};
use crate::network::{Fate, Net, is, key, known, name};

/// A publisher that steps after every `frames` frames, with Eve among its subscribers.
fn stepping(frames: u64) -> Net {
    let (p, s) = (key(1), key(2));
    let mut config = Config::new(name("pub0"));
    config.ratchet_frames = frames;
    let mut net = Net::new();
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s), ("eve", &key(66))]), config);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    net
}

fn generation(frame: &[u8]) -> u8 {
    FrameHeader::decode(frame).unwrap().0.generation
}

#[test]
fn generations_step_by_frames_and_by_time() {
    let mut net = stepping(3);
    let mut seen = Vec::new();
    for _ in 0..9 {
        seen.push(generation(&net.send(0, "t/a", b"x")));
        net.run(100);
    }
    assert_eq!(seen, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    net.now.mono_ms += 3_600_000;
    net.now.unix_ms += 3_600_000;
    net.run(100);
    assert!(generation(&net.send(0, "t/a", b"x")) > 2);
    net.settle();
    assert_eq!(net.readings(0).len(), 10);
}

#[test]
fn late_frames_of_recent_generations_open() {
    let mut net = stepping(1);
    net.adversary(|sent, _| if is(sent, Kind::Frame) { Fate::Hold } else { Fate::Deliver });
    for n in 0..6 {
        net.send(0, "t/a", format!("{n}").as_bytes());
        net.run(100);
    }
    net.calm();
    assert_eq!(net.readings(0), ["5", "4", "3", "2", "1", "0"]);
    net.works();
}

#[test]
fn a_subscriber_that_missed_many_generations_finds_its_way_by_the_tick() {
    let mut net = stepping(1);
    net.subscribers[0].online = false;
    for _ in 0..100 {
        net.send(0, "t/a", b"x");
        net.run(100);
    }
    net.reconnect_subscriber(0);
    net.run(15_000);
    net.works();
}

#[test]
fn forged_frames_with_generation_255_change_nothing() {
    let mut net = stepping(1_000);
    let genuine = net.send(0, "t/a", b"0");
    net.settle();
    for generation in [1, 16, 17, 200, 255] {
        for seq in 1..50u8 {
            let mut forged = genuine.clone();
            forged[6] = generation;
            forged[7] = seq;
            net.inject("t/a", forged);
        }
    }
    net.settle();
    assert_eq!(net.subscribers[0].engine.counters().rejected, 5 * 49);
    for n in 1..5 {
        net.send(0, "t/a", n.to_string().as_bytes());
    }
    net.run(30_000);
    assert_eq!(net.readings(0), ["0", "1", "2", "3", "4"]);
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);
}

#[test]
fn an_insider_cannot_push_the_current_generation_out() {
    let mut net = stepping(1_000);
    let eve = Insider::join(&mut net, 0, &key(66), 1);
    net.send(0, "t/a", b"before");
    net.settle();
    let run = net.publishers[0].engine.run();
    // She holds the secret, so she can step ahead of everybody.
    let mut secret = eve.stream.secret.clone();
    let id = eve.stream.id.to_be_bytes();
    for generation in 1..=60 {
        let info: [&[u8]; 3] = [b"gen", eve.publisher.as_bytes(), &id];
        let next = securemqtt_core::primitives::hkdf_expand(secret.expose(), &info);
        secret = securemqtt_core::kdf::GenerationSecret::new(next);
        if generation % 15 == 0 {
            let header = FrameHeader { kind: Kind::Frame, run, generation, seq: u32::from(generation) };
            net.inject("t/b", seal_as(eve.publisher, eve.stream.id, &secret, header, "t/b", b"forged"));
        }
    }
    net.settle();
    for n in 0..3 {
        // One on the topic whose key is at hand, the others where it must be derived.
        net.send(0, &format!("t/{}", ["a", "c", "d"][n]), format!("after {n}").as_bytes());
    }
    net.run(1_000);
    let readings = net.readings(0);
    let genuine: Vec<&str> = readings.iter().map(String::as_str).filter(|reading| *reading != "forged").collect();
    assert_eq!(genuine, ["before", "after 0", "after 1", "after 2"]);
}
