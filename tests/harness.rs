use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::broker::{Broker, HOST, Setup, example_tls};
use crate::eavesdropper::{Eavesdropper, Heard, options, publish};
use crate::mitm::{Forwarded, From, Mitm};
use crate::process::{PATIENCE, Program};
use crate::tls::Authority;

const SOON: Duration = Duration::from_secs(10);

fn accepts_connections(port: u16) -> bool {
    TcpStream::connect((HOST, port)).is_ok()
}

#[test]
fn a_broker_answers_as_long_as_its_handle_lives() {
    let broker = Broker::start();
    let port = broker.port();
    assert!(accepts_connections(port));
    drop(broker);
    assert!(!accepts_connections(port));
}

#[test]
fn a_broker_is_stopped_when_the_test_panics() {
    let mut port = 0;
    let test = catch_unwind(AssertUnwindSafe(|| {
        let broker = Broker::start();
        port = broker.port();
        panic!("on purpose");
    }));
    assert!(test.is_err());
    assert!(!accepts_connections(port));
}

#[test]
fn many_brokers_run_at_once() {
    let brokers = [(); 8].map(|()| Broker::start());
    for broker in &brokers {
        assert!(accepts_connections(broker.port()));
    }
}

#[test]
fn an_eavesdropper_hears_a_message_and_its_retain_flag() {
    let broker = Broker::start();
    let eavesdropper = Eavesdropper::listen(&broker);
    let other = Eavesdropper::listen(&broker);
    for retain in [false, true] {
        let topic = format!("telemetry/{retain}");
        other.publish(&topic, b"\x00\xff", retain);
        let heard = eavesdropper.wait_for(|heard| heard.topic == topic, SOON);
        assert_eq!((heard.payload.as_slice(), heard.retain), (b"\x00\xff".as_slice(), retain));
        assert!(heard.contains(b"\xff") && !heard.contains(b"\xfe"));
    }
    assert!(other.heard().is_empty(), "its own messages are not for it");
}

