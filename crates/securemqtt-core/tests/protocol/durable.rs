//! A subscriber that is killed and starts again: it reads on, shows nothing twice, and loses nothing that was parked.

use rand_core::SeedableRng as _;
use securemqtt_core::packed::{Places, unpack};
use securemqtt_core::peers::KnownPeers;
use securemqtt_core::record::{Change, Record, Table};
use securemqtt_core::subscriber::{Config, Event, Subscriber};
use securemqtt_core::trust::{Trust, TrustMode};
use securemqtt_core::wire::{Ack, Kind};

use crate::network::{Fate, Net, key, known, name};

/// A pair that has exchanged keys and three readings.
fn settled() -> Net {
    let mut net = Net::pair();
    net.run(2_000);
    for n in 0..3 {
        net.send(0, "t/a", format!("{n}").as_bytes());
    }
    net.settle();
    assert_eq!(net.readings(0).len(), 3);
    net
}

fn requests(net: &Net) -> usize {
    net.all_of(Kind::Request).len()
}

#[test]
fn it_reads_on_without_a_handshake() {
    let mut net = settled();
    let before = requests(&net);
    net.crash_subscriber(0, &key(2));
    net.run(5_000);
    net.send(0, "t/a", b"after");
    net.settle();
    assert_eq!(net.readings(0), ["after"]);
    assert_eq!(requests(&net), before, "no REQUEST was needed");
}

#[test]
fn nothing_that_was_read_is_read_again() {
    let mut net = settled();
    let frames: Vec<_> = net.log.iter().filter(|sent| sent.topic == "t/a").cloned().collect();
    net.crash_subscriber(0, &key(2));
    net.run(1_000);
    for frame in &frames {
        net.inject(&frame.topic, frame.payload.clone());
    }
    net.settle();
    assert_eq!(net.readings(0), [""; 0]);
    let counters = net.subscribers[0].engine.counters();
    assert_eq!(counters.replays + counters.duplicates, 3);
}

#[test]
fn what_comes_between_two_transactions_is_stored_as_it_is_at_last() {
    // In turn and not, one of a topic and several.
    for schedule in [&["t/a"][..], &["t/a", "t/a"], &["t/a", "t/b", "t/a", "t/b", "t/b"], &["t/b", "t/c", "t/b"]] {
        let mut net = settled();
        for round in 0..3 {
            let seal = |topic: &&str| net.publishers[0].engine.seal(topic, b"x").unwrap().to_vec();
            let frames: Vec<Vec<u8>> = schedule.iter().map(seal).collect();
            let node = &mut net.subscribers[0];
            let mut out = securemqtt_core::subscriber::Output::default();
            for (topic, frame) in schedule.iter().zip(&frames) {
                node.engine.handle(topic, frame, net.now, &mut node.rng, &mut out);
                assert!(node.engine.has_changes());
            }
            assert_eq!(out.deliveries.len(), schedule.len());
            node.store();
            assert!(!node.engine.has_changes());
            if round == 1 {
                continue;
            }
            net.crash_subscriber(0, &key(2));
            net.run(1_000);
            for (topic, frame) in schedule.iter().zip(&frames) {
                net.inject(topic, frame.clone());
            }
            net.settle();
            assert_eq!(net.readings(0), [""; 0], "{schedule:?}, round {round}");
        }
    }
}

#[test]
fn a_window_is_named_once_since_a_start_and_said_by_its_place_from_there_on() {
    let mut net = settled();
    // What the engine says of the topic's window when a reading has come: whether by a place, whether with its key.
    let said = |net: &mut Net| -> Vec<(bool, bool)> {
        let frame = net.publishers[0].engine.seal("t/a", b"x").unwrap().to_vec();
        let node = &mut net.subscribers[0];
        let mut out = securemqtt_core::subscriber::Output::default();
        node.engine.handle("t/a", &frame, net.now, &mut node.rng, &mut out);
        assert_eq!(out.deliveries.len(), 1);
        let changes = node.engine.take_changes();
        let said = unpack(changes.windows.bytes())
            .map(|change| change.map(|change| (change.place != 0, !change.key.is_empty())));
        let said = said.collect::<Result<_, _>>().unwrap();
        changes.spelled_out(&mut node.places).unwrap();
        said
    };
    assert_eq!(said(&mut net), [(true, false)], "it was named with an earlier reading");
    net.crash_subscriber(0, &key(2));
    net.run(1_000);
    assert_eq!(said(&mut net), [(true, true)]);
    assert_eq!(said(&mut net), [(true, false)]);
    // A publisher that is known no more: its window is removed by its place.
    net.subscribers[0].engine.set_known(KnownPeers::default());
    let changes = net.subscribers[0].engine.take_changes();
    let gone: Vec<_> = unpack(changes.windows.bytes()).map(Result::unwrap).collect();
    assert!(gone.iter().any(|change| change.value.is_none() && change.place != 0 && change.key.is_empty()), "{gone:?}");
}

