//! Missing, withheld and late readings; and no false alarms.

use securemqtt_core::publisher::Config;
use securemqtt_core::subscriber::{Event as SubEvent, Span};
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::network::{Fate, Net, Sent, Who, is, key, known, name};

fn missing(net: &Net) -> Vec<(String, u32, u32)> {
    spans(net, |event| match event {
        SubEvent::Missing(span) => Some(span.clone()),
        _ => None,
    })
}

fn late(net: &Net) -> Vec<(String, u32, u32)> {
    spans(net, |event| match event {
        SubEvent::Late(span) => Some(span.clone()),
        _ => None,
    })
}

fn spans(net: &Net, pick: impl Fn(&SubEvent) -> Option<Span>) -> Vec<(String, u32, u32)> {
    let events = &net.subscribers[0].events;
    events.iter().filter_map(pick).map(|span| (span.topic, span.from, span.to)).collect()
}

/// A pair in session, where frames whose reading begins with `x` are held back.
fn with_holder() -> Net {
    let mut net = Net::pair();
    net.run(3_000);
    net
}

/// Sends readings, of which some numbers are held back.
fn send_holding(net: &mut Net, topic: &str, count: u32, held: &[u32]) {
    for n in 0..count {
        if held.contains(&n) {
            net.adversary(|sent, _| if is(sent, Kind::Frame) { Fate::Hold } else { Fate::Deliver });
        }
        net.send(0, topic, n.to_string().as_bytes());
        net.settle();
        net.adversary = None;
    }
}

#[test]
fn a_missing_reading_is_reported_once_with_its_numbers() {
    let mut net = with_holder();
    send_holding(&mut net, "t/a", 10, &[3, 4, 7]);
    net.run(90_000);
    let topic = "t/a".to_owned();
    assert_eq!(missing(&net), [(topic.clone(), 3, 5), (topic, 7, 8)]);
    assert_eq!(net.subscribers[0].engine.counters().missing, 3);
}

#[test]
fn a_withheld_tail_is_reported() {
    let mut net = with_holder();
    send_holding(&mut net, "t/a", 10, &[8, 9]);
    net.run(30_000);
    assert_eq!(missing(&net), [("t/a".to_owned(), 8, 10)]);
}

#[test]
fn a_topic_that_is_withheld_as_a_whole_is_reported() {
    let mut net = with_holder();
    net.send(0, "t/b", b"x");
    net.settle();
    send_holding(&mut net, "t/a", 3, &[0, 1, 2]);
    net.run(30_000);
    assert_eq!(missing(&net), [("t/a".to_owned(), 0, 3)]);
}

#[test]
fn readings_that_come_after_the_report_are_delivered_as_late() {
    let mut net = with_holder();
    send_holding(&mut net, "t/a", 10, &[3, 4]);
    net.run(30_000);
    assert_eq!(missing(&net), [("t/a".to_owned(), 3, 5)]);
    net.calm();
    assert_eq!(late(&net), [("t/a".to_owned(), 4, 5), ("t/a".to_owned(), 3, 4)]);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.delivered, counters.missing), (10, 0));
    net.run(60_000);
    assert_eq!((missing(&net).len(), net.subscribers[0].engine.counters().forged), (1, 0));
}

#[test]
fn the_next_reading_that_comes_after_its_report_is_late() {
    let mut net = with_holder();
    send_holding(&mut net, "t/a", 10, &[9]);
    net.run(30_000);
    assert_eq!(missing(&net), [("t/a".to_owned(), 9, 10)]);
    net.calm();
    assert_eq!(late(&net), [("t/a".to_owned(), 9, 10)]);
}

