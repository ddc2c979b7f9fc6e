//! Silence, return and the end of a run.

use securemqtt_core::publisher;
use securemqtt_core::subscriber::Event as SubEvent;
use securemqtt_core::wire::Kind;

use crate::network::{Fate, Net, is, key, name};

fn silences(net: &Net) -> (usize, usize) {
    let events = &net.subscribers[0].events;
    let silent = events.iter().filter(|event| **event == SubEvent::Silent { name: name("pub") }).count();
    (silent, events.iter().filter(|event| **event == SubEvent::Back { name: name("pub") }).count())
}

#[test]
fn a_publisher_that_ticks_is_never_silent() {
    let mut net = Net::pair();
    net.run(300_000);
    assert_eq!(silences(&net), (0, 0));
}

#[test]
fn silence_is_reported_after_three_intervals_and_its_end_too() {
    let mut net = Net::pair();
    net.run(25_000);
    net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Drop } else { Fate::Deliver });
    net.run(24_000);
    assert_eq!(silences(&net), (0, 0));
    net.run(15_000);
    assert_eq!(silences(&net), (1, 0));
    net.run(60_000);
    assert_eq!(silences(&net), (1, 0), "once");
    net.adversary = None;
    net.run(11_000);
    assert_eq!(silences(&net), (1, 1));
}

#[test]
fn old_ticks_replayed_do_not_hide_a_silence() {
    let mut net = Net::pair();
    net.run(45_000);
    let ticks = net.all_of(Kind::Tick);
    net.publishers.clear();
    net.run(20_000);
    for tick in ticks {
        net.inject(&tick.topic, tick.payload);
    }
    net.run(12_000);
    assert_eq!(silences(&net), (1, 0));
}

#[test]
fn between_the_ticks_of_a_quiet_publisher_there_is_nothing_to_wake_up_for() {
    let mut net = Net::pair();
    net.settle();
    // Three intervals without a tick would be a silence: each tick puts it off.
    for _ in 0..50 {
        net.run(1_000);
        let due_ms = net.subscribers[0].engine.next_poll_ms();
        assert!(due_ms > net.now.mono_ms + 1_000, "at {}: {due_ms}", net.now.mono_ms);
    }
}

#[test]
fn a_publisher_that_says_goodbye_is_not_silent() {
    let mut net = Net::pair();
    net.run(3_000);
    net.send(0, "t/a", b"last");
    let mut out = publisher::Output::default();
    net.publishers[0].engine.finish(net.now, &mut out);
    net.take_publisher(0, out);
    net.settle();
    net.publishers.clear();
    net.run(120_000);
    assert_eq!(silences(&net), (0, 0));
    assert_eq!(net.readings(0), ["last"]);
}

#[test]
fn the_last_tick_tells_of_readings_that_were_withheld() {
    let mut net = Net::pair();
    net.run(3_000);
    net.adversary(|sent, _| if is(sent, Kind::Frame) { Fate::Drop } else { Fate::Deliver });
    net.send(0, "t/a", b"withheld");
    let mut out = publisher::Output::default();
    net.publishers[0].engine.finish(net.now, &mut out);
    net.take_publisher(0, out);
    net.settle();
    net.publishers.clear();
    net.run(5_000);
    assert_eq!(net.subscribers[0].engine.counters().missing, 1);
}

#[test]
fn a_restarted_publisher_is_not_reported_as_silent() {
    let mut net = Net::pair();
    net.run(12_000);
    net.restart_publisher(0, &key(1));
    net.run(120_000);
    assert_eq!(silences(&net), (0, 0));
}
