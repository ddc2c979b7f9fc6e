//! What is missing is asked for again, and comes; what cannot come is told as lost.

use securemqtt_core::peers::{KnownPeers, Peer};
use securemqtt_core::record::Table;
use securemqtt_core::subscriber::{Event, Span};
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Kind, topic_hash};

use crate::by_hand::{Hand, Hands, Tick};
use crate::network::{Fate, Net, is, key, known, name};

/// A publisher made by hand, and one subscriber of it.
fn pair() -> (Net, Hands) {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    let hands = Hands::of(&mut net, &[p]);
    assert_eq!(net.subscribers[0].engine.keyed(), 1);
    (net, hands)
}

/// Sends readings, of which some numbers get lost on their way.
fn send_losing(net: &mut Net, hand: &mut Hand, topic: &str, count: u32, lost: impl Fn(u32) -> bool) {
    for _ in 0..count {
        let (seq, frame) = hand.seal(topic, b"reading");
        if !lost(seq) {
            net.inject(topic, frame);
        }
        net.settle();
    }
}

fn spans(net: &Net, subscriber: usize, pick: impl Fn(&Event) -> Option<&Span>) -> Vec<(u32, u32)> {
    let events = &net.subscribers[subscriber].events;
    events.iter().filter_map(pick).map(|span| (span.from, span.to)).collect()
}

fn missing(net: &Net) -> Vec<(u32, u32)> {
    spans(net, 0, |event| if let Event::Missing(span) = event { Some(span) } else { None })
}

fn late(net: &Net) -> Vec<(u32, u32)> {
    spans(net, 0, |event| if let Event::Late(span) = event { Some(span) } else { None })
}

fn lost(net: &Net) -> Vec<(u32, u32)> {
    spans(net, 0, |event| if let Event::Lost(span) = event { Some(span) } else { None })
}

#[test]
fn the_next_reading_is_late_too_when_it_was_told_as_missing() {
    let (mut net, mut hands) = pair();
    send_losing(&mut net, &mut hands.all[0], "t/a", 4, |seq| seq == 3);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 3_200);
    assert_eq!((missing(&net), late(&net)), (vec![(3, 4)], vec![(3, 4)]));
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);
}

#[test]
fn what_is_missing_is_told_asked_for_and_delivered() {
    let (mut net, mut hands) = pair();
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| (5..9).contains(&seq) || seq == 12);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 1_900);
    assert!(hands.all[0].reports.is_empty() && missing(&net).is_empty(), "it may only be late");
    hands.run(&mut net, 1_300);
    assert_eq!(missing(&net), [(5, 9), (12, 13)]);
    let reports = &hands.all[0].reports;
    assert_eq!(reports.len(), 1);
    let topic = &reports[0].2.topics[0];
    let run = hands.all[0].runs[0].number;
    assert_eq!((topic.run, topic.topic, topic.next), (run, topic_hash("t/a"), 20));
    assert_eq!(topic.missing, [(5, 9), (12, 13)]);
    assert_eq!(net.readings(0).len(), 20);
    assert_eq!(late(&net), (5..9).chain([12]).map(|seq| (seq, seq + 1)).collect::<Vec<_>>());
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.lost, counters.delivered), (0, 0, 20));
    for _ in 0..12 {
        hands.all[0].tick(&mut net, Tick::default());
        hands.run(&mut net, 10_000);
    }
    assert_eq!((hands.all[0].asked().len(), missing(&net).len()), (5, 2), "once");
}

