//! A subscriber whose state was restored from a backup: it shows nothing again, if its publisher answers.

use std::collections::BTreeMap;

use securemqtt_core::record::Table;
use securemqtt_core::subscriber::Event;
use securemqtt_core::topic::Control;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::{Kind, Receipt, Report};

use crate::by_hand::{Hand, Hands, Tick};
use crate::network::{Net, Sent, Who, key, known};

type Disk = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A publisher made by hand, and one subscriber that has read five readings of it.
fn pair() -> (Net, Hands) {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    let mut hands = Hands::of(&mut net, &[p]);
    send(&mut net, &mut hands.all[0], 0..5);
    (net, hands)
}

fn send(net: &mut Net, hand: &mut Hand, numbers: std::ops::Range<u32>) {
    for n in numbers {
        hand.send(net, "t/a", n.to_string().as_bytes());
    }
    hand.tick(net, Tick::default());
    net.settle();
}

fn copy(net: &Net) -> Disk {
    net.subscribers[0].records.clone()
}

/// Time for our counter to be shown to a publisher of which something was read.
fn until_marked(net: &mut Net, hands: &mut Hands) {
    for _ in 0..40 {
        hands.all.iter_mut().for_each(|hand| drop(hand.tick(net, Tick::default())));
        hands.run(net, 10_000);
    }
}

/// The subscriber is killed, and starts with an old copy of its state.
fn restore(net: &mut Net, disk: Disk) {
    net.subscribers[0].records = disk;
    net.crash_subscriber(0, &key(2));
}

/// Everything that was ever published, once more.
fn replay(net: &mut Net) {
    let all: Vec<Sent> = net.log.clone();
    for sent in all {
        net.deliver(Who::S(0), &sent);
    }
}

/// The frames alone: old receipts would tell, too.
fn replay_frames(net: &mut Net) {
    for frame in net.all_of(Kind::Frame) {
        net.deliver(Who::S(0), &frame);
    }
}

fn rolled_back(net: &Net) -> Vec<(String, bool)> {
    let of = |event: &Event| match event {
        Event::RolledBack { name, quarantined } => Some((name.to_string(), *quarantined)),
        _ => None,
    };
    net.subscribers[0].events.iter().filter_map(of).collect()
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

fn requests(net: &Net) -> usize {
    net.all_of(Kind::Request).len()
}

#[test]
fn a_restored_subscriber_shows_nothing_again() {
    let (mut net, mut hands) = pair();
    let disk = copy(&net);
    send(&mut net, &mut hands.all[0], 5..8);
    until_marked(&mut net, &mut hands);
    send(&mut net, &mut hands.all[0], 8..10);
    until_marked(&mut net, &mut hands);
    assert_eq!(net.readings(0), texts(0..10));
    let seen = *hands.all[0].counters.values().max().unwrap();

    restore(&mut net, disk);
    replay(&mut net);
    assert!(net.readings(0).is_empty());
    hands.run(&mut net, 3_000);
    assert_eq!(rolled_back(&net), [("pub".to_owned(), true)]);
    assert!(net.subscribers[0].stored_counter() > seen, "it goes on above what the publisher remembers");
    replay(&mut net);
    hands.run(&mut net, 20_000);
    assert!(net.readings(0).is_empty(), "{:?}", net.readings(0));
    // And what is sealed from now on is read.
    send(&mut net, &mut hands.all[0], 10..13);
    assert_eq!(net.readings(0), texts(10..13));
    replay(&mut net);
    hands.run(&mut net, 3_000);
    assert_eq!((net.readings(0).len(), rolled_back(&net).len()), (3, 1));
    let events = &net.subscribers[0].events;
    assert!(!events.iter().any(|event| matches!(event, Event::Missing(_) | Event::Forged(_))), "{events:?}");
}

#[test]
fn one_mark_since_the_copy_is_enough() {
    let (mut net, mut hands) = pair();
    let disk = copy(&net);
    send(&mut net, &mut hands.all[0], 5..10);
    until_marked(&mut net, &mut hands);
    assert_eq!(hands.all[0].probes.len(), 1);
    restore(&mut net, disk);
    replay_frames(&mut net);
    hands.run(&mut net, 3_000);
    assert_eq!((rolled_back(&net).len(), net.readings(0)), (1, vec![]));
}

#[test]
fn a_kill_in_between_gives_nothing_away() {
    let (mut net, mut hands) = pair();
    let disk = copy(&net);
    send(&mut net, &mut hands.all[0], 5..10);
    until_marked(&mut net, &mut hands);
    let receipt = net.last_of(Kind::Receipt);
    restore(&mut net, disk);
    // Somebody plays back what the publisher said once, and it is not asked itself before we are killed.
    hands.all[0].deaf = true;
    net.deliver(Who::S(0), &receipt);
    hands.run(&mut net, 500);
    assert_eq!(rolled_back(&net).len(), 1);
    net.crash_subscriber(0, &key(2));
    hands.all[0].deaf = false;
    hands.run(&mut net, 5_000);
    replay(&mut net);
    hands.run(&mut net, 3_000);
    assert!(net.readings(0).is_empty(), "{:?}", net.readings(0));
    send(&mut net, &mut hands.all[0], 10..11);
    assert_eq!(net.readings(0), ["10"]);
}

#[test]
fn the_same_with_a_publisher_that_keeps_what_it_sealed() {
    let (mut net, _, s) = Net::keeping();
    for n in 0..5 {
        net.send(0, "t/a", n.to_string().as_bytes());
    }
    net.run(1_000);
    let disk = net.subscribers[0].records.clone();
    for n in 5..10 {
        net.send(0, "t/a", n.to_string().as_bytes());
    }
    net.run(400_000);
    assert_eq!(net.readings(0), texts(0..10));
    net.subscribers[0].records = disk;
    net.crash_subscriber(0, &s);
    replay(&mut net);
    net.run(3_000);
    assert_eq!(rolled_back(&net).len(), 1);
    replay(&mut net);
    net.run(30_000);
    assert!(net.readings(0).is_empty(), "{:?}", net.readings(0));
    net.works();
}

#[test]
fn a_copy_from_before_a_start_is_found_out_at_once() {
    let (mut net, mut hands) = pair();
    let disk = copy(&net);
    // The backup was made while it was stopped; then it went on.
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 1_000);
    assert!(rolled_back(&net).is_empty());
    send(&mut net, &mut hands.all[0], 5..10);
    hands.run(&mut net, 1_000);
    assert_eq!(net.readings(0), texts(5..10));
    restore(&mut net, disk);
    replay_frames(&mut net);
    hands.run(&mut net, 3_000);
    assert_eq!((rolled_back(&net).len(), net.readings(0)), (1, vec![]));
}

