//! Many publishers and many subscribers.

use std::collections::BTreeSet;

use securemqtt_core::subscriber::LOOK_AHEAD;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::network::{Net, key, known};

#[test]
fn three_publishers_and_three_subscribers_read_what_they_want() {
    let (publishers, subscribers) = ([key(1), key(2), key(3)], [key(11), key(12), key(13)]);
    let pubs = known(&[("p0", &publishers[0]), ("p1", &publishers[1]), ("p2", &publishers[2])]);
    let subs = known(&[("s0", &subscribers[0]), ("s1", &subscribers[1]), ("s2", &subscribers[2])]);
    let mut net = Net::new();
    for publisher in &publishers {
        net.add_publisher(publisher, TrustMode::Strict, subs.clone());
    }
    for (subscriber, filter) in subscribers.iter().zip(["t/#", "t/0/+", "t/+/b"]) {
        net.add_subscriber(subscriber, TrustMode::Strict, pubs.clone(), &[filter]);
    }
    net.run(5_000);
    for round in 0..4 {
        for publisher in 0..3 {
            for topic in ["a", "b"] {
                net.send(publisher, &format!("t/{publisher}/{topic}"), format!("{publisher}{topic}{round}").as_bytes());
            }
            // Two publishers on one topic do not disturb each other.
            net.send(publisher, "t/shared", format!("{publisher}shared{round}").as_bytes());
        }
        net.rotate(round % 3);
        net.run(6_000);
    }
    net.run(30_000);
    for (index, count) in [(0, 36), (1, 8), (2, 12)] {
        let node = &net.subscribers[index];
        let counters = node.engine.counters();
        assert_eq!((node.deliveries.len(), counters.missing, counters.forged), (count, 0, 0), "subscriber {index}");
    }
    for delivery in &net.subscribers[0].deliveries {
        let from = usize::from(delivery.payload[0] - b'0');
        assert_eq!(delivery.publisher, net.publisher_id(from), "each reading has its publisher");
    }
}

#[test]
fn one_frame_serves_a_hundred_subscribers() {
    let p = key(1);
    let keys: Vec<_> = (0..100).map(|n| key(1_000 + n)).collect();
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let pinned: Vec<(&str, _)> = names.iter().map(String::as_str).zip(&keys).collect();
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&pinned));
    for subscriber in &keys {
        net.add_subscriber(subscriber, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    }
    net.run(5_000);
    assert_eq!(net.publishers[0].engine.confirmed(), 100);
    for n in 0..5 {
        net.send(0, "t/a", format!("{n}").as_bytes());
    }
    net.run(1_000);
    assert_eq!(net.all_of(Kind::Frame).len(), 5, "sealed once, read by all");
    net.revoke(0, "s7");
    net.run(2_000);
    net.send(0, "t/a", b"5");
    net.run(1_000);
    let read: BTreeSet<(usize, usize)> = (0..100).map(|n| (n, net.readings(n).len())).collect();
    let expected: BTreeSet<(usize, usize)> = (0..100).map(|n| (n, if n == 7 { 5 } else { 6 })).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_subscriber_of_more_than_a_hundred_publishers_uses_wildcards() {
    let s = key(2);
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::AcceptNew, known(&[]), &["t/#"]);
    for n in 0..110 {
        net.add_publisher(&key(1_000 + n), TrustMode::Strict, known(&[("sub", &s)]));
    }
    net.run(5_000);
    assert_eq!(net.subscribers[0].engine.keyed(), 110);
    for n in 0..110 {
        net.send(n, "t/a", format!("{n}").as_bytes());
    }
    net.run(1_000);
    assert_eq!(net.readings(0).len(), 110);
    assert!(net.subscribers[0].engine.filters().len() < 10);
}

#[test]
fn to_look_ahead_of_a_crowd_changes_nothing() {
    const PUBLISHERS: usize = 260;
    let s = key(2);
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::AcceptNew, known(&[]), &["t/#"]);
    for n in 0..PUBLISHERS {
        net.add_publisher(&key(1_000 + u64::try_from(n).unwrap()), TrustMode::Strict, known(&[("sub", &s)]));
    }
    net.run(10_000);
    assert_eq!(net.subscribers[0].engine.keyed(), PUBLISHERS);
    for round in 0..2 {
        let frames: Vec<_> = (0..PUBLISHERS).map(|n| net.send(n, "t/a", format!("{n}").as_bytes())).collect();
        let engine = &net.subscribers[0].engine;
        let (counters, changed) = (engine.counters(), engine.has_changes());
        let garbage = [&b""[..], b"\x01", &frames[0][..8], &[0xff; 40]];
        for some in frames.chunks(LOOK_AHEAD + 1) {
            engine.look_ahead(garbage.into_iter().chain(some.iter().rev().map(|frame| &**frame)));
        }
        assert_eq!((engine.counters(), engine.has_changes()), (counters, changed));
        net.run(1_000);
        assert_eq!(net.readings(0).len(), (round + 1) * PUBLISHERS);
    }
}
