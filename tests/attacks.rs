use std::thread::sleep;
use std::time::Duration;

use securemqtt_core::identity::IdentityPublic;

use crate::attacker::Attacker;
use crate::broker::Broker;
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::mitm::{Forwarded, From, Mitm};
use crate::parties::{EXCHANGED, KEYED, Party, RAW, introduced};
use crate::process::{PATIENCE, Program, Running};

pub(crate) const READING: &str = r#"{"spo2": 98}"#;
/// Changes of trust take effect with the next tick.
pub(crate) const FAST: [&str; 2] = ["--tick-every", "300ms"];
/// At least two of these.
pub(crate) const TICKS: Duration = Duration::from_secs(1);

/// A publisher of what is typed.
pub(crate) fn typing(publisher: Program, trust: &str) -> Running {
    publisher.args(FAST).args(["-l", "--trust", trust]).open_input().start()
}

/// A subscriber that prints the readings and nothing else.
pub(crate) fn reading(subscriber: Program, trust: &str) -> Running {
    subscriber.args(RAW).args(["--trust", trust]).start()
}

/// Both fingerprints of a changed key are printed, each on its line.
pub(crate) fn assert_told_of_changed_key(running: &Running, name: &str, pinned: &str, shown: &str) {
    running.wait_for(&format!("REFUSED {name}: its key has changed, or somebody pretends to be it"));
    running.wait_for(&format!("  pinned {pinned}"));
    running.wait_for(&format!("  shown  {shown}"));
}

#[test]
fn a_man_in_the_middle_of_two_pinned_peers_is_refused_on_both_sides() {
    for trust in ["strict", "accept-new"] {
        let (left, right) = (Broker::start(), Broker::start());
        let (ward, station) = introduced();
        let attacker = Attacker::between((&ward, &left), (&station, &right));
        let mut publisher = typing(ward.at(&left), trust);
        publisher.type_line(READING);
        let mut subscriber = reading(station.at(&right).args(["-C", "1", "-W", "5"]), trust);

        assert_told_of_changed_key(&publisher, &station.name, &station.fingerprint, &attacker.fingerprint);
        assert_told_of_changed_key(&subscriber, &ward.name, &ward.fingerprint, &attacker.fingerprint);
        assert_eq!(subscriber.wait_exit(PATIENCE), 77, "{}", subscriber.output());
        subscriber.wait_for("no reading arrived, and a peer was refused");
        assert_eq!(publisher.interrupt(), 77, "{}", publisher.output());
        publisher.wait_for("every subscriber that asked was refused");
        assert!(subscriber.stdout().is_empty(), "{}", subscriber.output());
        assert!(attacker.read().is_empty());
    }
}

/// The attacker of the test above is one: only the pins stop it.
#[test]
fn the_same_attacker_reads_everything_where_nobody_is_pinned() {
    let (left, right) = (Broker::start(), Broker::start());
    let (ward, station) = (Party::publisher("ward-7"), Party::subscriber("station"));
    let attacker = Attacker::between((&ward, &left), (&station, &right));
    let mut publisher = typing(ward.at(&left), "accept-new");
    publisher.wait_for(EXCHANGED);
    let subscriber = reading(station.at(&right), "accept-new");
    subscriber.wait_for(KEYED);
    publisher.type_line(READING);
    subscriber.wait_for(READING);
    assert_eq!(attacker.read(), [READING.as_bytes()]);
    // The fingerprints tell: these are not each other's.
    subscriber.wait_for(&attacker.fingerprint);
    publisher.wait_for(&attacker.fingerprint);
}

/// A public key as it is on the wire.
fn point(party: &Party) -> [u8; 33] {
    *IdentityPublic::from_openssh(&party.key).unwrap().as_bytes()
}

#[test]
fn a_hello_with_another_key_on_a_publishers_topic_is_told_as_a_man_in_the_middle() {
    let (left, right) = (Broker::start(), Broker::start());
    let (ward, station) = introduced();
    let stranger = Party::publisher("ward-7");
    let key = point(&stranger);
    let _mitm = Mitm::between(&left, &right, move |_, heard| {
        let mut message = heard.clone();
        if message.is("hello") {
            // type 1, number of suites 1, suite 1, then the key.
            message.payload.splice(3..36, key);
        }
        vec![Forwarded::on(message)]
    });
    let _publisher = typing(ward.at(&left), "strict");
    let subscriber = reading(station.at(&right), "strict");
    let told = subscriber.wait_for("REFUSED a hello for publisher");
    assert!(told.contains(&stranger.fingerprint), "{told}");
    assert!(told.ends_with("somebody is in the middle"), "{told}");
    sleep(TICKS);
    assert!(!subscriber.output().contains(KEYED), "{}", subscriber.output());
}

