use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::parties::{Party, RAW, conversation, introduced, reading};
use crate::process::{PATIENCE, Running};
use crate::tail::{can_trace, dying_with_slow};

/// What `status` prints behind a label.
fn field(party: &Party, label: &str) -> String {
    let lines = party.command(&["status"]);
    let value = lines.iter().find_map(|line| Some(line.strip_prefix(label)?.trim().to_owned()));
    value.unwrap_or_else(|| panic!("no {label} in {lines:?}"))
}

fn socket(party: &Party) -> PathBuf {
    party.state().join("control")
}

#[test]
fn both_say_how_things_stand_while_they_run_and_afterwards() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let (mut publisher, mut subscriber) = conversation(ward.at(&broker), station.at(&broker).args(RAW));
    publisher.type_line(&reading(0));
    subscriber.wait_for(&reading(0));

    let of_ward = ward.status();
    let address = format!("mqtt://127.0.0.1:{}", broker.port());
    for (status, party, running) in [(&of_ward, &ward, &publisher), (&station.status(), &station, &subscriber)] {
        assert_eq!((&status["running"], &status["connected"]), (&json!(true), &json!(true)), "{status}");
        assert_eq!((&status["pid"], &status["broker"]), (&json!(running.pid()), &json!(address)), "{status}");
        assert_eq!((&status["name"], &status["fingerprint"]), (&json!(party.name), &json!(party.fingerprint)));
        assert_eq!(status["state_dir"], json!(party.state()));
        assert!(status["since"].as_str().unwrap().ends_with('Z'), "{status}");
        let metadata = fs::metadata(socket(party)).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let confirmed = json!([{ "name": station.name, "fingerprint": station.fingerprint, "confirmed": true }]);
    assert_eq!(of_ward["subscribers"], confirmed);
    assert_eq!((&of_ward["generation"], &of_ward["counters"]["grants"]), (&json!(0), &json!(1)), "{of_ward}");
    assert_eq!(of_ward["run"].as_str().unwrap().len(), 10);
    let of_station = station.status();
    let keyed = json!([{ "name": ward.name, "fingerprint": ward.fingerprint, "keyed": true, "silent": false }]);
    assert_eq!(of_station["publishers"], keyed);
    assert_eq!((&of_station["counters"]["delivered"], &of_station["parked"]), (&json!(1), &json!(0)), "{of_station}");

    assert_eq!(field(&ward, "running"), "yes");
    assert_eq!(field(&ward, "stream"), of_ward["stream"].to_string());
    assert_eq!(field(&ward, "subscribers"), format!("station  {}  confirmed", station.fingerprint));
    assert_eq!(field(&station, "publishers"), format!("ward-7  {}  keyed  not silent", ward.fingerprint));

    assert_eq!((publisher.interrupt(), subscriber.interrupt()), (0, 0));
    for party in [&ward, &station] {
        assert!(!socket(party).exists());
        let status = party.status();
        assert_eq!((&status["running"], &status["peers"]), (&json!(false), &json!(1)), "{status}");
        assert_eq!((&status["name"], &status["fingerprint"]), (&json!(party.name), &json!(party.fingerprint)));
        assert_eq!(field(party, "running"), "no");
    }
    assert!(station.status()["state_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_broker_that_is_away_is_told() {
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let station = Party::subscriber("station");
    let subscriber = station.at(&broker).start();
    subscriber.wait_for("Connected to broker");
    assert_eq!(station.status()["connected"], json!(true));
    broker.stop();
    subscriber.wait_for("trying again in");
    assert_eq!(station.status()["connected"], json!(false));
    assert_eq!(field(&station, "connected"), "no");
}

#[test]
fn a_running_publisher_rotates_and_is_read_on() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let json = ["--output", "json"];
    let talkative = ward.at(&broker).env("SECUREMQTT_LOG", "info");
    let (mut publisher, subscriber) = conversation(talkative, station.at(&broker).args(json));
    let stream_of = |publisher: &mut Running, number: usize| {
        publisher.type_line(&reading(number));
        let line = subscriber.wait_for(&format!("\"n\":{number},"));
        serde_json::from_str::<Value>(&line).unwrap()["stream"].clone()
    };
    let old = stream_of(&mut publisher, 0);
    assert_eq!(ward.status()["stream"], old);

    let told = ward.command(&["rotate"]);
    let mark = publisher.wait_for("a new stream has begun");
    let new = ward.status()["stream"].clone();
    assert_ne!(new, old);
    assert!(mark.contains(&new.to_string()), "{mark}");
    assert_eq!(told, [format!("stream {new}: in use as soon as 1 subscriber has its key")]);
    assert_eq!(stream_of(&mut publisher, 1), new);
    assert_eq!(station.status()["counters"]["missing"], 0);
}

#[test]
fn a_publisher_that_nobody_reads_rotates_at_once() {
    let broker = Broker::start();
    let ward = Party::publisher("ward-7");
    let publisher = ward.at(&broker).start();
    publisher.wait_for("Waiting for a subscriber...");
    let old = ward.status()["stream"].clone();
    let told = ward.command(&["rotate"]);
    let new = ward.status()["stream"].clone();
    assert_ne!(new, old);
    assert_eq!(told, [format!("stream {new}: in use")]);
}

#[test]
fn a_stopped_publisher_rotates_at_its_next_start() {
    let broker = Broker::start();
    let ward = Party::publisher("ward-7");
    let start = || {
        let mut publisher = ward.at(&broker).start();
        publisher.wait_for("Waiting for a subscriber...");
        let stream = ward.status()["stream"].clone();
        assert_eq!(publisher.interrupt(), 0);
        stream
    };
    let old = start();
    assert_eq!(start(), old);
    assert_eq!(ward.command(&["rotate"]), ["not running: the next start begins a new stream"]);
    let mark = ward.state().join("rotate");
    assert_eq!(fs::metadata(&mark).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ward.status()["rotates_at_start"], true);
    let new = start();
    assert_ne!(new, old);
    assert!(!mark.exists());
    assert_eq!(start(), new);
    assert_eq!(ward.status().get("rotates_at_start"), None);
}

#[test]
fn a_rotation_that_was_asked_for_is_not_forgotten_by_a_kill_on_a_slow_disk() {
    if !can_trace() {
        return;
    }
    let broker = Broker::start();
    let ward = Party::publisher("ward-7");
    let start = || {
        let mut publisher = ward.at(&broker).start();
        publisher.wait_for("Waiting for a subscriber...");
        let stream = ward.status()["stream"].clone();
        assert_eq!(publisher.interrupt(), 0);
        stream
    };
    let mut old = start();
    // Taking the mark is a call of the first and then one of the second; the database uses neither.
    for call in ["unlink", "fsync"] {
        ward.command(&["rotate"]);
        let mut dying = dying_with_slow(ward.at(&broker), call, "fdatasync");
        assert_eq!(dying.wait_exit(PATIENCE), 128 + 9, "{}", dying.output());
        assert_eq!(ward.state().join("rotate").exists(), call == "unlink");
        let new = start();
        assert_ne!(new, old, "it died at {call}");
        old = new;
    }
}

#[test]
fn a_change_of_the_peers_takes_effect_before_the_command_ends() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let (_publisher, subscriber) = conversation(ward.at(&broker), station.at(&broker).args(RAW));
    // The programs look by themselves too, once a second: none of these has the time for that, unless by chance.
    for _ in 0..3 {
        station.command(&["peers", "rm", &ward.name]);
        assert_eq!(station.status()["publishers"], json!([]));
        station.knows(&ward);
        assert_eq!(station.status()["publishers"][0]["name"], json!(ward.name));
    }
    assert_eq!(ward.status()["subscribers"].as_array().unwrap().len(), 1);
    assert_eq!(
        ward.command(&["peers", "revoke", &station.name]),
        [format!("{}  {}  revoked", station.name, station.fingerprint)]
    );
    assert_eq!(ward.status()["subscribers"], json!([]));
    subscriber.wait_for("ward-7 refuses us: revoked");
}