#[test]
fn who_accepts_the_rollback_reads_on_and_sees_some_again() {
    let (mut net, mut hands) = pair();
    let disk = copy(&net);
    for numbers in [5..7, 7..8, 8..10] {
        send(&mut net, &mut hands.all[0], numbers);
        until_marked(&mut net, &mut hands);
    }
    let seen = *hands.all[0].counters.values().max().unwrap();
    let before = requests(&net);
    net.subscribers[0].accept_rollback = true;
    restore(&mut net, disk);
    replay(&mut net);
    hands.run(&mut net, 3_000);
    assert_eq!(rolled_back(&net), [("pub".to_owned(), false)]);
    assert_eq!(net.readings(0), texts(5..10));
    assert!(net.subscribers[0].stored_counter() > seen);
    hands.run(&mut net, 60_000);
    assert_eq!((requests(&net), rolled_back(&net).len()), (before, 1), "told once, and nothing else happens");
    send(&mut net, &mut hands.all[0], 10..12);
    assert_eq!(net.readings(0).len(), 7);
}

#[test]
fn nothing_of_a_quarantined_publisher_is_left_and_others_are_not_touched() {
    let (a, b, s) = (key(1), key(3), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("a", &a), ("b", &b)]), &["t/#"]);
    let mut hands = Hands::of(&mut net, &[a.clone(), b.clone()]);
    send(&mut net, &mut hands.all[0], 0..3);
    send(&mut net, &mut hands.all[1], 10..13);
    // A says that it has seen more than it has.
    hands.all[0].lie = Some(1_000);
    net.crash_subscriber(0, &s);
    send(&mut net, &mut hands.all[0], 3..6);
    hands.run(&mut net, 100);
    hands.all[0].deaf = true;
    hands.run(&mut net, 1_000);
    assert_eq!(rolled_back(&net), [("a".to_owned(), true)]);
    let of_a = |key: &Vec<u8>| key.starts_with(a.public().id().as_bytes());
    let of_b = |key: &Vec<u8>| key.starts_with(b.public().id().as_bytes());
    let records = &net.subscribers[0].records;
    assert!(!records.keys().any(|(table, key)| *table != Table::Parked && of_a(key)));
    assert!(!records.keys().any(|(table, _)| *table == Table::Parked), "nor what waited");
    assert!(records.keys().filter(|(_, key)| of_b(key)).count() >= 4);
    send(&mut net, &mut hands.all[1], 13..14);
    assert_eq!(net.readings(0), ["13"]);
    assert_eq!(net.subscribers[0].engine.keyed(), 1);
}