#[test]
fn swapped_ephemeral_keys_get_nobody_a_session_and_the_honest_one_comes_after_all() {
    // A REQUEST without an answer is repeated after 1 s, 2 s, 4 s…
    const SWAPS: usize = 1;
    let (left, right) = (Broker::start(), Broker::start());
    let (ward, station) = introduced();
    let mine = point(&Party::publisher("mine"));
    let mut swaps = [0, 0];
    let mitm = Mitm::between(&left, &right, move |from, heard| {
        let mut message = heard.clone();
        // Where `e` stands in a REQUEST, and in a GRANT.
        let (at, swapped) = match (from, message.payload.first()) {
            (From::Right, Some(0x12)) => (26, &mut swaps[0]),
            (From::Left, Some(0x14)) => (9, &mut swaps[1]),
            _ => return vec![Forwarded::on(message)],
        };
        if *swapped < SWAPS {
            *swapped += 1;
            message.payload.splice(at..at + 33, mine);
        }
        vec![Forwarded::on(message)]
    });
    let mut publisher = typing(ward.at(&left), "strict");
    let subscriber = reading(station.at(&right), "strict");
    publisher.wait_for(EXCHANGED);
    publisher.type_line(READING);
    subscriber.wait_for(READING);
    let requests = mitm.heard_right().iter().filter(|heard| heard.payload.first() == Some(&0x12)).count();
    let grants = mitm.heard_left().iter().filter(|heard| heard.payload.first() == Some(&0x14)).count();
    assert!(requests > SWAPS && grants > SWAPS, "{requests} requests, {grants} grants");
}

/// What anyone with an account can do to a message that it has heard.
fn distortions(heard: &Heard) -> Vec<Heard> {
    let with = |payload: Vec<u8>| Heard { payload, ..heard.clone() };
    let flipped = |at: usize| {
        let mut payload = heard.payload.clone();
        payload[at] ^= 1;
        with(payload)
    };
    let last = heard.payload.len() - 1;
    let mut longer = heard.payload.clone();
    longer.extend_from_slice(&[0; 3]);
    let mut all: Vec<Heard> = [0, 1, 8, last / 2].map(|length| with(heard.payload[..length].to_vec())).into();
    all.extend([0, 1, 6, 7, last / 2, last].map(|at| flipped(at.min(last))));
    all.extend([with(longer), with(vec![heard.payload[0]; 70_000])]);
    all.extend([heard.clone(), Heard { retain: true, ..heard.clone() }]);
    if !heard.topic.starts_with("securemqtt/") {
        all.push(Heard { topic: "telemetry/elsewhere".to_owned(), ..heard.clone() });
    }
    all
}

#[test]
fn what_is_forged_replayed_duplicated_or_cut_is_never_shown_and_the_session_goes_on() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let attacker = Eavesdropper::listen(&broker);
    let mut publisher = typing(ward.at(&broker), "strict");
    let subscriber = reading(station.at(&broker), "strict");
    for number in 0..3 {
        publisher.type_line(&number.to_string());
    }
    subscriber.wait_for_line(|line| line == "2", PATIENCE);
    // The attacker may hear of it later than the subscriber does.
    for kind in ["hello", "in", "to", "keys", "tick"] {
        attacker.wait_for(|message| message.is(kind), PATIENCE);
    }
    attacker.wait_for_count(3, |message| !message.topic.starts_with("securemqtt/"), PATIENCE);
    let heard = attacker.heard();
    for message in heard.iter().filter(|message| !message.payload.is_empty()) {
        for distorted in distortions(message) {
            attacker.publish(&distorted.topic, &distorted.payload, distorted.retain);
        }
    }
    // Behind them all, for each subscriber gets its messages in their order.
    publisher.type_line("3");
    subscriber.wait_for_line(|line| line == "3", PATIENCE);
    sleep(TICKS);
    publisher.type_line("4");
    subscriber.wait_for_line(|line| line == "4", PATIENCE);
    assert_eq!(subscriber.stdout(), ["0", "1", "2", "3", "4"], "{}", subscriber.output());

    // What is left on the broker does not keep the next subscriber out.
    drop(subscriber);
    let subscriber = reading(station.at(&broker), "strict");
    subscriber.wait_for(KEYED);
    publisher.type_line("5");
    subscriber.wait_for_line(|line| line == "5", PATIENCE);
    publisher.close_input();
    assert_eq!(publisher.wait_exit(PATIENCE), 0, "{}", publisher.output());
}