#[test]
fn many_are_asked_for_five_hundred_at_a_time_and_the_next_when_those_came() {
    let (mut net, mut hands) = pair();
    // A long gap, and two topics with many short ones: no more than a window remembers.
    send_losing(&mut net, &mut hands.all[0], "t/a", 1_800, |seq| (10..1_510).contains(&seq));
    for topic in ["t/b", "t/c"] {
        send_losing(&mut net, &mut hands.all[0], topic, 800, |seq| seq % 2 == 1);
    }
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 25_000);
    assert_eq!(net.readings(0).len(), 3_400);
    assert_eq!(hands.all[0].asked().len(), 2_300, "each was asked for once");
    let reports = &hands.all[0].reports;
    let mut largest = 0;
    for (_, _, report) in reports {
        let numbers: u32 = report.topics.iter().flat_map(|topic| &topic.missing).map(|(from, to)| to - from).sum();
        largest = largest.max(numbers);
        // Nothing that is missing may lie unlisted below its next.
        for topic in &report.topics {
            assert!(
                topic
                    .missing
                    .last()
                    .is_some_and(|(_, to)| *to == topic.next || topic.next == 1_800 || *to + 1 == topic.next)
            );
        }
    }
    assert_eq!(largest, 500);
    // 500 at once, then 250 a second, and not in crumbs.
    let first = reports[0].0;
    let mut asked = 0;
    for (at, _, report) in reports {
        let ranges = report.topics.iter().flat_map(|topic| &topic.missing);
        asked += u64::from(ranges.map(|(from, to)| to - from).sum::<u32>());
        assert!(asked <= 500 + 250 * (at - first + 100) / 1_000, "{asked} numbers after {} ms", at - first);
    }
    assert!(reports.last().unwrap().0 < first + 12_000, "the next ones follow as the rate allows");
    assert!(reports.len() <= 20, "{} reports", reports.len());
}

#[test]
fn a_session_that_is_not_confirmed_asks_nothing_yet() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.adversary(|sent, _| if is(sent, Kind::Keys) { Fate::Hold } else { Fate::Deliver });
    let mut hands = Hands::of(&mut net, &[p]);
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| seq == 3);
    hands.all[0].tick(&mut net, Tick { asks: true, ..Tick::default() });
    hands.run(&mut net, 15_000);
    assert_eq!((missing(&net).len(), hands.all[0].reports.len()), (1, 0));
    let poll = net.subscribers[0].engine.next_poll_ms();
    assert!(poll > net.now.mono_ms + 200, "and waits quietly: {poll}");
    net.calm();
    hands.run(&mut net, 200);
    assert_eq!((hands.all[0].reports.len(), hands.all[0].asked()), (1, vec![3]), "the answer says what is missing too");
    assert_eq!(net.readings(0).len(), 20);
}

#[test]
fn a_hundred_subscribers_that_miss_the_same_ask_little() {
    let p = key(1);
    let mut net = Net::new();
    let keys: Vec<_> = (0..100).map(|n| key(1_000 + n)).collect();
    for subscriber in &keys {
        net.add_subscriber(subscriber, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    }
    let mut hands = Hands::of(&mut net, &[p]);
    assert!(net.subscribers.iter().all(|node| node.engine.keyed() == 1));
    send_losing(&mut net, &mut hands.all[0], "t/a", 400, |seq| (100..300).contains(&seq));
    hands.all[0].tick(&mut net, Tick::default());
    let from = net.now.mono_ms;
    hands.run(&mut net, 10_000);
    for node in &net.subscribers {
        assert_eq!((node.deliveries.len(), node.engine.counters().missing), (400, 0));
    }
    assert_eq!(hands.all[0].sent_again, 200, "each frame once, for all of them");
    // What one has asked for comes to all: whoever has not asked yet need not.
    let asked = hands.all[0].reports.len();
    assert!((1..=50).contains(&asked), "{asked} reports");
    let spread: Vec<u64> = hands.all[0].reports.iter().map(|(at, ..)| at - from).collect();
    assert!(spread.iter().all(|at| (2_000..3_200).contains(at)), "{spread:?}");
}

#[test]
fn a_subscriber_of_thousands_of_publishers_keeps_to_its_rate() {
    let s = key(2);
    // As many as a debug build shakes hands with in a few seconds.
    let keys: Vec<_> = (0..1_200).map(|n| key(1_000 + n)).collect();
    let mut pinned = KnownPeers::default();
    for (n, key) in keys.iter().enumerate() {
        let (name, key) = (name(&format!("p{n}")), key.public().clone());
        pinned.add(Peer { name, key, revoked: false, comment: None }).unwrap();
    }
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, pinned, &["t/#"]);
    let mut hands = Hands::of(&mut net, &keys);
    hands.run(&mut net, 3_000);
    assert_eq!(net.subscribers[0].engine.keyed(), keys.len());
    for hand in &mut hands.all {
        send_losing(&mut net, hand, "t/a", 3, |seq| seq == 1);
        hand.tick(&mut net, Tick { asks: true, ..Tick::default() });
    }
    hands.forget(&mut net);
    let from = net.now.mono_ms;
    hands.run(&mut net, 12_000);
    let mut times: Vec<u64> = hands.all.iter().flat_map(|hand| &hand.reports).map(|(at, ..)| at - from).collect();
    times.sort_unstable();
    for (sent, at) in (0_u64..).zip(&times) {
        let allowed = 500 + 250 * (at + 100) / 1_000;
        assert!(sent < allowed, "{sent} reports after {at} ms");
    }
    assert!(times.len() > 1_500, "the rate is what limits them: {} reports", times.len());
    // Everybody had a turn, with an answer to its tick and with what is missing.
    assert!(hands.all.iter().all(|hand| !hand.reports.is_empty() && hand.sent_again == 1));
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);
}

