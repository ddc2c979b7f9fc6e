use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::broker::{Broker, HOST};
use crate::eavesdropper::Eavesdropper;
use crate::parties::{KEPT, KEYED, RAW, conversation, introduced, reading};
use crate::process::{PATIENCE, Program, Running};
use crate::tail::LOOK;

/// Both programs bare but for the port, each in a terminal of its own, as a newcomer starts them.
fn demo(broker: &Broker, subscriber_first: bool) -> (Running, Running) {
    let subscriber = || {
        let running = Program::subscriber().at(broker).terminal().start();
        running.wait_for("[Subscriber] Waiting for ECDH key exchange...");
        running
    };
    let publisher = || {
        let running = Program::publisher().at(broker).terminal().start();
        running.wait_for("[Publisher] Waiting for a subscriber...");
        running
    };
    if subscriber_first {
        let subscriber = subscriber();
        (publisher(), subscriber)
    } else {
        let publisher = publisher();
        (publisher, subscriber())
    }
}

/// What `key show` says in the home of a program: fingerprint and name.
fn shown(program: Program, running: &Running) -> (String, String) {
    let mut show = program.home(&running.home()).args(["key", "show"]).start();
    assert_eq!(show.wait_exit(PATIENCE), 0, "{}", show.output());
    let field = |name| show.stdout().iter().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())).unwrap();
    (field("fingerprint"), field("name"))
}

fn the_demo_goes_by_the_letter(subscriber_first: bool) {
    let broker = Broker::start();
    let (mut publisher, mut subscriber) = demo(&broker, subscriber_first);
    let decrypted = subscriber.wait_for_lines(2, |line| line.starts_with("[Decrypted] "), PATIENCE);
    let (publisher_key, publisher_name) = shown(Program::publisher(), &publisher);
    let (subscriber_key, subscriber_name) = shown(Program::subscriber(), &subscriber);
    let how = "(first contact, local broker: remembered)";
    let expected = [
        "[Subscriber] Connected to broker",
        &format!("[Subscriber] Identity {subscriber_key}"),
        "[Subscriber] Waiting for ECDH key exchange...",
        &format!("[Subscriber] New peer {publisher_name} {publisher_key} {how}"),
        "[Subscriber] AES key derived successfully!",
        "[Subscriber] Listening for encrypted messages...",
    ];
    let lines = subscriber.stdout();
    assert_eq!(lines[..6], expected);
    assert!(lines[6..].iter().all(|line| line.starts_with("[Decrypted] ")), "{lines:?}");
    let expected = [
        "[Publisher] Connected to broker",
        &format!("[Publisher] Identity {publisher_key}"),
        "[Publisher] Waiting for a subscriber...",
        &format!("[Publisher] New peer {subscriber_name} {subscriber_key} {how}"),
        "[Publisher] ECDH key exchange completed",
        "[Publisher] Publishing encrypted telemetry data...",
    ];
    assert_eq!(publisher.stdout(), expected);
    for line in &decrypted {
        is_vital_signs(line);
    }
    assert_eq!((publisher.interrupt(), subscriber.interrupt()), (0, 0));
}

/// `[Decrypted] {"patient_id": 101, …} (Decryption Time: 0.41 µs)`, with the fields in their order and a real time.
fn is_vital_signs(line: &str) {
    let (reading, time) = line.strip_prefix("[Decrypted] ").unwrap().split_once(" (Decryption Time: ").unwrap();
    let reading: Value = serde_json::from_str(reading).unwrap();
    let fields: Vec<&str> = reading.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["patient_id", "heart_rate", "temperature", "spo2", "timestamp"]);
    let time: f64 = time.strip_suffix(" µs)").unwrap().parse().unwrap();
    assert!(time > 0.0, "{line}");
}

#[test]
fn the_demo_with_the_subscriber_first() {
    the_demo_goes_by_the_letter(true);
}

#[test]
fn the_demo_with_the_publisher_first() {
    the_demo_goes_by_the_letter(false);
}

#[test]
fn fingerprints_are_those_that_ssh_keygen_shows() {
    let (publisher, subscriber) = introduced();
    for party in [publisher, subscriber] {
        let file = party.state().join("key.pub");
        fs::write(&file, format!("{}\n", party.key)).unwrap();
        let Ok(output) = Command::new("ssh-keygen").arg("-lf").arg(&file).output() else {
            return;
        };
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.trim_end(), format!("256 {} {} (ECDSA)", party.fingerprint, party.name));
    }
}

#[test]
fn a_restarted_subscriber_reads_on_without_help() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let (mut publishing, mut reading_on) = conversation(publisher.at(&broker), subscriber.at(&broker).args(RAW));
    for run in 0..3 {
        publishing.type_line(&reading(run));
        reading_on.wait_for(&reading(run));
        assert_eq!(reading_on.interrupt(), 0);
        // Each reading is shown in one run only.
        assert_eq!(reading_on.stdout(), [reading(run)]);
        reading_on = subscriber.at(&broker).args(RAW).start();
        reading_on.wait_for(KEYED);
    }
}

