//! What another subscriber can forge, and how it is found.

use securemqtt_core::handshake::read_request;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::publisher::Config;
use securemqtt_core::stream::StreamGrant;
use securemqtt_core::subscriber::Event as SubEvent;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Hello, Kind, Request, TickBody};

use crate::insider::{Insider, retain, seal_as};
use crate::network::{Net, Sent, Who, key, known, name, rng};

/// A publisher, an honest subscriber, and Eve, who holds the stream's secret.
fn with_insider(signed_frames: bool) -> (Net, Insider) {
    let (p, s) = (key(1), key(2));
    let mut config = Config::new(name("pub0"));
    config.signed_frames = signed_frames;
    let mut net = Net::new();
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s), ("eve", &key(66))]), config);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    let eve = Insider::join(&mut net, 0, &key(66), 1);
    (net, eve)
}

fn flagged(net: &Net) -> Vec<(u32, u32)> {
    let span = |event: &SubEvent| match event {
        SubEvent::Forged(span) => Some((span.from, span.to)),
        _ => None,
    };
    net.subscribers[0].events.iter().filter_map(span).collect()
}

#[test]
fn a_frame_that_an_insider_puts_in_the_place_of_a_genuine_one_is_flagged_by_the_next_tick() {
    let (mut net, eve) = with_insider(false);
    net.send(0, "t/a", b"0");
    net.settle();
    let run = net.publishers[0].engine.run();
    net.inject("t/a", eve.forge(run, "t/a", 1, b"forged"));
    net.settle();
    assert_eq!(net.readings(0), ["0", "forged"], "the stream's key is shared: say so plainly");
    net.send(0, "t/a", b"1");
    net.run(15_000);
    assert_eq!(flagged(&net).len(), 1);
    assert!(flagged(&net)[0].0 <= 1 && flagged(&net)[0].1 >= 2);
    assert!(net.subscribers[0].engine.counters().forged >= 1);
    net.run(60_000);
    assert_eq!(flagged(&net).len(), 1, "once");
}

#[test]
fn a_frame_that_an_insider_adds_behind_the_last_is_flagged() {
    let (mut net, eve) = with_insider(false);
    net.send(0, "t/a", b"0");
    net.settle();
    let run = net.publishers[0].engine.run();
    net.inject("t/a", eve.forge(run, "t/a", 1, b"forged"));
    net.run(30_000);
    assert_eq!(flagged(&net), [(1, 2)]);
}

#[test]
fn a_topic_that_only_an_insider_uses_is_flagged() {
    let (mut net, eve) = with_insider(false);
    net.send(0, "t/a", b"0");
    net.settle();
    let run = net.publishers[0].engine.run();
    net.inject("t/never", eve.forge(run, "t/never", 0, b"forged"));
    net.run(90_000);
    assert!(net.subscribers[0].engine.counters().forged > 0);
}

#[test]
fn signed_frames_cannot_be_forged_by_an_insider() {
    let (mut net, eve) = with_insider(true);
    net.send(0, "t/a", b"0");
    net.settle();
    let run = net.publishers[0].engine.run();
    net.inject("t/a", eve.forge(run, "t/a", 1, b"forged"));
    net.inject("t/a", eve.forge(run, "t/a", 1, &[7; 100]));
    net.inject("t/a", eve.seal(Kind::Batch, run, "t/a", 1, &[7; 100]));
    net.settle();
    assert_eq!(net.subscribers[0].engine.counters().forged, 3);
    net.send(0, "t/a", b"1");
    net.send_batch(0, "t/a", &[b"2", b"3"]);
    net.run(30_000);
    assert_eq!(net.readings(0), ["0", "1", "2", "3"]);
    assert!(flagged(&net).is_empty());
}

/// A tick with a body of the insider's choice: she cannot sign it.
fn forged_tick(net: &Net, eve: &Insider, seq: u32, change: impl FnOnce(&mut TickBody)) -> Vec<u8> {
    let run = net.publishers[0].engine.run();
    let topic = Control::Tick.topic(eve.publisher);
    let info: [&[u8]; 5] =
        [b"commit", eve.publisher.as_bytes(), &eve.stream.id.to_be_bytes(), &run, &[eve.stream.generation]];
    let commitment = *securemqtt_core::primitives::hkdf_expand(eve.stream.secret.expose(), &info);
    let own = securemqtt_core::wire::RunPositions { run, stream: eve.stream.id, topics: Vec::new() };
    let mut body =
        TickBody { report_wanted: false, last: false, commitment, clock_ms: net.now.unix_ms, runs: vec![own] };
    change(&mut body);
    let plain = [body.encode(), vec![1; 64]].concat();
    eve.seal(Kind::Tick, run, &topic, seq, &plain)
}