#[test]
fn what_was_not_stored_comes_again_and_nothing_else() {
    let mut net = settled();
    let stored = net.subscribers[0].records.clone();
    for n in 3..6 {
        net.send(0, "t/a", format!("{n}").as_bytes());
    }
    net.settle();
    // Killed before the last transaction: the broker delivers again what was not acknowledged, and more.
    net.subscribers[0].records = stored;
    let frames: Vec<_> = net.log.iter().filter(|sent| sent.topic == "t/a").cloned().collect();
    net.crash_subscriber(0, &key(2));
    for frame in &frames {
        net.inject(&frame.topic, frame.payload.clone());
    }
    net.run(1_500);
    assert_eq!(net.readings(0), ["3", "4", "5"]);
}

#[test]
fn generations_and_streams_that_were_opened_go_on() {
    let mut net = settled();
    net.publishers[0].config.ratchet_ms = 1;
    for round in 0..4 {
        net.rotate(0);
        net.run(500);
        net.send(0, "t/a", b"x");
        net.settle();
        let before = requests(&net);
        net.crash_subscriber(0, &key(2));
        net.run(500);
        net.send(0, "t/a", format!("{round}").as_bytes());
        net.settle();
        assert_eq!(net.readings(0), [round.to_string()]);
        assert_eq!(requests(&net), before);
    }
}

#[test]
fn parked_frames_survive() {
    let mut net = settled();
    // The tick that opens the next run is held back, and the subscriber is killed meanwhile.
    net.adversary(|sent, _| if Kind::of(&sent.payload) == Ok(Kind::Tick) { Fate::Hold } else { Fate::Deliver });
    net.rotate(0);
    net.run(500);
    net.send(0, "t/a", b"parked");
    net.settle();
    assert_eq!(net.subscribers[0].engine.parked(), 1);
    net.crash_subscriber(0, &key(2));
    assert_eq!(net.subscribers[0].engine.parked(), 1);
    net.calm();
    net.run(1_500);
    assert_eq!(net.readings(0), ["parked"]);
    assert!(net.subscribers[0].records.keys().all(|(table, _)| *table != Table::Parked), "it is gone from the disk");
}

#[test]
fn a_gap_from_before_is_reported_after() {
    let mut net = settled();
    net.adversary(|sent, _| if sent.topic == "t/a" { Fate::Drop } else { Fate::Deliver });
    net.send(0, "t/a", b"lost");
    let ticks = net.all_of(Kind::Tick).len();
    while net.all_of(Kind::Tick).len() == ticks {
        net.run(100);
    }
    // The tick has shown the gap, and its grace is not over.
    net.adversary = None;
    net.crash_subscriber(0, &key(2));
    net.run(5_000);
    let missing = |event: &Event| matches!(event, Event::Missing(span) if (span.from, span.to) == (3, 4));
    let told = net.subscribers[0].events.iter().filter(|event| missing(event)).count();
    assert_eq!(told, 1, "{:?}", net.subscribers[0].events);
    net.send(0, "t/a", b"next");
    net.run(12_000);
    assert!(!net.subscribers[0].events.iter().any(|event| matches!(event, Event::Forged(_))));
}

#[test]
fn a_publisher_that_was_revoked_meanwhile_is_forgotten() {
    let mut net = settled();
    let records = net.subscribers[0].records.clone();
    let mut peers = known(&[("pub", &key(1))]);
    assert!(peers.revoke(&name("pub")));
    net.subscribers[0].records = records;
    net.crash_subscriber_with(0, &key(2), peers);
    net.send(0, "t/a", b"x");
    net.run(2_000);
    assert_eq!(net.readings(0), [""; 0]);
    // Its frames are anybody's now.
    let is_ours = |table: &Table| matches!(table, Table::Parked | Table::Counter);
    assert!(net.subscribers[0].records.keys().all(|(table, _)| is_ours(table)), "nothing of it is left");
}

