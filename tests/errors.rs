use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use securemqtt_core::identity::IdentityPublic;

use crate::broker::{Broker, HOST, Setup};
use crate::eavesdropper::Eavesdropper;
use crate::parties::{Party, RAW, introduced};
use crate::process::{Home, PATIENCE, Program, Running};
use crate::tls::Authority;

/// It ends with this code and says all of this.
fn assert_ends(mut running: Running, code: i32, says: &[&str]) {
    assert_eq!(running.wait_exit(PATIENCE), code, "{}", running.output());
    for text in says {
        assert!(running.output().contains(text), "no {text:?} in: {}", running.output());
    }
}

/// Both programs, with the same arguments.
fn assert_both_end(arguments: &[&str], code: i32, says: &[&str]) {
    for program in [Program::publisher(), Program::subscriber()] {
        assert_ends(program.args(arguments).start(), code, says);
    }
}

fn port_of(broker: &Broker) -> String {
    broker.port().to_string()
}

#[test]
fn a_password_that_is_wrong_or_missing() {
    let Some(broker) = Setup::new().passwords(&[("ward", "secret")]).start() else { return };
    let port = port_of(&broker);
    let at = ["-h", HOST, "-p", &port];
    let with = |more: &[&'static str]| [&at[..], more].concat();
    // Mosquitto calls a wrong password "not authorised".
    let wrong = ["refuses us: not authorised", "check -u and --password-file"];
    assert_both_end(&with(&["-u", "ward", "-P", "guess"]), 77, &wrong);
    assert_both_end(&with(&["-u", "ward", "-P", "guess", "-V", "311"]), 77, &wrong);
    assert_both_end(&with(&["-u", "ward"]), 77, &["refuses us: not authorised", "--password-file"]);
    assert_both_end(&at, 77, &["a user name and password are needed"]);
    assert_both_end(&with(&["-u", "ward", "--password-file", "none"]), 78, &["cannot read none"]);
}

#[test]
fn a_certificate_of_another_authority_or_none() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let Some(broker) = Setup::new().tls_with_client_certificates(&ours).start() else { return };
    let port = broker.tls_port().to_string();
    let at = |ca: &Authority| {
        vec!["-h", HOST, "-p", &port, "--cafile"]
            .into_iter()
            .map(str::to_owned)
            .chain([ca.certificate().display().to_string()])
            .collect::<Vec<_>>()
    };
    let as_client = |ca: &Authority| {
        let client = ca.client("ward");
        [
            "--cert".to_owned(),
            client.certificate.display().to_string(),
            "--key".to_owned(),
            client.key.display().to_string(),
        ]
    };
    let wrong_ca = Program::subscriber().args(at(&theirs)).start();
    assert_ends(wrong_ca, 77, &["is not to be trusted", "name its authority with --cafile"]);
    let none = Program::publisher().args(at(&ours)).start();
    assert_ends(none, 77, &["asks for a client certificate", "--cert and --key"]);
    let forged = Program::subscriber().args(at(&ours)).args(as_client(&theirs)).start();
    assert_ends(forged, 77, &["refuses our certificate", "check --cert and --key"]);
    let no_file = Program::subscriber().args(["-h", HOST, "-p", &port, "--cafile", "none.pem"]).start();
    assert_ends(no_file, 78, &["none.pem"]);
}

#[test]
fn nobody_listens_or_the_host_does_not_exist() {
    let port = TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap().port().to_string();
    let says = ["nothing listens at", "connection refused", "start the broker"];
    assert_both_end(&["-h", HOST, "-p", &port, "--no-retry"], 69, &says);
    let host = ["-h", "no-such-host.invalid", "--no-retry"];
    assert_both_end(&host, 69, &["cannot find the host of", "no-such-host.invalid", "check its spelling"]);
}

/// A server that answers whoever connects with these bytes.
fn server_that_says(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
            // Until the other side has read it and left.
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    port
}

