use std::collections::BTreeSet;

use securemqtt_core::publisher::{Event, Publisher};
use securemqtt_core::record::Table;
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::wire::{FrameHeader, Kind};
use securemqtt_core::{subscriber, topic::Control};

use crate::disk::Disk;
use crate::network::{Fate, Net, Who, is, key, known, name, rng};

fn twice(net: &Net) -> usize {
    let all = net.readings(0);
    all.len() - all.iter().collect::<BTreeSet<_>>().len()
}

fn forged(net: &Net) -> u64 {
    net.subscribers[0].engine.counters().forged
}

#[test]
fn a_restart_goes_on_with_the_stream_and_asks_nobody() {
    let (mut net, p, _) = Net::keeping();
    net.send(0, "t/a", b"1");
    net.settle();
    let (stream, run) = (net.publishers[0].engine.stream(), net.publishers[0].engine.run());
    let handshakes = net.all_of(Kind::Request).len();
    net.finish_publisher(0);
    net.crash_publisher(0, &p);
    net.run(1_000);
    assert_eq!(net.publishers[0].engine.stream(), stream);
    assert_ne!(net.publishers[0].engine.run(), run, "a run is never continued");
    assert_eq!(net.publishers[0].engine.confirmed(), 1);
    net.send(0, "t/a", b"2");
    net.run(15_000);
    assert_eq!(net.readings(0), ["1", "2"]);
    assert_eq!(net.all_of(Kind::Request).len(), handshakes, "nobody had to ask");
    assert!(net.subscribers[0].events.iter().all(|event| !matches!(event, subscriber::Event::Missing(_))));
}

#[test]
fn a_crash_between_storing_and_publishing_loses_nothing() {
    let (mut net, p, _) = Net::keeping();
    net.send(0, "t/a", b"0");
    net.keep(0, "t/a", b"1");
    net.keep(0, "t/b", b"2");
    net.crash_publisher(0, &p);
    net.send(0, "t/a", b"3");
    net.run(15_000);
    let mut readings = net.readings(0);
    readings.sort();
    assert_eq!(readings, ["0", "1", "2", "3"]);
    // What the broker had acknowledged, and nobody had noted yet, it gets again: known by its bytes.
    assert_eq!((twice(&net), forged(&net)), (0, 0));
    assert!(net.subscribers[0].engine.counters().duplicates > 0);
    assert!(net.subscribers[0].events.iter().all(|event| !matches!(event, subscriber::Event::Missing(_))));
}

#[test]
fn a_crash_in_the_first_moment_of_a_run_is_told_by_the_next() {
    let (mut net, p, _) = Net::keeping();
    net.adversary(|sent, _| if is(sent, Kind::Tick) || is(sent, Kind::Frame) { Fate::Drop } else { Fate::Deliver });
    net.crash_publisher(0, &p);
    net.keep(0, "t/a", b"1");
    net.adversary = None;
    // The subscriber has never heard of the run in between.
    net.crash_publisher(0, &p);
    net.run(15_000);
    assert_eq!(net.readings(0), ["1"]);
}

#[test]
fn keys_that_were_stored_are_published_again_byte_for_byte() {
    let (mut net, p, _) = Net::keeping();
    net.send(0, "t/a", b"1");
    net.settle();
    net.adversary(|sent, to| if to == Who::S(0) && is(sent, Kind::Keys) { Fate::Drop } else { Fate::Deliver });
    net.rotate(0);
    net.settle();
    let before = net.last_of(Kind::Keys).payload;
    net.crash_publisher(0, &p);
    net.settle();
    assert_eq!(net.last_of(Kind::Keys).payload, before, "an index is never sealed twice");
    net.adversary = None;
    net.crash_publisher(0, &p);
    net.reconnect_subscriber(0);
    net.send(0, "t/a", b"2");
    net.run(3_000);
    assert_eq!(net.readings(0), ["1", "2"]);
}

