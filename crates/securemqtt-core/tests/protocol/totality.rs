//! Random and mutated messages: no panic, and no effect on an honest session.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::network::{Net, Sent, Who, key, known};

/// A pair whose log holds a genuine message of every kind that flows without an attacker, and a RETRY.
fn seasoned() -> Net {
    let mut net = Net::pair();
    net.run(3_000);
    net.send(0, "t/a", b"reading");
    net.send_batch(0, "t/a", &[b"two", b"three"]);
    net.rotate(0);
    net.run(1_000);
    let mut stale = net.last_of(Kind::Request);
    stale.payload[20] ^= 1;
    net.inject(&stale.topic, stale.payload);
    net.run(1_000);
    for kind in [
        Kind::Hello,
        Kind::Request,
        Kind::Retry,
        Kind::Grant,
        Kind::Ack,
        Kind::Keys,
        Kind::Frame,
        Kind::Batch,
        Kind::Tick,
    ] {
        assert!(!net.all_of(kind).is_empty(), "{kind:?}");
    }
    net
}

fn topics(net: &Net) -> Vec<String> {
    let (p, s) = (net.publisher_id(0), net.subscribers[0].engine.id());
    let mut topics: Vec<String> = [Control::Hello, Control::Tick, Control::In, Control::To(s), Control::Keys(s)]
        .iter()
        .flat_map(|control| [control.topic(p), control.topic(s)])
        .collect();
    topics.extend(["t/a", "t/b", "securemqtt/v1/", "securemqtt/v1/x/hello", ""].map(str::to_owned));
    topics
}

fn throw(net: &mut Net, topic: &str, payload: &[u8]) {
    let sent = Sent { from: Who::Anyone, topic: topic.to_owned(), payload: payload.to_vec(), retain: false };
    net.deliver(Who::P(0), &sent);
    net.deliver(Who::S(0), &sent);
    net.settle();
}

/// How a genuine message is changed.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Extend(Vec<u8>),
    Splice(usize, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<usize>(), 1..=255u8).prop_map(|(at, mask)| Change::Flip(at, mask)),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => vec(any::<u8>(), 1..40).prop_map(Change::Extend),
        1 => (any::<usize>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Splice(at, bytes)),
    ]
}

impl Change {
    fn apply(&self, payload: &mut Vec<u8>) {
        let length = payload.len().max(1);
        match self {
            Self::Flip(at, mask) => payload.iter_mut().skip(at % length).take(1).for_each(|byte| *byte ^= mask),
            Self::Cut(at) => payload.truncate(at % length),
            Self::Extend(bytes) => payload.extend_from_slice(bytes),
            Self::Splice(at, bytes) => {
                payload.iter_mut().skip(at % length).zip(bytes).for_each(|(byte, new)| *byte = *new);
            }
        }
    }
}

/// Time goes on and the session is in order: nothing forged, nothing missing, nothing delivered that was not sent.
fn check(net: &mut Net) {
    net.run(2_000);
    net.works();
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.forged, counters.missing), (0, 0), "{:?}", net.subscribers[0].events);
    let known = ["reading", "two", "three"];
    assert!(net.readings(0).iter().all(|reading| known.contains(&reading.as_str()) || reading.starts_with("works")));
    assert_eq!((net.publishers[0].engine.confirmed(), net.subscribers[0].engine.keyed()), (1, 1));
}

#[test]
fn random_bytes_do_nothing() {
    let net = RefCell::new(seasoned());
    let topics = topics(&net.borrow());
    let config = ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(topic in 0..topics.len(), kind in 0..11u8, bytes in vec(any::<u8>(), 0..300))| {
        let mut payload = bytes;
        // Most of them with a type byte that exists.
        if let Some(first) = payload.first_mut().filter(|_| kind < 10) {
            *first = 0x10 | kind;
        }
        throw(&mut net.borrow_mut(), &topics[topic], &payload);
    });
    check(&mut net.borrow_mut());
}

#[test]
fn mutated_genuine_messages_do_nothing() {
    let net = RefCell::new(seasoned());
    let topics = topics(&net.borrow());
    let log: Vec<Sent> = net.borrow().log.iter().filter(|sent| !sent.payload.is_empty()).cloned().collect();
    let config = ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(pick in any::<prop::sample::Index>(), changes in vec(change(), 1..3), topic in any::<Option<prop::sample::Index>>())| {
        let sent = pick.get(&log);
        let mut payload = sent.payload.clone();
        for change in &changes {
            change.apply(&mut payload);
        }
        let topic = topic.map_or(&sent.topic, |index| index.get(&topics));
        let mut net = net.borrow_mut();
        throw(&mut net, topic, &payload);
        if net.log.len().is_multiple_of(10) {
            net.run(100);
        }
    });
    check(&mut net.borrow_mut());
}

#[test]
fn every_single_bit_of_every_handshake_message_matters() {
    for kind in [Kind::Request, Kind::Grant, Kind::Keys, Kind::Ack] {
        let (p, s) = (key(1), key(2));
        let mut net = Net::new();
        net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
        net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
        net.adversary(move |sent, _| {
            if crate::network::is(sent, kind) { crate::network::Fate::Hold } else { crate::network::Fate::Deliver }
        });
        net.settle();
        let (to, genuine) = net.held.remove(0);
        let before = net.publishers[0].engine.counters().grants;
        for at in 0..genuine.payload.len() {
            let mut payload = genuine.payload.clone();
            payload[at] ^= 1 << (at % 8);
            net.deliver(to, &Sent { payload, ..genuine.clone() });
            net.settle();
        }
        assert_eq!(net.publishers[0].engine.counters().grants, before, "{kind:?}");
        assert_eq!(net.publishers[0].engine.confirmed(), usize::from(kind == Kind::Keys), "{kind:?}");
        net.calm();
        net.run(40_000);
        net.works();
    }
}