#[test]
fn what_one_publisher_says_does_not_hide_what_another_remembers() {
    let (a, b, s) = (key(1), key(3), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("a", &a), ("b", &b)]), &["t/#"]);
    let mut hands = Hands::of(&mut net, &[a, b.clone()]);
    send(&mut net, &mut hands.all[0], 0..3);
    send(&mut net, &mut hands.all[1], 10..13);
    let disk = copy(&net);
    send(&mut net, &mut hands.all[0], 3..6);
    send(&mut net, &mut hands.all[1], 13..16);
    until_marked(&mut net, &mut hands);
    restore(&mut net, disk);
    // The first one's answer moves our counter above all that the second one has seen; then it is asked.
    let id = net.subscribers[0].engine.id();
    hands.all[0].counters.insert(id, 1_000);
    hands.all[1].deaf = true;
    hands.run(&mut net, 900);
    assert_eq!(rolled_back(&net), [("a".to_owned(), true)]);
    assert!(net.subscribers[0].stored_counter() >= 1_000);
    hands.all[1].deaf = false;
    hands.run(&mut net, 4_000);
    assert_eq!(rolled_back(&net), [("a".to_owned(), true), ("b".to_owned(), true)]);
}

#[test]
fn frames_wait_for_the_answer_and_come_in_order() {
    let (mut net, mut hands) = pair();
    net.crash_subscriber(0, &key(2));
    send(&mut net, &mut hands.all[0], 5..9);
    assert_eq!((net.subscribers[0].engine.parked(), net.readings(0)), (4, vec![]));
    hands.run(&mut net, 300);
    assert_eq!((net.subscribers[0].engine.parked(), net.readings(0)), (0, texts(5..9)));
    assert!(net.subscribers[0].events.is_empty(), "{:?}", net.subscribers[0].events);
    assert!(rolled_back(&net).is_empty());
    // Its counter is shown once more, and then not for a while.
    hands.run(&mut net, 60_000);
    let sctrs: Vec<u64> = hands.all[0].probes.iter().map(|(.., sctr)| *sctr).collect();
    assert!(sctrs.len() == 2 && sctrs[0] < sctrs[1], "{sctrs:?}");
}

#[test]
fn frames_wait_for_a_second_after_the_first_connection() {
    let (mut net, mut hands) = pair();
    hands.all[0].answers = false;
    net.crash_subscriber_offline(0, &key(2));
    for n in 5..9 {
        let frame = hands.all[0].seal("t/a", n.to_string().as_bytes()).1;
        net.deliver(Who::S(0), &Sent { from: Who::Anyone, topic: "t/a".to_owned(), payload: frame, retain: false });
    }
    hands.run(&mut net, 10_000);
    assert_eq!(net.subscribers[0].engine.parked(), 4, "without a connection there is no answer");
    net.reconnect_subscriber(0);
    hands.run(&mut net, 900);
    assert_eq!(net.subscribers[0].engine.parked(), 4);
    // Another connection does not begin it anew.
    net.reconnect_subscriber(0);
    hands.run(&mut net, 100);
    assert_eq!(net.readings(0), texts(5..9));
}

#[test]
fn not_more_than_two_thousand_frames_wait() {
    let (mut net, mut hands) = pair();
    hands.all[0].answers = false;
    net.crash_subscriber(0, &key(2));
    for n in 0..1_999 {
        hands.all[0].send(&mut net, &format!("t/{}", n % 3), b"x");
    }
    net.settle();
    assert_eq!((net.subscribers[0].engine.parked(), net.readings(0).len()), (1_999, 0));
    hands.all[0].send(&mut net, "t/0", b"x");
    net.settle();
    assert_eq!((net.subscribers[0].engine.parked(), net.readings(0).len()), (0, 2_000));
    hands.all[0].send(&mut net, "t/0", b"x");
    net.settle();
    assert_eq!(net.readings(0).len(), 2_001);
}

