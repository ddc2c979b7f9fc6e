//! Floods of junk: memory and work stay bounded, and honest handshakes complete meanwhile.

use rand_core::Rng as _;
use securemqtt_core::identity::PeerId;
use securemqtt_core::primitives::sha256_prefix;
use securemqtt_core::subscriber;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Hello, Kind};

use crate::insider::request;
use crate::network::{Fate, Net, Sent, Who, is, key, known, name, rng};

const JUNK: usize = 100_000;
/// Junk in each 100 ms: 20 seconds in all.
const STEP: usize = 500;

/// Delivers junk to one receiver for 20 seconds, while the rest of the world goes on.
fn flood(net: &mut Net, to: Who, mut junk: impl FnMut(usize) -> (String, Vec<u8>)) {
    for n in 0..JUNK {
        let (topic, payload) = junk(n);
        net.deliver(to, &Sent { from: Who::Anyone, topic, payload, retain: false });
        if n % STEP == 0 {
            net.run(100);
            forget(net);
        }
    }
    net.run(3_000);
}

/// Reports and the log of the network are the test's memory, not the product's; only their number counts.
fn forget(net: &mut Net) {
    net.log.clear();
}

#[test]
fn junk_requests_cost_a_publisher_little_and_stop_no_honest_subscriber() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::AcceptNew, known(&[("sub", &s), ("other", &key(3))]));
    let id = p.public().id();
    let genuine = request(&net, id, &key(50), 1, 1).0;
    let strangers: Vec<Vec<u8>> = (0..400).map(|n| request(&net, id, &key(1_000 + n), 1, n).0).collect();
    let mut random = rng(7);
    let topic = Control::In.topic(id);
    flood(&mut net, Who::P(0), |n| {
        let mut bytes = genuine.clone();
        match n % 6 {
            // Another challenge.
            0 => random.fill_bytes(&mut bytes[18..26]),
            // A pinned name, and a mac that does not verify.
            1 => bytes[2..18].copy_from_slice(s.public().id().as_bytes()),
            // A stranger, and a body that does not verify.
            2 => random.fill_bytes(&mut bytes[2..18]),
            3 => random.fill_bytes(&mut bytes[60..]),
            4 => bytes.clone_from(&strangers[(n / 6) % strangers.len()]),
            _ => {
                bytes.truncate(n % 150 + 1);
                random.fill_bytes(&mut bytes);
            }
        }
        (topic.clone(), bytes)
    });
    let engine = &net.publishers[0].engine;
    assert!(engine.remembered() <= 256 + 2, "{}", engine.remembered());
    assert!(engine.counters().diffie_hellman < 2 * (40 + 20 * 24) + 10, "{}", engine.counters().diffie_hellman);
    assert!(engine.counters().retries <= 40 + 20 * 24);
    assert!(net.publishers[0].events.len() < 1_000, "reports are limited too: {}", net.publishers[0].events.len());
}

#[test]
fn an_honest_subscriber_gets_in_during_a_flood_of_requests() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    let id = p.public().id();
    let junk = request(&net, id, &key(50), 1, 1).0;
    let mut random = rng(8);
    let topic = Control::In.topic(id);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    for n in 0..20_000 {
        let mut bytes = junk.clone();
        let from = [2, 18, 26][n % 3];
        random.fill_bytes(&mut bytes[from..]);
        if n % 5 == 0 {
            bytes[2..18].copy_from_slice(s.public().id().as_bytes());
        }
        net.deliver(Who::P(0), &Sent { from: Who::Anyone, topic: topic.clone(), payload: bytes, retain: false });
        if n % 500 == 499 {
            net.run(100);
        }
    }
    assert_eq!((net.publishers[0].engine.confirmed(), net.subscribers[0].engine.keyed()), (1, 1));
    net.works();
}

/// A hello of a stranger whose key may or may not be on the curve.
fn junk_hello(random: &mut rand_chacha::ChaCha20Rng, template: &Hello) -> (String, Vec<u8>) {
    let mut bytes = template.encode();
    random.fill_bytes(&mut bytes[4..52]);
    let id = PeerId::from_bytes(sha256_prefix(&[&bytes[3..36]]));
    (Control::Hello.topic(id), bytes)
}

