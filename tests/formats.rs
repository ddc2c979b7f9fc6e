use std::fs;

use serde_json::Value;

use crate::broker::Broker;
use crate::parties::{KEYED, Party, RAW, conversation, introduce, introduced, reading, readings};
use crate::process::{PATIENCE, Program, Running};

/// What a subscriber prints of a publisher's whole input.
fn read_all(broker: &Broker, publisher: Program, (count, wanted): (usize, &Party)) -> Vec<String> {
    let count = count.to_string();
    let mut subscriber = wanted.at(broker).args(RAW).args(["-C", &count]).start();
    let mut publisher = publisher.start();
    assert_eq!(subscriber.wait_exit(PATIENCE), 0, "{}", publisher.output());
    assert_eq!(publisher.wait_exit(PATIENCE), 0);
    subscriber.stdout()
}

/// A subscriber that ends with its first reading.
fn first_line(subscriber: Program, flags: &[&str]) -> Running {
    let running = subscriber.args(flags).args(["-C", "1"]).start();
    running.wait_for(KEYED);
    running
}

#[test]
fn every_input_reaches_the_other_side_as_it_is() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let files = publisher.state();
    let lines = readings(0..3);
    let (jsonl, csv) = (files.join("r.jsonl"), files.join("r.csv"));
    fs::write(&jsonl, lines.join("\n")).unwrap();
    fs::write(&csv, "patient_id,temperature,note\n101,36.70,\"a, b\"\n102,37.1,\n").unwrap();

    let with = |arguments: &[&str]| publisher.at(&broker).args(arguments);
    assert_eq!(read_all(&broker, with(&["-m", &lines[0], "--count", "2"]), (2, &subscriber)), [&*lines[0], &*lines[0]]);
    assert_eq!(read_all(&broker, with(&["-f", jsonl.to_str().unwrap()]), (3, &subscriber)), lines);
    let input = with(&["-l"]).input(&lines.join("\n"));
    assert_eq!(read_all(&broker, input, (3, &subscriber)), lines);
    let input = with(&["-l"]).input_file(&jsonl);
    assert_eq!(read_all(&broker, input, (3, &subscriber)), lines);
    let raw = with(&["-l", "--raw"]).input("not json\n");
    assert_eq!(read_all(&broker, raw, (1, &subscriber)), ["not json"]);

    let rows = read_all(&broker, with(&["-f", csv.to_str().unwrap()]), (2, &subscriber));
    let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows[0]["patient_id"], 101);
    assert_eq!(rows[0]["temperature"], 36.7);
    assert_eq!(rows[0]["note"], "a, b");
    assert_eq!(rows[1]["patient_id"], 102);
}

#[test]
fn a_line_that_is_not_json_is_named_and_skipped() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let mut reader = subscriber.at(&broker).args(RAW).args(["-C", "2"]).start();
    let mut writer = publisher.at(&broker).args(["-l"]).input("1\nnot json\n3\n").start();
    assert_eq!(reader.wait_exit(PATIENCE), 0);
    assert_eq!(reader.stdout(), ["1", "3"]);
    assert_eq!(writer.wait_exit(PATIENCE), 65);
    writer.wait_for("stdin:2: not JSON");
}

