use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{Broker, Setup};
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::parties::{EXCHANGED, KEPT, KEYED, Party, RAW, introduced, reading, readings};
use crate::process::{PATIENCE, Program, Running};
use crate::tail::{LOOK, can_trace, copied, dying_at, end, lines, patient_broker, wait_for_lines, writing};

fn wait_for_the_line(file: &Path, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !lines(file).iter().any(|other| other == line) {
        assert!(Instant::now() < deadline, "{line} is not there");
        thread::sleep(LOOK);
    }
}

/// The lines of a file, whatever their order.
fn sorted(file: &Path) -> Vec<String> {
    let mut lines = lines(file);
    lines.sort();
    lines
}

fn sorted_readings(numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut readings = readings(numbers);
    readings.sort();
    readings
}

/// Both have met, and the publisher has sent the first reading; both have ended.
fn met(publisher: &Party, subscriber: &Party, broker: &Broker, file: &Path) {
    let mut reading_on = writing(subscriber, broker, file).start();
    let mut publishing = publisher.at(broker).args(["-m", &reading(0), "--tick-every", "1s"]).start();
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    publishing.wait_for(EXCHANGED);
    wait_for_lines(file, 1);
    assert_eq!(reading_on.interrupt(), 0);
}

/// Bytes in the spool of a publisher that runs.
fn spooled(publisher: &Party) -> u64 {
    publisher.status()["spool"]["bytes"].as_u64().unwrap()
}

fn piped(publisher: &Party, broker: &Broker) -> Program {
    publisher.at(broker).args(["-l", "--tick-every", "1s"]).open_input()
}

#[test]
fn what_the_broker_drops_from_a_full_queue_arrives_all_the_same() {
    const COUNT: usize = 5_000;
    // Mosquitto's default: after a thousand it acknowledges and drops.
    let Some(broker) = Setup::new().line("max_queued_messages 1000").start() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let mut publishing = piped(&publisher, &broker).start();
    publishing.wait_for(KEPT);
    publishing.type_line(&readings(1..COUNT).join("\n"));
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    // It was away all the time; the publisher is there again, and may be asked.
    let mut publishing = piped(&publisher, &broker).start();
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    wait_for_lines(&file, COUNT);
    assert_eq!(reading_on.interrupt(), 0);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(sorted(&file), sorted_readings(0..COUNT), "each once");
}

#[test]
fn a_broker_that_forgets_everything_loses_nothing() {
    const COUNT: usize = 500;
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let mut publishing = piped(&publisher, &broker).start();
    publishing.wait_for(KEPT);
    publishing.type_line(&readings(1..COUNT).join("\n"));
    let eavesdropper = Eavesdropper::listen(&broker);
    publishing.type_line(&reading(COUNT));
    eavesdropper.wait_for(|heard| heard.topic == "telemetry/ward-7", PATIENCE);
    broker.kill();
    broker.start_again();
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    wait_for_lines(&file, COUNT + 1);
    assert_eq!(reading_on.interrupt(), 0);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(sorted(&file), sorted_readings(0..COUNT + 1));
}

#[test]
fn what_was_taken_while_the_broker_was_away_survives_a_kill() {
    const COUNT: usize = 300;
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let mut publishing = piped(&publisher, &broker).start();
    publishing.wait_for(KEPT);
    broker.kill();
    publishing.type_line(&readings(1..COUNT).join("\n"));
    let size = || fs::metadata(publisher.state().join("state.redb")).unwrap().len();
    let deadline = Instant::now() + PATIENCE;
    let mut last = (size(), Instant::now());
    // Taken, sealed and stored: the file has stood still for a while.
    while last.1.elapsed() < Duration::from_secs(2) {
        assert!(Instant::now() < deadline);
        thread::sleep(LOOK);
        if size() != last.0 {
            last = (size(), Instant::now());
        }
    }
    publishing.signal("KILL");
    publishing.wait_exit(PATIENCE);
    broker.start_again();
    // The broker has forgotten it: what is published before it has subscribed again would come late.
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for(KEYED);
    let mut publishing = piped(&publisher, &broker).start();
    wait_for_lines(&file, COUNT);
    publishing.type_line(&reading(COUNT));
    wait_for_lines(&file, COUNT + 1);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(lines(&file), readings(0..COUNT + 1), "in order, too");
}

