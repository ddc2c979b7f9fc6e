//! Records that an earlier version wrote: they are read, and nothing that they say is forgotten.
//!
//! `records_v1.txt` was written by the version before the layouts changed: three readings were read, the third and the
//! fourth were told as missing, the fifth came; one of the next run was parked.

use std::collections::BTreeMap;

use securemqtt_core::Now;
use securemqtt_core::packed::Places;
use securemqtt_core::record::{Record, Table};
use securemqtt_core::subscriber::{Config, Event, Output, Subscriber};
use securemqtt_core::trust::{Trust, TrustMode};

use crate::network::{key, known, name, rng};

struct Old {
    records: Vec<Record>,
    /// By name, topic and bytes.
    messages: BTreeMap<String, (String, Vec<u8>)>,
    now: Now,
}

fn old() -> Old {
    let mut old = Old { records: Vec::new(), messages: BTreeMap::new(), now: Now { mono_ms: 1_000, unix_ms: 0 } };
    for line in include_str!("records_v1.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let bytes = |at: usize| hex::decode(words[at]).unwrap();
        match words[0] {
            "message" => {
                old.messages.insert(words[1].to_owned(), (words[2].to_owned(), bytes(3)));
            }
            "record" => {
                let table = Table::from_number(words[1].parse().unwrap()).unwrap();
                old.records.push(Record { table, key: bytes(2), value: bytes(3).into() });
            }
            _ => old.now.unix_ms = words[1].parse().unwrap(),
        }
    }
    old
}

fn restore(records: &[Record], now: Now) -> Subscriber {
    let identity = key(2);
    let trust = Trust::new(TrustMode::Strict, identity.public().id(), known(&[("pub", &key(1))]), Vec::new());
    let config =
        Config { name: name("sub"), filters: vec!["t/#".to_owned()], exclude: Vec::new(), accept_rollback: false };
    Subscriber::restore(identity, trust, config, records, now, &mut rng(9)).unwrap()
}

/// What becomes of the messages.
fn handle(subscriber: &mut Subscriber, old: &Old, messages: &[&str]) -> (Vec<String>, Vec<Event>) {
    let mut out = Output::default();
    for message in messages {
        let (topic, payload) = &old.messages[*message];
        subscriber.handle(topic, payload, old.now, &mut rng(10), &mut out);
    }
    let text = |payload: Vec<u8>| String::from_utf8(payload).unwrap();
    (out.deliveries.into_iter().map(|delivery| text(delivery.payload.to_vec())).collect(), out.events)
}

#[test]
fn windows_gaps_and_parked_frames_of_version_1_go_on() {
    let old = old();
    assert_eq!(old.records.iter().map(|record| record.value[0]).max(), Some(1));
    let mut subscriber = restore(&old.records, old.now);
    assert_eq!((subscriber.keyed(), subscriber.parked()), (1, 1));
    // Past the wait for the publisher's answer, and past the grace of what is missing.
    let mut out = Output::default();
    subscriber.connected(old.now, &mut rng(11));
    for ms in [1_500, 3_500, 6_000] {
        let now = Now { mono_ms: old.now.mono_ms + ms, unix_ms: old.now.unix_ms + ms };
        subscriber.poll(now, &mut rng(12), &mut out);
    }
    let told = |event: &Event| matches!(event, Event::Missing(_) | Event::Lost(_) | Event::Late(_));
    assert!(!out.events.iter().any(told), "nothing is told again: {:?}", out.events);

    let (readings, _) = handle(&mut subscriber, &old, &["read"]);
    assert_eq!((readings, subscriber.counters().replays), (vec![], 1));
    let (readings, events) = handle(&mut subscriber, &old, &["third", "sixth"]);
    assert_eq!(readings, ["3", "6"]);
    assert!(matches!(&events[..], [Event::Late(span)] if (span.from, span.to) == (3, 4)), "{events:?}");
    let (readings, _) = handle(&mut subscriber, &old, &["tick"]);
    assert_eq!(readings, ["parked"]);

    // Written again, they are of this version, and say the same.
    let mut records: BTreeMap<(Table, Vec<u8>), Vec<u8>> = BTreeMap::new();
    records.extend(old.records.iter().map(|record| ((record.table, record.key.clone()), record.value.to_vec())));
    for change in subscriber.take_changes().spelled_out(&mut Places::default()).unwrap() {
        match change.value {
            Some(value) => records.insert((change.table, change.key), value.to_vec()),
            None => records.remove(&(change.table, change.key)),
        };
    }
    let stored: Vec<Record> =
        records.into_iter().map(|((table, key), value)| Record { table, key, value: value.into() }).collect();
    assert!(stored.iter().any(|record| record.table == Table::Topic && record.value[0] == 3));
    let mut subscriber = restore(&stored, old.now);
    let mut out = Output::default();
    subscriber.connected(old.now, &mut rng(11));
    let later = Now { mono_ms: old.now.mono_ms + 1_500, ..old.now };
    subscriber.poll(later, &mut rng(12), &mut out);
    let (readings, _) = handle(&mut subscriber, &old, &["read", "third", "sixth", "tick"]);
    assert!(readings.is_empty());
    let (readings, events) = handle(&mut subscriber, &old, &["fourth"]);
    assert_eq!(readings, ["4"]);
    assert!(matches!(&events[..], [Event::Late(_)]), "{events:?}");
}

