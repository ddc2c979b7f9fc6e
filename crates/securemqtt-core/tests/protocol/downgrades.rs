//! Points, suites, challenges and keys that are not what they claim to be.

use securemqtt_core::identity::IdentityPublic;
use securemqtt_core::subscriber::Event as SubEvent;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Hello, Kind};

use crate::insider::{request, request_for, retain};
use crate::network::{Fate, Net, Sent, Who, is, key, known, name};

/// 33 bytes and others that are not a compressed point, and one that is: the mirror image of ours.
fn bad_points(good: &[u8; 33]) -> Vec<Vec<u8>> {
    let mut points: Vec<Vec<u8>> =
        [0x00, 0x04, 0x05, 0x06, 0x07, 0xff].into_iter().map(|prefix| [&[prefix], &good[1..]].concat()).collect();
    let off_curve = (0..=255)
        .map(|byte| [&[0x02], &[byte; 32][..]].concat())
        .find(|point| IdentityPublic::from_bytes(point).is_err())
        .unwrap();
    points.push(off_curve);
    points.push([&[0x02], &[0xff; 32][..]].concat());
    points.push(vec![0; 33]);
    points
}

fn hello(net: &Net) -> (String, Vec<u8>) {
    let topic = Control::Hello.topic(net.publisher_id(0));
    (topic.clone(), net.retained[&topic].payload.clone())
}

/// A hello as its publisher made it, changed.
fn changed(net: &Net, change: impl FnOnce(&mut Hello)) -> Vec<u8> {
    let mut hello = Hello::decode(&hello(net).1).unwrap();
    change(&mut hello);
    hello.encode()
}

#[test]
fn points_that_are_not_compressed_points_of_the_curve_are_refused() {
    let good = *key(1).public().as_bytes();
    assert!(IdentityPublic::from_bytes(&good).is_ok());
    for point in bad_points(&good) {
        assert!(IdentityPublic::from_bytes(&point).is_err(), "{point:02x?}");
    }
    for length in [0, 1, 32, 34, 65] {
        let mut point = good.to_vec();
        point.resize(length, 7);
        assert!(IdentityPublic::from_bytes(&point).is_err(), "{length} bytes");
    }
}

#[test]
fn a_hello_request_or_grant_with_a_bad_point_is_refused_and_the_next_one_works() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Keys) { Fate::Deliver } else { Fate::Hold });
    net.settle();
    net.adversary = None;
    let (topic, bytes) = hello(&net);
    let (sent_request, _) = request(&net, net.publisher_id(0), &key(2), 1_000, 5);
    let good = *key(1).public().as_bytes();
    for point in bad_points(&good) {
        let mut hello = bytes.clone();
        hello[3..36].copy_from_slice(&point);
        net.inject(&topic, hello);
        let mut request = sent_request.clone();
        request[26..59].copy_from_slice(&point);
        net.inject(&Control::In.topic(net.publisher_id(0)), request);
        net.settle();
    }
    let rejected = bad_points(&good).len() as u64;
    assert_eq!(net.subscribers[0].engine.counters().rejected, rejected);
    assert_eq!(net.subscribers[0].engine.remembered(), 0);
    assert_eq!(net.publishers[0].engine.counters().requests, 0);

    net.adversary(|sent, _| if is(sent, Kind::Grant) { Fate::Hold } else { Fate::Deliver });
    net.inject(&topic, bytes);
    net.settle();
    let (to, grant) = net.held.iter().rfind(|(_, sent)| is(sent, Kind::Grant)).cloned().unwrap();
    for point in bad_points(&good).into_iter().take(6) {
        let mut payload = grant.payload.clone();
        payload[9..42].copy_from_slice(&point);
        net.deliver(to, &Sent { payload, ..grant.clone() });
    }
    assert_eq!(net.subscribers[0].engine.counters().rejected, rejected + 6);
    net.deliver(to, &grant);
    net.calm();
    net.run(1_000);
    net.works();
}