#[test]
fn what_does_not_come_is_asked_for_again_ever_more_rarely() {
    let (mut net, mut hands) = pair();
    hands.all[0].repairs = false;
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| seq == 3);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 400_000);
    let times: Vec<u64> = hands.all[0].reports.iter().map(|(at, ..)| *at).collect();
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, least) in waits.iter().zip([5_000, 10_000, 20_000, 40_000, 60_000, 60_000]) {
        assert!((least..=least * 5 / 4 + 100).contains(wait), "{waits:?}");
    }
    assert!((8..=11).contains(&times.len()), "{waits:?}");
    hands.all[0].repairs = true;
    hands.run(&mut net, 76_000);
    assert_eq!(net.readings(0).len(), 20);
    let asked = hands.all[0].reports.len();
    hands.run(&mut net, 200_000);
    assert_eq!(hands.all[0].reports.len(), asked);
}

#[test]
fn what_came_in_part_is_asked_for_soon_again_and_others_have_their_turn() {
    let (mut net, mut hands) = pair();
    // On the first topic nothing ever comes through; on the last one a little is missing.
    let blocked = topic_hash("t/0");
    for topic in ["t/0", "t/1", "t/2"] {
        send_losing(&mut net, &mut hands.all[0], topic, 700, |seq| seq > 0 && seq < 600);
    }
    net.adversary(|sent, _| if sent.topic == "t/0" { Fate::Drop } else { Fate::Deliver });
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 40_000);
    assert_eq!(net.readings(0).len(), 3 * 700 - 599, "one topic does not hold up the others");
    net.adversary = None;
    hands.run(&mut net, 90_000);
    assert_eq!(net.readings(0).len(), 3 * 700);
    assert!(hands.all[0].reports.iter().flat_map(|(_, _, report)| &report.topics).any(|topic| topic.topic == blocked));
}

#[test]
fn without_a_session_nothing_is_asked() {
    let (mut net, mut hands) = pair();
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| seq == 3);
    // The session ends by a notice; the stream stays readable.
    let id = net.subscribers[0].engine.id();
    hands.all[0].dismiss(&mut net, id);
    hands.all[0].tick(&mut net, Tick::default());
    net.adversary(|sent, _| if is(sent, Kind::Hello) { Fate::Drop } else { Fate::Deliver });
    hands.run(&mut net, 60_000);
    assert_eq!(net.subscribers[0].engine.keyed(), 0);
    assert_eq!((missing(&net).len(), hands.all[0].reports.len()), (1, 0));
}

