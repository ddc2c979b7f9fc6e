use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::attacks::{FAST, READING, TICKS, assert_told_of_changed_key, reading, typing};
use crate::broker::Broker;
use crate::parties::{EXCHANGED, KEYED, Party, RAW, conversation, introduced};
use crate::process::{PATIENCE, Running};

/// What a message offers as the remedy, run by the party that it was told to.
fn run_offered(party: &Party, told: &Running, offer: &str) {
    let line = told.wait_for(offer);
    let words: Vec<&str> = line.split(offer).nth(1).unwrap().split_ascii_whitespace().collect();
    assert!(words[0] == "mqtt-publisher" || words[0] == "mqtt-subscriber", "{line}");
    party.command(&words[1..]);
}

/// The modes in which a changed key must be refused, and the one in which the remedy is tried: `ask` needs a terminal.
const MODES: [(&str, &str); 3] = [("strict", "strict"), ("ask", "strict"), ("accept-new", "accept-new")];

#[test]
fn a_publisher_with_a_changed_key_is_refused_until_it_is_replaced() {
    for (trust, afterwards) in MODES {
        let broker = Broker::start();
        let (ward, station) = introduced();
        let changed = Party::publisher(&ward.name);
        changed.knows(&station);
        let program = station.at(&broker).args(RAW).args(["--trust", trust]);
        let mut subscriber = if trust == "ask" { program.terminal().start() } else { program.start() };
        let mut publisher = typing(changed.at(&broker), "strict");
        publisher.type_line(READING);
        assert_told_of_changed_key(&subscriber, &ward.name, &ward.fingerprint, &changed.fingerprint);
        assert!(!subscriber.output().contains(READING), "{}", subscriber.output());

        run_offered(&station, &subscriber, "if the change is genuine: ");
        // Its state directory is free when it has ended.
        subscriber.interrupt();
        reading(station.at(&broker), afterwards).wait_for(READING);
    }
}

#[test]
fn a_subscriber_with_a_changed_key_is_refused_until_it_is_replaced() {
    for (trust, afterwards) in MODES {
        let broker = Broker::start();
        let (ward, station) = introduced();
        let changed = Party::subscriber(&station.name);
        changed.knows(&ward);
        let program = ward.at(&broker).args(["-l", "--trust", trust]).args(FAST);
        let mut publisher = if trust == "ask" { program.terminal().start() } else { program.open_input().start() };
        let mut subscriber = reading(changed.at(&broker), "strict");
        assert_told_of_changed_key(&publisher, &station.name, &station.fingerprint, &changed.fingerprint);
        subscriber.wait_for("ward-7 refuses us: not authorised");

        run_offered(&ward, &publisher, "if the change is genuine: ");
        // Their state directories are free when they have ended.
        subscriber.interrupt();
        publisher.interrupt();
        let mut publisher = typing(ward.at(&broker), afterwards);
        publisher.type_line(READING);
        reading(changed.at(&broker), "strict").wait_for(READING);
    }
}

#[test]
fn an_unknown_subscriber_is_told_so_and_the_publisher_how_to_add_it() {
    let broker = Broker::start();
    let (ward, station) = (Party::publisher("ward-7"), Party::subscriber("station"));
    station.knows(&ward);
    let mut publisher = typing(ward.at(&broker), "strict");
    publisher.type_line(READING);
    let mut subscriber = reading(station.at(&broker).args(["-C", "1", "-W", "3"]), "strict");
    subscriber.wait_for("ward-7 refuses us: it does not know us; at the publisher, run `mqtt-publisher peers add`");
    publisher.wait_for(&format!("Refused station {}: not a known peer", station.fingerprint));
    assert_eq!(subscriber.wait_exit(PATIENCE), 77, "{}", subscriber.output());

    run_offered(&ward, &publisher, "to trust it: ");
    // Asked too early, it would refuse once more, and be asked again half a minute later.
    sleep(TICKS);
    reading(station.at(&broker), "strict").wait_for(READING);
}

#[test]
fn a_revoked_subscriber_is_told_and_reads_no_further_while_the_others_do() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let mut publisher = typing(ward.at(&broker).env("SECUREMQTT_LOG", "info"), "accept-new");
    let revoked = reading(station.at(&broker), "strict");
    let other = reading(Party::subscriber("other").at(&broker), "accept-new");
    for reader in [&revoked, &other] {
        reader.wait_for(KEYED);
    }
    publisher.wait_for("New peer other");
    publisher.type_line("1");
    for reader in [&revoked, &other] {
        reader.wait_for_line(|line| line == "1", PATIENCE);
    }

    ward.command(&["peers", "revoke", &station.name]);
    revoked.wait_for("ward-7 refuses us: revoked");
    // As soon as the others have the next stream's key.
    publisher.wait_for("a new stream has begun");
    publisher.type_line("2");
    other.wait_for_line(|line| line == "2", PATIENCE);
    // What crossed the broker meanwhile reached it too.
    publisher.type_line("3");
    other.wait_for_line(|line| line == "3", PATIENCE);
    assert_eq!(revoked.stdout(), ["1"]);

    drop(revoked);
    let mut again = reading(station.at(&broker).args(["-C", "1", "-W", "2"]), "strict");
    assert_eq!(again.wait_exit(PATIENCE), 77, "{}", again.output());
    again.wait_for("ward-7 refuses us: revoked");
    publisher.wait_for(&format!("Refused station {}: revoked", station.fingerprint));
}

