//! A publisher that is started again and again, from cron say: each time it begins a run of the same stream.

use securemqtt_core::record::Table;
use securemqtt_core::subscriber::{Event, Span};
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::by_hand::{Hand, Hands, Tick};
use crate::network::{Net, Sent, Who, key, known};

/// A publisher made by hand, and one subscriber of it.
fn pair() -> (Net, Hands) {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    let hands = Hands::of(&mut net, &[p]);
    (net, hands)
}

/// Time without anything that happens: ticks of new runs have a rate.
fn pass(net: &mut Net, ms: u64) {
    net.now.unix_ms += ms;
    net.now.mono_ms += ms;
}

/// One process: its first tick, a reading, its last tick.
fn one_run(net: &mut Net, hand: &mut Hand, reading: &str) -> [u8; 5] {
    pass(net, 100);
    let number = hand.begin_run();
    hand.tick(net, Tick { older: 3, ..Tick::default() });
    hand.send(net, "t/a", reading.as_bytes());
    hand.tick(net, Tick { last: true, older: 3, ..Tick::default() });
    net.settle();
    number
}

fn records(net: &Net, table: Table) -> usize {
    net.subscribers[0].records.keys().filter(|(of, _)| *of == table).count()
}

fn told(net: &Net, pick: impl Fn(&Event) -> Option<&Span>) -> Vec<[u8; 5]> {
    net.subscribers[0].events.iter().filter_map(pick).map(|span| span.run).collect()
}

fn missing(net: &Net) -> Vec<[u8; 5]> {
    told(net, |event| if let Event::Missing(span) = event { Some(span) } else { None })
}

fn lost(net: &Net) -> Vec<[u8; 5]> {
    told(net, |event| if let Event::Lost(span) = event { Some(span) } else { None })
}

#[test]
fn three_thousand_runs_are_read_with_a_bounded_state() {
    let (mut net, mut hands) = pair();
    let mut frames = Vec::new();
    let mut largest = 0;
    for n in 0..3_000 {
        // A publisher rotates after 1,024 runs of a stream.
        if n % 1_000 == 999 {
            hands.all[0].rotate(&mut net);
            hands.settle(&mut net);
        }
        if n % 10 == 0 {
            one_run(&mut net, &mut hands.all[0], &n.to_string());
        } else {
            // Killed: it has no last tick, but the next one names it.
            pass(&mut net, 100);
            hands.all[0].begin_run();
            hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
            hands.all[0].send(&mut net, "t/a", n.to_string().as_bytes());
            net.settle();
            if n % 10 == 9 {
                hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
            }
        }
        if n % 100 == 50 {
            frames.push(net.all_of(Kind::Frame).last().unwrap().clone());
            largest = largest.max(net.subscribers[0].records.values().map(Vec::len).sum());
            hands.run(&mut net, 100);
            hands.forget(&mut net);
        }
    }
    assert!(net.readings(0).into_iter().eq((0..3_000).map(|n| n.to_string())));
    assert!(records(&net, Table::Run) <= 33 && records(&net, Table::Topic) <= 33, "{}", records(&net, Table::Run));
    assert_eq!(records(&net, Table::Stream), 4);
    assert!(largest < 3 * 1_100 * 5 + 12_000, "{largest} bytes");
    assert!(missing(&net).is_empty() && lost(&net).is_empty());

    // All of it again, after a restart too: nothing is accepted, nothing is parked, nobody is asked.
    let tick = net.all_of(Kind::Tick).remove(0);
    for restart in [false, true] {
        if restart {
            net.crash_subscriber(0, &key(2));
            hands.run(&mut net, 1_500);
        }
        let before = net.subscribers[0].engine.counters();
        for frame in &frames {
            net.deliver(Who::S(0), frame);
        }
        net.deliver(Who::S(0), &tick);
        hands.run(&mut net, 3_000);
        let after = net.subscribers[0].engine.counters();
        assert_eq!(after.replays + after.duplicates - before.replays - before.duplicates, 30);
        assert_eq!((after.delivered, after.rejected), (before.delivered, before.rejected));
        assert_eq!(net.subscribers[0].engine.parked(), 0);
    }
    one_run(&mut net, &mut hands.all[0], "one more");
    assert_eq!(net.readings(0), ["one more"]);
}