#[test]
fn readings_that_overtake_others_are_told_as_missing_and_late() {
    let mut net = with_holder();
    net.adversary(|sent, _| if is(sent, Kind::Frame) { Fate::Hold } else { Fate::Deliver });
    for n in 0..50 {
        net.send(0, "t/a", format!("{n}").as_bytes());
    }
    net.settle();
    net.adversary = None;
    // The last one first: each of the others comes below one that was put out already.
    let held: Vec<_> = net.held.drain(..).rev().collect();
    for (at, (to, sent)) in held.into_iter().enumerate() {
        net.deliver(to, &sent);
        let seq = u32::try_from(49 - at).unwrap();
        let last = net.subscribers[0].events.iter().rev().take(2).rev();
        let span = |event: &SubEvent| match event {
            SubEvent::Missing(span) => ('m', span.from, span.to),
            SubEvent::Late(span) => ('l', span.from, span.to),
            _ => (' ', 0, 0),
        };
        if at > 0 {
            assert_eq!(last.map(span).collect::<Vec<_>>(), [('m', seq, seq + 1), ('l', seq, seq + 1)]);
        }
    }
    net.run(60_000);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.delivered, counters.missing, counters.lost, counters.forged), (50, 0, 0, 0));
    assert_eq!((missing(&net).len(), late(&net).len()), (49, 49));
}

#[test]
fn readings_that_are_only_late_within_the_grace_are_not_told() {
    let mut net = with_holder();
    send_holding(&mut net, "t/a", 10, &[8, 9]);
    // The tick counts them, and they come before its grace is over.
    let ticks = net.all_of(Kind::Tick).len();
    while net.all_of(Kind::Tick).len() == ticks {
        net.run(100);
    }
    net.run(1_000);
    let held: Vec<_> = net.held.drain(..).collect();
    for (to, sent) in held {
        net.deliver(to, &sent);
    }
    net.run(60_000);
    assert_eq!(net.readings(0).len(), 10);
    assert!(missing(&net).is_empty() && late(&net).is_empty());
}

#[test]
fn readings_that_waited_for_their_key_cause_no_alarm() {
    let mut net = with_holder();
    net.send(0, "t/a", b"old");
    net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Hold } else { Fate::Deliver });
    net.rotate(0);
    net.run(500);
    for n in 0..30 {
        net.send(0, "t/a", format!("{n}").as_bytes());
        net.send_batch(0, "t/b", &[b"1", b"2"]);
    }
    net.settle();
    assert_eq!(net.subscribers[0].engine.parked(), 60);
    net.calm();
    net.run(30_000);
    assert_eq!(net.readings(0).len(), 91);
    assert!(missing(&net).is_empty() && late(&net).is_empty());
}

#[test]
fn a_reading_from_before_it_could_read_causes_no_alarm() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    for n in 0..5 {
        net.send(0, "t/a", format!("{n}").as_bytes());
    }
    let old = net.all_of(Kind::Frame).remove(2);
    net.run(15_000);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    net.send(0, "t/a", b"5");
    // The broker delivers an old one behind: retained, say.
    net.inject("t/a", old.payload);
    net.run(30_000);
    assert_eq!(net.readings(0), ["5", "2"]);
    assert!(missing(&net).is_empty() && late(&net).is_empty());
}

#[test]
fn more_gaps_than_are_told_at_a_time_are_all_told() {
    let mut net = with_holder();
    let odd: Vec<u32> = (0..300).filter(|n| n % 2 == 1).collect();
    send_holding(&mut net, "t/a", 300, &odd);
    net.run(30_000);
    assert_eq!(missing(&net).len(), 150);
    assert_eq!(net.subscribers[0].engine.counters().missing, 150);
    // Nothing of it can be sent again by this publisher.
    let lost = spans(&net, |event| if let SubEvent::Lost(span) = event { Some(span.clone()) } else { None });
    assert_eq!((lost.len(), net.subscribers[0].engine.counters().lost), (150, 150));
}

#[test]
fn a_subset_filter_has_no_false_gaps() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/+/wanted"]);
    net.run(3_000);
    for n in 0..20 {
        net.send(0, "t/a/wanted", format!("{n}").as_bytes());
        net.send(0, "t/a/other", b"not wanted");
        net.send(0, "elsewhere", b"not wanted");
        net.run(2_000);
    }
    net.rotate(0);
    net.run(60_000);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.delivered, counters.missing), (20, 0));
    assert!(missing(&net).is_empty());
}

