//! Who is refused, and what each side is told.

use securemqtt_core::handshake::Outcome;
use securemqtt_core::publisher::Event as PubEvent;
use securemqtt_core::subscriber::Event as SubEvent;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Kind, Status};

use crate::insider::{Insider, ask, refusal, request};
use crate::network::{Net, key, known, name};

fn refused_by(net: &Net) -> Vec<Status> {
    let status = |event: &SubEvent| match event {
        SubEvent::RefusedBy { status, .. } => Some(*status),
        _ => None,
    };
    net.subscribers[0].events.iter().filter_map(status).collect()
}

#[test]
fn an_unknown_subscriber_is_told_so() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(90_000);
    assert_eq!(refused_by(&net), [Status::Unknown], "told once, though asked again");
    assert!(net.publishers[0].engine.counters().refusals >= 3, "and again");
    let refused = net.publishers[0].events.iter().find(|event| matches!(event, PubEvent::Refused { .. }));
    assert_eq!(
        refused,
        Some(&PubEvent::Refused { name: name("sub0"), key: s.public().clone(), status: Status::Unknown, pinned: None })
    );
    net.send(0, "t/a", b"not for it");
    net.run(1_000);
    assert!(net.readings(0).is_empty());
}

#[test]
fn an_unknown_publisher_is_reported_once_and_not_asked() {
    let mut net = Net::new();
    net.add_publisher(&key(1), TrustMode::AcceptNew, known(&[]));
    net.add_subscriber(&key(2), TrustMode::Strict, known(&[]), &["t/#"]);
    net.run(60_000);
    assert_eq!(
        net.subscribers[0].events,
        [SubEvent::UnknownPublisher { name: name("pub0"), key: key(1).public().clone() }]
    );
    assert!(net.all_of(Kind::Request).is_empty());
}

#[test]
fn a_revoked_subscriber_is_told_so() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    let mut peers = known(&[("sub", &s)]);
    peers.revoke(&name("sub"));
    net.add_publisher(&p, TrustMode::AcceptNew, peers);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(10_000);
    assert_eq!(refused_by(&net), [Status::Revoked]);
    assert_eq!(net.publishers[0].engine.counters().grants, 0);
}

#[test]
fn a_revoked_publisher_is_not_asked() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    let mut peers = known(&[("pub", &p)]);
    peers.revoke(&name("pub"));
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    net.add_subscriber(&s, TrustMode::AcceptNew, peers, &["t/#"]);
    net.run(30_000);
    assert_eq!(refused_by(&net), [Status::Revoked]);
    assert!(net.all_of(Kind::Request).is_empty());
}

#[test]
fn a_pinned_name_with_another_key_is_refused_by_the_publisher_in_every_mode() {
    for mode in [TrustMode::Strict, TrustMode::Ask, TrustMode::AcceptNew] {
        let (p, pinned, other) = (key(1), key(2), key(3));
        let mut net = Net::new();
        net.add_publisher(&p, mode, known(&[("sub0", &pinned)]));
        net.add_subscriber(&other, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
        net.run(5_000);
        assert_eq!(refused_by(&net), [Status::NotAuthorised], "{mode:?}");
        let shown = net.publishers[0].events.iter().any(|event| {
            matches!(event, PubEvent::Refused { key, pinned: Some(fingerprint), .. }
                if key == other.public() && *fingerprint == pinned.public().fingerprint())
        });
        assert!(shown, "{mode:?}: both keys are shown");
        assert_eq!(net.publishers[0].engine.counters().grants, 0);
    }
}

#[test]
fn a_pinned_name_with_another_key_is_refused_by_the_subscriber_in_every_mode() {
    for mode in [TrustMode::Strict, TrustMode::Ask, TrustMode::AcceptNew] {
        let (pinned, other, s) = (key(1), key(3), key(2));
        let mut net = Net::new();
        net.add_publisher(&other, TrustMode::AcceptNew, known(&[]));
        net.add_subscriber(&s, mode, known(&[("pub0", &pinned)]), &["t/#"]);
        net.run(30_000);
        assert_eq!(
            net.subscribers[0].events,
            [SubEvent::KeyChanged {
                name: name("pub0"),
                pinned: pinned.public().fingerprint(),
                shown: other.public().clone()
            }]
        );
        assert!(net.all_of(Kind::Request).is_empty(), "{mode:?}");
    }
}

#[test]
fn a_counter_that_does_not_increase_is_refused_with_the_one_to_use() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    Insider::join(&mut net, 0, &s, 7);
    for stale in [6, 5, 1] {
        let Outcome::Refused { sctr, status } = ask(&mut net, 0, &s, stale) else { panic!("granted") };
        assert_eq!((sctr, status), (7, Status::StaleCounter));
    }
    assert_eq!(net.publishers[0].engine.counters().replays, 3);
    Insider::join(&mut net, 0, &s, 8);
}

#[test]
fn a_subscriber_whose_counter_was_rolled_back_catches_up_and_says_so() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub0", &s)]));
    Insider::join(&mut net, 0, &s, 5_000);
    // Its disk was restored: it starts from zero.
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(5_000);
    assert!(net.subscribers[0].events.contains(&SubEvent::RolledBack { name: name("pub"), quarantined: true }));
    assert!(net.subscribers[0].stored_counter() > 5_000, "it goes on above what the publisher remembers");
    net.works();
}

#[test]
fn a_confirmation_of_what_was_never_sealed_ends_the_session_and_rotates() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let insider = Insider::join(&mut net, 0, &s, 1);
    let topic = Control::In.topic(insider.publisher);
    net.inject(&topic, insider.ack(0, 2));
    net.settle();
    let stream = net.publishers[0].engine.stream();
    net.inject(&topic, insider.ack(9, 3));
    net.settle();
    assert!(net.publishers[0].events.contains(&PubEvent::RolledBack { id: s.public().id() }));
    assert_eq!(net.publishers[0].engine.confirmed(), 0);
    assert_ne!(net.publishers[0].engine.stream(), stream);
}

#[test]
fn strangers_are_refused_at_a_bounded_rate() {
    let p = key(1);
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[]));
    let id = p.public().id();
    for n in 0..60 {
        let (bytes, _) = request(&net, id, &key(100 + n), 1, n);
        net.inject(&Control::In.topic(id), bytes);
    }
    net.settle();
    let counters = net.publishers[0].engine.counters();
    assert_eq!((counters.refusals, counters.rate_limited), (40, 20));
    net.run(2_000);
    assert_eq!(refusal(&mut net, 0, &key(500), 1), Status::Unknown, "and later again");
}