#[test]
fn each_output_says_the_same_in_its_own_way() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let others = ["two", "three", "four"].map(|name| {
        let other = Party::subscriber(name);
        introduce(&publisher, &other);
        other
    });
    let (mut writer, mut demo) = conversation(publisher.at(&broker), subscriber.at(&broker).args(["-v", "-C", "1"]));
    let mut json = first_line(others[0].at(&broker), &["--output", "json"]);
    let mut raw = first_line(others[1].at(&broker), &["--output", "raw", "-v"]);
    let mut format = first_line(others[2].at(&broker), &["-F", "%t|%p|%l|%q%r|%n|%k|%c"]);
    writer.type_line(&reading(7));
    for running in [&mut demo, &mut json, &mut raw, &mut format] {
        assert_eq!(running.wait_exit(PATIENCE), 0);
    }

    let (text, topic) = (reading(7), "telemetry/ward-7");
    let shown = demo.wait_for("[Decrypted]");
    assert!(shown.starts_with(&format!("[Decrypted] {topic} {text} (Decryption Time: ")), "{shown}");
    // Everything but demo keeps stdout to itself.
    assert_eq!(raw.stdout(), [format!("{topic} {text}")]);
    let length = text.len();
    assert_eq!(format.stdout(), [format!("{topic}|{text}|{length}|10|ward-7|{}|0", publisher.fingerprint)]);
    let [object] = &json.stdout()[..] else { panic!("{}", json.output()) };
    let object: Value = serde_json::from_str(object).unwrap();
    let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["tst", "topic", "qos", "retain", "publisher", "fingerprint", "stream", "seq", "decrypt_us", "payload"];
    assert_eq!(keys, expected);
    assert_eq!((&object["topic"], &object["qos"], &object["retain"]), (&topic.into(), &1.into(), &false.into()));
    assert_eq!((&object["publisher"], &object["seq"]), (&"ward-7".into(), &0.into()));
    assert_eq!(object["fingerprint"], publisher.fingerprint.as_str());
    assert_eq!(object["payload"], serde_json::from_str::<Value>(&text).unwrap());
    assert!(object["decrypt_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_file_takes_the_readings_of_several_runs() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let file = subscriber.state().join("readings");
    for run in 0..2 {
        let out = ["-o", file.to_str().unwrap(), "-C", "2"];
        let mut reader = subscriber.at(&broker).args(RAW).args(out).start();
        let input = readings(2 * run..2 * run + 2).join("\n");
        let mut writer = publisher.at(&broker).args(["-l"]).input(&input).start();
        assert_eq!((reader.wait_exit(PATIENCE), writer.wait_exit(PATIENCE)), (0, 0), "{}", reader.output());
        assert!(reader.stdout().is_empty());
    }
    assert_eq!(fs::read_to_string(file).unwrap().lines().collect::<Vec<_>>(), readings(0..4));
}

#[test]
fn filters_leave_out_topics_and_publishers() {
    let broker = Broker::start();
    let subscriber = Party::subscriber("station");
    let flags = ["-t", "a/+", "-t", "b", "-T", "a/no", "-C", "2", "-v"];
    let readings = [("one", "a/no"), ("other", "a/yes"), ("two", "elsewhere"), ("three", "a/yes"), ("four", "b")];
    let publishers = readings.map(|(name, topic)| (Party::publisher(name), topic));
    for (publisher, _) in &publishers {
        introduce(publisher, &subscriber);
    }
    let wanted = ["one", "two", "three", "four"].iter().flat_map(|name| ["--from", name]);
    let mut reader = subscriber.at(&broker).args(RAW).args(flags).args(wanted).start();
    reader.wait_for("Connected to broker");
    for (publisher, topic) in publishers {
        let text = format!("\"{}\"", publisher.name);
        let mut running = publisher.at(&broker).args(["-t", topic, "-m", &text]).start();
        assert_eq!(running.wait_exit(PATIENCE), 0, "{}", running.output());
    }
    assert_eq!(reader.wait_exit(PATIENCE), 0);
    assert_eq!(reader.stdout(), ["a/yes \"three\"", "b \"four\""]);
}

#[test]
fn retained_readings_are_marked_or_left_out() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let [late, later] = ["late", "later"].map(Party::subscriber);
    introduce(&publisher, &late);
    introduce(&publisher, &later);
    let json = ["--output", "json", "-C", "1"];
    let mut live = subscriber.at(&broker).args(json).start();
    live.wait_for("Connected to broker");
    let mut writer = publisher.at(&broker).args(["-r", "-l"]).open_input().start();
    writer.type_line(&reading(1));
    assert_eq!(live.wait_exit(PATIENCE), 0);
    assert!(live.stdout()[0].contains("\"retain\":false"), "{}", live.output());

    let mut without = late.at(&broker).args(RAW).args(["-R", "-C", "1"]).start();
    without.wait_for(KEYED);
    writer.type_line(&reading(2));
    assert_eq!(without.wait_exit(PATIENCE), 0);
    assert_eq!(without.stdout(), [reading(2)]);

    // Another one: the first has read it.
    let mut with = later.at(&broker).args(json).start();
    assert_eq!(with.wait_exit(PATIENCE), 0, "{}", writer.output());
    let line = with.stdout().remove(0);
    assert!(line.contains("\"retain\":true") && line.contains("\"n\":2"), "{line}");
}

#[test]
fn a_time_out_has_its_own_exit_code() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let (mut writer, mut reader) =
        conversation(publisher.at(&broker), subscriber.at(&broker).args(RAW).args(["-C", "2", "-W", "3"]));
    writer.type_line(&reading(0));
    assert_eq!(reader.wait_exit(PATIENCE), 75);
    assert_eq!(reader.stdout(), [reading(0)]);
    reader.wait_for("1 of 2 readings");
}