#[test]
fn a_broker_of_another_version_or_none_at_all() {
    // CONNACK of MQTT 5, and of 3.1.1: unsupported protocol version.
    let old = server_that_says(b"\x20\x03\x00\x84\x00").to_string();
    assert_both_end(&["-h", HOST, "-p", &old], 76, &["does not speak MQTT 5", "-V 311"]);
    let new = server_that_says(b"\x20\x02\x00\x01").to_string();
    assert_both_end(&["-h", HOST, "-p", &new, "-V", "311"], 76, &["does not speak MQTT 3.1.1", "-V 5"]);
    let http = server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n").to_string();
    let hasty = ["-h", HOST, "-p", &http, "--no-retry", "--connect-timeout", "1s"];
    assert_both_end(&hasty, 69, &["did not answer within 1s", "whether the port expects TLS"]);
}

#[test]
fn a_state_directory_that_another_process_uses() {
    let broker = Broker::start();
    let running = Program::subscriber().at(&broker).start();
    running.wait_for("Connected to broker");
    let second = Program::subscriber().at(&broker).home(&running.home()).start();
    let pid = format!("is in use by another process ({})", running.pid());
    assert_ends(second, 78, &[&pid, "stop it, or give this one its own --state-dir"]);
}

#[test]
fn a_message_that_is_no_reading() {
    let broker = Broker::start();
    let publish = |arguments: &[&str]| Program::publisher().at(&broker).args(["--no-wait"]).args(arguments);
    let text = publish(&["-m", "spo2=98"]).start();
    assert_ends(text, 65, &["--message: not JSON", "or add --raw"]);
    assert_ends(publish(&["-m", "spo2=98", "--raw"]).start(), 0, &[]);
    let missing = publish(&["-f", "none.jsonl"]).start();
    assert_ends(missing, 66, &["cannot read none.jsonl: No such file or directory"]);
    assert_ends(publish(&["-f", "/"]).start(), 66, &["cannot read /: "]);
}

/// What reached the subscriber of a publisher with this input and these arguments, and how the publisher ended.
fn published(broker: &Broker, arguments: &[&str], input: &str) -> (Vec<String>, Running) {
    let (ward, station) = introduced();
    let subscriber = station.at(broker).args(RAW).start();
    subscriber.wait_for("Connected to broker");
    let publisher = ward.at(broker).args(arguments).input(input);
    let mut publisher = publisher.start();
    publisher.wait_exit(PATIENCE);
    subscriber.wait_for_line(|line| line.contains("\"last\""), PATIENCE);
    (subscriber.stdout(), publisher)
}

#[test]
fn a_line_that_is_not_json_is_named_and_skipped() {
    let broker = Broker::start();
    let (arrived, publisher) = published(&broker, &["-l"], "{\"n\": 1}\n{\"n\": \n\n{\"last\": 4}\n");
    assert_eq!(arrived, ["{\"n\": 1}", "{\"last\": 4}"]);
    assert_ends(publisher, 65, &["stdin:2: not JSON: EOF while parsing a value", "; skipped"]);
}

#[test]
fn a_csv_line_that_cannot_be_read_is_named_and_skipped() {
    let broker = Broker::start();
    let home = Home::new();
    let file = home.path().join("ward.csv");
    fs::write(&file, b"id,last\n1,2\n3\n\xff,4\n5,6\n").unwrap();
    let (arrived, publisher) = published(&broker, &["-f", file.to_str().unwrap()], "");
    assert_eq!(arrived, ["{\"id\": 1, \"last\": 2}", "{\"id\": 5, \"last\": 6}"]);
    let says = ["ward.csv:3: 1 fields where the header has 2; skipped", "ward.csv:4: field 1 is not UTF-8; skipped"];
    assert_ends(publisher, 65, &says);

    fs::write(&file, "id,id\n1,2\n").unwrap();
    let twice = Program::publisher().at(&broker).args(["-f", file.to_str().unwrap()]).start();
    assert_ends(twice, 65, &["ward.csv:1: the name \"id\" stands twice"]);
}

