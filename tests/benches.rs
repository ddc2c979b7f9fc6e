use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::broker::{Broker, HOST, Setup, free_port};
use crate::eavesdropper::Eavesdropper;
use crate::process::{Home, PATIENCE, Program, Running};

/// Longer than a short bench takes on a loaded machine.
const LONG: Duration = Duration::from_secs(120);

/// A bench that is about to start, with a home and a directory for temporary files that must stay empty.
struct Bench {
    home: Home,
    temporary: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { home: Home::new(), temporary: tempfile::tempdir().unwrap() }
    }

    fn start(&self, program: Program, arguments: &[&str]) -> Running {
        let temporary = self.temporary.path().display().to_string();
        program.home(&self.home).env("TMPDIR", &temporary).args(arguments).start()
    }

    /// Nothing of it is on this machine.
    fn assert_left_nothing(&self) {
        for directory in [&self.home.path(), &self.home.state(), self.temporary.path()] {
            assert_eq!(entries(directory), Vec::<String>::new(), "in {}", directory.display());
        }
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Nothing of it is at the broker: who subscribes now gets nothing but what is published now.
fn assert_nothing_retained(broker: &Broker) {
    let late = Eavesdropper::listen(broker);
    let other = Eavesdropper::listen(broker);
    other.publish("marker", b"", false);
    late.wait_for(|heard| heard.topic == "marker", PATIENCE);
    let topics: Vec<String> = late.heard().into_iter().map(|heard| heard.topic).collect();
    assert_eq!(topics, ["marker"]);
}

/// Whether it is measured; before that there are handshakes.
fn is_reading(topic: &str) -> bool {
    topic.starts_with("securemqtt-bench/") && !topic.contains("/greeting/")
}

/// The one object that it printed when it had ended well.
fn figures(mut running: Running) -> Value {
    assert_eq!(running.wait_exit(LONG), 0, "{}", running.output());
    let lines = running.stdout();
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

fn number(figures: &Value, pointer: &str) -> f64 {
    figures.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {figures}"))
}

/// Every figure is there and makes sense; for so many deliveries of a reading.
fn assert_measured(figures: &Value, subscribers: f64) {
    for pointer in [
        "/handshakes/per_second",
        "/handshakes/first_reading_ms",
        "/latency/p50_ms",
        "/throughput/readings",
        "/throughput/readings_per_second",
        "/throughput/megabytes_per_second",
    ] {
        assert!(number(figures, pointer) > 0.0, "{pointer} in {figures}");
    }
    let percentiles = ["p50", "p90", "p99", "max"].map(|name| number(figures, &format!("/latency/{name}_ms")));
    assert!(percentiles.is_sorted(), "{figures}");
    assert!(number(figures, "/published") >= number(figures, "/throughput/readings"), "{figures}");
    assert!((number(figures, "/expected") - subscribers * number(figures, "/published")).abs() < 0.5, "{figures}");
}

/// Each reading once, everywhere.
fn assert_delivered_once(figures: &Value) {
    assert_eq!(figures["received"], figures["expected"], "{figures}");
    assert_eq!([&figures["missing"], &figures["twice"]], [0, 0], "{figures}");
    assert_eq!(figures["latency"]["deliveries"].as_u64().map(|deliveries| deliveries > 0), Some(true), "{figures}");
}

#[test]
fn both_programs_measure_a_broker_and_leave_nothing() {
    let broker = Broker::start();
    let sides = [(Program::publisher(), "--subscribers", 2.0), (Program::subscriber(), "--publishers", 1.0)];
    for (program, others, subscribers) in sides {
        let bench = Bench::new();
        let eavesdropper = Eavesdropper::listen(&broker);
        let running = bench.start(program.at(&broker), &["bench", "--seconds", "1", others, "2", "--json"]);
        let figures = figures(running);
        assert_measured(&figures, subscribers);
        assert_delivered_once(&figures);
        assert_eq!((figures["qos"].as_u64(), figures["spool"].as_bool()), (Some(1), Some(true)));
        let retained = |kind| eavesdropper.heard().iter().any(|heard| heard.is(kind) && heard.retain);
        assert!(retained("hello") && retained("tick"), "there was nothing to clear");
        assert_nothing_retained(&broker);
        bench.assert_left_nothing();
    }
}

#[test]
fn people_get_a_table_and_the_brokers_flags_may_stand_behind_the_name() {
    let broker = Broker::start();
    let url = format!("mqtt://{HOST}:{}", broker.port());
    let arguments = ["bench", "--seconds", "1", "--broker", &url, "-q", "0", "-V", "311", "--size", "16"];
    let bench = Bench::new();
    let mut running = bench.start(Program::publisher(), &arguments);
    assert_eq!(running.wait_exit(LONG), 0, "{}", running.output());
    let table = running.stdout().join("\n");
    for text in [&*url, "MQTT 3.1.1, QoS 0, without a spool", "readings of 16 bytes", "latency p99", " MB/s"] {
        assert!(table.contains(text), "no {text:?} in:\n{table}");
    }
    assert!(running.stderr().is_empty(), "{:?}", running.stderr());
}

#[test]
fn a_file_may_name_the_broker() {
    let broker = Broker::start();
    let bench = Bench::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("host = \"{HOST}\"\nport = {}\nqos = 0\n", broker.port())).unwrap();
    let config = file.path().display().to_string();
    let arguments = ["bench", "--seconds", "1", "--config", &config, "--json"];
    let figures = figures(bench.start(Program::subscriber(), &arguments));
    assert_eq!(figures["qos"], 0);
    assert_measured(&figures, 1.0);
    // What QoS 0 loses is told.
    assert!((number(&figures, "/received") + number(&figures, "/missing") - number(&figures, "/expected")).abs() < 0.5);
}

#[test]
fn a_signal_ends_it_and_it_leaves_nothing() {
    let broker = Broker::start();
    let bench = Bench::new();
    let eavesdropper = Eavesdropper::listen(&broker);
    let mut running = bench.start(Program::publisher().at(&broker), &["bench", "--seconds", "600"]);
    eavesdropper.wait_for(|heard| is_reading(&heard.topic), LONG);
    assert_eq!(running.interrupt(), 0, "{}", running.output());
    assert!(running.stdout().is_empty(), "{}", running.output());
    assert_nothing_retained(&broker);
    bench.assert_left_nothing();
}

#[test]
fn a_progress_bar_is_shown_on_a_terminal_only_and_not_when_quiet() {
    let broker = Broker::start();
    for (more, shown) in [(&["bench", "--seconds", "1"][..], true), (&["bench", "--seconds", "1", "--quiet"], false)] {
        let bench = Bench::new();
        let mut running = bench.start(Program::publisher().at(&broker).env("TERM", "xterm").terminal(), more);
        assert_eq!(running.wait_exit(LONG), 0, "{}", running.output());
        let output = running.output();
        assert!(output.contains("throughput"), "{output}");
        assert_eq!(output.contains("[==="), shown, "{output}");
    }
}

#[test]
fn nobody_listens() {
    let port = free_port().to_string();
    for program in [Program::publisher(), Program::subscriber()] {
        let bench = Bench::new();
        let mut running = bench.start(program, &["bench", "-h", HOST, "-p", &port]);
        assert_eq!(running.wait_exit(PATIENCE), 69, "{}", running.output());
        assert!(running.output().contains("nothing listens at"), "{}", running.output());
        bench.assert_left_nothing();
    }
}

#[test]
fn a_broker_that_goes_away_ends_it_and_what_it_may_keep_is_named() {
    let Some(mut broker) = Setup::new().restartable().start() else { return };
    let bench = Bench::new();
    let eavesdropper = Eavesdropper::listen(&broker);
    let mut running = bench.start(Program::subscriber().at(&broker), &["bench", "--seconds", "600"]);
    eavesdropper.wait_for(|heard| is_reading(&heard.topic), LONG);
    broker.kill();
    assert_eq!(running.wait_exit(LONG), 69, "{}", running.output());
    for text in ["nothing listens at", "could not be cleared: securemqtt/v1/", "mosquitto_pub -r -n -t"] {
        assert!(running.output().contains(text), "no {text:?} in: {}", running.output());
    }
    bench.assert_left_nothing();
}

#[test]
fn bad_values_are_refused_with_those_that_are_taken() {
    let cases = [("--size", "5", "16..=65536"), ("--seconds", "0", "1..=3600"), ("--rate", "0", "1..=10000")];
    for (flag, value, says) in cases {
        let mut running = Program::publisher().args(["bench", flag, value]).start();
        assert_eq!(running.wait_exit(PATIENCE), 2, "{}", running.output());
        assert!(running.output().contains(says), "{}", running.output());
    }
}

#[test]
fn an_access_list_that_forbids_it_is_named_with_what_to_try() {
    let setup = Setup::new().passwords(&[("ward", "secret")]).acl("user ward\ntopic read #\n");
    let Some(broker) = setup.start() else { return };
    let bench = Bench::new();
    let program = Program::publisher().at(&broker).args(["-u", "ward", "-P", "secret"]);
    let mut running = bench.start(program, &["bench", "--seconds", "1"]);
    assert_eq!(running.wait_exit(LONG), 77, "{}", running.output());
    for text in ["the broker refuses to publish on securemqtt/v1/", "let this user read and write securemqtt/v1/#"] {
        assert!(running.output().contains(text), "no {text:?} in: {}", running.output());
    }
    bench.assert_left_nothing();
}

#[test]
fn what_a_broker_drops_and_nobody_sends_again_is_an_error() {
    let slow = Setup::new().line("max_inflight_messages 1").line("max_queued_messages 100");
    let Some(broker) = slow.start() else { return };
    // It tells a client of MQTT 5 to be as slow.
    let arguments = ["bench", "--seconds", "2", "--no-spool", "--json", "-V", "311"];
    let bench = Bench::new();
    let mut running = bench.start(Program::publisher().at(&broker), &arguments);
    assert_eq!(running.wait_exit(LONG), 75, "{}", running.output());
    assert!(running.output().contains("max_queued_messages"), "{}", running.output());
    let figures: Value = serde_json::from_str(&running.stdout()[0]).unwrap();
    assert!(number(&figures, "/missing") > 0.0, "{figures}");
    assert!(number(&figures, "/received") > 0.0, "{figures}");
}
