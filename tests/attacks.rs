use std::thread::sleep;
use std::time::Duration;

use crate::attacker::Attacker;
use crate::broker::Broker;
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::mitm::{Forwarded, From, Mitm};
use crate::pair::{PUBLISHER, Pair, SUBSCRIBER, exported_key, fingerprint, run, run_offered};
use crate::process::{PATIENCE, Program, Running};

const READING: &str = r#"{"spo2": 98}"#;
/// Changes of trust take effect with the next tick.
const FAST: [&str; 2] = ["--tick-every", "300ms"];
/// At least two of these.
const TICKS: Duration = Duration::from_millis(1000);

/// Publishes what is typed.
fn typing(program: Program, broker: &Broker, trust: &str) -> Running {
    program.at(broker).args(FAST).args(["-l", "--trust", trust]).open_input().start()
}

fn reading(program: Program, broker: &Broker, trust: &str) -> Running {
    program.at(broker).args(["--output", "raw", "--trust", trust]).start()
}

/// Both fingerprints of a changed key are printed, each on its line.
fn assert_told_of_changed_key(running: &Running, name: &str, pinned: &str, shown: &str) {
    running.wait_for(&format!("REFUSED {name}: its key has changed, or somebody pretends to be it"));
    running.wait_for(&format!("  pinned {pinned}"));
    running.wait_for(&format!("  shown  {shown}"));
}

