//! What a revoked subscriber still can do: nothing with the next stream, and nothing unseen with the last.

use securemqtt_core::chain::ChainReceiver;
use securemqtt_core::publisher::Event as PubEvent;
use securemqtt_core::subscriber::Event as SubEvent;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{EntryPayload, Kind, Status};

use crate::insider::{Insider, keys, refusal};
use crate::network::{Net, key, known, name};

/// A publisher with an honest subscriber and Eve, who speaks the protocol by hand.
fn with_eve() -> (Net, Insider) {
    let (p, s, eve) = (key(1), key(2), key(66));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s), ("eve", &eve)]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    let insider = Insider::join(&mut net, 0, &eve, 1);
    (net, insider)
}

fn confirm(net: &mut Net, eve: &Insider) {
    net.inject(&Control::In.topic(eve.publisher), eve.ack(0, 2));
    net.run(1_000);
}

#[test]
fn a_revoked_subscriber_is_dismissed_and_its_peers_read_on() {
    let (p, a, b) = (key(1), key(2), key(3));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("a", &a), ("b", &b)]));
    net.add_subscriber(&a, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.add_subscriber(&b, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    net.revoke(0, "b");
    net.run(2_000);
    assert_eq!(net.publishers[0].engine.confirmed(), 1);
    let told = SubEvent::Dismissed { name: name("pub"), status: Status::Revoked };
    assert!(net.subscribers[1].events.contains(&told));
    net.works();
    assert!(net.readings(1).is_empty());
    net.run(60_000);
    assert_eq!(refusal(&mut net, 0, &b, 100), Status::Revoked);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.forged), (0, 0));
}

#[test]
fn a_revoked_subscriber_never_gets_the_next_stream() {
    let (mut net, eve) = with_eve();
    confirm(&mut net, &eve);
    net.revoke(0, "eve");
    net.run(1_000);
    let next = net.publishers[0].engine.stream();
    assert_ne!(next, eve.stream.id);
    net.rotate(0);
    net.run(1_000);

    let topic = Control::Keys(key(66).public().id()).topic(eve.publisher);
    let mut chain = ChainReceiver::new(&eve.session);
    let mut streams = Vec::new();
    let mut notices = Vec::new();
    for sent in net.log.iter().filter(|sent| sent.topic == topic && !sent.payload.is_empty()) {
        for payload in chain.open(&keys(&sent.payload)).unwrap().payloads {
            match payload {
                EntryPayload::Stream(stream) => streams.push(stream.id),
                EntryPayload::Notice(status) => notices.push(status),
            }
        }
    }
    assert_eq!((streams, notices), (vec![eve.stream.id], vec![Status::Revoked]));
}

#[test]
fn a_subscriber_that_never_confirmed_loses_the_stream_too_when_it_is_revoked() {
    let (mut net, eve) = with_eve();
    assert_eq!(net.publishers[0].engine.stream(), eve.stream.id, "the GRANT brought it");
    net.revoke(0, "eve");
    net.run(2_000);
    assert_ne!(net.publishers[0].engine.stream(), eve.stream.id);
    let topic = Control::In.topic(eve.publisher);
    net.inject(&topic, eve.ack(0, 2));
    net.settle();
    assert_eq!(net.publishers[0].engine.confirmed(), 1, "its late confirm is worth nothing");
    net.works();
}

#[test]
fn a_revocation_during_a_rotation_replaces_the_stream_that_was_handed_out() {
    let (p, a, b) = (key(1), key(2), key(3));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("a", &a), ("b", &b), ("eve", &key(66))]));
    net.add_subscriber(&a, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.add_subscriber(&b, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    let eve = Insider::join(&mut net, 0, &key(66), 1);
    confirm(&mut net, &eve);
    net.subscribers[1].online = false;
    net.rotate(0);
    net.settle();
    let topic = Control::Keys(key(66).public().id()).topic(eve.publisher);
    let handed_out = keys(&net.retained[&topic].payload);
    let mut chain = ChainReceiver::new(&eve.session);
    let upcoming = chain.open(&handed_out).unwrap().payloads;
    let Some(EntryPayload::Stream(upcoming)) = upcoming.last() else { panic!("no stream") };
    assert_ne!(upcoming.id, eve.stream.id, "she holds the next stream before it is used");

    net.revoke(0, "eve");
    net.run(15_000);
    assert!(net.publishers[0].events.iter().all(|event| *event != PubEvent::Rotated { stream: upcoming.id }));
    net.works();
}

#[test]
fn what_a_revoked_subscriber_injects_into_the_old_stream_is_flagged() {
    let (mut net, eve) = with_eve();
    confirm(&mut net, &eve);
    net.send(0, "t/a", b"genuine");
    net.run(1_000);
    let run = net.publishers[0].engine.run();
    net.revoke(0, "eve");
    net.run(2_000);
    assert_ne!(net.publishers[0].engine.run(), run);
    net.inject("t/a", eve.forge(run, "t/a", 1, b"forged"));
    net.run(40_000);
    let forged = net.subscribers[0].events.iter().any(|event| {
        matches!(event, SubEvent::Forged(span) if span.run == run && span.topic == "t/a" && (span.from, span.to) == (1, 2))
    });
    let refused = net.readings(0) == ["genuine"];
    assert!(forged || refused, "{:?}", net.subscribers[0].events);
    assert!(net.subscribers[0].engine.counters().forged > 0);
}

#[test]
fn a_subscriber_may_be_let_in_again() {
    let mut net = Net::pair();
    net.run(3_000);
    net.revoke(0, "sub");
    net.run(3_000);
    let mut out = securemqtt_core::publisher::Output::default();
    let node = &mut net.publishers[0];
    node.engine.set_known(known(&[("sub", &key(2))]), net.now, &mut node.rng, &mut out);
    net.take_publisher(0, out);
    // It asks again after five minutes.
    net.now.mono_ms += 300_000;
    net.now.unix_ms += 300_000;
    net.run(10_000);
    net.works();
    assert_eq!(net.all_of(Kind::Request).len(), 2);
}