#[test]
fn a_persistent_broker_keeps_a_retained_message_over_kill_and_restart() {
    let Some(mut broker) = Setup::new().persistent().start() else {
        return;
    };
    let eavesdropper = Eavesdropper::listen(&broker);
    eavesdropper.publish("telemetry/kept", b"kept", true);
    // The database is written every second.
    let database = broker.directory().join("mosquitto.db");
    let written = |text: &[u8]| {
        std::fs::read(&database).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
    };
    let deadline = std::time::Instant::now() + SOON;
    while !written(b"telemetry/kept") {
        assert!(std::time::Instant::now() < deadline, "{}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    broker.kill();
    assert!(!accepts_connections(broker.port()));
    broker.start_again();
    broker.restart();
    eavesdropper.wait_for(|heard| heard.topic == "telemetry/kept" && heard.retain, SOON);
}

#[test]
fn passwords_and_access_list_are_enforced() {
    let setup = Setup::new().passwords(&[("reader", "secret")]).acl("user reader\ntopic read telemetry/#\n");
    let Some(broker) = setup.start() else { return };
    let reader = Eavesdropper::listen_as(&broker, "reader", "secret");
    assert!(reader.heard().is_empty());
    let mut wrong = options(broker.port());
    wrong.set_credentials("reader", "guess".to_owned());
    assert!(Eavesdropper::join(wrong, |_| {}).is_err());
    assert!(Eavesdropper::join(options(broker.port()), |_| {}).is_err());
}

#[test]
fn mosquitto_takes_our_certificates_and_no_others() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let Some(broker) = Setup::new().tls_with_client_certificates(&ours).start() else {
        return;
    };
    let client = ours.client("a-client");
    let eavesdropper = Eavesdropper::listen_over_tls(&broker, &ours, Some(&client));
    eavesdropper.publish("telemetry/over-tls", b"", false);

    let forged = theirs.client("a-client");
    let refused = |authority: &Authority, client| {
        catch_unwind(AssertUnwindSafe(|| Eavesdropper::listen_over_tls(&broker, authority, client))).is_err()
    };
    assert!(refused(&theirs, Some(&client)), "the client must check the server");
    assert!(refused(&ours, Some(&forged)), "the server must check the client");
    assert!(refused(&ours, None), "the server must ask for a certificate");
}

#[test]
fn a_websocket_listener_is_on_loopback() {
    let Some(broker) = Setup::new().websocket().start() else {
        return;
    };
    assert!(accepts_connections(broker.websocket_port()), "{}", broker.log());
}

#[test]
fn the_tls_example_starts_from_its_own_files() {
    let id = "0123456789abcdef0123456789abcdef";
    let ids = [("00000000000000000000000000000007", id)];
    let Some(broker) = example_tls(&["ward-7", "station"], &[("ward-7", "secret")], &ids) else {
        return;
    };
    assert!(accepts_connections(broker.tls_port()));
    assert!(accepts_connections(broker.client_certificate_port()));
    assert!(broker.directory().join("certs/station.key").exists());
}

#[test]
fn the_man_in_the_middle_passes_on_what_it_likes() {
    let (left, right) = (Broker::start(), Broker::start());
    let before = Eavesdropper::listen(&left);
    before.publish("telemetry/early", b"retained", true);
    before.publish("telemetry/dropped", b"", false);
    let mitm = Mitm::between(&left, &right, |from, heard| {
        if heard.topic == "telemetry/dropped" {
            return Vec::new();
        }
        assert_eq!(from, From::Left);
        let changed = Heard { payload: heard.payload.to_ascii_uppercase(), ..heard.clone() };
        vec![Forwarded::on(changed)]
    });
    let behind = Eavesdropper::listen(&right);
    before.publish("telemetry/late", b"live", false);
    let early = behind.wait_for(|heard| heard.topic == "telemetry/early", SOON);
    let late = behind.wait_for(|heard| heard.topic == "telemetry/late", SOON);
    assert_eq!((early.payload, late.payload), (b"RETAINED".to_vec(), b"LIVE".to_vec()));
    assert!(behind.heard().iter().all(|heard| heard.topic != "telemetry/dropped"));
    assert!(mitm.heard_right().is_empty());
    assert!(!mitm.heard_left().is_empty());
    publish(&behind.client(), "telemetry/dropped", b"", false);
}

fn shell(script: &str) -> Program {
    Program::new(Path::new("/bin/sh")).args(["-c", script])
}

#[test]
fn a_program_is_heard_on_both_outputs_and_its_exit_code_known() {
    let mut running =
        shell("echo data; echo talk >&2; printf prompt; read answer; echo \"$answer\"; exit 76").open_input().start();
    running.wait_for("prompt");
    running.type_line("yes");
    assert_eq!(running.wait_exit(PATIENCE), 76);
    assert_eq!(running.stdout(), ["data", "promptyes"]);
    assert_eq!(running.stderr(), ["talk"]);
}

#[test]
fn a_program_sees_an_empty_home_and_no_stdin() {
    let mut running = shell("cat; ls -A \"$HOME\" \"$XDG_STATE_HOME\" | grep -v : | tr -d '\\n'; env").start();
    assert_eq!(running.wait_exit(PATIENCE), 0);
    assert!(running.stdout().iter().all(|line| !line.starts_with("CARGO")), "{}", running.output());
}

#[test]
fn a_program_has_a_terminal_and_signals_reach_it() {
    let mut running = shell(
        "trap 'echo caught; exit 3' INT; test -t 2 && echo terminal; read line </dev/tty; echo \"read $line\"; \
         while :; do sleep 0.05; done",
    )
    .terminal()
    .start();
    running.wait_for("terminal");
    running.type_line("it's");
    running.wait_for("read it's");
    assert_eq!(running.interrupt(), 3);
    running.wait_for("caught");
}

#[test]
fn a_program_is_killed_when_its_handle_is_dropped() {
    for program in [shell("echo up; exec sleep 1000"), shell("echo up; exec sleep 1000").terminal()] {
        let running = program.start();
        running.wait_for("up");
        let process = format!("/proc/{}", running.pid());
        assert!(Path::new(&process).exists());
        drop(running);
        assert!(ended(&process), "{process} is still there");
    }
}

/// Gone, or waiting for its parent to notice.
fn ended(process: &str) -> bool {
    let deadline = std::time::Instant::now() + SOON;
    while std::time::Instant::now() < deadline {
        match std::fs::read_to_string(format!("{process}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => std::thread::sleep(Duration::from_millis(10)),
            _ => return true,
        }
    }
    false
}

#[test]
fn the_real_programs_start() {
    for program in [Program::publisher(), Program::subscriber()] {
        let mut running = program.args(["--version"]).start();
        assert_eq!(running.wait_exit(PATIENCE), 0, "{}", running.output());
    }
}