#[test]
fn a_subscriber_that_joins_late_misses_nothing_from_before() {
    let mut net = Net::new();
    let (p, s) = (key(1), key(2));
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s)]));
    for _ in 0..30 {
        net.send(0, "t/a", b"before it came");
    }
    net.run(15_000);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(60_000);
    assert!(missing(&net).is_empty());
    net.works();
}

#[test]
fn a_retained_reading_from_before_the_grant_is_only_counted() {
    let (p, s) = (key(1), key(2));
    let mut config = Config::new(name("pub0"));
    config.ratchet_frames = 1;
    let mut net = Net::new();
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s)]), config);
    let old = net.publishers[0].engine.seal("t/a", b"old").unwrap();
    crate::insider::retain(&mut net, "t/a", old.to_vec());
    net.run(5_000);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(60_000);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.before_grant, counters.missing, counters.rejected), (1, 0, 0));
    assert!(net.subscribers[0].events.iter().all(|event| matches!(event, SubEvent::Keyed { .. })));
    assert_eq!(net.all_of(Kind::Request).len(), 1, "never asked for");
}

#[test]
fn readings_lost_while_the_subscriber_was_away_are_reported_over_a_rotation() {
    let mut net = with_holder();
    net.send(0, "t/a", b"0");
    net.run(1_000);
    net.subscribers[0].online = false;
    for _ in 0..4 {
        net.send(0, "t/a", b"lost");
    }
    net.rotate(0);
    net.run(15_000);
    for _ in 0..3 {
        net.send(0, "t/a", b"lost under the new stream");
    }
    net.run(15_000);
    net.reconnect_subscriber(0);
    net.run(30_000);
    let mut spans = missing(&net);
    spans.sort();
    assert_eq!(spans, [("t/a".to_owned(), 0, 3), ("t/a".to_owned(), 1, 5)]);
    net.works();
}

#[test]
fn readings_lost_while_the_subscriber_was_away_are_reported_over_a_restart_and_a_lost_grant() {
    let mut net = with_holder();
    net.send(0, "t/a", b"0");
    net.run(1_000);
    net.subscribers[0].online = false;
    net.restart_publisher(0, &key(1));
    // The broker's queue holds the last two of eight.
    for n in 0..8 {
        net.subscribers[0].online = n >= 6;
        net.send(0, "t/a", format!("r{n}").as_bytes());
    }
    let mut lost = 0;
    // Its latest tick already counts them.
    net.subscribers[0].online = false;
    net.run(15_000);
    net.adversary(move |sent, _| {
        let drop = is(sent, Kind::Grant) && lost < 2;
        lost += usize::from(drop);
        if drop { Fate::Drop } else { Fate::Deliver }
    });
    net.reconnect_subscriber(0);
    net.run(60_000);
    assert_eq!(net.readings(0), ["0", "r6", "r7"]);
    assert_eq!(missing(&net), [("t/a".to_owned(), 0, 6)]);
    net.works();
}

#[test]
fn ticks_that_are_held_back_accuse_nobody() {
    let mut net = with_holder();
    net.send(0, "t/a", b"first");
    net.run(11_000);
    net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Hold } else { Fate::Deliver });
    for n in 0..8 {
        net.send(0, "t/a", format!("{n}").as_bytes());
        net.run(10_000);
    }
    net.adversary = None;
    let ticks: Vec<(Who, Sent)> = net.held.drain(..).filter(|(_, sent)| is(sent, Kind::Tick)).collect();
    assert!(ticks.len() >= 7);
    for (to, tick) in ticks {
        net.deliver(to, &tick);
        net.adversary(|sent, _| if is(sent, Kind::Tick) { Fate::Drop } else { Fate::Deliver });
        net.run(10_000);
    }
    net.calm();
    net.run(30_000);
    assert_eq!(net.subscribers[0].engine.counters().forged, 0, "{:?}", net.subscribers[0].events);
    assert_eq!(net.readings(0).len(), 9);
    assert!(net.log.iter().any(|sent| sent.topic == Control::Tick.topic(net.publishers[0].engine.id())));
}
