//! Frames that arrive before their key.

use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::network::{Fate, Net, Sent, Who, is, key, known};

#[test]
fn thirty_frames_before_their_grant_wait_for_it() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Grant) { Fate::Hold } else { Fate::Deliver });
    net.settle();
    for n in 0..30 {
        net.send(0, "t/a", format!("{n:02}").as_bytes());
    }
    net.settle();
    assert_eq!((net.subscribers[0].engine.parked(), net.readings(0).len()), (30, 0));
    net.calm();
    net.run(1_000);
    assert_eq!(net.readings(0), (0..30).map(|n| format!("{n:02}")).collect::<Vec<_>>(), "in order");
    assert_eq!((net.subscribers[0].engine.parked(), net.subscribers[0].engine.counters().missing), (0, 0));
}

/// A publisher has rotated, and the first tick of its new run is held up.
fn before_the_tick() -> Net {
    let mut net = Net::pair();
    net.run(3_000);
    net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Hold } else { Fate::Deliver });
    net.rotate(0);
    net.run(100);
    net
}

#[test]
fn frames_that_overtake_the_tick_of_their_run_wait_for_it() {
    let mut net = before_the_tick();
    net.send(0, "t/a", b"early");
    net.settle();
    assert_eq!(net.subscribers[0].engine.parked(), 1);
    net.calm();
    net.run(1_000);
    assert_eq!(net.readings(0), ["early"]);
}

#[test]
fn parking_is_bounded_for_each_topic_and_in_all_and_its_overflow_is_reported() {
    let mut net = Net::pair();
    net.queue.clear();
    let frame = net.publishers[0].engine.seal("t/a", b"x").unwrap();
    let park = |net: &mut Net, topic: String, payload: Vec<u8>| {
        net.deliver(Who::S(0), &Sent { from: Who::Anyone, topic, payload, retain: false });
    };
    for n in 0..3_000_u32 {
        park(&mut net, "t/a".to_owned(), [&frame[..], &n.to_be_bytes()].concat());
    }
    assert_eq!(net.subscribers[0].engine.parked(), 2_048);
    assert_eq!(net.subscribers[0].engine.counters().parking_full, 952);
    for n in 0..10_000 {
        park(&mut net, format!("t/{n}"), frame.to_vec());
    }
    assert_eq!(net.subscribers[0].engine.parked(), 8_192);
    park(&mut net, "t/large".to_owned(), [&frame[..], &vec![0; 17 << 20]].concat());
    assert_eq!(net.subscribers[0].engine.parked(), 8_192, "one that is too large is not kept at all");
    let large = [&frame[..], &vec![0; 15 << 20]].concat();
    park(&mut net, "t/large".to_owned(), large);
    assert!(net.subscribers[0].engine.parked() > 1);
    net.run(12_000);
    net.works();
}

#[test]
fn what_a_broker_delivers_again_is_parked_once_also_after_a_restart() {
    let mut net = before_the_tick();
    let frames: Vec<Vec<u8>> = (0..50).map(|n| net.send(0, "t/a", n.to_string().as_bytes())).collect();
    net.settle();
    for restart in [false, true] {
        if restart {
            net.crash_subscriber(0, &key(2));
        }
        for frame in frames.iter().cycle().take(5_000) {
            let sent = Sent { from: Who::P(0), topic: "t/a".to_owned(), payload: frame.clone(), retain: false };
            net.deliver(Who::S(0), &sent);
        }
        let engine = &net.subscribers[0].engine;
        assert_eq!((engine.parked(), engine.counters().parking_full), (50, 0));
    }
    net.calm();
    net.run(3_000);
    assert!(net.readings(0).into_iter().eq((0..50).map(|n| n.to_string())));
}

#[test]
fn frames_that_nobody_can_open_are_dropped_in_time() {
    let mut net = Net::pair();
    net.run(3_000);
    let frame = net.send(0, "t/a", b"x");
    let mut unknown = frame.clone();
    unknown[1..6].copy_from_slice(b"other");
    net.inject("t/a", unknown);
    net.settle();
    assert_eq!(net.subscribers[0].engine.parked(), 1);
    net.run(700_000);
    assert_eq!(net.subscribers[0].engine.parked(), 0);
    assert_eq!(net.subscribers[0].engine.counters().parking_full, 1);
}

#[test]
fn a_publisher_that_is_not_trusted_has_its_frames_parked_and_never_opened() {
    let mut net = Net::new();
    net.add_subscriber(&key(2), TrustMode::Strict, known(&[]), &["t/#"]);
    net.add_publisher(&key(1), TrustMode::AcceptNew, known(&[]));
    for _ in 0..20 {
        net.send(0, "t/a", b"x");
        net.run(1_000);
    }
    assert_eq!((net.subscribers[0].engine.parked(), net.readings(0).len()), (20, 0));
}