/// One reading of 3000 bytes between two small ones.
fn three_readings() -> String {
    format!("{{\"n\": 1}}\n{{\"n\": \"{}\"}}\n{{\"last\": 3}}\n", "x".repeat(3000))
}

#[test]
fn a_reading_over_the_brokers_packet_limit_is_named_and_the_next_go() {
    let Some(broker) = Setup::new().line("max_packet_size 2000").start() else { return };
    let (arrived, publisher) = published(&broker, &["-l"], &three_readings());
    assert_eq!(arrived, ["{\"n\": 1}", "{\"last\": 3}"]);
    let says =
        ["line 2: the message on telemetry/ward-7 makes a packet of", "the broker takes at most 2000", "not published"];
    assert_ends(publisher, 65, &says);
}

#[test]
fn a_reading_that_the_broker_refuses_is_named_and_the_next_go() {
    let Some(broker) = Setup::new().line("message_size_limit 2000").start() else { return };
    let (arrived, publisher) = published(&broker, &["-l"], &three_readings());
    assert_eq!(arrived, ["{\"n\": 1}", "{\"last\": 3}"]);
    assert_ends(publisher, 65, &["the broker refuses to publish on telemetry/ward-7"]);
}

#[test]
fn topics_and_names_that_cannot_be() {
    let publisher = |arguments: &[&str]| Program::publisher().args(arguments).start();
    let subscriber = |arguments: &[&str]| Program::subscriber().args(arguments).start();
    for topic in ["ward/+", "ward/#"] {
        assert_ends(publisher(&["-t", topic]), 2, &["a topic to publish to cannot contain + or #"]);
    }
    assert_ends(publisher(&["-t", "a\nb"]), 2, &["it contains a control character"]);
    assert_ends(publisher(&["-t", "securemqtt/v1/x"]), 2, &["belong to the key exchange"]);
    assert_ends(subscriber(&["-t", "ward#"]), 2, &["+ must stand alone between slashes"]);
    assert_ends(subscriber(&["-t", "a\tb"]), 2, &["it contains a control character"]);
    assert_ends(subscriber(&["-t", "$share/g/ward"]), 2, &["shared subscriptions"]);
    assert_both_end(&["--name", "pu\u{7}mp"], 2, &["a name is 1 to 64 ASCII letters"]);
    assert_both_end(&["peers", "rm", "pu\u{7f}mp"], 2, &["a name is 1 to 64 ASCII letters"]);
    // No argument can hold a NUL, but a file can.
    let running = Program::publisher().args(["--config", "c.toml"]);
    let home = Home::new();
    fs::write(home.path().join("c.toml"), "port = 1883\ntopic = \"a\\u0000b\"\n").unwrap();
    assert_ends(running.home(&home).start(), 78, &["c.toml:2:9: ", "it contains a control character"]);
}

#[test]
fn a_stranger_whose_name_has_control_characters_is_not_even_shown() {
    let broker = Broker::start();
    let stranger = Party::publisher("stranger");
    let key = IdentityPublic::from_openssh(&stranger.key).unwrap();
    let hello = [&[0x11, 1, 1], &key.as_bytes()[..], &[0; 16], b"\x06a\x1b[31m"].concat();
    let attacker = Eavesdropper::listen(&broker);
    attacker.publish(&format!("securemqtt/v1/{}/hello", stranger.id), &hello, true);
    let subscriber = Party::subscriber("station").at(&broker).args(RAW).args(["--trust", "accept-new"]).start();
    subscriber.wait_for("Connected to broker");
    let message = ["-m", "{\"last\": 1}", "--trust", "accept-new"];
    assert_ends(Party::publisher("ward-7").at(&broker).args(message).start(), 0, &["New peer station"]);
    subscriber.wait_for("{\"last\": 1}");
    assert!(!subscriber.output().contains('\u{1b}'), "{}", subscriber.output());
}