#[test]
fn what_the_publisher_cannot_send_again_is_told_as_lost_once_and_not_asked_for() {
    let (mut net, mut hands) = pair();
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| (5..9).contains(&seq));
    hands.all[0].repairs = false;
    hands.all[0].drop_below(0, "t/a", 7);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 4_000);
    assert_eq!((missing(&net), lost(&net)), (vec![(5, 9)], vec![(5, 7)]));
    let order: Vec<bool> = net.subscribers[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Missing(_) => Some(true),
            Event::Lost(_) => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false], "first missing, then lost");
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.lost), (4, 2));
    assert_eq!(hands.all[0].asked(), [7, 8]);
    // Now the rest is gone too: told at once.
    hands.all[0].drop_below(0, "t/a", 20);
    hands.all[0].tick(&mut net, Tick::default());
    net.settle();
    assert_eq!(lost(&net), [(5, 7), (7, 9)]);
    let asked = hands.all[0].reports.len();
    for _ in 0..12 {
        hands.all[0].tick(&mut net, Tick::default());
        hands.run(&mut net, 10_000);
    }
    assert_eq!((missing(&net).len(), lost(&net).len(), hands.all[0].reports.len()), (1, 2, asked));
    // Should one come all the same, it is accepted.
    let frame = hands.all[0].runs[0].topics["t/a"][6].clone();
    net.inject("t/a", frame);
    net.settle();
    assert_eq!((late(&net), net.readings(0).len()), (vec![(6, 7)], 17));
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.lost), (3, 3));
}

#[test]
fn what_is_missing_of_a_stream_that_is_dropped_is_told_as_lost() {
    let (mut net, mut hands) = pair();
    hands.all[0].repairs = false;
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| (5..9).contains(&seq));
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 3_000);
    for round in 1..=17 {
        assert_eq!(lost(&net).len(), usize::from(round > 16), "a publisher has 16 streams");
        hands.all[0].rotate(&mut net);
        hands.settle(&mut net);
        hands.all[0].tick(&mut net, Tick::default());
        hands.all[0].send(&mut net, "t/a", b"of the next stream");
        hands.run(&mut net, 500);
    }
    assert_eq!(net.readings(0).len(), 16 + 17);
    assert_eq!((missing(&net), lost(&net)), (vec![(5, 9)], vec![(5, 9)]));
}

#[test]
fn old_generations_are_kept_while_something_of_them_is_missing() {
    let (mut net, mut hands) = pair();
    let stream = |net: &Net| {
        let of = |((table, _), value): (&(Table, Vec<u8>), &Vec<u8>)| (*table == Table::Stream).then_some(value.len());
        net.subscribers[0].records.iter().find_map(of).unwrap()
    };
    let small = stream(&net);
    // It is away for twelve generations, and the broker keeps nothing for it.
    for n in 0..12 {
        for topic in ["t/a", "t/b", "t/c"] {
            send_losing(&mut net, &mut hands.all[0], topic, 1, |_| true);
        }
        hands.all[0].step();
        if n == 9 {
            hands.all[0].tick(&mut net, Tick::default());
            hands.run(&mut net, 1_000);
            net.crash_subscriber(0, &key(2));
        }
    }
    for topic in ["t/c", "t/a"] {
        send_losing(&mut net, &mut hands.all[0], topic, 1, |_| false);
    }
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 5_000);
    // What comes first has the latest generation: the others are opened all the same.
    assert_eq!(net.readings(0).len(), 38);
    assert_eq!(net.subscribers[0].engine.counters().before_grant, 0);
    assert!(stream(&net) > small + 11 * 33);
    hands.all[0].tick(&mut net, Tick { last: true, ..Tick::default() });
    net.settle();
    assert!(stream(&net) <= small + 7 * 33, "and then no longer than for late frames");
}

#[test]
fn a_gap_that_is_lost_wakes_nobody() {
    let (mut net, mut hands) = pair();
    hands.all[0].drop_below(0, "t/a", 0);
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| (5..9).contains(&seq));
    hands.all[0].drop_below(0, "t/a", 20);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 60_000);
    assert_eq!(lost(&net), [(5, 9)]);
    hands.all[0].tick(&mut net, Tick::default());
    net.settle();
    let mut out = securemqtt_core::subscriber::Output::default();
    let node = &mut net.subscribers[0];
    node.engine.poll(net.now, &mut node.rng, &mut out);
    assert!(node.engine.next_poll_ms() > net.now.mono_ms + 3_000, "nothing is due");
}