#[test]
fn a_man_in_the_middle_of_two_pinned_peers_is_refused_on_both_sides() {
    for trust in ["strict", "accept-new"] {
        let (left, right) = (Broker::start(), Broker::start());
        let pair = Pair::pinned();
        let attacker = Attacker::between(&left, &right);
        let mut publisher = typing(pair.publisher(), &left, trust);
        publisher.type_line(READING);
        let waiting = ["--output", "raw", "--trust", trust, "-C", "1", "-W", "5"];
        let mut subscriber = pair.subscriber().at(&right).args(waiting).start();

        assert_told_of_changed_key(&publisher, SUBSCRIBER, &fingerprint(pair.subscriber()), &attacker.fingerprint);
        assert_told_of_changed_key(&subscriber, PUBLISHER, &fingerprint(pair.publisher()), &attacker.fingerprint);
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
    let pair = Pair::strangers();
    let attacker = Attacker::between(&left, &right);
    let mut publisher = typing(pair.publisher(), &left, "accept-new");
    publisher.wait_for("ECDH key exchange completed");
    let subscriber = reading(pair.subscriber(), &right, "accept-new");
    subscriber.wait_for("Listening for encrypted messages...");
    publisher.type_line(READING);
    subscriber.wait_for(READING);
    assert_eq!(attacker.read(), [READING.as_bytes()]);
    // The fingerprints tell: these are not each other's.
    subscriber.wait_for(&attacker.fingerprint);
    publisher.wait_for(&attacker.fingerprint);
}

#[test]
fn a_hello_with_another_key_on_a_publishers_topic_is_told_as_a_man_in_the_middle() {
    let (left, right) = (Broker::start(), Broker::start());
    let pair = Pair::pinned();
    let stranger = Pair::strangers();
    let other_key = openssh_point(&exported_key(stranger.publisher()));
    let _mitm = Mitm::between(&left, &right, move |_, heard| {
        let mut message = heard.clone();
        if message.is("hello") {
            // type 1, number of suites 1, suite 1, then the key.
            message.payload.splice(3..36, other_key);
        }
        vec![Forwarded::on(message)]
    });
    let _publisher = typing(pair.publisher(), &left, "strict");
    let subscriber = reading(pair.subscriber(), &right, "strict");
    let told = subscriber.wait_for("REFUSED a hello for publisher");
    assert!(told.contains(&fingerprint(stranger.publisher())), "{told}");
    assert!(told.ends_with("somebody is in the middle"), "{told}");
    assert!(!subscriber.output().contains("AES key derived"), "{}", subscriber.output());
}

/// Compressed, as it is on the wire.
fn openssh_point(line: &str) -> [u8; 33] {
    *securemqtt_core::identity::IdentityPublic::from_openssh(line).unwrap().as_bytes()
}

#[test]
fn swapped_ephemeral_keys_get_nobody_a_session_and_the_honest_one_comes_after_all() {
    // A REQUEST without an answer is repeated after 1 s, 2 s, 4 s…
    const SWAPS: usize = 1;
    let (left, right) = (Broker::start(), Broker::start());
    let pair = Pair::pinned();
    let mine = openssh_point(&exported_key(Pair::strangers().publisher()));
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
    let mut publisher = typing(pair.publisher(), &left, "strict");
    let subscriber = reading(pair.subscriber(), &right, "strict");
    publisher.wait_for("ECDH key exchange completed");
    publisher.type_line(READING);
    subscriber.wait_for(READING);
    let requests = mitm.heard_right().iter().filter(|heard| heard.payload.first() == Some(&0x12)).count();
    let grants = mitm.heard_left().iter().filter(|heard| heard.payload.first() == Some(&0x14)).count();
    assert!(requests > SWAPS && grants > SWAPS, "{requests} requests, {grants} grants");
}

#[test]
fn a_publisher_with_a_changed_key_is_refused_until_it_is_replaced() {
    for trust in ["strict", "ask", "accept-new"] {
        let broker = Broker::start();
        let pair = Pair::pinned();
        let changed = pair.with_new_publisher();
        changed.publisher_pins_subscriber();
        let program = pair.subscriber().at(&broker).args(["--output", "raw", "--trust", trust]);
        let subscriber = if trust == "ask" { program.terminal().start() } else { program.start() };
        let mut publisher = typing(changed.publisher(), &broker, "strict");
        publisher.type_line(READING);
        assert_told_of_changed_key(
            &subscriber,
            PUBLISHER,
            &fingerprint(pair.publisher()),
            &fingerprint(changed.publisher()),
        );
        assert!(!subscriber.output().contains(READING), "{}", subscriber.output());

        run_offered(pair.subscriber(), &subscriber, "if the change is genuine: ");
        drop(subscriber);
        let subscriber = reading(pair.subscriber(), &broker, trust_without_terminal(trust));
        subscriber.wait_for(READING);
    }
}

#[test]
fn a_subscriber_with_a_changed_key_is_refused_until_it_is_replaced() {
    for trust in ["strict", "ask", "accept-new"] {
        let broker = Broker::start();
        let pair = Pair::pinned();
        let changed = pair.with_new_subscriber();
        changed.subscriber_pins_publisher();
        let program = pair.publisher().at(&broker).args(["-l", "--trust", trust]).args(FAST);
        let publisher = if trust == "ask" { program.terminal().start() } else { program.open_input().start() };
        let subscriber = reading(changed.subscriber(), &broker, "strict");
        assert_told_of_changed_key(
            &publisher,
            SUBSCRIBER,
            &fingerprint(pair.subscriber()),
            &fingerprint(changed.subscriber()),
        );
        subscriber.wait_for("pump refuses us: not authorised");

        run_offered(pair.publisher(), &publisher, "if the change is genuine: ");
        drop(subscriber);
        drop(publisher);
        let mut publisher = typing(pair.publisher(), &broker, trust_without_terminal(trust));
        publisher.type_line(READING);
        let subscriber = reading(changed.subscriber(), &broker, "strict");
        subscriber.wait_for(READING);
    }
}

fn trust_without_terminal(trust: &str) -> &str {
    if trust == "ask" { "strict" } else { trust }
}

#[test]
fn an_unknown_subscriber_is_told_so_and_the_publisher_how_to_add_it() {
    let broker = Broker::start();
    let pair = Pair::strangers();
    pair.subscriber_pins_publisher();
    let mut publisher = typing(pair.publisher(), &broker, "strict");
    publisher.type_line(READING);
    let waiting = ["-C", "1", "-W", "3", "--output", "raw"];
    let mut subscriber = pair.subscriber().at(&broker).args(waiting).start();
    subscriber.wait_for("pump refuses us: it does not know us; at the publisher, run `mqtt-publisher peers add`");
    publisher.wait_for(&format!("Refused station {}: not a known peer", fingerprint(pair.subscriber())));
    assert_eq!(subscriber.wait_exit(PATIENCE), 77, "{}", subscriber.output());

    run_offered(pair.publisher(), &publisher, "to trust it: ");
    // Asked too early, it would refuse once more, and be asked again half a minute later.
    sleep(TICKS);
    let subscriber = reading(pair.subscriber(), &broker, "strict");
    subscriber.wait_for(READING);
}

#[test]
fn a_revoked_subscriber_is_told_and_reads_no_further_while_the_others_do() {
    let broker = Broker::start();
    let pair = Pair::pinned();
    let mut publisher = typing(pair.publisher().env("SECUREMQTT_LOG", "info"), &broker, "accept-new");
    let revoked = reading(pair.subscriber(), &broker, "strict");
    let other = Pair::strangers().subscriber().env("SECUREMQTT_NAME", "other");
    let other = reading(other, &broker, "accept-new");
    for reader in [&revoked, &other] {
        reader.wait_for("Listening for encrypted messages...");
    }
    publisher.type_line("1");
    for reader in [&revoked, &other] {
        reader.wait_for_line(|line| line == "1", PATIENCE);
    }

    run(pair.publisher(), &["peers", "revoke", SUBSCRIBER]);
    revoked.wait_for("pump refuses us: revoked");
    // As soon as the others have the next stream's key.
    publisher.wait_for("a new stream has begun");
    publisher.type_line("2");
    other.wait_for_line(|line| line == "2", PATIENCE);
    // What crossed the broker meanwhile reached it too.
    publisher.type_line("3");
    other.wait_for_line(|line| line == "3", PATIENCE);
    assert_eq!(revoked.stdout(), ["1"]);

    drop(revoked);
    let waiting = ["-C", "1", "-W", "2", "--output", "raw", "--trust", "strict"];
    let mut again = pair.subscriber().at(&broker).args(waiting).start();
    assert_eq!(again.wait_exit(PATIENCE), 77, "{}", again.output());
    again.wait_for("pump refuses us: revoked");
    publisher.wait_for(": revoked");
}

#[test]
fn a_peer_revoked_just_before_another_is_remembered_is_revoked() {
    let broker = Broker::start();
    let pair = Pair::pinned();
    let slow = ["-l", "--trust", "accept-new", "--tick-every", "2s"];
    let program = pair.publisher().env("SECUREMQTT_LOG", "info").at(&broker).args(slow);
    let mut publisher = program.open_input().start();
    let revoked = reading(pair.subscriber(), &broker, "strict");
    revoked.wait_for("Listening for encrypted messages...");
    run(pair.publisher(), &["peers", "revoke", SUBSCRIBER]);
    // The publisher writes known_peers before it next looks at it.
    let other = Pair::strangers().subscriber().env("SECUREMQTT_NAME", "other");
    let other = reading(other, &broker, "accept-new");
    other.wait_for("Listening for encrypted messages...");
    publisher.wait_for("New peer other");
    revoked.wait_for("pump refuses us: revoked");
    publisher.wait_for("a new stream has begun");
    publisher.type_line(READING);
    other.wait_for(READING);
    assert!(revoked.stdout().is_empty(), "{}", revoked.output());
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
    let pair = Pair::pinned();
    let attacker = Eavesdropper::listen(&broker);
    let mut publisher = typing(pair.publisher(), &broker, "strict");
    let subscriber = reading(pair.subscriber(), &broker, "strict");
    for number in 0..3 {
        publisher.type_line(&number.to_string());
    }
    subscriber.wait_for_line(|line| line == "2", PATIENCE);
    let heard = attacker.heard();
    for kind in ["hello", "in", "to", "keys", "tick"] {
        assert!(heard.iter().any(|message| message.is(kind)), "no {kind} was heard");
    }
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
    let subscriber = reading(pair.subscriber(), &broker, "strict");
    subscriber.wait_for("Listening for encrypted messages...");
    publisher.type_line("5");
    subscriber.wait_for_line(|line| line == "5", PATIENCE);
    publisher.close_input();
    assert_eq!(publisher.wait_exit(PATIENCE), 0, "{}", publisher.output());
}
