use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Setup};
use crate::eavesdropper::{Eavesdropper, Heard};
use crate::parties::{KEYED, Party, RAW, conversation, introduced, reading, readings};
use crate::process::{PATIENCE, Running};

/// Ticks tell what is missing; these come often.
const TICKS: [&str; 2] = ["--tick-every", "300ms"];

/// The numbers of the readings that a subscriber with `-F "%c %p"` has shown, each checked against its payload.
fn shown(subscriber: &Running) -> Vec<usize> {
    let number = |line: &String| {
        let (number, payload) = line.split_once(' ').unwrap();
        let number = number.parse().unwrap();
        assert_eq!(payload, reading(number));
        number
    };
    subscriber.stdout().iter().map(number).collect()
}

/// The numbers in `Missing: ward-7 "telemetry/ward-7" 3..5, not received`.
fn missing(subscriber: &Running) -> BTreeSet<usize> {
    let stderr = subscriber.stderr();
    let spans =
        stderr.iter().filter_map(|line| line.strip_prefix("[Subscriber] Missing: ward-7 \"telemetry/ward-7\" "));
    spans
        .flat_map(|span| {
            let (from, last) = span.split_once(',').unwrap().0.split_once("..").unwrap();
            from.parse::<usize>().unwrap()..=last.parse::<usize>().unwrap()
        })
        .collect()
}

fn is_frame(heard: &Heard) -> bool {
    heard.topic == "telemetry/ward-7"
}

/// This promise: no reading twice, and what did not arrive is reported.
#[test]
fn a_broker_restarted_under_load_costs_nothing_unseen() {
    // They fit into the pipe to the publisher.
    const COUNT: usize = 2_000;
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let (publisher, subscriber) = introduced();
    let eavesdropper = Eavesdropper::listen(&broker);
    let as_json = Party::subscriber("archive");
    publisher.knows(&as_json);
    as_json.knows(&publisher);
    let mut as_json = as_json.at(&broker).args(["--output", "json"]).start();
    as_json.wait_for("Connected to broker");
    let mut reading_on = subscriber.at(&broker).args(["-F", "%c %p"]).start();
    reading_on.wait_for("Connected to broker");
    // With the spool what is lost would be sent again.
    let mut publishing =
        publisher.at(&broker).args(["-l", "--interval", "1ms", "--no-spool"]).args(TICKS).open_input().start();
    publishing.type_line(&readings(0..COUNT).join("\n"));
    let wait_until_past = |number: usize| {
        let is_past = |line: &str| line.split_once(' ').and_then(|(shown, _)| shown.parse().ok()) >= Some(number);
        reading_on.wait_for_line(is_past, PATIENCE);
    };
    for number in [COUNT / 6, COUNT / 3] {
        wait_until_past(number);
        // What a broker that lost its memory may do, too: deliver again what it delivered before.
        for heard in eavesdropper.heard().into_iter().filter(is_frame) {
            eavesdropper.publish(&heard.topic, &heard.payload, false);
        }
        // It has no disk: sessions, queues and retained messages are gone each time.
        broker.restart();
    }
    wait_until_past(COUNT / 2);
    // This time frames are sent to a broker that does not know the subscriber any more.
    reading_on.signal("STOP");
    broker.restart();
    // Heard by one who has not heard anything before: those were sent now, and not only again.
    Eavesdropper::listen(&broker).wait_for_count(50, is_frame, PATIENCE);
    reading_on.signal("CONT");
    let deadline = Instant::now() + PATIENCE;
    while shown(&reading_on).len() + missing(&reading_on).len() < COUNT && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.interrupt(), 0);
    let shown = shown(&reading_on);
    let once: BTreeSet<usize> = shown.iter().copied().collect();
    assert_eq!(once.len(), shown.len(), "a reading was shown twice");
    let missing: BTreeSet<usize> = missing(&reading_on).difference(&once).copied().collect();
    assert!(!missing.is_empty(), "nothing was lost, so nothing was tested");
    let accounted: BTreeSet<usize> = once.union(&missing).copied().collect();
    assert_eq!(accounted, (0..COUNT).collect(), "neither shown nor reported missing");
    assert!(once.len() > COUNT / 2, "only {} arrived", once.len());
    let summary: Vec<String> =
        reading_on.stderr().into_iter().filter(|line| line.contains("Still missing: ")).collect();
    assert_eq!(summary.len(), 1, "{summary:?}");
    assert_eq!(as_json.interrupt(), 0);
    let objects = as_json.stdout().into_iter().map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let (events, readings): (Vec<_>, Vec<_>) = objects.partition(|object| object.get("event").is_some());
    assert!(readings.len() > COUNT / 2, "only {} arrived as JSON", readings.len());
    let told = as_json.stderr().iter().filter(|line| line.contains("Missing: ")).count();
    assert_eq!(events.iter().filter(|event| event["event"] == "missing").count(), told, "as many objects as lines");
}

#[test]
fn programs_started_before_the_broker_find_it() {
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    broker.stop();
    let (publisher, subscriber) = introduced();
    let mut reading_on = subscriber.at(&broker).args(RAW).args(["-C", "1"]).start();
    let mut publishing = publisher.at(&broker).args(["-m", "1"]).start();
    for running in [&reading_on, &publishing] {
        running.wait_for_lines(2, |line| line.contains("trying again in"), PATIENCE);
    }
    broker.start_again();
    assert_eq!(reading_on.wait_exit(PATIENCE), 0);
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
}