#[test]
fn a_hang_up_reads_known_peers_again_and_ends_nothing() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let mut publisher = ward.at(&broker).args(["-l"]).open_input().start();
    let reading_on = station.at(&broker).args(RAW).start();
    publisher.wait_for(EXCHANGED);
    let told = |running: &Running, times| {
        running.wait_for_lines(times, |line| line.contains("the known peers stay as they were"), PATIENCE);
    };
    for (party, running) in [(&ward, &publisher), (&station, &reading_on)] {
        let file = party.state().join("known_peers");
        let before = fs::read(&file).unwrap();
        fs::write(&file, b"nonsense\n").unwrap();
        // Once for the change; then only when asked.
        told(running, 1);
        running.signal("HUP");
        told(running, 2);
        fs::write(&file, before).unwrap();
        running.signal("HUP");
    }
    publisher.type_line(READING);
    reading_on.wait_for(READING);
    publisher.close_input();
    assert_eq!(publisher.wait_exit(PATIENCE), 0, "{}", publisher.output());
}

/// Writes the file where it stands, or puts another in its place.
fn edit(file: &Path, text: &str, in_place: bool) {
    let beside = file.with_extension("new");
    fs::write(if in_place { file } else { &beside }, text).unwrap();
    if !in_place {
        fs::rename(beside, file).unwrap();
    }
}

/// How soon an edit by hand takes effect where the file can be watched.
const AT_ONCE: Duration = Duration::from_secs(3);
/// A publisher that says nothing by itself: nothing else wakes either side.
const QUIET: [&str; 2] = ["--tick-every", "1h"];

/// Whether the known peers of a program with a debug log are on a file system that cannot be watched.
fn is_unwatched(running: &Running) -> bool {
    running.output().contains("it is looked at every")
}

#[test]
fn an_edit_by_hand_takes_effect_at_once_with_nothing_else_to_wake_for() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let talkative = station.at(&broker).env("SECUREMQTT_LOG", "securemqtt_client=debug").args(RAW);
    let (_publisher, subscriber) = conversation(ward.at(&broker).args(QUIET), talkative);
    if is_unwatched(&subscriber) {
        return;
    }
    let file = station.state().join("known_peers");
    let good = fs::read_to_string(&file).unwrap();
    // Several in a row: a look every ten seconds would be late for most.
    for round in 1..=3 {
        let in_place = round != 2;
        edit(&file, "nonsense\n", in_place);
        subscriber.wait_for_lines(round, |line| line.contains("the known peers stay as they were"), AT_ONCE);
        if !in_place {
            fs::remove_file(&file).unwrap();
        }
        edit(&file, &good, in_place);
        // Until it is read: nobody says so.
        sleep(Duration::from_millis(500));
    }
    let publishers = || station.status()["publishers"].as_array().unwrap().len();
    assert_eq!(publishers(), 1);
    edit(&file, &format!("@revoked {good}"), false);
    let changed = Instant::now();
    while publishers() > 0 {
        assert!(changed.elapsed() < AT_ONCE, "the revoked publisher is still there");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_subscriber_revoked_by_hand_is_told_at_once() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let talkative = ward.at(&broker).env("SECUREMQTT_LOG", "securemqtt_client=debug").args(QUIET);
    let (publisher, subscriber) = conversation(talkative, station.at(&broker).args(RAW));
    if is_unwatched(&publisher) {
        return;
    }
    let file = ward.state().join("known_peers");
    let good = fs::read_to_string(&file).unwrap();
    edit(&file, &format!("@revoked {good}"), true);
    subscriber.wait_for_line(|line| line.contains("ward-7 refuses us: revoked"), AT_ONCE);
}

#[test]
fn a_peer_revoked_just_before_another_is_remembered_is_revoked() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let slow = ["-l", "--trust", "accept-new", "--tick-every", "2s"];
    let publisher = ward.at(&broker).env("SECUREMQTT_LOG", "info").args(slow);
    let mut publisher = publisher.open_input().start();
    let revoked = reading(station.at(&broker), "strict");
    revoked.wait_for(KEYED);
    publisher.wait_for("ECDH key exchange completed");
    ward.command(&["peers", "revoke", &station.name]);
    // The publisher writes known_peers before it next looks at it.
    let other = reading(Party::subscriber("other").at(&broker), "accept-new");
    other.wait_for(KEYED);
    publisher.wait_for("New peer other");
    revoked.wait_for("ward-7 refuses us: revoked");
    publisher.wait_for("a new stream has begun");
    publisher.type_line(READING);
    other.wait_for(READING);
    assert!(revoked.stdout().is_empty(), "{}", revoked.output());
}