#[test]
fn a_run_of_which_something_is_missing_stays_open_until_there_are_too_many() {
    let (mut net, mut hands) = pair();
    hands.all[0].repairs = false;
    let mut runs = Vec::new();
    for n in 0..80 {
        runs.push(hands.all[0].begin_run());
        hands.all[0].tick(&mut net, Tick { older: 3, ..Tick::default() });
        hands.all[0].seal("t/a", b"on its way for ever");
        hands.all[0].send(&mut net, "t/a", b"x");
        hands.all[0].tick(&mut net, Tick { last: true, ..Tick::default() });
        hands.run(&mut net, 3_000);
        // The first run of the publisher is empty, and is closed as soon as there are 33.
        assert_eq!(lost(&net), runs[..usize::try_from(n - 63).unwrap_or(0)], "after {n}");
    }
    assert_eq!(missing(&net), runs, "each told once");
    assert_eq!(records(&net, Table::Run), 64);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.lost), (80, 16));
    // What is missing of a closed run is not accepted any more; of an open one it is.
    let frame = |run: usize| hands.all[0].runs[run + 1].topics["t/a"][0].clone();
    let (closed, open) = (frame(0), frame(79));
    net.inject("t/a", closed);
    net.inject("t/a", open);
    net.settle();
    assert_eq!(net.subscribers[0].engine.counters().replays, 1);
    assert_eq!(net.readings(0).len(), 81);
}

#[test]
fn a_run_that_is_not_over_is_not_closed() {
    let (mut net, mut hands) = pair();
    let first = hands.all[0].begin_run();
    hands.all[0].tick(&mut net, Tick::default());
    hands.all[0].send(&mut net, "t/a", b"0");
    // Forty runs without a word about the first one, whose process may still be running.
    for n in 1..=40 {
        pass(&mut net, 100);
        hands.all[0].begin_run();
        hands.all[0].tick(&mut net, Tick::default());
        hands.all[0].send(&mut net, "t/a", n.to_string().as_bytes());
        hands.all[0].tick(&mut net, Tick { last: true, ..Tick::default() });
        net.settle();
    }
    assert!(records(&net, Table::Run) <= 33);
    let kept = net.subscribers[0].records.keys().any(|(table, key)| *table == Table::Run && key.ends_with(&first));
    assert!(kept, "it is open still");
    // Named by a later run it is over, and closed in its turn, behind the run that was there at the handshake.
    for _ in 0..2 {
        hands.all[0].begin_run();
        hands.all[0].tick(&mut net, Tick { older: 60, ..Tick::default() });
        net.settle();
    }
    let kept = net.subscribers[0].records.keys().any(|(table, key)| *table == Table::Run && key.ends_with(&first));
    assert!(!kept);
    assert_eq!(net.readings(0).len(), 41);
}