#[test]
fn none_is_lost_where_there_is_no_room_to_wait() {
    let (mut net, mut hands) = pair();
    hands.all[0].answers = false;
    net.crash_subscriber(0, &key(2));
    // Frames of an unknown run take up the room of the topic.
    let mut unknown = hands.all[0].runs[0].topics["t/a"][0].clone();
    unknown[1..6].copy_from_slice(b"other");
    for n in 0..2_047_u32 {
        net.inject("t/a", [&unknown[..], &n.to_be_bytes()].concat());
    }
    send(&mut net, &mut hands.all[0], 5..8);
    assert_eq!(net.readings(0), texts(5..8));
    assert_eq!(net.subscribers[0].engine.counters().parking_full, 0);
}

#[test]
fn what_waits_survives_another_kill() {
    let (mut net, mut hands) = pair();
    net.crash_subscriber(0, &key(2));
    send(&mut net, &mut hands.all[0], 5..9);
    assert_eq!(net.subscribers[0].engine.parked(), 4);
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 1_500);
    assert_eq!(net.readings(0), texts(5..9));
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 1_500);
    assert!(net.readings(0).is_empty());
}

#[test]
fn probes_are_repeated_and_then_there_is_a_handshake() {
    let (mut net, mut hands) = pair();
    hands.all[0].answers = false;
    let before = requests(&net);
    net.retained.remove(&Control::Tick.topic(hands.all[0].id));
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 120_000);
    assert_eq!(requests(&net), before, "it is silent: who knows whether it is there");
    let probes = hands.all[0].probes.clone();
    assert!((6..=10).contains(&probes.len()), "{probes:?}");
    assert!(probes.iter().all(|(.., sctr)| *sctr == probes[0].2), "an answer must not depend on others");
    let waits: Vec<u64> = probes.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(waits[0] <= 1_100 && waits.iter().all(|wait| *wait <= 30_100), "{waits:?}");
    for _ in 0..8 {
        hands.all[0].tick(&mut net, Tick::default());
        hands.run(&mut net, 10_000);
    }
    assert_eq!(requests(&net), before + 1, "its ticks come, and its answer does not");
    let probes = hands.all[0].probes.len();
    for _ in 0..8 {
        hands.all[0].tick(&mut net, Tick::default());
        hands.run(&mut net, 10_000);
    }
    assert_eq!((requests(&net), hands.all[0].probes.len()), (before + 1, probes), "the handshake has told");
}

#[test]
fn a_receipt_that_is_old_or_of_others_ends_no_wait() {
    let (mut net, mut hands) = pair();
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 1_000);
    let receipts = net.all_of(Kind::Receipt);
    assert!(!receipts.is_empty());
    hands.all[0].answers = false;
    net.crash_subscriber(0, &key(2));
    send(&mut net, &mut hands.all[0], 5..6);
    let rejected = net.subscribers[0].engine.counters().rejected;
    for receipt in &receipts {
        net.inject(&receipt.topic, receipt.payload.clone());
        for at in [0, 5, 12, 20] {
            let mut changed = receipt.payload.clone();
            changed[at] ^= 1;
            net.inject(&receipt.topic, changed);
        }
    }
    hands.run(&mut net, 500);
    assert_eq!((net.subscribers[0].engine.parked(), rolled_back(&net)), (1, vec![]));
    assert!(net.subscribers[0].engine.counters().rejected >= rejected + 3);
}

#[test]
fn a_counter_that_is_too_far_ahead_is_a_lie() {
    let (mut net, mut hands) = pair();
    hands.all[0].lie = Some(u64::MAX);
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 3_000);
    assert!(rolled_back(&net).is_empty());
    assert!(net.subscribers[0].stored_counter() < 100);
    send(&mut net, &mut hands.all[0], 5..6);
    assert_eq!(net.readings(0), ["5"]);
}

#[test]
fn a_gap_is_not_told_while_what_fills_it_may_wait() {
    let (mut net, mut hands) = pair();
    let frame = hands.all[0].seal("t/a", b"5").1;
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 500);
    // Killed within the grace; the broker is away for long, and delivers then.
    net.crash_subscriber_offline(0, &key(2));
    hands.run(&mut net, 10_000);
    assert!(net.subscribers[0].events.is_empty(), "{:?}", net.subscribers[0].events);
    net.reconnect_subscriber(0);
    net.inject("t/a", frame);
    hands.run(&mut net, 10_000);
    assert_eq!(net.readings(0), ["5"]);
    assert!(net.subscribers[0].events.is_empty(), "{:?}", net.subscribers[0].events);
}