#[test]
fn a_tick_that_an_insider_forges_reports_no_loss_and_ends_no_run() {
    let (mut net, eve) = with_insider(false);
    net.send(0, "t/a", b"0");
    net.run(15_000);
    let topic = Control::Tick.topic(eve.publisher);
    let loss = forged_tick(&net, &eve, 1_000, |body| {
        body.runs[0].topics.push(securemqtt_core::wire::TopicPosition {
            topic: "t/a".to_owned(),
            first_kept: 900,
            from: 900,
            next: 900,
            digest: [0; 32],
        });
    });
    let end = forged_tick(&net, &eve, 1_001, |body| body.last = true);
    net.inject(&topic, loss);
    net.inject(&topic, end);
    net.settle();
    assert_eq!(net.subscribers[0].engine.counters().forged, 2);
    net.run(30_000);
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);

    // The publisher dies without a word: the forged end must not hide it.
    net.publishers.clear();
    net.run(60_000);
    assert!(net.subscribers[0].events.contains(&SubEvent::Silent { name: name("pub") }));
}

#[test]
fn a_forged_number_does_not_shut_later_ticks_out() {
    let (mut net, eve) = with_insider(false);
    let topic = Control::Tick.topic(eve.publisher);
    let forged = forged_tick(&net, &eve, u32::MAX, |body| body.last = true);
    net.inject(&topic, forged);
    net.send(0, "t/a", b"0");
    net.settle();
    net.subscribers[0].online = false;
    net.send(0, "t/a", b"lost");
    net.settle();
    net.subscribers[0].online = true;
    net.run(30_000);
    assert_eq!(net.subscribers[0].engine.counters().missing, 1, "genuine ticks still count");
}

/// A publisher made by hand that grants what it likes.
fn grant_anything(net: &mut Net, subscriber: usize, identity: &IdentityKey, stream: StreamGrant) {
    let id = identity.public().id();
    let hello = Hello { suites: vec![1], key: identity.public().clone(), challenge: [9; 16], name: name("mallory") };
    retain(net, &Control::Hello.topic(id), hello.encode());
    net.settle();
    let topic = Control::In.topic(id);
    let bytes = net.log.iter().rev().find(|sent| sent.topic == topic).unwrap().payload.clone();
    let request = Request::decode(&bytes).unwrap();
    let verified = read_request(identity, &hello.encode(), &request).unwrap();
    let accepted = verified.grant(stream, 1, &mut rng(77)).unwrap();
    let topic = Control::To(net.subscribers[subscriber].engine.id()).topic(id);
    net.deliver(Who::S(subscriber), &Sent { from: Who::Anyone, topic, payload: accepted.grant, retain: false });
    net.settle();
}

#[test]
fn a_stream_that_another_publisher_grants_as_its_own_does_not_make_its_frames() {
    let (a, mallory, s) = (key(1), key(66), key(2));
    let mut net = Net::new();
    net.add_publisher(&a, TrustMode::Strict, known(&[("sub", &s), ("mallory", &mallory)]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("a", &a), ("mallory", &mallory)]), &["t/#"]);
    net.run(3_000);
    // Mallory reads A, and grants A's stream under her own name: same id, secret and verification key.
    let stolen = Insider::join(&mut net, 0, &mallory, 1).stream;
    grant_anything(&mut net, 0, &mallory, stolen.clone());
    assert_eq!(net.subscribers[0].engine.keyed(), 2);
    // A's ticks, repeated as hers, open no run of hers.
    let tick = net.last_of(Kind::Tick);
    net.inject(&Control::Tick.topic(mallory.public().id()), tick.payload);
    net.send(0, "t/a", b"from A");
    // And a frame that she seals by the rules for her own id is no frame of A's run.
    let header = securemqtt_core::wire::FrameHeader {
        kind: Kind::Frame,
        run: net.publishers[0].engine.run(),
        generation: stolen.generation,
        seq: 5,
    };
    let hers = seal_as(mallory.public().id(), stolen.id, &stolen.secret, header, "t/a", b"from Mallory");
    net.inject("t/a", hers);
    net.run(10_000);
    assert_eq!(net.readings(0), ["from A"]);
    assert!(net.subscribers[0].deliveries.iter().all(|delivery| delivery.publisher == a.public().id()));
}

#[test]
fn a_frame_moved_to_another_topic_or_changed_anywhere_is_refused() {
    let (mut net, _) = with_insider(false);
    let frame = net.send(0, "t/a", b"genuine");
    net.queue.clear();
    net.inject("t/b", frame.clone());
    for at in 0..frame.len() {
        let mut changed = frame.clone();
        changed[at] ^= 0x40;
        net.inject("t/a", changed);
    }
    net.settle();
    assert!(net.readings(0).is_empty());
    net.inject("t/a", frame);
    net.settle();
    assert_eq!(net.readings(0), ["genuine"]);
}

#[test]
fn a_frame_is_delivered_once_and_its_repeats_are_told_from_replays() {
    let (mut net, _) = with_insider(false);
    let frame = net.send(0, "t/a", b"once");
    net.settle();
    net.inject("t/a", frame.clone());
    net.settle();
    assert_eq!(net.subscribers[0].engine.counters().duplicates, 1);
    for _ in 0..14 {
        net.send(0, "t/a", b"later");
        net.run(10_000);
    }
    net.inject("t/a", frame);
    net.settle();
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.replays, counters.forged), (1, 0));
    assert_eq!(net.readings(0).iter().filter(|reading| *reading == "once").count(), 1);
}