#[test]
fn the_mirror_image_of_a_pinned_key_is_another_key() {
    let mut net = Net::pair();
    let mut mirrored = *key(1).public().as_bytes();
    mirrored[0] ^= 1;
    let mirrored = IdentityPublic::from_bytes(&mirrored).unwrap();
    assert_ne!(mirrored.id(), key(1).public().id());
    let bytes = changed(&net, |hello| hello.key = mirrored.clone());
    let topic = hello(&net).0;
    retain(&mut net, &topic, bytes.clone());
    net.inject(&Control::Hello.topic(mirrored.id()), bytes);
    net.settle();
    let events = &net.subscribers[0].events;
    assert!(events.iter().any(|event| matches!(event, SubEvent::ForeignHello { shown, .. } if *shown == mirrored)));
    assert_eq!(net.subscribers[0].engine.remembered(), 1, "the genuine one only");
    net.run(1_000);
    net.works();
}

#[test]
fn a_publisher_without_a_suite_of_ours_is_not_asked() {
    let mut net = Net::pair();
    net.queue.clear();
    let topic = hello(&net).0;
    let bytes = changed(&net, |hello| hello.suites = vec![7, 9]);
    net.inject(&topic, bytes);
    net.run(2_000);
    assert!(net.all_of(Kind::Request).is_empty());
    assert_eq!(net.subscribers[0].engine.counters().rejected, 1);
    net.run(10_000);
    net.works();
}

#[test]
fn stripped_suites_and_a_stale_or_forged_challenge_lead_to_a_retry_never_to_a_session() {
    let changes: [fn(&mut Hello); 4] = [
        |hello| hello.suites = vec![1, 7],
        |hello| hello.suites = vec![7, 1, 1],
        |hello| hello.challenge = [0; 16],
        |hello| hello.name = name("another"),
    ];
    for change in changes {
        let mut net = Net::pair();
        net.queue.clear();
        let forged = changed(&net, change);
        let topic = hello(&net).0;
        net.inject(&topic, forged);
        net.settle();
        let counters = net.publishers[0].engine.counters();
        assert_eq!((counters.retries, counters.grants, counters.diffie_hellman), (1, 0, 0));
        net.run(1_000);
        assert_eq!(net.publishers[0].engine.counters().grants, 1, "with the hello that the RETRY brought");
        net.works();
    }
}

#[test]
fn a_request_under_an_old_challenge_is_answered_with_a_retry() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    let mut config = securemqtt_core::publisher::Config::new(name("pub0"));
    config.challenge_ms = 60_000;
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s)]), config);
    let id = p.public().id();
    let old = net.retained[&Control::Hello.topic(id)].payload.clone();
    net.run(70_000);
    let (previous, _) = request_for(&old, &s, 1, 1);
    net.inject(&Control::In.topic(id), previous);
    net.settle();
    assert_eq!(net.publishers[0].engine.counters().grants, 1, "the previous challenge is still good");
    net.run(60_000);
    let (stale, _) = request_for(&old, &s, 2, 2);
    net.inject(&Control::In.topic(id), stale);
    net.settle();
    let counters = net.publishers[0].engine.counters();
    assert_eq!((counters.grants, counters.retries), (1, 1));
}

#[test]
fn a_hello_with_a_foreign_key_leaves_the_pinned_peer_unaffected() {
    let mut net = Net::pair();
    let mallory = key(66);
    let forged = changed(&net, |hello| hello.key = mallory.public().clone());
    let topic = hello(&net).0;
    retain(&mut net, &topic, forged.clone());
    net.run(2_000);
    let shown = SubEvent::ForeignHello { id: net.publisher_id(0), shown: mallory.public().clone() };
    assert!(net.subscribers[0].events.contains(&shown));
    net.works();
    for _ in 0..50 {
        net.inject(&topic, forged.clone());
    }
    net.run(20_000);
    net.works();
    assert_eq!(net.all_of(Kind::Request).len(), 1);
}

#[test]
fn a_retry_from_anyone_cannot_bring_another_key_or_a_session() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Request) { Fate::Hold } else { Fate::Deliver });
    net.settle();
    let request = net.held[0].1.payload.clone();
    let hash = securemqtt_core::wire::Retry::request_hash(&request);
    let foreign = changed(&net, |hello| hello.key = key(66).public().clone());
    let retry = securemqtt_core::wire::Retry { request: hash, hello: &foreign }.encode();
    let topic = Control::To(key(2).public().id()).topic(net.publisher_id(0));
    net.deliver(Who::S(0), &Sent { from: Who::Anyone, topic, payload: retry, retain: false });
    assert_eq!(net.subscribers[0].engine.counters().rejected, 1);
    net.calm();
    net.run(2_000);
    net.works();
}