#[test]
fn nothing_else_is_said_while_frames_wait() {
    let (mut net, mut hands) = pair();
    hands.all[0].repairs = false;
    hands.all[0].seal("t/a", b"5");
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 4_000);
    let asked = hands.all[0].reports.len();
    hands.all[0].answers = false;
    net.crash_subscriber(0, &key(2));
    hands.all[0].tick(&mut net, Tick { asks: true, ..Tick::default() });
    hands.run(&mut net, 900);
    assert_eq!(hands.all[0].reports.len(), asked, "a state that may be old says nothing of what it has");
    hands.run(&mut net, 2_000);
    assert!(hands.all[0].reports.len() > asked);
}

#[test]
fn no_handshake_hides_what_a_publisher_remembers_before_it_was_asked() {
    let (mut net, mut hands) = pair();
    let disk = copy(&net);
    send(&mut net, &mut hands.all[0], 5..10);
    until_marked(&mut net, &mut hands);
    // The session is so old that a handshake is due at once, with a counter that would be above all.
    net.now.unix_ms += 30 * 3_600_000;
    net.now.mono_ms += 30 * 3_600_000;
    let before = net.log.len();
    restore(&mut net, disk);
    hands.run(&mut net, 900);
    let kinds: Vec<Kind> = net.log[before..].iter().filter_map(|sent| Kind::of(&sent.payload).ok()).collect();
    let first = kinds.iter().find(|kind| matches!(kind, Kind::Request | Kind::Ack | Kind::Report));
    assert_eq!(first, Some(&Kind::Report), "{kinds:?}");
    assert_eq!(rolled_back(&net).len(), 1);
}

#[test]
fn a_publisher_that_was_read_is_shown_the_counter_now_and_then() {
    let (mut net, mut hands) = pair();
    let shown = |hands: &Hands| hands.all[0].probes.len();
    until_marked(&mut net, &mut hands);
    let first = shown(&hands);
    assert_eq!(first, 1);
    // Nothing was read since.
    until_marked(&mut net, &mut hands);
    until_marked(&mut net, &mut hands);
    assert_eq!(shown(&hands), first);
    send(&mut net, &mut hands.all[0], 5..6);
    until_marked(&mut net, &mut hands);
    assert_eq!(shown(&hands), first + 1);
    // Of another topic than the one before: not what was expected.
    hands.all[0].send(&mut net, "t/b", b"6");
    until_marked(&mut net, &mut hands);
    assert_eq!(shown(&hands), first + 2);
    let reports = net.all_of(Kind::Report);
    assert!(reports.iter().all(|sent| Report::decode(&sent.payload).unwrap().topics.is_empty()));
    assert!(net.all_of(Kind::Receipt).iter().all(|sent| Receipt::decode(&sent.payload).is_ok()));
    assert!(rolled_back(&net).is_empty());
}

#[test]
fn what_was_read_of_a_run_that_is_gone_since_shows_the_counter_too() {
    let (mut net, mut hands) = pair();
    until_marked(&mut net, &mut hands);
    let before = hands.all[0].probes.len();
    let run = hands.all[0].begin_run();
    send(&mut net, &mut hands.all[0], 0..1);
    hands.all[0].tick(&mut net, Tick { last: true, older: 1, ..Tick::default() });
    // Runs of which nothing is read, until that one is closed.
    let is_open =
        |net: &Net| net.subscribers[0].records.keys().any(|(table, key)| *table == Table::Run && key.ends_with(&run));
    net.settle();
    assert!(is_open(&net));
    for _ in 0..40 {
        net.now.unix_ms += 100;
        net.now.mono_ms += 100;
        hands.all[0].begin_run();
        hands.all[0].tick(&mut net, Tick { last: true, older: 1, ..Tick::default() });
        net.settle();
    }
    assert!(!is_open(&net));
    assert_eq!(hands.all[0].probes.len(), before, "not yet");
    for _ in 0..2 {
        until_marked(&mut net, &mut hands);
        assert_eq!(hands.all[0].probes.len(), before + 1, "once");
    }
}
