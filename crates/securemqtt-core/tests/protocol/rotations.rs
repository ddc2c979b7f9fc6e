//! New streams: when they start, and who gets them.

use securemqtt_core::publisher::{Config, Event as PubEvent};
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::network::{Fate, Net, is, key, known, name};

fn with_config(change: impl FnOnce(&mut Config)) -> Net {
    let (p, s) = (key(1), key(2));
    let mut config = Config::new(name("pub0"));
    change(&mut config);
    let mut net = Net::new();
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s)]), config);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    net
}

fn streams(net: &Net) -> usize {
    net.publishers[0].events.iter().filter(|event| matches!(event, PubEvent::Rotated { .. })).count()
}

fn counted(n: usize) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

#[test]
fn the_new_stream_starts_when_everybody_has_confirmed_it() {
    let mut net = with_config(|_| {});
    let old = net.publishers[0].engine.stream();
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Hold } else { Fate::Deliver });
    net.rotate(0);
    net.run(5_000);
    assert_eq!(net.publishers[0].engine.stream(), old, "not before");
    net.calm();
    assert_ne!(net.publishers[0].engine.stream(), old);
    net.works();
}

#[test]
fn an_absent_subscriber_holds_a_rotation_up_for_ten_seconds_and_finds_its_keys_later() {
    let mut net = with_config(|_| {});
    net.subscribers[0].online = false;
    net.rotate(0);
    net.run(9_500);
    assert_eq!(streams(&net), 0);
    net.run(1_000);
    assert_eq!(streams(&net), 1);
    net.reconnect_subscriber(0);
    net.run(1_000);
    assert_eq!(net.all_of(Kind::Request).len(), 1, "without a new handshake");
    net.works();
}

#[test]
fn keys_are_cleared_from_the_broker_when_they_have_been_confirmed() {
    let mut net = with_config(|_| {});
    let topic = Control::Keys(key(2).public().id()).topic(net.publisher_id(0));
    assert!(!net.retained.contains_key(&topic));
    net.subscribers[0].online = false;
    net.rotate(0);
    net.run(20_000);
    assert!(net.retained.contains_key(&topic), "kept for the subscriber that is away");
    net.reconnect_subscriber(0);
    assert!(!net.retained.contains_key(&topic));
}

#[test]
fn a_subscriber_that_confirms_during_a_rotation_gets_both_streams() {
    let (p, s, absent) = (key(1), key(2), key(3));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s), ("absent", &absent)]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.subscribers[0].online = false;
    net.queue.clear();
    net.add_subscriber(&absent, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    net.subscribers[1].online = false;
    net.rotate(0);
    net.reconnect_subscriber(0);
    net.run(1_000);
    assert_eq!(streams(&net), 0, "the rotation is still under way");
    net.works();
    net.run(12_000);
    assert_eq!(streams(&net), 1);
    net.works();
    assert_eq!(net.all_of(Kind::Request).len(), 2);
}

#[test]
fn streams_change_by_time() {
    let mut net = with_config(|config| config.rotate_ms = 30_000);
    for n in 0..40 {
        net.send(0, "t/a", n.to_string().as_bytes());
        net.run(3_000);
    }
    assert!(streams(&net) >= 3);
    assert_eq!(net.readings(0), counted(40));
}

#[test]
fn a_new_stream_follows_the_last_generation() {
    let mut net = with_config(|config| config.ratchet_frames = 1);
    for n in 0..300 {
        net.send(0, "t/a", n.to_string().as_bytes());
        net.run(100);
    }
    net.run(5_000);
    assert_eq!(streams(&net), 1);
    assert_eq!(net.readings(0), counted(300));
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);
}

#[test]
fn frames_of_recent_streams_still_open_after_many_rotations() {
    let mut net = with_config(|_| {});
    net.adversary(|sent, _| if is(sent, Kind::Frame) { Fate::Hold } else { Fate::Deliver });
    for n in 0..12 {
        net.send(0, "t/a", n.to_string().as_bytes());
        net.rotate(0);
        net.run(1_000);
    }
    assert_eq!(streams(&net), 12);
    net.calm();
    let mut readings = net.readings(0);
    readings.sort_unstable_by_key(|reading| reading.parse::<u32>().unwrap());
    assert_eq!(readings, counted(12));
    for _ in 0..20 {
        net.rotate(0);
        net.run(500);
    }
    net.works();
}

#[test]
fn more_rotations_than_keys_can_hold_are_reported_and_the_last_stream_is_read() {
    let mut net = with_config(|_| {});
    net.subscribers[0].online = false;
    for _ in 0..70 {
        net.rotate(0);
    }
    net.run(12_000);
    let dropped =
        net.publishers[0].events.iter().filter(|event| matches!(event, PubEvent::EntryDropped { .. })).count();
    assert_eq!(dropped, 6);
    net.reconnect_subscriber(0);
    net.run(3_000);
    net.works();
}

#[test]
fn a_rotation_that_was_killed_half_way_is_survived() {
    let mut net = with_config(|_| {});
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Drop } else { Fate::Deliver });
    net.rotate(0);
    net.settle();
    net.restart_publisher(0, &key(1));
    net.adversary = None;
    net.send(0, "t/a", b"after");
    net.run(10_000);
    assert_eq!(net.readings(0), ["after"]);
    net.works();
}

#[test]
fn no_run_and_no_frame_repeats_over_rotations_and_restarts() {
    let mut net = with_config(|config| config.ratchet_frames = 2);
    for _ in 0..10 {
        for _ in 0..5 {
            net.send(0, "t/a", b"the same reading");
            net.run(200);
        }
        net.rotate(0);
        net.run(500);
        net.restart_publisher(0, &key(1));
        net.run(500);
    }
    let mut frames: Vec<Vec<u8>> = net.all_of(Kind::Frame).into_iter().map(|sent| sent.payload).collect();
    let count = frames.len();
    frames.sort();
    frames.dedup_by(|a, b| a[..9] == b[..9]);
    assert_eq!((frames.len(), count), (50, 50), "no (run, generation, number) twice");
}