#[test]
fn what_a_killed_program_left_is_no_obstacle() {
    let broker = Broker::start();
    let ward = Party::publisher("ward-7");
    let mut publisher = ward.at(&broker).start();
    publisher.wait_for("Waiting for a subscriber...");
    publisher.signal("KILL");
    assert_eq!(publisher.wait_exit(PATIENCE), 128 + 9);
    assert!(socket(&ward).exists());
    assert_eq!(ward.status()["running"], false);

    let mut publisher = ward.at(&broker).start();
    publisher.wait_for("Waiting for a subscriber...");
    assert_eq!(ward.status()["pid"], json!(publisher.pid()));
    assert_eq!(publisher.interrupt(), 0);
    assert!(!socket(&ward).exists());
}

#[test]
fn garbage_and_silence_at_the_socket_disturb_nobody() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let (mut publisher, mut subscriber) = conversation(ward.at(&broker), station.at(&broker).args(RAW));
    let mut silent = Vec::new();
    for party in [&ward, &station] {
        let connect = || UnixStream::connect(socket(party)).unwrap();
        silent.extend((0..4).map(|_| connect()));
        for garbage in [vec![0xff; 100_000], b"{\"command\":\"format\"}\n".to_vec(), b"\n".to_vec()] {
            let mut stream = connect();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // It is not read to its end.
            let _ = stream.write_all(&garbage);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(answer.is_empty() || answer.starts_with("{\"error\":"), "{answer}");
        }
        assert_eq!(party.status()["running"], true);
    }
    publisher.type_line(&reading(0));
    subscriber.wait_for(&reading(0));
    // What is connected does not hold an end up.
    assert_eq!((publisher.interrupt(), subscriber.interrupt()), (0, 0));
    assert_eq!(subscriber.stdout(), [reading(0)]);
}