#[test]
fn it_dies_at_any_durable_write_and_what_was_stored_goes_out() {
    if !can_trace() {
        return;
    }
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    reading_on.wait_for("Connected to broker");
    let mut typed = 1;
    let mut killed = 0;
    for write in 1..=12 {
        // A rotation every second: its writes are among those that it dies at.
        let program = piped(&publisher, &broker).args(["--rotate-every", "1s"]);
        let mut dying = dying_at(program, "fdatasync,fsync", write);
        let deadline = Instant::now() + Duration::from_secs(3);
        while !dying.has_ended() && Instant::now() < deadline {
            dying.try_type_line(&reading(typed));
            typed += 1;
            thread::sleep(Duration::from_millis(30));
        }
        killed += usize::from(dying.has_ended());
        end(dying, &publisher, "INT");
    }
    assert!(killed >= 6, "only {killed} of 12 died at a write");
    let mut publishing = piped(&publisher, &broker).start();
    publishing.type_line(&reading(typed));
    wait_for_the_line(&file, &reading(typed));
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.interrupt(), 0);
    let lines = lines(&file);
    let numbers: Vec<usize> = lines.iter().map(|line| number(line)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "each once, and in order: {numbers:?}");
    assert!(numbers.len() > killed, "something came through each time");
}

/// The number of a reading.
fn number(line: &str) -> usize {
    let digits = line.split(|char: char| !char.is_ascii_digit()).find(|part| !part.is_empty());
    digits.unwrap().parse().unwrap()
}

#[test]
fn a_reading_a_minute_from_cron_needs_one_handshake_in_all() {
    const COUNT: usize = 40;
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    let eavesdropper = Eavesdropper::listen(&broker);
    met(&publisher, &subscriber, &broker, &file);
    for n in 1..COUNT {
        let mut publishing = publisher.at(&broker).args(["-m", &reading(n)]).start();
        assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    }
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    wait_for_lines(&file, COUNT);
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(lines(&file), readings(0..COUNT));
    let is_request = |heard: &&Heard| heard.is("in") && heard.payload.first() == Some(&0x12);
    assert_eq!(eavesdropper.heard().iter().filter(is_request).count(), 1);
}

#[test]
fn confirmed_means_stored_by_every_subscriber() {
    let Some(broker) = patient_broker() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let publish = |n: usize, patience: &str| {
        let mut publishing = publisher.at(&broker).args(["-m", &reading(n), "--confirm", patience]).start();
        (publishing.wait_exit(PATIENCE), publishing.output())
    };
    let (exit, output) = publish(1, "2s");
    assert_eq!(exit, 75, "nobody was there: {output}");
    assert!(output.contains("not confirmed within 2s: station \"telemetry/ward-7\" 0..0"), "{output}");
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    let (exit, output) = publish(2, "20s");
    assert_eq!(exit, 0, "{output}");
    // When it has said so, it is on the disk.
    assert_eq!(lines(&file), readings(0..3));
    assert_eq!(reading_on.interrupt(), 0);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for flag in ["--no-spool", "-q0"] {
        let mut refused = Program::publisher().args(["-m", "1", "--confirm", "1s", flag]).start();
        assert_eq!(refused.wait_exit(PATIENCE), 2, "{}", refused.output());
        refused.wait_for("--confirm needs the spool");
    }
}

#[test]
fn a_signal_keeps_what_a_broker_did_not_take_for_the_next_start() {
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let mut publishing = piped(&publisher, &broker).start();
    publishing.wait_for(KEPT);
    broker.kill();
    publishing.wait_for("trying again");
    // Without a broker nothing leaves the spool: what it grows by is the line.
    let before = spooled(&publisher);
    publishing.type_line(&reading(1));
    let deadline = Instant::now() + PATIENCE;
    while spooled(&publisher) == before {
        assert!(Instant::now() < deadline, "the line is not taken");
        thread::sleep(LOOK);
    }
    publishing.signal("TERM");
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    publishing.wait_for("they are kept, and the next start sends them");
    broker.start_again();
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    let mut publishing = piped(&publisher, &broker).start();
    publishing.type_line(&reading(2));
    wait_for_lines(&file, 3);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.interrupt(), 0);
    // The subscriber may have come when the first was gone already: then it asked for it.
    assert_eq!(sorted(&file), readings(0..3));
}

