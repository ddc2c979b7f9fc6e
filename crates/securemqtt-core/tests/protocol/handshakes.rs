//! Duplicated, replayed, forged and lost handshake messages.

use securemqtt_core::publisher::Event as PubEvent;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Ack, Grant, Kind};

use crate::insider::{Insider, request};
use crate::network::{Fate, Net, Sent, Who, is, key, known};

fn confirmed(net: &Net) -> usize {
    net.publishers[0].events.iter().filter(|event| matches!(event, PubEvent::Confirmed { .. })).count()
}

#[test]
fn a_duplicate_request_gets_the_identical_grant_and_its_confirm_works() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Request) { Fate::Twice } else { Fate::Deliver });
    net.run(3_000);
    let grants = net.all_of(Kind::Grant);
    assert_eq!(grants.len(), 2);
    assert_eq!(grants[0].payload, grants[1].payload);
    let counters = net.publishers[0].engine.counters();
    assert_eq!((counters.requests, counters.grants, confirmed(&net)), (1, 1, 1));
    net.works();
}

#[test]
fn a_hundred_replayed_requests_do_not_evict_a_live_handshake() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let id = p.public().id();
    let topic = Control::In.topic(id);
    let old: Vec<Vec<u8>> = (1..=12)
        .map(|sctr| {
            let (bytes, _) = request(&net, id, &s, sctr, sctr);
            net.inject(&topic, bytes.clone());
            net.run(1_000);
            bytes
        })
        .collect();
    let granted = net.publishers[0].engine.counters().grants;
    assert_eq!(granted, 12);

    let live = Insider::join(&mut net, 0, &s, 100);
    for n in 0..100 {
        net.inject(&topic, old[n % old.len()].clone());
    }
    net.settle();
    assert_eq!(net.publishers[0].engine.counters().grants, granted + 1, "a replay is never granted anew");
    net.inject(&topic, live.ack(0, 101));
    net.settle();
    assert_eq!(confirmed(&net), 1);
}

#[test]
fn replayed_requests_do_not_use_up_the_rate_of_the_peer_they_name() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let id = p.public().id();
    let topic = Control::In.topic(id);
    let old: Vec<Vec<u8>> = (1..=30).map(|sctr| request(&net, id, &s, sctr, sctr).0).collect();
    for bytes in &old {
        net.inject(&topic, bytes.clone());
        net.run(1_000);
    }
    let before = net.publishers[0].engine.counters().diffie_hellman;
    for _ in 0..20 {
        for bytes in &old {
            net.inject(&topic, bytes.clone());
        }
    }
    net.settle();
    assert_eq!(net.publishers[0].engine.counters().diffie_hellman, before, "a replay costs no Diffie-Hellman");
    Insider::join(&mut net, 0, &s, 100);
}

#[test]
fn forged_grants_before_the_genuine_one_do_not_harm() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Grant) { Fate::Hold } else { Fate::Deliver });
    net.settle();
    let (to, genuine) = net.held.pop().unwrap();
    for at in [9, 20, 42, 60, genuine.payload.len() - 1] {
        let mut payload = genuine.payload.clone();
        payload[at] ^= 1;
        net.deliver(to, &Sent { payload, ..genuine.clone() });
    }
    assert_eq!((net.subscribers[0].engine.keyed(), net.subscribers[0].engine.counters().rejected), (0, 5));
    net.deliver(to, &genuine);
    net.calm();
    net.run(1_000);
    assert_eq!((net.all_of(Kind::Request).len(), confirmed(&net)), (1, 1), "the first REQUEST was enough");
    net.works();
}

#[test]
fn a_confirm_that_is_lost_five_times_still_brings_entry_1() {
    let mut net = Net::pair();
    let mut lost = 0;
    net.adversary(move |sent, _| match Ack::decode(&sent.payload) {
        Ok(_) if lost < 5 => {
            lost += 1;
            Fate::Drop
        }
        _ => Fate::Deliver,
    });
    net.run(60_000);
    assert_eq!((confirmed(&net), net.all_of(Kind::Request).len()), (1, 1), "without a second handshake");
    let acks = net.all_of(Kind::Ack);
    assert_eq!(acks.len(), 7, "six confirms and entry 1");
    assert_eq!(Ack::decode(&acks[6].payload).unwrap().idx, 1);
    net.works();
}

#[test]
fn keys_that_are_lost_are_sent_again_when_the_confirm_is_repeated() {
    let mut net = Net::pair();
    let mut lost = 0;
    net.adversary(move |sent, _| {
        let drop = is(sent, Kind::Keys) && lost < 3;
        lost += usize::from(drop);
        if drop { Fate::Drop } else { Fate::Deliver }
    });
    net.run(30_000);
    assert_eq!(confirmed(&net), 1);
    assert_eq!(Ack::decode(&net.last_of(Kind::Ack).payload).unwrap().idx, 1);
    net.works();
}

