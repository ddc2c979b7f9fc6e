//! Several readings in one message.

use securemqtt_core::publisher::SealError;
use securemqtt_core::trust::TrustMode;
use securemqtt_core::wire::Kind;

use crate::insider::Insider;
use crate::network::{Fate, Net, is, key, known};

/// A pair whose publisher also trusts one that forges.
fn with_an_insider() -> (Net, Insider) {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    net.add_publisher(&p, TrustMode::Strict, known(&[("sub", &s), ("eve", &key(66))]));
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.run(3_000);
    let eve = Insider::join(&mut net, 0, &key(66), 1);
    (net, eve)
}

#[test]
fn a_batch_delivers_its_readings_under_consecutive_numbers() {
    let mut net = Net::pair();
    net.run(3_000);
    net.send(0, "t/a", b"one");
    net.send_batch(0, "t/a", &[b"two", b"", b"four"]);
    net.send(0, "t/a", b"five");
    net.run(30_000);
    assert_eq!(net.readings(0), ["one", "two", "", "four", "five"]);
    let seqs: Vec<u32> = net.subscribers[0].deliveries.iter().map(|delivery| delivery.seq).collect();
    assert_eq!(seqs, [0, 1, 2, 3, 4]);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.forged, counters.rejected), (0, 0, 0));
}

#[test]
fn an_empty_batch_is_not_sealed() {
    let mut net = Net::pair();
    assert_eq!(net.publishers[0].engine.seal_batch("t/a", &[]), Err(SealError::Batch));
}

#[test]
fn a_batch_that_is_lost_is_reported_whole_and_comes_late_whole() {
    let mut net = Net::pair();
    net.run(3_000);
    net.adversary(|sent, _| if is(sent, Kind::Batch) { Fate::Hold } else { Fate::Deliver });
    net.send(0, "t/a", b"0");
    net.send_batch(0, "t/a", &[b"1", b"2", b"3"]);
    net.send(0, "t/a", b"4");
    net.run(30_000);
    assert_eq!(net.subscribers[0].engine.counters().missing, 3);
    net.calm();
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.missing, counters.delivered), (0, 5));
}

#[test]
fn a_batch_that_overlaps_what_was_accepted_is_a_forgery_and_delivers_nothing() {
    let (mut net, eve) = with_an_insider();
    net.adversary(
        |sent, _| if sent.payload.get(7) == Some(&1) && is(sent, Kind::Frame) { Fate::Hold } else { Fate::Deliver },
    );
    for n in 0..4 {
        net.send(0, "t/a", format!("{n}").as_bytes());
    }
    net.settle();
    let run = net.publishers[0].engine.run();
    let two = b"\x01x\x01y";
    // Around what is there, at its start, at its end, and across a number that has not come yet.
    for seq in [0, 1, 3] {
        let forged = eve.seal(Kind::Batch, run, "t/a", seq, two);
        net.inject("t/a", forged);
    }
    net.settle();
    assert_eq!(net.subscribers[0].engine.counters().forged, 3);
    net.calm();
    net.run(30_000);
    assert_eq!(net.readings(0), ["0", "2", "3", "1"]);
}

#[test]
fn batches_whose_lengths_do_not_add_up_are_refused() {
    let (mut net, eve) = with_an_insider();
    let run = net.publishers[0].engine.run();
    for body in [&b""[..], b"\x05abc", b"\x81\x00a", b"\x01a\xff\xff\xff\xff\x0f", b"\x80"] {
        let forged = eve.seal(Kind::Batch, run, "t/a", 0, body);
        net.inject("t/a", forged);
    }
    // A batch that would run past the last number.
    let end = eve.seal(Kind::Batch, run, "t/a", u32::MAX - 1, b"\x01a\x01b\x01c");
    net.inject("t/a", end);
    net.settle();
    assert_eq!((net.readings(0).len(), net.subscribers[0].engine.counters().rejected), (0, 6));
    net.works();
}

#[test]
fn a_batch_up_to_the_last_number_is_delivered() {
    let (mut net, eve) = with_an_insider();
    let last = eve.seal(Kind::Batch, net.publishers[0].engine.run(), "t/a", u32::MAX - 2, b"\x01a\x01b");
    net.inject("t/a", last);
    net.settle();
    assert_eq!(net.readings(0), ["a", "b"]);
}

#[test]
fn a_repeated_batch_is_a_duplicate() {
    let mut net = Net::pair();
    net.run(3_000);
    net.adversary(|sent, _| if is(sent, Kind::Batch) { Fate::Twice } else { Fate::Deliver });
    net.send_batch(0, "t/a", &[b"1", b"2"]);
    net.settle();
    let counters = net.subscribers[0].engine.counters();
    assert_eq!((counters.delivered, counters.duplicates, counters.forged), (2, 1, 0));
}