#[test]
fn of_two_publishers_on_copies_of_one_state_one_ends_with_76() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let copy = directory.path().join("copy");
    copied(&publisher, &copy);
    // Another client id: the broker would let only one of them in otherwise, which ends both sooner or later.
    let mut one = piped(&publisher, &broker).start();
    one.wait_for(KEPT);
    let twin = piped(&publisher, &broker).args(["--state-dir", copy.to_str().unwrap(), "-i", "another"]);
    let mut other = twin.start();
    let deadline = Instant::now() + PATIENCE;
    while !one.has_ended() && !other.has_ended() {
        assert!(Instant::now() < deadline, "both go on");
        thread::sleep(LOOK);
    }
    let (mut ended, mut goes_on): (Running, Running) = if one.has_ended() { (one, other) } else { (other, one) };
    assert_eq!(ended.wait_exit(PATIENCE), 76, "{}", ended.output());
    ended.wait_for("another process publishes with our identity");
    let mut reading_on = subscriber.at(&broker).args(RAW).start();
    goes_on.type_line(&reading(7));
    reading_on.wait_for(&reading(7));
    goes_on.close_input();
    assert_eq!(goes_on.wait_exit(PATIENCE), 0, "{}", goes_on.output());
    assert_eq!(reading_on.interrupt(), 0);
}

#[test]
fn a_publisher_restored_from_a_copy_is_noticed_and_goes_on() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let copy = directory.path().join("copy");
    copied(&publisher, &copy);
    let mut reading_on = writing(&subscriber, &broker, &file).start();
    let mut publishing = publisher.at(&broker).args(["-m", &reading(1)]).start();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    wait_for_lines(&file, 2);
    fs::remove_dir_all(publisher.state()).unwrap();
    fs::rename(&copy, publisher.state()).unwrap();
    let mut publishing = piped(&publisher, &broker).start();
    publishing.wait_for("was our state directory restored?");
    publishing.type_line(&reading(2));
    wait_for_lines(&file, 3);
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(lines(&file), readings(0..3));
}

#[test]
fn a_full_spool_lets_a_plant_go_on_and_names_what_was_lost() {
    const COUNT: usize = 2_000;
    let Some(broker) = Setup::new().line("max_queued_messages 100").start() else { return };
    let (publisher, subscriber) = introduced();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("out");
    met(&publisher, &subscriber, &broker, &file);
    let mut publishing = piped(&publisher, &broker).args(["--spool-max", "64KiB"]).start();
    publishing.wait_for(KEPT);
    publishing.type_line(&readings(1..COUNT).join("\n"));
    publishing.wait_for("Lost to station");
    let mut reading_on = subscriber.at(&broker).args(["--output", "json", "-o", file.to_str().unwrap()]).start();
    reading_on.wait_for("Lost: ");
    let deadline = Instant::now() + PATIENCE * 2;
    let count = || {
        let objects = lines(&file);
        let objects: Vec<serde_json::Value> =
            objects.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let lost: u64 = objects.iter().filter(|o| o["event"] == "lost").filter_map(|o| o["count"].as_u64()).sum();
        let readings = objects.iter().filter(|object| object.get("payload").is_some()).count();
        readings + usize::try_from(lost).unwrap()
    };
    while count() < COUNT - 1 {
        assert!(Instant::now() < deadline, "{} of {COUNT} accounted for", count());
        thread::sleep(LOOK * 20);
    }
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0, "{}", publishing.output());
    assert_eq!(reading_on.interrupt(), 0);
    assert_eq!(count(), COUNT - 1, "each reading came once, or was named as lost");
}