#[test]
fn a_second_program_on_the_same_directory_leaves_the_first_its_socket() {
    let broker = Broker::start();
    let ward = Party::publisher("ward-7");
    let first = ward.at(&broker).start();
    first.wait_for("Waiting for a subscriber...");
    let mut second = ward.at(&broker).start();
    assert_eq!(second.wait_exit(PATIENCE), 78);
    second.wait_for("is in use by another process");
    assert_eq!(ward.status()["pid"], json!(first.pid()));
}

#[test]
fn a_directory_too_deep_for_a_socket_is_told_and_the_program_runs() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let deep = station.state().join("d".repeat(100));
    let at_deep = ["--state-dir", deep.to_str().unwrap(), "--known-peers", "peers"];
    let mut subscriber = station.at(&broker).args(at_deep).args(["--trust", "accept-new"]).start();
    subscriber.wait_for("its path is too long for a socket; a shorter --state-dir would do");
    subscriber.wait_for("Connected to broker");
    let mut asking = station.program().args(at_deep).args(["status", "--json"]).start();
    assert_eq!(asking.wait_exit(PATIENCE), 0, "{}", asking.output());
    asking.wait_for("runs in");
    let told: Value = serde_json::from_str(&asking.stdout()[0]).unwrap();
    assert_eq!(told["running"], true, "{told}");
    assert_eq!(subscriber.interrupt(), 0);

    let deep = ward.state().join("d".repeat(100));
    let at_deep = ["--state-dir", deep.to_str().unwrap()];
    let publisher = ward.at(&broker).args(at_deep).start();
    publisher.wait_for("Waiting for a subscriber...");
    let mut asking = ward.program().args(at_deep).args(["rotate"]).start();
    assert_eq!(asking.wait_exit(PATIENCE), 75, "{}", asking.output());
    asking.wait_for(&format!("a process ({}) runs in", publisher.pid()));
}

#[test]
fn a_subscriber_that_waits_for_room_on_its_disk_answers() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let mut subscriber = station.at(&broker).args(["-o", "/dev/full", "--output", "json"]).start();
    let _publisher = ward.at(&broker).args(["-m", "1"]).start();
    subscriber.wait_for("readings wait, and go on when there is room");
    let told = station.status();
    assert_eq!(told["counters"]["delivered"], 1, "{told}");
    assert_eq!(subscriber.interrupt(), 0, "{}", subscriber.output());
}

#[test]
fn a_program_that_is_held_up_is_said_to_be() {
    let broker = Broker::start();
    let ward = Party::publisher("ward-7");
    let publisher = ward.at(&broker).start();
    publisher.wait_for("Waiting for a subscriber...");
    publisher.signal("STOP");
    let mut asking = ward.program().args(["status"]).start();
    assert_eq!(asking.wait_exit(PATIENCE + Duration::from_secs(10)), 75, "{}", asking.output());
    asking.wait_for("does not answer: it is busy, stopped or ending");
    publisher.signal("CONT");
    assert_eq!(ward.status()["running"], true);
}