#[test]
fn a_rotation_between_grant_and_confirm_leaves_the_subscriber_on_the_new_stream() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Hold } else { Fate::Deliver });
    net.settle();
    assert_eq!(net.subscribers[0].engine.keyed(), 1);
    let granted = net.publishers[0].engine.stream();
    net.rotate(0);
    net.send(0, "t/a", b"under the new stream");
    net.settle();
    assert_ne!(net.publishers[0].engine.stream(), granted);
    net.calm();
    net.run(5_000);
    assert_eq!(net.readings(0), ["under the new stream"]);
    net.works();
}

#[test]
fn a_publisher_that_is_killed_between_grant_and_confirm_is_asked_again() {
    let mut net = Net::pair();
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Drop } else { Fate::Deliver });
    net.settle();
    assert_eq!((net.subscribers[0].engine.keyed(), confirmed(&net)), (1, 0));
    net.restart_publisher(0, &key(1));
    net.adversary = None;
    net.run(10_000);
    assert_eq!(confirmed(&net), 1);
    net.works();
}

#[test]
fn a_request_that_is_replayed_after_its_session_began_changes_nothing() {
    let mut net = Net::pair();
    net.run(3_000);
    let request = net.last_of(Kind::Request);
    let before = net.publishers[0].engine.counters();
    for _ in 0..20 {
        net.inject(&request.topic, request.payload.clone());
        net.run(500);
    }
    let after = net.publishers[0].engine.counters();
    assert_eq!((after.grants, after.diffie_hellman, confirmed(&net)), (before.grants, before.diffie_hellman, 1));
    net.works();
}

#[test]
fn acks_are_accepted_once_and_only_with_their_tag() {
    let mut net = Net::pair();
    net.run(3_000);
    let ack = net.last_of(Kind::Ack);
    let mut forged = ack.payload.clone();
    forged[12] ^= 1;
    net.inject(&ack.topic, forged);
    net.inject(&ack.topic, ack.payload.clone());
    net.settle();
    let counters = net.publishers[0].engine.counters();
    assert_eq!((counters.rejected, counters.replays), (1, 1));
    net.works();
}

#[test]
fn messages_reflected_to_their_sender_or_to_another_are_ignored() {
    let mut net = Net::pair();
    let other = key(3);
    net.add_subscriber(&other, TrustMode::Strict, known(&[("pub", &key(1))]), &["t/#"]);
    net.run(3_000);
    let id = net.publisher_id(0);
    let (first, second) = (net.subscribers[0].engine.id(), net.subscribers[1].engine.id());
    let before = net.publishers[0].engine.counters();
    for sent in net.log.clone().into_iter().filter(|sent| !sent.payload.is_empty()) {
        for topic in [Control::In, Control::To(first), Control::To(second), Control::Keys(first), Control::Keys(second)]
        {
            net.inject(&topic.topic(id), sent.payload.clone());
        }
        net.run(1_000);
    }
    assert_eq!(net.publishers[0].engine.counters().grants, before.grants);
    assert_eq!((net.subscribers[0].engine.keyed(), net.subscribers[1].engine.keyed()), (1, 0));
    net.works();
}

#[test]
fn a_grant_opens_only_for_the_request_that_it_answers() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let id = p.public().id();
    let (first, first_state) = request(&net, id, &s, 1, 1);
    let (second, second_state) = request(&net, id, &s, 2, 2);
    net.inject(&Control::In.topic(id), first);
    net.inject(&Control::In.topic(id), second);
    net.settle();
    let grants: Vec<Vec<u8>> = net.all_of(Kind::Grant).into_iter().map(|sent| sent.payload).collect();
    assert!(first_state.read_grant(&s, &grants[0]).is_ok() && second_state.read_grant(&s, &grants[1]).is_ok());
    let mut swapped = grants[1].clone();
    swapped[..9].copy_from_slice(&grants[0][..9]);
    assert_eq!(Grant::decode(&swapped).unwrap().rid, first_state.rid());
    assert!(first_state.read_grant(&s, &swapped).is_err());
    assert!(first_state.read_grant(&key(3), &grants[0]).is_err(), "nor for another identity");
}

#[test]
fn a_session_is_renewed_after_twenty_hours_without_a_lost_reading() {
    let mut net = Net::pair();
    net.run(3_000);
    net.send(0, "t/a", b"before");
    net.run(1_000);
    net.now.mono_ms += 20 * 3_600_000;
    net.now.unix_ms += 20 * 3_600_000;
    net.run(15_000);
    assert_eq!((confirmed(&net), net.all_of(Kind::Request).len()), (2, 2));
    net.send(0, "t/a", b"after");
    net.run(1_000);
    assert_eq!(net.readings(0), ["before", "after"]);
    assert_eq!(net.publishers[0].engine.confirmed(), 1);
    assert_eq!(net.queue.len(), 0);
    assert!(net.log.iter().all(|sent: &Sent| sent.from != Who::Anyone));
}