#[test]
fn a_version_that_is_yet_to_come_is_refused() {
    let old = old();
    for at in 0..old.records.len() {
        let later = if old.records[at].table == Table::Topic { 4 } else { 3 };
        for version in [0, later, 255] {
            let mut records = old.records.clone();
            records[at].value[0] = version;
            let trust = Trust::new(TrustMode::Strict, key(2).public().id(), known(&[("pub", &key(1))]), Vec::new());
            let config = Config {
                name: name("sub"),
                filters: vec!["t/#".to_owned()],
                exclude: Vec::new(),
                accept_rollback: false,
            };
            assert!(Subscriber::restore(key(2), trust, config, &records, old.now, &mut rng(9)).is_err());
        }
    }
}

#[test]
fn what_had_come_late_in_version_1_is_not_lost() {
    let mut old = old();
    let topic = old.records.iter_mut().find(|record| record.table == Table::Topic).unwrap();
    // 0..6 came, and of that 3..5 had been told as missing.
    topic.value = hex::decode("010000000000000006000000000001000600010302").unwrap().into();
    let mut subscriber = restore(&old.records, old.now);
    let mut out = Output::default();
    subscriber.connected(old.now, &mut rng(11));
    subscriber.poll(Now { mono_ms: old.now.mono_ms + 1_500, ..old.now }, &mut rng(12), &mut out);
    let (_, events) = handle(&mut subscriber, &old, &["tick"]);
    assert!(!events.iter().any(|event| matches!(event, Event::Lost(_))), "{events:?}");
}

#[test]
fn a_window_of_version_2_is_read() {
    let mut old = old();
    let topic = old.records.iter_mut().find(|record| record.table == Table::Topic).unwrap();
    // 0..3 and 5 came, nothing is wanted, 3..5 is lost.
    topic.value = hex::decode("0200000000000000060000000000020003020100000001".to_owned() + "0302").unwrap().into();
    let mut subscriber = restore(&old.records, old.now);
    subscriber.connected(old.now, &mut rng(11));
    subscriber.poll(Now { mono_ms: old.now.mono_ms + 1_500, ..old.now }, &mut rng(12), &mut Output::default());
    let (readings, _) = handle(&mut subscriber, &old, &["read"]);
    assert_eq!((readings, subscriber.counters().replays), (vec![], 1));
    let (readings, events) = handle(&mut subscriber, &old, &["fourth"]);
    assert_eq!(readings, ["4"]);
    assert!(matches!(&events[..], [Event::Late(span)] if (span.from, span.to) == (4, 5)), "{events:?}");
}

#[test]
fn several_runs_of_version_1_which_have_no_order_are_all_kept() {
    let mut old = old();
    let run = old.records.iter().find(|record| record.table == Table::Run).unwrap().clone();
    for n in 0..5 {
        let key = [&run.key[..16], &[n; 5]].concat();
        old.records.push(Record { key, ..run.clone() });
    }
    let mut subscriber = restore(&old.records, old.now);
    handle(&mut subscriber, &old, &["tick"]);
    let changes = subscriber.take_changes();
    let runs: Vec<bool> = changes
        .records
        .iter()
        .filter(|change| change.table == Table::Run)
        .map(|change| change.value.is_some())
        .collect();
    assert_eq!(runs, [true; 7], "those six, and that of the tick");
}
