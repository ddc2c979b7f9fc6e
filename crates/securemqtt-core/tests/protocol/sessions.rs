//! Ordinary sessions: who reads what, in which order things may start.

use securemqtt_core::publisher::Event as PubEvent;
use securemqtt_core::subscriber::Event as SubEvent;
use securemqtt_core::trust::TrustMode;

use crate::network::{Net, key, known};

#[test]
fn a_pinned_pair_delivers_readings_in_order() {
    let mut net = Net::pair();
    net.run(3_000);
    for n in 0..5 {
        net.send(0, "t/a", format!("r{n}").as_bytes());
    }
    net.settle();
    assert_eq!(net.readings(0), ["r0", "r1", "r2", "r3", "r4"]);
    let seqs: Vec<u32> = net.subscribers[0].deliveries.iter().map(|delivery| delivery.seq).collect();
    assert_eq!(seqs, [0, 1, 2, 3, 4]);
    assert!(net.publishers[0].events.iter().any(|event| matches!(event, PubEvent::Confirmed { first: true, .. })));
    net.run(60_000);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.delivered, counters.missing, counters.forged, counters.rejected), (5, 0, 0, 0));
}

#[test]
fn strangers_meet_under_accept_new_and_are_pinned() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::AcceptNew, known(&[]), &["t/#"]);
    net.add_publisher(&p, TrustMode::AcceptNew, known(&[]));
    net.run(2_000);
    net.send(0, "t/a", b"x");
    net.settle();
    assert_eq!(net.readings(0), ["x"]);
    assert!(net.subscribers[0].engine.trust().known().by_key(p.public()).is_some());
    assert!(net.publishers[0].engine.trust().known().by_key(s.public()).is_some());
    assert!(net.subscribers[0].events.iter().any(|event| matches!(event, SubEvent::NewPeer { .. })));
}

#[test]
fn a_rotation_does_not_lose_or_repeat_a_reading() {
    let mut net = Net::pair();
    net.run(3_000);
    for n in 0..20 {
        net.send(0, "t/a", format!("r{n}").as_bytes());
        if n % 5 == 4 {
            let mut out = securemqtt_core::publisher::Output::default();
            let now = net.now;
            let node = &mut net.publishers[0];
            node.engine.rotate(now, &mut node.rng, &mut out);
            net.take_publisher(0, out);
        }
        net.run(500);
    }
    net.run(30_000);
    assert_eq!(net.readings(0), (0..20).map(|n| format!("r{n}")).collect::<Vec<_>>());
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.forged), (0, 0));
}

#[test]
fn a_restarted_publisher_is_followed_without_help() {
    let p = key(1);
    let mut net = Net::pair();
    net.run(3_000);
    net.send(0, "t/a", b"before");
    net.run(1_000);
    net.restart_publisher(0, &p);
    net.send(0, "t/a", b"at once");
    net.run(8_000);
    net.send(0, "t/a", b"after");
    net.run(1_000);
    assert_eq!(net.readings(0), ["before", "at once", "after"]);
}