#[test]
fn readings_of_an_outage_arrive_after_it() {
    let Some(mut broker) = Setup::new().persistent().start() else { return };
    let (publisher, subscriber) = introduced();
    let (mut publishing, reading_on) =
        conversation(publisher.at(&broker).args(TICKS), subscriber.at(&broker).args(RAW));
    publishing.type_line(&reading(0));
    reading_on.wait_for(&reading(0));
    broker.stop();
    for running in [&reading_on, &publishing] {
        running.wait_for("trying again in");
    }
    // More than the window of publishes under way: the input waits, and nothing is dropped.
    for number in 1..1_000 {
        publishing.type_line(&reading(number));
    }
    broker.start_again();
    reading_on.wait_for(&reading(999));
    publishing.close_input();
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
    assert_eq!(reading_on.stdout(), readings(0..1_000));
}

#[test]
fn a_signal_drains_and_disconnects_cleanly() {
    let broker = Broker::start();
    for signal in ["INT", "TERM"] {
        let eavesdropper = Eavesdropper::listen(&broker);
        let (publisher, subscriber) = introduced();
        let mut reading_on = subscriber.at(&broker).args(["-F", "%c %p"]).start();
        reading_on.wait_for("Connected to broker");
        let file = publisher.state().join("readings.jsonl");
        fs::write(&file, readings(0..200_000).join("\n")).unwrap();
        let mut publishing = publisher.at(&broker).args(["-f", file.to_str().unwrap()]).start();
        reading_on.wait_for_lines(500, |line| line.ends_with('}'), PATIENCE);
        publishing.signal(signal);
        assert_eq!(publishing.wait_exit(PATIENCE), 0);
        assert!(!publishing.output().contains("not acknowledged"), "{}", publishing.output());
        // The broker has had everything: what comes now comes last.
        let marker = Eavesdropper::listen(&broker);
        marker.publish("mark", signal.as_bytes(), false);
        eavesdropper.wait_for(|heard| heard.topic == "mark", PATIENCE);
        let sent = eavesdropper.heard().iter().filter(|heard| is_frame(heard)).count();
        assert!(sent < 200_000, "it went on");
        reading_on.wait_for_lines(sent, |line| line.ends_with('}'), PATIENCE);
        reading_on.signal(signal);
        assert_eq!(reading_on.wait_exit(PATIENCE), 0);
        assert_eq!(shown(&reading_on), (0..sent).collect::<Vec<_>>());
        assert!(!broker.log().contains(&format!("smq-p-{} closed", &publisher.id[..16])), "no DISCONNECT");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let (publisher, subscriber) = introduced();
    let (mut publishing, reading_on) = conversation(publisher.at(&broker), subscriber.at(&broker).args(RAW));
    publishing.type_line(&reading(0));
    reading_on.wait_for(&reading(0));
    broker.stop();
    publishing.wait_for("trying again in");
    publishing.type_line(&reading(1));
    // The first one would wait 10 s for a broker that does not come back.
    let begin = Instant::now();
    while !publishing.has_ended() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{}", publishing.output());
        publishing.signal("INT");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(publishing.wait_exit(PATIENCE), 0);
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let mut reading_on = subscriber.at(&broker).args(RAW).close_stdout_after(3).start();
    reading_on.wait_for("Connected to broker");
    let mut publishing = publisher.at(&broker).args(["-l"]).open_input().start();
    reading_on.wait_for(KEYED);
    let mut number = 0;
    let begin = Instant::now();
    while !reading_on.has_ended() {
        assert!(begin.elapsed() < PATIENCE, "{}", reading_on.output());
        publishing.type_line(&reading(number));
        number += 1;
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(reading_on.wait_exit(PATIENCE), 0);
    assert!(reading_on.stderr().iter().all(|line| line.starts_with("[Subscriber] ")), "{}", reading_on.output());
}

#[test]
fn a_reader_that_stops_reading_costs_no_connection() {
    // Of all that the broker tells, a ping needs this.
    let Some(broker) = Setup::new().line("log_type debug").start() else { return };
    let (publisher, subscriber) = introduced();
    let held = subscriber.at(&broker).args(RAW).args(["--id", "pager", "--keepalive", "5"]).hold_stdout();
    let (mut publishing, mut paging) = conversation(publisher.at(&broker), held);
    // Many times what the pipe and the program hold.
    let lines = readings(0..20_000);
    publishing.feed(lines.join("\n") + "\n");
    let pings = || broker.log().matches("Received PINGREQ from pager").count();
    let begin = Instant::now();
    while pings() < 2 {
        assert!(begin.elapsed() < PATIENCE, "no sign of life: {}", paging.output());
        thread::sleep(Duration::from_millis(50));
    }
    paging.read_stdout(None);
    paging.wait_for_lines(lines.len(), |line| line.starts_with('{'), PATIENCE);
    assert!(paging.stdout() == lines, "in order, and once");
    assert_eq!(broker.log().matches("as pager").count(), 1, "{}", broker.log());
}
