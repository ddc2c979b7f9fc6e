//! Strangers, first peers and a person's decision.

use securemqtt_core::publisher::Event as PubEvent;
use securemqtt_core::subscriber::{self, Event as SubEvent};
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Kind, Status};

use crate::insider::{Insider, refusal};
use crate::network::{Fate, Net, is, key, known, name};

/// A publisher that asks, and a stranger who knows it.
fn asking_publisher() -> Net {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Ask, known(&[]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(10_000);
    net
}

/// A subscriber that asks, and a publisher that knows it.
fn asking_subscriber() -> Net {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    net.add_subscriber(&s, TrustMode::Ask, known(&[]), &["t/#"]);
    net.run(10_000);
    net
}

fn decide_subscriber(net: &mut Net, allow: bool) {
    let id = net.publisher_id(0);
    let mut out = subscriber::Output::default();
    let node = &mut net.subscribers[0];
    node.engine.decide(id, allow, net.now, &mut node.rng, &mut out);
    net.take_subscriber(0, out);
}

#[test]
fn a_stranger_waits_until_the_publishers_person_allows_it() {
    let mut net = asking_publisher();
    let id = key(2).public().id();
    let asked = PubEvent::AskPeer { id, name: name("sub0"), key: key(2).public().clone() };
    assert_eq!(net.publishers[0].events.iter().filter(|event| **event == asked).count(), 1, "asked once");
    assert!(net.subscribers[0].events.contains(&SubEvent::RefusedBy { name: name("pub"), status: Status::Pending }));
    assert_eq!(net.publishers[0].engine.counters().grants, 0);

    net.publishers[0].engine.decide(id, true);
    net.run(5_000);
    assert!(net.publishers[0].events.contains(&PubEvent::NewPeer { name: name("sub0"), key: key(2).public().clone() }));
    net.works();
}

#[test]
fn a_stranger_whom_the_publishers_person_denies_is_told_so() {
    let mut net = asking_publisher();
    net.publishers[0].engine.decide(key(2).public().id(), false);
    net.run(60_000);
    let told = SubEvent::RefusedBy { name: name("pub"), status: Status::NotAuthorised };
    assert!(net.subscribers[0].events.contains(&told));
    assert_eq!(net.publishers[0].engine.counters().grants, 0);
    assert!(net.publishers[0].engine.trust().known().is_empty());
}

#[test]
fn a_decision_about_somebody_who_never_asked_admits_nobody() {
    let mut net = asking_publisher();
    net.publishers[0].engine.decide(key(9).public().id(), true);
    assert_eq!(refusal(&mut net, 0, &key(9), 1), Status::Pending);
}

#[test]
fn a_publisher_is_used_only_when_the_subscribers_person_allows_it() {
    let mut net = asking_subscriber();
    let asked = SubEvent::AskPeer { id: net.publisher_id(0), name: name("pub0"), key: key(1).public().clone() };
    assert_eq!(net.subscribers[0].events, [asked], "asked once, after a verified GRANT");
    net.send(0, "t/a", b"while it is decided");
    net.run(1_000);
    assert!(net.readings(0).is_empty() && net.all_of(Kind::Ack).is_empty());

    decide_subscriber(&mut net, true);
    net.run(2_000);
    assert_eq!(net.readings(0), ["while it is decided"]);
    assert!(net.subscribers[0].engine.trust().known().by_key(key(1).public()).is_some());
    net.works();
}

#[test]
fn a_publisher_whom_the_subscribers_person_denies_is_not_asked_again() {
    let mut net = asking_subscriber();
    decide_subscriber(&mut net, false);
    let requests = net.all_of(Kind::Request).len();
    net.restart_publisher(0, &key(1));
    net.send(0, "t/a", b"not wanted");
    net.run(60_000);
    assert_eq!(net.all_of(Kind::Request).len(), requests);
    assert!(net.readings(0).is_empty() && net.subscribers[0].engine.trust().known().is_empty());
}

#[test]
fn a_question_that_nobody_answers_does_not_keep_the_subscriber_busy() {
    let mut net = asking_subscriber();
    net.restart_publisher(0, &key(1));
    net.run(5_000);
    assert!(net.subscribers[0].engine.next_poll_ms() > net.now.mono_ms + 100);
}

#[test]
fn the_first_peer_is_remembered_unasked_and_only_the_first() {
    let p = key(1);
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::FirstPeer, known(&[]));
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Hold } else { Fate::Deliver });
    for seed in [2, 3] {
        net.add_subscriber(&key(seed), TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    }
    net.settle();
    assert_eq!(net.publishers[0].engine.counters().grants, 1, "while the first one has not confirmed yet");
    net.calm();
    net.run(10_000);
    let known = net.publishers[0].engine.trust().known();
    assert!(known.by_key(key(2).public()).is_some() && known.by_key(key(3).public()).is_none());
    assert!(net.publishers[0].events.iter().any(|event| matches!(event, PubEvent::AskPeer { id, .. }
        if *id == key(3).public().id())));
    net.works();
    assert!(net.readings(1).is_empty());
}

#[test]
fn the_first_publisher_is_remembered_unasked_and_only_the_first() {
    let (a, b, s) = (key(1), key(3), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::FirstPeer, known(&[]), &["t/#"]);
    net.add_publisher(&a, TrustMode::AcceptNew, known(&[]));
    net.add_publisher(&b, TrustMode::AcceptNew, known(&[]));
    net.run(10_000);
    assert_eq!(net.subscribers[0].engine.trust().known().iter().count(), 1);
    let asked = net.subscribers[0].events.iter().filter(|event| matches!(event, SubEvent::AskPeer { .. })).count();
    assert_eq!(asked, 1);
}

#[test]
fn nobody_is_pinned_by_a_hello_or_a_request_alone() {
    let mut net = Net::new();
    net.add_subscriber(&key(2), TrustMode::AcceptNew, known(&[]), &["t/#"]);
    net.add_publisher(&key(1), TrustMode::AcceptNew, known(&[]));
    net.adversary(|sent, _| if is(sent, Kind::Grant) || is(sent, Kind::Ack) { Fate::Drop } else { Fate::Deliver });
    net.run(20_000);
    assert!(net.publishers[0].engine.counters().grants > 0);
    assert!(net.subscribers[0].engine.trust().known().is_empty());
    assert!(net.publishers[0].engine.trust().known().is_empty(), "a GRANT that nobody confirms pins nobody");
}

#[test]
fn our_own_key_is_never_a_peer() {
    let p = key(1);
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::AcceptNew, known(&[]));
    net.add_subscriber(&p, TrustMode::AcceptNew, known(&[]), &["t/#"]);
    net.run(30_000);
    assert!(net.all_of(Kind::Request).is_empty());
    assert_eq!(net.subscribers[0].engine.remembered(), 0);
}

#[test]
fn a_name_is_given_to_one_key_only() {
    let mut net = Net::new();
    net.add_publisher(&key(1), TrustMode::AcceptNew, known(&[]));
    let first = Insider::join(&mut net, 0, &key(2), 1);
    net.inject(&Control::In.topic(first.publisher), first.ack(0, 2));
    net.settle();
    assert_eq!(refusal(&mut net, 0, &key(3), 1), Status::NotAuthorised);
}