#[test]
fn junk_hellos_cost_a_subscriber_little_and_stop_no_honest_publisher() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::AcceptNew, known(&[("pub", &p)]), &["t/#"]);
    let template = Hello { suites: vec![1], key: key(9).public().clone(), challenge: [0; 16], name: name("junk") };
    let mut random = rng(9);
    let mut most = 0;
    for n in 0..JUNK {
        let (mut topic, payload) = junk_hello(&mut random, &template);
        if n % 4 == 0 {
            // On the pinned publisher's own topic, with another key.
            topic = Control::Hello.topic(p.public().id());
        }
        net.deliver(Who::S(0), &Sent { from: Who::Anyone, topic, payload, retain: false });
        if n == JUNK / 2 {
            net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
        }
        if n % STEP == 0 {
            net.run(100);
            most = most.max(net.subscribers[0].engine.remembered());
        }
    }
    net.run(5_000);
    assert!(most <= 256 + 1, "{most}");
    assert!(net.subscribers[0].engine.trust().known().iter().count() == 1, "and nobody was pinned");
    assert!(net.subscribers[0].filters.len() < 400, "{}", net.subscribers[0].filters.len());
    assert!(net.subscribers[0].events.len() < 2_000);
    net.works();
}

#[test]
fn junk_frames_fill_no_memory_and_stop_no_reading() {
    let mut net = Net::pair();
    net.run(3_000);
    let genuine = net.send(0, "t/a", b"genuine");
    net.settle();
    let mut random = rng(10);
    let mut delivered = 1;
    let mut sent = 1;
    for n in 0..JUNK {
        let mut payload = genuine.clone();
        let topic = format!("t/{}", n % 3_000);
        match n % 4 {
            0 => random.fill_bytes(&mut payload[1..]),
            1 => random.fill_bytes(&mut payload[7..]),
            2 => payload[6] = 255,
            _ => {
                payload[6] = 16;
                payload[7] = 9;
            }
        }
        net.deliver(Who::S(0), &Sent { from: Who::Anyone, topic, payload, retain: false });
        if n % (10 * STEP) == 0 {
            let reading = format!("reading {sent}");
            net.send(0, "t/a", reading.as_bytes());
            sent += 1;
            net.run(1_000);
            delivered = net.readings(0).len();
        }
    }
    assert_eq!(delivered, sent);
    let engine = &net.subscribers[0].engine;
    assert!(engine.parked() <= 8_192);
    assert_eq!(engine.counters().forged, 0);
    assert!(net.subscribers[0].events.len() < 500);
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);
}

#[test]
fn junk_ticks_do_not_make_a_publisher_silent_or_hide_a_loss() {
    let mut net = Net::pair();
    net.run(3_000);
    let tick = net.last_of(Kind::Tick);
    let mut random = rng(11);
    for n in 0..60_000 {
        let mut payload = tick.payload.clone();
        // The known run with high numbers, and unknown runs.
        let from = if n % 2 == 0 { 7 } else { 1 };
        random.fill_bytes(&mut payload[from..]);
        net.deliver(Who::S(0), &Sent { payload, ..tick.clone() });
        if n == 20_000 {
            net.subscribers[0].online = false;
            net.send(0, "t/a", b"lost");
            net.subscribers[0].online = true;
        }
        if n % 100 == 0 {
            net.run(100);
        }
    }
    net.run(5_000);
    let events = &net.subscribers[0].events;
    assert!(!events.iter().any(|event| matches!(event, subscriber::Event::Silent { .. })));
    assert_eq!(net.subscribers[0].engine.counters().missing, 1);
    net.works();
}

#[test]
fn junk_ticks_right_before_each_genuine_one_do_not_shut_it_out() {
    let mut net = Net::pair();
    net.run(3_000);
    let mut random = rng(12);
    for n in 0..8 {
        net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Hold } else { Fate::Deliver });
        net.run(10_000);
        net.adversary = None;
        for (to, genuine) in std::mem::take(&mut net.held) {
            for _ in 0..300 {
                let mut payload = genuine.payload.clone();
                random.fill_bytes(&mut payload[if n % 2 == 0 { 8 } else { 7 }..]);
                payload[6] = 0;
                net.deliver(to, &Sent { payload, ..genuine.clone() });
            }
            net.deliver(to, &genuine);
        }
    }
    let silent = |event: &subscriber::Event| matches!(event, subscriber::Event::Silent { .. });
    assert!(!net.subscribers[0].events.iter().any(silent));
    assert_eq!(net.all_of(Kind::Request).len(), 1, "and no handshake was made for any of them");
}

#[test]
fn a_tick_over_its_limit_is_refused_before_it_is_parked() {
    let mut net = Net::pair();
    net.run(3_000);
    let topic = Control::Tick.topic(net.publisher_id(0));
    // Of a run that nobody knows: a small one would be parked, and asked about.
    let tick = |len: usize| [vec![Kind::Tick.type_byte()], vec![0x5a; len]].concat();
    net.inject(&topic, tick(1 << 20));
    net.run(2_000);
    assert_eq!(net.subscribers[0].engine.counters().rejected, 1);
    assert_eq!(net.all_of(Kind::Request).len(), 1);
    net.inject(&topic, tick(100));
    net.run(2_000);
    assert_eq!(net.all_of(Kind::Request).len(), 2);
    net.works();
}