#[test]
fn lost_and_wanted_survive_a_restart_and_are_not_told_again() {
    let (mut net, mut hands) = pair();
    send_losing(&mut net, &mut hands.all[0], "t/a", 20, |seq| (5..9).contains(&seq));
    hands.all[0].repairs = false;
    hands.all[0].drop_below(0, "t/a", 7);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 4_000);
    let before = hands.all[0].reports.len();
    net.crash_subscriber(0, &key(2));
    hands.all[0].repairs = true;
    hands.run(&mut net, 8_000);
    assert_eq!((missing(&net), lost(&net)), (vec![], vec![]));
    assert_eq!(hands.all[0].asked()[2..], [7, 8], "what is wanted is asked for");
    assert!(hands.all[0].reports.len() > before);
    assert_eq!(late(&net), [(7, 8), (8, 9)]);
    net.inject("t/a", hands.all[0].runs[0].topics["t/a"][5].clone());
    net.settle();
    assert_eq!(late(&net).last(), Some(&(5, 6)));
    assert!(net.subscribers[0].records.keys().any(|(table, _)| *table == Table::Topic));
}

#[test]
fn a_tick_that_asks_is_answered_about_everything_it_names() {
    let (mut net, mut hands) = pair();
    hands.all[0].repairs = false;
    send_losing(&mut net, &mut hands.all[0], "t/a", 10, |seq| seq == 3);
    send_losing(&mut net, &mut hands.all[0], "elsewhere", 7, |_| false);
    let first = hands.all[0].runs[0].number;
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 4_000);
    hands.all[0].begin_run();
    send_losing(&mut net, &mut hands.all[0], "t/a", 4, |_| false);
    let second = hands.all[0].runs[1].number;
    hands.all[0].reports.clear();
    let asked_ms = net.now.mono_ms;
    hands.all[0].tick(&mut net, Tick { asks: true, older: 1, ..Tick::default() });
    hands.run(&mut net, 1_100);
    let reports = &hands.all[0].reports;
    assert_eq!(reports.len(), 1);
    assert!(reports[0].0 <= asked_ms + 1_000);
    let mut said: Vec<_> = reports[0].2.topics.iter().map(|t| (t.run, t.topic, t.next, t.missing.clone())).collect();
    let mut expected = vec![
        (first, topic_hash("t/a"), 10, vec![(3, 4)]),
        (first, topic_hash("elsewhere"), 7, vec![]),
        (second, topic_hash("t/a"), 4, vec![]),
    ];
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
    // The same tick again asks nothing.
    let tick = net.last_of(Kind::Tick);
    net.inject(&tick.topic, tick.payload);
    hands.run(&mut net, 1_500);
    assert_eq!(hands.all[0].reports.len(), 1);
}

#[test]
fn a_tick_that_asks_is_checked_always() {
    let (mut net, mut hands) = pair();
    send_losing(&mut net, &mut hands.all[0], "t/a", 3, |_| false);
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 100);
    // In order, of the same generation, with nothing new: its signature would not be looked at, but for what it asks.
    let forged = hands.all[0].unsigned_tick(&net, Tick { asks: true, ..Tick::default() });
    net.inject(&Control::Tick.topic(hands.all[0].id), forged);
    hands.run(&mut net, 1_500);
    assert_eq!(hands.all[0].reports.len(), 0);
    assert_eq!(net.subscribers[0].engine.counters().forged, 1);
}

#[test]
fn an_answer_about_many_topics_takes_several_reports() {
    let (mut net, mut hands) = pair();
    for n in 0..300 {
        send_losing(&mut net, &mut hands.all[0], &format!("t/{n:03}"), 1, |_| false);
    }
    // Three ticks: not all of the topics fit into one.
    for part in 0..3 {
        hands.all[0].tick_of(&mut net, Tick { asks: true, ..Tick::default() }, |topic| {
            topic[2..].parse::<usize>().unwrap() / 100 == part
        });
    }
    hands.run(&mut net, 1_100);
    let reports = &hands.all[0].reports;
    assert_eq!(reports.len(), 2);
    let mut topics: Vec<_> =
        reports.iter().flat_map(|(_, _, report)| &report.topics).map(|topic| topic.topic).collect();
    assert!(reports.iter().all(|(_, _, report)| report.topics.len() <= 255));
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), 300);
}