#[test]
fn runs_that_came_and_went_while_it_was_away_are_repaired() {
    let (mut net, mut hands) = pair();
    one_run(&mut net, &mut hands.all[0], "before");
    net.subscribers[0].online = false;
    for n in 0..100 {
        one_run(&mut net, &mut hands.all[0], &n.to_string());
    }
    hands.all[0].begin_run();
    hands.all[0].tick(&mut net, Tick { older: 60, ..Tick::default() });
    hands.forget(&mut net);
    net.reconnect_subscriber(0);
    for round in 0..8 {
        hands.run(&mut net, 5_000);
        hands.all[0].tick(&mut net, Tick { older: 60, skip: 20 * (round % 4), ..Tick::default() });
    }
    let mut readings = net.readings(0);
    assert_eq!(readings.remove(0), "before");
    readings.sort_by_key(|reading| reading.parse::<u32>().unwrap());
    assert_eq!(readings, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((missing(&net).len(), lost(&net).len()), (100, 0), "each was told, and none is lost");
    assert!(records(&net, Table::Run) <= 33);
}

/// A publisher with sixty runs, and a subscriber that comes then: the first tick that it gets names `names` of them.
fn joined_late(names: usize) -> (Net, Hands, String) {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    let mut hands = Hands::of(&mut net, std::slice::from_ref(&p));
    let topic = format!("t/{}", "x".repeat(100));
    for _ in 0..60 {
        hands.all[0].begin_run();
        hands.all[0].send(&mut net, &topic, b"before");
    }
    hands.all[0].begin_run();
    hands.all[0].names = names;
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    hands.run(&mut net, 300);
    assert_eq!(net.subscribers[0].engine.keyed(), 1);
    (net, hands, topic)
}

/// As many of those runs as a tick can name.
const FULL: usize = 38;

/// A run that comes and goes unseen.
fn unseen_run(net: &mut Net, hand: &mut Hand, topic: &str) -> [u8; 5] {
    net.subscribers[0].online = false;
    let number = hand.begin_run();
    hand.seal(topic, b"unseen");
    hand.begin_run();
    number
}

#[test]
fn runs_from_before_it_came_are_not_missed() {
    let (mut net, mut hands, topic) = joined_late(FULL);
    // The others take their turn.
    hands.all[0].tick(&mut net, Tick { older: FULL, skip: 22, ..Tick::default() });
    hands.run(&mut net, 10_000);
    // All of them had a place, though they are more than stay open.
    for skip in [0, 22] {
        hands.all[0].tick(&mut net, Tick { older: FULL, skip, ..Tick::default() });
        hands.run(&mut net, 4_000);
    }
    assert!(missing(&net).is_empty() && hands.all[0].reports.is_empty());
    // What comes and goes while it is away is missed, long after.
    let unseen = unseen_run(&mut net, &mut hands.all[0], &topic);
    hands.all[0].tick(&mut net, Tick { older: FULL, ..Tick::default() });
    net.reconnect_subscriber(0);
    hands.run(&mut net, 4_000);
    assert_eq!((missing(&net), net.readings(0)), (vec![unseen], vec!["unseen".to_owned()]));
}

#[test]
fn a_run_that_begins_is_owed_at_once() {
    let (mut net, mut hands, topic) = joined_late(FULL);
    let begun = hands.all[0].begin_run();
    hands.all[0].seal(&topic, b"lost");
    hands.all[0].tick(&mut net, Tick { older: FULL, ..Tick::default() });
    hands.run(&mut net, 4_000);
    assert_eq!((missing(&net), net.readings(0)), (vec![begun], vec!["lost".to_owned()]));
}

#[test]
fn where_the_first_tick_has_named_all_runs_an_unknown_one_is_owed_at_once() {
    for (names, told) in [(FULL, 0), (3, 1)] {
        let (mut net, mut hands, topic) = joined_late(names);
        let unseen = unseen_run(&mut net, &mut hands.all[0], &topic);
        hands.all[0].tick(&mut net, Tick { older: 2, ..Tick::default() });
        net.reconnect_subscriber(0);
        hands.run(&mut net, 4_000);
        assert_eq!(missing(&net), vec![unseen; told]);
    }
}

#[test]
fn what_is_owed_is_remembered_over_a_restart() {
    let (mut net, mut hands, topic) = joined_late(FULL);
    let unseen = unseen_run(&mut net, &mut hands.all[0], &topic);
    hands.all[0].tick(&mut net, Tick { older: FULL, ..Tick::default() });
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 6_000);
    assert_eq!(missing(&net), [unseen]);
}

#[test]
fn a_stream_has_a_bounded_number_of_runs() {
    let (mut net, mut hands) = pair();
    for n in 0..1_120 {
        one_run(&mut net, &mut hands.all[0], &n.to_string());
        if n % 100 == 99 {
            hands.run(&mut net, 100);
            hands.forget(&mut net);
        }
    }
    // The first one is the run that was there at the handshake. A publisher that goes on so is not followed.
    assert_eq!(net.readings(0).len(), 1_099);
    hands.all[0].rotate(&mut net);
    hands.settle(&mut net);
    one_run(&mut net, &mut hands.all[0], "another stream");
    assert_eq!(net.readings(0).last().unwrap(), "another stream");
}