#[test]
fn a_crash_at_any_transaction_of_a_rotation_is_survived() {
    for crash_after in 0..6 {
        let (mut net, p, _) = Net::keeping();
        net.send(0, "t/a", b"1");
        net.settle();
        // From here on only so many transactions reach the disk.
        let disks = std::rc::Rc::new(std::cell::RefCell::new(Vec::<Disk>::new()));
        let mut out = securemqtt_core::publisher::Output::default();
        let node = &mut net.publishers[0];
        node.engine.rotate(net.now, &mut node.rng, &mut out);
        disks.borrow_mut().push(node.disk.clone());
        net.take_publisher(0, out);
        for _ in 0..5 {
            let sent = net.queue.pop_front();
            if let Some((to, sent)) = sent {
                net.deliver(to, &sent);
            }
            disks.borrow_mut().push(net.publishers[0].disk.clone());
        }
        let disk = disks.borrow()[crash_after].clone();
        net.queue.clear();
        net.start_publisher(0, &p, disk);
        net.reconnect_subscriber(0);
        net.send(0, "t/a", b"2");
        net.run(90_000);
        assert_eq!(net.readings(0), ["1", "2"], "crashed after {crash_after}");
    }
}

#[test]
fn a_grant_whose_confirm_was_not_heard_still_counts_after_a_crash() {
    let (p, s) = (key(1), key(2));
    let mut net = Net::new();
    let mut config = securemqtt_core::publisher::Config::new(name("pub"));
    config.spool_max = 1 << 20;
    net.add_publisher_with(&p, TrustMode::Strict, known(&[("sub", &s)]), config);
    net.add_subscriber(&s, TrustMode::Strict, known(&[("pub", &p)]), &["t/#"]);
    net.adversary(|sent, _| if is(sent, Kind::Ack) { Fate::Drop } else { Fate::Deliver });
    net.settle();
    assert_eq!(net.publishers[0].engine.confirmed(), 0);
    net.adversary = None;
    net.crash_publisher(0, &p);
    net.run(3_000);
    assert_eq!(net.publishers[0].engine.confirmed(), 1);
    assert_eq!(net.all_of(Kind::Request).len(), 1);
    net.works();
}

#[test]
fn a_restored_copy_repeats_no_nonce_and_is_noticed() {
    let (mut net, p, _) = Net::keeping();
    net.send(0, "t/a", b"1");
    net.settle();
    let copy = net.publishers[0].disk.clone();
    net.now.unix_ms += 60_000;
    net.now.mono_ms += 60_000;
    net.crash_publisher(0, &p);
    for n in 0..10 {
        net.send(0, "t/a", format!("later {n}").as_bytes());
    }
    net.run(15_000);
    let stream = net.publishers[0].engine.stream();
    net.now.unix_ms += 60_000;
    net.now.mono_ms += 60_000;
    // The copy does not know the run in between; the broker has its tick.
    let retained = net.retained[&Control::Tick.topic(net.publisher_id(0))].clone();
    net.start_publisher(0, &p, copy);
    net.deliver(Who::P(0), &retained);
    net.run(1_000);
    for n in 0..10 {
        net.send(0, "t/a", format!("restored {n}").as_bytes());
    }
    net.run(60_000);
    assert!(net.publishers[0].events.contains(&Event::Restored), "{:?}", net.publishers[0].events);
    assert_ne!(net.publishers[0].engine.stream(), stream, "it was rotated");
    let mut nonces = BTreeSet::new();
    for sent in net.log.iter().filter(|sent| is(sent, Kind::Frame)) {
        let (header, ..) = FrameHeader::decode(&sent.payload).unwrap();
        let first = nonces.insert((header.run, header.generation, sent.topic.clone(), header.seq));
        let repeated =
            net.log.iter().filter(|other| other.topic == sent.topic && other.payload == sent.payload).count() > 1;
        assert!(first || repeated, "a number of a run was sealed twice with different bytes");
    }
    assert_eq!(net.readings(0).len(), 21);
    assert_eq!(forged(&net), 0);
}

