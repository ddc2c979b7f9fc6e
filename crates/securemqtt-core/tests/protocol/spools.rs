use securemqtt_core::publisher::Event;
use securemqtt_core::record::Table;
use securemqtt_core::wire::Kind;
use securemqtt_core::{Qos, subscriber};

use crate::network::{Fate, Net, Who, is};

/// The publisher's ticks, spool and all, for so long.
fn fill(net: &mut Net, count: usize) {
    for n in 0..count {
        net.send(0, "t/a", format!("{n} {}", "x".repeat(100)).as_bytes());
    }
}

#[test]
fn what_was_lost_is_asked_for_and_sent_again() {
    let (mut net, ..) = Net::keeping();
    let mut count = 0;
    net.adversary(move |sent, to| {
        count += usize::from(to == Who::S(0) && is(sent, Kind::Frame));
        if to == Who::S(0) && is(sent, Kind::Frame) && count % 3 == 0 { Fate::Drop } else { Fate::Deliver }
    });
    fill(&mut net, 90);
    net.settle();
    assert_eq!(net.readings(0).len(), 60);
    net.adversary = None;
    net.run(30_000);
    assert_eq!(net.readings(0).len(), 90);
    let events = &net.subscribers[0].events;
    assert!(events.iter().any(|event| matches!(event, subscriber::Event::Missing(_))));
    assert!(!events.iter().any(|event| matches!(event, subscriber::Event::Lost(_))));
    assert_eq!(net.subscribers[0].engine.counters().missing, 0, "all of it came");
}

#[test]
fn a_whole_run_that_was_lost_is_repaired_after_the_restart() {
    let (mut net, p, _) = Net::keeping();
    net.send(0, "t/a", b"first");
    net.run(6_000);
    net.adversary(|sent, to| if to == Who::S(0) && !is(sent, Kind::Keys) { Fate::Drop } else { Fate::Deliver });
    for run in 0..40 {
        net.crash_publisher(0, &p);
        net.send(0, "t/a", format!("run {run}").as_bytes());
        net.settle();
        net.finish_publisher(0);
    }
    net.adversary = None;
    net.crash_publisher(0, &p);
    net.run(60_000);
    let mut readings = net.readings(0);
    readings.sort();
    assert_eq!(readings.len(), 41, "{readings:?}");
    assert!(!net.subscribers[0].events.iter().any(|event| matches!(event, subscriber::Event::Forged(_))));
}

#[test]
fn the_spool_is_emptied_by_reports_and_stays_so_on_disk() {
    let (mut net, p, _) = Net::keeping_with(64 << 10);
    fill(&mut net, 200);
    net.run(1_000);
    let full = net.publishers[0].engine.kept().0;
    assert!(full > 20_000, "{full}");
    net.run(25_000);
    assert!(net.publishers[0].engine.kept().0 < 8_000, "it was asked for, and reported");
    net.publishers[0].disk.count(Table::Segment);
    let changes = net.publishers[0].engine.take_changes();
    net.publishers[0].disk.store(changes);
    assert!(net.publishers[0].disk.count(Table::Segment) <= 2);
    net.crash_publisher(0, &p);
    net.works();
}

#[test]
fn a_full_spool_waits_for_one_who_speaks_and_not_for_one_who_is_silent() {
    let (mut net, ..) = Net::keeping_with(64 << 10);
    net.adversary(|sent, to| if to == Who::S(0) || is(sent, Kind::Report) { Fate::Drop } else { Fate::Deliver });
    let mut sent = 0;
    while net.publishers[0].engine.has_room(1_000) {
        net.send(0, "t/a", "x".repeat(1_000).as_bytes());
        sent += 1;
        assert!(sent < 100, "the spool has a bound");
    }
    let told = |net: &Net| {
        let lost = |event: &&Event| matches!(event, Event::LostTo(_) | Event::Dropped { .. });
        net.publishers[0].events.iter().filter(lost).count()
    };
    assert_eq!(told(&net), 0, "nobody has lost anything yet");
    let mut waited = 0;
    while !net.publishers[0].engine.has_room(1_000) {
        net.run(1_000);
        waited += 1;
        assert!(waited < 30, "one subscriber that is away does not stop a plant");
    }
    assert!(waited >= 4, "it was asked three times: {waited}");
    net.run(11_000);
    assert_eq!(told(&net), 1, "together, not one by one: {:?}", net.publishers[0].events);
    // What the broker has not acknowledged does not go for anybody.
    let node = &mut net.publishers[0];
    while node.engine.has_room(1_000) {
        node.engine.spool("t/a", &[&[0; 1_000]], Qos::AtLeastOnce, false).unwrap();
    }
    let before = node.engine.segments().0;
    assert!(!node.engine.has_room(1_000));
    // Only a live simulation drops that, and says so.
    node.engine.force_room(1_000);
    assert!(node.engine.segments().0 > before);
    net.run(11_000);
    let events = &net.publishers[0].events;
    assert!(events.iter().any(|event| matches!(event, Event::Dropped { .. })), "{events:?}");
}

#[test]
fn what_the_spool_no_longer_has_is_told_as_lost() {
    let (mut net, ..) = Net::keeping_with(64 << 10);
    net.send(0, "t/a", b"first");
    net.settle();
    net.adversary(|sent, to| if to == Who::S(0) || is(sent, Kind::Report) { Fate::Drop } else { Fate::Deliver });
    for _ in 0..200 {
        net.publishers[0].engine.force_room(1_000);
        net.send(0, "t/a", "x".repeat(1_000).as_bytes());
        net.settle();
    }
    net.adversary = None;
    net.run(40_000);
    let readings = net.readings(0).len();
    let counters = net.subscribers[0].engine.counters();
    let lost: u64 = net.subscribers[0]
        .events
        .iter()
        .map(|event| match event {
            subscriber::Event::Lost(span) => u64::from(span.to - span.from),
            _ => 0,
        })
        .sum();
    assert_eq!(readings as u64 + lost, 201, "{counters:?}");
    assert!(lost > 100 && readings > 30, "{lost} {readings}");
}

#[test]
fn everything_is_confirmed_or_named() {
    let (mut net, ..) = Net::keeping();
    fill(&mut net, 10);
    net.publishers[0].engine.confirm_all();
    assert!(!net.publishers[0].engine.unreported().is_empty());
    net.run(5_000);
    assert_eq!(net.publishers[0].engine.unreported(), []);
    net.adversary(|sent, _| if is(sent, Kind::Report) { Fate::Drop } else { Fate::Deliver });
    net.send(0, "t/b", b"1");
    net.run(5_000);
    let unreported = net.publishers[0].engine.unreported();
    assert_eq!(unreported.len(), 1);
    assert_eq!((unreported[0].topic.as_str(), unreported[0].from, unreported[0].to), ("t/b", 0, 1));
}