#[test]
fn its_counter_is_stored_before_it_is_used_and_goes_on() {
    let mut net = settled();
    let mut used = Vec::new();
    for round in 0..4 {
        net.rotate(0);
        net.run(500);
        let acks = net.all_of(Kind::Ack);
        used = acks.iter().map(|ack| Ack::decode(&ack.payload).unwrap().sctr).collect();
        assert_eq!(net.subscribers[0].stored_counter(), *used.last().unwrap());
        assert_eq!(used.len(), 3 + round, "one for each stream");
        net.crash_subscriber(0, &key(2));
        net.run(1_500);
    }
    assert!(used.windows(2).all(|pair| pair[0] < pair[1]), "{used:?}");
}

#[test]
fn a_counter_that_moved_is_a_change_to_be_stored() {
    let mut net = settled();
    assert!(!net.subscribers[0].engine.has_changes());
    // A handshake is due: all it does at first is to send a REQUEST.
    net.now.mono_ms += 20 * 3_600_000;
    let node = &mut net.subscribers[0];
    let mut out = securemqtt_core::subscriber::Output::default();
    node.engine.poll(net.now, &mut node.rng, &mut out);
    assert_eq!(Kind::of(&out.send[0].payload), Ok(Kind::Request));
    assert!(node.engine.has_changes());
    let changes = node.engine.take_changes();
    let stored: Vec<_> = changes.records.iter().filter(|change| change.table == Table::Counter).collect();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].value.as_ref().unwrap().len(), 9);
    assert!(!node.engine.has_changes());
}

#[test]
fn the_state_stays_bounded() {
    let mut net = settled();
    let mut largest = 0;
    for _ in 0..200 {
        net.rotate(0);
        net.run(200);
        net.send(0, "t/a", b"x");
        net.settle();
        largest = largest.max(net.subscribers[0].records.len());
    }
    assert!(largest < 100, "{largest} records");
    let bytes: usize = net.subscribers[0].records.values().map(Vec::len).sum();
    assert!(bytes < 20_000, "{bytes} bytes");
}

#[test]
fn a_damaged_record_is_an_error_and_no_panic() {
    let net = settled();
    let whole: Vec<Record> = net.subscribers[0].restorable();
    assert!(restore(&whole).is_ok());
    for (at, record) in whole.iter().enumerate() {
        for cut in 0..record.value.len() {
            let mut damaged = whole.clone();
            damaged[at].value.truncate(cut);
            let error = restore(&damaged).err().unwrap();
            assert_eq!(error.table, record.table, "cut to {cut}");
        }
        let mut longer = whole.clone();
        longer[at].value.push(0);
        assert!(restore(&longer).is_err() || record.table == Table::Parked);
    }
}

#[test]
fn records_that_belong_to_nothing_are_removed() {
    let whole: Vec<Record> = settled().subscribers[0].restorable();
    let keys_of = |tables: &[Table]| -> Vec<(Table, Vec<u8>)> {
        let of = whole.iter().filter(|record| tables.contains(&record.table));
        of.map(|record| (record.table, record.key.clone())).collect()
    };
    for (gone, orphans) in
        [(Table::Peer, &[Table::Stream, Table::Run, Table::Topic][..]), (Table::Run, &[Table::Topic])]
    {
        let rest: Vec<Record> = whole.iter().filter(|record| record.table != gone).cloned().collect();
        let changes = changes(restore(&rest).unwrap());
        let mut removed: Vec<_> = changes.into_iter().filter(|change| change.value.is_none()).collect();
        removed.sort_by_key(|change| change.table);
        let removed: Vec<_> = removed.into_iter().map(|change| (change.table, change.key)).collect();
        assert_eq!(removed, keys_of(orphans), "without {gone:?}");
        assert!(!removed.is_empty());
    }
    assert!(changes(restore(&whole).unwrap()).into_iter().all(|change| change.value.is_some()));
}

/// What one has to store that was just taken up.
fn changes(mut subscriber: Subscriber) -> Vec<Change> {
    subscriber.take_changes().spelled_out(&mut Places::default()).unwrap()
}

fn restore(records: &[Record]) -> Result<Subscriber, securemqtt_core::record::RestoreError> {
    let identity = key(2);
    let trust = Trust::new(TrustMode::Strict, identity.public().id(), known(&[("pub", &key(1))]), Vec::new());
    let config =
        Config { name: name("sub"), filters: vec!["t/#".to_owned()], exclude: Vec::new(), accept_rollback: false };
    let now = securemqtt_core::Now { mono_ms: 0, unix_ms: 1_800_000_000_000 };
    Subscriber::restore(identity, trust, config, records, now, &mut rand_chacha::ChaCha20Rng::seed_from_u64(9))
}