#[test]
fn a_run_of_another_publisher_with_the_number_of_a_closed_one_is_read() {
    let (a, b, s) = (key(1), key(3), key(2));
    let mut net = Net::new();
    net.add_subscriber(&s, TrustMode::Strict, known(&[("a", &a), ("b", &b)]), &["t/#"]);
    let mut hands = Hands::of(&mut net, &[a, b]);
    let number = one_run(&mut net, &mut hands.all[0], "a");
    for n in 0..40 {
        one_run(&mut net, &mut hands.all[0], &n.to_string());
    }
    hands.all[1].begin_run();
    hands.all[1].runs.last_mut().unwrap().number = number;
    hands.all[1].tick(&mut net, Tick::default());
    hands.all[1].send(&mut net, "t/a", b"b");
    net.settle();
    assert_eq!(net.readings(0).last().unwrap(), "b");
    let frame = hands.all[0].runs[1].topics["t/a"][0].clone();
    net.deliver(Who::S(0), &Sent { from: Who::Anyone, topic: "t/a".to_owned(), payload: frame, retain: false });
    assert_eq!(net.readings(0).len(), 42, "and the closed one stays closed");
}

#[test]
fn ten_thousand_rotations_leave_a_bounded_state() {
    let (mut net, mut hands) = pair();
    let mut largest = 0;
    for n in 0..10_000_u32 {
        pass(&mut net, 100);
        hands.all[0].rotate(&mut net);
        hands.settle(&mut net);
        hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
        hands.all[0].send(&mut net, "t/a", n.to_string().as_bytes());
        net.settle();
        if n % 500 == 0 {
            hands.run(&mut net, 100);
            hands.forget(&mut net);
            hands.all[0].forget_runs();
            largest = largest.max(net.subscribers[0].records.len());
        }
    }
    assert_eq!(net.readings(0).len(), 10_000);
    assert!(largest < 60, "{largest} records");
    assert!(records(&net, Table::Stream) <= 16 && records(&net, Table::Run) <= 16);
    let bytes: usize = net.subscribers[0].records.values().map(Vec::len).sum();
    assert!(bytes < 20_000, "{bytes} bytes");
}

#[test]
fn a_stream_that_was_replaced_a_week_ago_is_forgotten() {
    let (mut net, mut hands) = pair();
    hands.all[0].repairs = false;
    let week = 7 * 24 * 3_600_000;
    let old = one_run(&mut net, &mut hands.all[0], "of the first stream");
    hands.all[0].seal("t/a", b"lost");
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 3_000);
    assert_eq!((missing(&net), lost(&net)), (vec![old], vec![]));
    // However old it is, the current one is held.
    pass(&mut net, 2 * week);
    hands.run(&mut net, 2_000);
    assert_eq!((records(&net, Table::Stream), lost(&net)), (1, vec![]));
    hands.all[0].tick(&mut net, Tick::default());
    hands.run(&mut net, 100);
    hands.all[0].rotate(&mut net);
    hands.settle(&mut net);
    one_run(&mut net, &mut hands.all[0], "of the second");
    hands.run(&mut net, 1_000);
    pass(&mut net, week - 3_600_000);
    hands.run(&mut net, 1_000);
    assert_eq!(records(&net, Table::Stream), 2);
    // It is away while the time comes.
    pass(&mut net, 2 * 3_600_000);
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 1_000);
    assert_eq!((records(&net, Table::Stream), records(&net, Table::Run)), (1, 2));
    assert_eq!(lost(&net), [old], "and what was missing of it does not come any more");
}

