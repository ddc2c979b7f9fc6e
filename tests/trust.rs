use crate::broker::Broker;
use crate::parties::{EXCHANGED, KEPT, KEYED, Party, RAW, introduced};
use crate::process::{PATIENCE, Program, Running};

/// A publisher of `1` and a subscriber that ends with it.
fn start(publisher: Program, subscriber: Program) -> (Running, Running) {
    let subscriber = subscriber.args(["-C", "1"]).start();
    (publisher.args(["-m", "1"]).start(), subscriber)
}

/// Both end well, and the reading is there.
fn is_read((mut publisher, mut subscriber): (Running, Running)) {
    assert_eq!(subscriber.wait_exit(PATIENCE), 0, "{}", publisher.output());
    assert_eq!(publisher.wait_exit(PATIENCE), 0);
    let said = publisher.output();
    assert!(said.contains(EXCHANGED) || said.contains(KEPT), "{said}");
    subscriber.wait_for(KEYED);
}

#[test]
fn pins_by_peers_add_are_enough_in_strict_mode() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let strict = ["--trust", "strict"];
    let (publisher, subscriber) =
        start(publisher.at(&broker).args(strict), subscriber.at(&broker).args(strict).args(RAW));
    let shown = subscriber.wait_for("1");
    is_read((publisher, subscriber));
    assert!(!shown.is_empty());
}

#[test]
fn pins_by_fingerprint_are_enough_in_strict_mode_and_remembered() {
    let broker = Broker::start();
    let (publisher, subscriber) = (Party::publisher("p"), Party::subscriber("s"));
    let pinned = |party: &Party, other: &Party, name: &str| {
        let pin = format!("{name}={}", other.fingerprint);
        party.at(&broker).args(["--trust", "strict", "--peer", &pin])
    };
    // Each calls the other as it likes, whatever the other calls itself.
    is_read(start(pinned(&publisher, &subscriber, "hall"), pinned(&subscriber, &publisher, "bed-3")));
    assert_eq!(publisher.command(&["peers", "list"]), [format!("hall  {}", subscriber.fingerprint)]);
    assert_eq!(subscriber.command(&["peers", "list"]), [format!("bed-3  {}", publisher.fingerprint)]);
    // From now on it is in the file.
    is_read(start(publisher.at(&broker), subscriber.at(&broker)));
}

#[test]
fn a_fingerprint_of_somebody_else_lets_nobody_in() {
    let broker = Broker::start();
    let (publisher, subscriber, other) = (Party::publisher("p"), Party::subscriber("s"), Party::publisher("other"));
    publisher.knows(&subscriber);
    let pin = format!("p={}", other.fingerprint);
    let reading = subscriber.at(&broker).args(["--peer", &pin, "-W", "3"]);
    let (_publisher, mut reading) = start(publisher.at(&broker), reading);
    assert_eq!(reading.wait_exit(PATIENCE), 77);
    assert!(!reading.output().contains("[Decrypted]"), "{}", reading.output());
}

#[test]
fn a_pin_that_is_added_while_both_run_is_noticed() {
    let broker = Broker::start();
    let (publisher, subscriber) = (Party::publisher("p"), Party::subscriber("s"));
    publisher.knows(&subscriber);
    let ticks = ["--tick-every", "300ms"];
    let (publishing, reading) = start(publisher.at(&broker).args(ticks), subscriber.at(&broker));
    // The very command that it is told to run.
    let advice = reading.wait_for("to trust it: mqtt-subscriber peers add p ");
    let words: Vec<&str> = advice.split_once("mqtt-subscriber ").unwrap().1.split(' ').collect();
    subscriber.command(&words);
    is_read((publishing, reading));
}

#[test]
fn accept_new_remembers_whoever_comes_first() {
    let broker = Broker::start();
    let (publisher, subscriber) = (Party::publisher("p"), Party::subscriber("s"));
    let accept = ["--trust", "accept-new"];
    let (publishing, reading) = start(publisher.at(&broker).args(accept), subscriber.at(&broker).args(accept));
    publishing.wait_for(&format!("New peer s {} (first contact: remembered)", subscriber.fingerprint));
    reading.wait_for(&format!("New peer p {} (first contact: remembered)", publisher.fingerprint));
    is_read((publishing, reading));
    // Strict, as without a terminal.
    is_read(start(publisher.at(&broker), subscriber.at(&broker)));
}

/// Both in a terminal, both asking.
fn asked(broker: &Broker, publisher: &Party, subscriber: &Party) -> (Running, Running) {
    let ask = ["--trust", "ask"];
    start(publisher.at(broker).args(ask).terminal(), subscriber.at(broker).args(ask).terminal())
}

fn question(other: &Party) -> String {
    format!("Trust {} {} ? [y/N] ", other.name, other.fingerprint)
}

#[test]
fn a_yes_on_both_terminals_is_remembered() {
    let broker = Broker::start();
    let (publisher, subscriber) = (Party::publisher("p"), Party::subscriber("s"));
    let (mut publishing, mut reading) = asked(&broker, &publisher, &subscriber);
    // The publisher's side comes first: before its yes there is no proof of who it is.
    publishing.wait_for(&question(&subscriber));
    publishing.type_line("yes");
    reading.wait_for(&question(&publisher));
    reading.type_line("y");
    publishing.wait_for(&format!("New peer s {} (accepted: remembered)", subscriber.fingerprint));
    is_read((publishing, reading));
    is_read(start(publisher.at(&broker), subscriber.at(&broker)));
}

#[test]
fn a_no_at_the_subscriber_keeps_the_publisher_out() {
    let broker = Broker::start();
    let (publisher, subscriber) = (Party::publisher("p"), Party::subscriber("s"));
    publisher.knows(&subscriber);
    let ask = ["--trust", "ask", "-W", "3"];
    let (publishing, mut reading) = start(publisher.at(&broker), subscriber.at(&broker).args(ask).terminal());
    reading.wait_for(&question(&publisher));
    reading.type_line("n");
    reading.wait_for(&format!("Refused p {}", publisher.fingerprint));
    assert_eq!(reading.wait_exit(PATIENCE), 77);
    assert!(!publishing.output().contains(EXCHANGED), "{}", publishing.output());
    assert!(subscriber.command(&["peers", "list"]).is_empty());
}

#[test]
fn a_no_at_the_publisher_keeps_the_subscriber_out_and_says_so() {
    let broker = Broker::start();
    let (publisher, subscriber) = (Party::publisher("p"), Party::subscriber("s"));
    subscriber.knows(&publisher);
    let ask = ["--trust", "ask"];
    let (mut publishing, mut reading) =
        start(publisher.at(&broker).args(ask).terminal(), subscriber.at(&broker).args(["-W", "5"]));
    publishing.wait_for(&question(&subscriber));
    reading.wait_for("p refuses us: its operator is being asked; waiting");
    publishing.type_line("n");
    publishing.wait_for(&format!("Refused s {}", subscriber.fingerprint));
    reading.wait_for("p refuses us: not authorised; its operator said no");
    assert_eq!(reading.wait_exit(PATIENCE), 77);
    assert_eq!(publishing.interrupt(), 77);
    assert!(publisher.command(&["peers", "list"]).is_empty());
}