#[test]
fn of_two_copies_that_run_exactly_one_ends() {
    for seed in 0..4 {
        let (mut net, p, _) = Net::keeping();
        net.restarts = seed * 100;
        let copy = net.publishers[0].disk.clone();
        net.now.unix_ms += 1_000;
        net.start_publisher(0, &p, copy.clone());
        let twin = net.start_offline(0, &p, copy);
        net.publishers.push(twin);
        net.connect_publisher(1);
        net.run(15_000);
        let ends = |index: usize| net.publishers[index].events.contains(&Event::Twin { we_end: true });
        assert!(ends(0) ^ ends(1), "{:?} {:?}", net.publishers[0].events, net.publishers[1].events);
    }
}

#[test]
fn a_copy_that_has_rotated_ends_and_the_other_goes_on() {
    let (mut net, p, _) = Net::keeping();
    let copy = net.publishers[0].disk.clone();
    net.now.unix_ms += 1_000;
    net.start_publisher(0, &p, copy.clone());
    net.rotate(0);
    net.run(1_000);
    let twin = net.start_offline(0, &p, copy);
    net.publishers.push(twin);
    net.connect_publisher(1);
    net.run(15_000);
    let ends = |index: usize| net.publishers[index].events.contains(&Event::Twin { we_end: true });
    assert!(ends(0) && !ends(1));
}

#[test]
fn an_old_tick_that_is_replayed_is_nobody() {
    let (mut net, p, _) = Net::keeping();
    let ticks: Vec<_> = net.all_of(Kind::Tick);
    net.crash_publisher(0, &p);
    net.rotate(0);
    net.run(1_000);
    for tick in ticks {
        net.deliver(Who::P(0), &tick);
    }
    let told = |event: &Event| matches!(event, Event::Twin { .. } | Event::Restored);
    assert!(!net.publishers[0].events.iter().any(told), "{:?}", net.publishers[0].events);
}

#[test]
fn whoever_was_revoked_while_it_was_stopped_reads_nothing_of_the_next_run() {
    let (mut net, p, s) = Net::keeping();
    let stream = net.publishers[0].engine.stream();
    let mut peers = net.publishers[0].engine.trust().known().clone();
    assert!(peers.revoke(&name("sub")));
    let disk = net.publishers[0].disk.clone();
    let trust = Trust::new(TrustMode::Strict, p.public().id(), peers, Vec::new());
    let mut rng = rng(77);
    let config = net.publishers[0].config.clone();
    let mut engine = Publisher::restore(p, trust, config, &disk.records(), net.now, &mut rng).unwrap();
    let mut out = securemqtt_core::publisher::Output::default();
    engine.begin(net.now, &mut rng, &mut out);
    assert_ne!(engine.stream(), stream, "before the first frame");
    net.publishers[0].engine = engine;
    net.connect_publisher(0);
    net.send(0, "t/a", b"secret");
    net.run(3_000);
    assert!(net.readings(0).is_empty());
    let told = |event: &subscriber::Event| matches!(event, subscriber::Event::Dismissed { .. });
    assert!(net.subscribers[0].events.iter().any(told), "{:?}", net.subscribers[0].events);
    drop(s);
}

#[test]
fn a_forgotten_peer_leaves_nothing_at_the_broker() {
    let (mut net, _, s) = Net::keeping();
    net.rotate(0);
    let node = &mut net.publishers[0];
    let mut out = securemqtt_core::publisher::Output::default();
    node.engine.set_known(known(&[]), net.now, &mut node.rng, &mut out);
    net.take_publisher(0, out);
    let keys = Control::Keys(s.public().id()).topic(net.publisher_id(0));
    assert!(!net.retained.contains_key(&keys));
    net.settle();
    let told = |event: &subscriber::Event| matches!(event, subscriber::Event::Dismissed { .. });
    assert!(net.subscribers[0].events.iter().any(told));
    assert_eq!(net.publishers[0].disk.count(Table::Member), 0);
}