#[test]
fn of_a_closed_run_nothing_is_wanted_and_of_one_without_room_nothing_is_said() {
    let (mut net, mut hands) = pair();
    let closed = one_run(&mut net, &mut hands.all[0], "closed");
    for n in 0..60 {
        one_run(&mut net, &mut hands.all[0], &n.to_string());
    }
    hands.all[0].repairs = false;
    net.subscribers[0].online = false;
    let unseen: Vec<_> = (0..40).map(|n| one_run(&mut net, &mut hands.all[0], &format!("unseen {n}"))).collect();
    hands.all[0].begin_run();
    hands.all[0].tick(&mut net, Tick { asks: true, older: 101, ..Tick::default() });
    net.reconnect_subscriber(0);
    hands.run(&mut net, 1_100);
    let topics: Vec<_> = hands.all[0].reports.iter().flat_map(|(_, _, report)| &report.topics).collect();
    let said =
        |run: [u8; 5]| topics.iter().find(|topic| topic.run == run).map(|topic| (topic.next, topic.missing.len()));
    assert_eq!(said(closed), Some((1, 0)));
    // What may only be late is neither stored nor asked for.
    let open: Vec<_> = unseen.iter().filter_map(|run| said(*run)).collect();
    assert!(open.len() < 20 && open.iter().all(|said| *said == (0, 0)), "{open:?}");
}

#[test]
fn runs_that_are_over_stay_so_after_a_restart_and_the_oldest_goes_first() {
    let (mut net, mut hands) = pair();
    let runs: Vec<_> = (0..32).map(|n| one_run(&mut net, &mut hands.all[0], &n.to_string())).collect();
    net.crash_subscriber(0, &key(2));
    hands.run(&mut net, 1_500);
    one_run(&mut net, &mut hands.all[0], "next");
    one_run(&mut net, &mut hands.all[0], "next");
    let is_open = |number: &[u8; 5]| {
        net.subscribers[0].records.keys().any(|(table, key)| *table == Table::Run && key.ends_with(number))
    };
    let open: Vec<bool> = runs.iter().map(is_open).collect();
    assert_eq!(open.iter().position(|open| *open), Some(2), "{open:?}");
    assert_eq!(open.iter().filter(|open| **open).count(), 30);
}

#[test]
fn ticks_of_closed_runs_do_not_shut_out_that_of_a_new_one() {
    let (mut net, mut hands) = pair();
    for n in 0..60 {
        one_run(&mut net, &mut hands.all[0], &n.to_string());
    }
    hands.run(&mut net, 3_000);
    let old: Vec<_> = net.all_of(Kind::Tick).into_iter().take(40).collect();
    for tick in old.iter().cycle().take(400) {
        net.deliver(Who::S(0), tick);
    }
    assert_eq!(net.subscribers[0].engine.counters().rate_limited, 0);
    one_run(&mut net, &mut hands.all[0], "new");
    assert_eq!(net.readings(0).last().unwrap(), "new");
}

#[test]
fn what_waited_of_an_older_run_comes_first() {
    let (mut net, mut hands) = pair();
    for n in 0..3 {
        // Its ticks are lost.
        hands.all[0].begin_run();
        hands.all[0].send(&mut net, "t/a", n.to_string().as_bytes());
    }
    net.settle();
    assert_eq!(net.subscribers[0].engine.parked(), 3);
    hands.all[0].tick(&mut net, Tick { older: 3, ..Tick::default() });
    net.settle();
    assert_eq!(net.readings(0), ["0", "1", "2"]);
}

/// What was told of one run, as (kind, from, to).
fn told_of(net: &Net, run: [u8; 5]) -> Vec<(&'static str, u32, u32)> {
    let told = net.subscribers[0].events.iter().filter_map(|event| match event {
        Event::Missing(span) => Some(("missing", span)),
        Event::Late(span) => Some(("late", span)),
        Event::Lost(span) => Some(("lost", span)),
        _ => None,
    });
    told.filter(|(_, span)| span.run == run).map(|(kind, span)| (kind, span.from, span.to)).collect()
}