#[test]
fn a_restarted_publisher_is_read_on_without_help() {
    let broker = Broker::start();
    let (publisher, subscriber) = introduced();
    let (mut publishing, reading_on) = conversation(publisher.at(&broker), subscriber.at(&broker).args(RAW));
    // The second is not given the time to say farewell.
    for (run, (signal, exit)) in [("INT", 0), ("KILL", 128 + 9)].into_iter().enumerate() {
        publishing.type_line(&reading(run));
        reading_on.wait_for(&reading(run));
        publishing.signal(signal);
        assert_eq!(publishing.wait_exit(PATIENCE), exit);
        publishing = publisher.at(&broker).args(["-l"]).open_input().start();
        publishing.wait_for("Publishing encrypted telemetry data...");
    }
    publishing.type_line(&reading(2));
    reading_on.wait_for(&reading(2));
    assert_eq!(reading_on.stdout(), [0, 1, 2].map(reading));
}

#[test]
fn a_subscriber_that_was_away_reads_what_the_broker_kept() {
    let broker = Broker::start();
    let eavesdropper = Eavesdropper::listen(&broker);
    let (publisher, subscriber) = introduced();
    let (mut publishing, mut before) = conversation(publisher.at(&broker), subscriber.at(&broker).args(RAW));
    publishing.type_line(&reading(0));
    before.wait_for(&reading(0));
    assert_eq!(before.interrupt(), 0);
    for number in 1..4 {
        publishing.type_line(&reading(number));
        eavesdropper.wait_for_count(number + 1, |heard| heard.topic == "telemetry/ward-7", PATIENCE);
    }
    let mut after = subscriber.at(&broker).args(RAW).args(["-C", "3"]).start();
    assert_eq!(after.wait_exit(PATIENCE), 0);
    assert_eq!(after.stdout(), [1, 2, 3].map(reading));
}

/// Who comes to us.
fn accepted(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "it does not come: {error}"),
        }
        thread::sleep(LOOK);
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next MQTT packet: the first byte of its fixed header, and what is behind that.
fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut byte = || {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        byte[0]
    };
    let first = byte();
    // Seven bits a byte, the lowest first.
    let (mut length, mut shift) = (0, 0);
    loop {
        let part = byte();
        length |= usize::from(part & 0x7f) << shift;
        if part < 0x80 {
            break;
        }
        shift += 7;
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).unwrap();
    (first, rest)
}

/// What the CONNECT packet of a program asks for: to begin anew, and over MQTT 5 how many seconds of a session.
fn asked_of_the_broker(program: Program) -> (bool, Option<u32>) {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let _running = program.args(["-h", HOST, "-p", &port]).start();
    // Protocol name 6, level, flags, keep-alive 2; MQTT 5: length of the properties, then they.
    let (first, rest) = packet(&mut accepted(&listener));
    assert_eq!((first, &rest[..6]), (0x10, &b"\0\x04MQTT"[..]));
    let expiry = (rest[6] == 5).then(|| {
        assert_eq!(rest[11], 0x11, "the session expiry interval comes first");
        u32::from_be_bytes(*rest[12..].first_chunk().unwrap())
    });
    (rest[7] & 0x02 != 0, expiry)
}

/// MQTT 3.1.1's answer to a SUBSCRIBE: all of its filters, at QoS 1.
fn granted((first, subscribe): &(u8, Vec<u8>)) -> Vec<u8> {
    assert_eq!(*first, 0x82, "no SUBSCRIBE: {subscribe:x?}");
    // A packet id; then of each filter its length 2, itself, a QoS 1.
    let (id, mut filters) = subscribe.split_at(2);
    let mut answer = id.to_vec();
    while let Some((length, rest)) = filters.split_first_chunk() {
        filters = &rest[usize::from(u16::from_be_bytes(*length)) + 1..];
        answer.push(1);
    }
    [&[0x90, u8::try_from(answer.len()).unwrap()], answer.as_slice()].concat()
}

#[test]
fn it_says_that_it_listens_when_the_broker_has_said_so() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let (mut publishing, mut reading_on) = conversation(ward.at(&broker), station.at(&broker));
    assert_eq!((publishing.interrupt(), reading_on.interrupt()), (0, 0));

    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let reading_on = station.program().args(["-V", "311", "-h", HOST, "-p", &port]).start();
    let mut stream = accepted(&listener);
    assert_eq!(packet(&mut stream).0, 0x10);
    stream.write_all(b"\x20\x02\0\0").unwrap();
    // Control messages, and readings.
    let subscribes = [packet(&mut stream), packet(&mut stream)];
    reading_on.wait_for(KEPT);
    assert!(!reading_on.output().contains(KEYED), "{}", reading_on.output());
    for subscribe in &subscribes {
        stream.write_all(&granted(subscribe)).unwrap();
    }
    reading_on.wait_for(KEYED);
}

#[test]
fn the_broker_is_asked_to_keep_a_session_for_a_week_or_as_told() {
    for program in [Program::publisher, Program::subscriber] {
        let asked = |flags: &[&str]| asked_of_the_broker(program().args(flags));
        assert_eq!(asked(&[]), (false, Some(604_800)));
        assert_eq!(asked(&["--session-expiry", "1h"]), (false, Some(3_600)));
        assert_eq!(asked(&["--session-expiry", "0"]), (true, Some(0)));
        assert_eq!(asked(&["-V", "311", "--session-expiry", "1h"]), (false, None));
        assert_eq!(asked(&["-V", "311", "--session-expiry", "0"]), (true, None));
    }
}