#[test]
fn a_stream_ends_after_so_many_runs_and_after_its_time() {
    let (mut net, p, _) = Net::keeping();
    let stream = net.publishers[0].engine.stream();
    let mut runs = BTreeSet::new();
    for n in 0..1_030 {
        let disk = net.publishers[0].disk.clone();
        net.publishers[0] = net.start_offline(0, &p, disk);
        assert!(runs.insert(net.publishers[0].engine.run()));
        if net.publishers[0].engine.stream() != stream {
            assert!((1_020..=1_025).contains(&n), "{n}");
            break;
        }
    }
    assert_ne!(net.publishers[0].engine.stream(), stream);
    assert!(net.publishers[0].disk.count(Table::OwnRun) <= 5, "runs without frames are forgotten");
    let stream = net.publishers[0].engine.stream();
    net.now.unix_ms += 24 * 3_600_000;
    let disk = net.publishers[0].disk.clone();
    net.publishers[0] = net.start_offline(0, &p, disk);
    assert_ne!(net.publishers[0].engine.stream(), stream);
}

#[test]
fn a_generation_ends_after_its_time_over_restarts_too() {
    let (mut net, p, _) = Net::keeping();
    for hours in 1..4 {
        net.now.unix_ms += 3_600_000;
        net.crash_publisher(0, &p);
        net.run(1_000);
        net.works();
        let sent = net.last_of(Kind::Frame);
        assert_eq!(FrameHeader::decode(&sent.payload).unwrap().0.generation, hours);
    }
}

#[test]
fn what_is_stored_stays_bounded() {
    let (mut net, _, _) = Net::keeping();
    let mut sizes = Vec::new();
    for n in 0..10_000 {
        let mut out = securemqtt_core::publisher::Output::default();
        let node = &mut net.publishers[0];
        node.engine.rotate(net.now, &mut node.rng, &mut out);
        let now = securemqtt_core::Now { mono_ms: net.now.mono_ms + 20_000, ..net.now };
        node.engine.poll(now, &mut node.rng, &mut out);
        net.now.mono_ms += 20_000;
        node.disk.store(node.engine.take_changes());
        if n == 100 || n == 9_999 {
            sizes.push(node.disk.0.iter().map(|((_, key), value)| key.len() + value.len()).sum::<usize>());
        }
    }
    // Unconfirmed entries are at most 64, in a subscriber that never answers.
    assert!(sizes[1] <= sizes[0] + 256, "{sizes:?}");
}

#[test]
fn a_damaged_record_is_an_error_and_no_panic() {
    let (mut net, p, _) = Net::keeping();
    net.send(0, "t/a", b"1");
    net.rotate(0);
    let disk = net.publishers[0].disk.clone();
    for ((table, record_key), value) in &disk.0 {
        for cut in 0..value.len() {
            let mut damaged = disk.clone();
            damaged.0.insert((*table, record_key.clone()), value[..cut].to_vec());
            let peers = net.publishers[0].engine.trust().known().clone();
            let trust = Trust::new(TrustMode::Strict, p.public().id(), peers, Vec::new());
            let config = net.publishers[0].config.clone();
            let restored = Publisher::restore(p.clone(), trust, config, &damaged.records(), net.now, &mut rng(1));
            let fails = match restored {
                Err(_) => true,
                Ok(mut engine) => damaged
                    .segments()
                    .iter()
                    .any(|(number, bytes)| engine.restore_segment(&number.to_be_bytes(), bytes).is_err()),
            };
            assert!(fails || *table == Table::Segment && cut > 0, "{table:?} cut at {cut}");
        }
    }
}