/// A run of which everything is on its way still, and the next one, of which a reading has been delivered.
fn overtaken(hands: &mut Hands, net: &mut Net) -> ([u8; 5], Vec<Vec<u8>>) {
    let old = hands.all[0].begin_run();
    let frames = (0..4).map(|n| hands.all[0].seal("t/a", format!("old {n}").as_bytes()).1).collect();
    hands.all[0].begin_run();
    hands.all[0].tick(net, Tick::default());
    hands.all[0].send(net, "t/a", b"new");
    net.settle();
    assert_eq!(net.readings(0), ["new"]);
    (old, frames)
}

#[test]
fn what_was_parked_of_an_older_run_is_told_before_it_is_put_behind_a_later_ones_readings() {
    let (mut net, mut hands) = pair();
    let (old, frames) = overtaken(&mut hands, &mut net);
    for frame in &frames[1..3] {
        net.inject("t/a", frame.clone());
    }
    net.settle();
    hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
    net.settle();
    assert_eq!(net.readings(0), ["new", "old 1", "old 2"]);
    assert_eq!(told_of(&net, old), [("missing", 0, 4), ("late", 1, 2), ("late", 2, 3)]);

    // The rest is asked for as what is missing always is, and told once.
    pass(&mut net, 3_000);
    hands.run(&mut net, 3_000);
    assert_eq!(net.readings(0), ["new", "old 1", "old 2", "old 0", "old 3"]);
    assert_eq!(told_of(&net, old)[3..], [("late", 0, 1), ("late", 3, 4)]);
    assert_eq!(net.subscribers[0].engine.counters().missing, 0);
}

#[test]
fn what_comes_of_an_older_run_within_the_grace_is_told_too_also_after_a_restart() {
    for restart in [false, true] {
        let (mut net, mut hands) = pair();
        let (old, frames) = overtaken(&mut hands, &mut net);
        // Opened behind the later one, and of a topic that it shares with it.
        hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
        net.settle();
        if restart {
            net.crash_subscriber(0, &key(2));
            hands.run(&mut net, 1_500);
        }
        for frame in frames {
            net.inject("t/a", frame);
        }
        net.settle();
        assert_eq!(net.readings(0).len(), if restart { 4 } else { 5 });
        let late = (0..4).map(|n| ("late", n, n + 1));
        assert_eq!(told_of(&net, old), [("missing", 0, 4)].into_iter().chain(late).collect::<Vec<_>>());
        // In its turn within a later run: nothing to tell.
        hands.all[0].send(&mut net, "t/a", b"newer");
        hands.run(&mut net, 5_000);
        assert_eq!(net.subscribers[0].engine.counters().missing, 0);
        assert_eq!(told_of(&net, hands.all[0].runs.last().unwrap().number), []);
    }
}

#[test]
fn each_of_an_older_runs_frames_that_follow_one_another_is_told() {
    let (mut net, mut hands) = pair();
    let (old, frames) = overtaken(&mut hands, &mut net);
    hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
    net.settle();
    // More than it has announced.
    let later = hands.all[0].runs.pop().unwrap();
    let more = [hands.all[0].seal("t/a", b"old 4").1, hands.all[0].seal("t/a", b"old 5").1];
    hands.all[0].runs.push(later);
    for frame in frames.into_iter().chain(more) {
        net.inject("t/a", frame);
    }
    net.settle();
    assert_eq!(net.readings(0).len(), 7);
    let told = told_of(&net, old);
    assert_eq!(told[told.len() - 4..], [("missing", 4, 5), ("late", 4, 5), ("missing", 5, 6), ("late", 5, 6)]);
}

#[test]
fn an_older_run_whose_topic_no_later_one_has_used_is_not_late() {
    let (mut net, mut hands) = pair();
    let old = hands.all[0].begin_run();
    let frame = hands.all[0].seal("t/b", b"old").1;
    hands.all[0].begin_run();
    hands.all[0].tick(&mut net, Tick::default());
    hands.all[0].send(&mut net, "t/a", b"new");
    net.inject("t/b", frame);
    net.settle();
    hands.all[0].tick(&mut net, Tick { older: 1, ..Tick::default() });
    net.settle();
    assert_eq!(net.readings(0), ["new", "old"]);
    assert_eq!(told_of(&net, old), []);
}
