//! Publishers and subscribers with an identity each, and who of them knows whom.

use std::path::PathBuf;

use crate::broker::Broker;
use crate::process::{Home, PATIENCE, Program, Running};

/// What both say after a restart with sessions from before.
pub(crate) const KEPT: &str = "Keys kept from before: ";
/// What a publisher says when a subscriber has confirmed the key exchange.
pub(crate) const EXCHANGED: &str = "ECDH key exchange completed";
/// What a subscriber says when it has a publisher's keys: new ones, or those from before its restart.
pub(crate) const KEYED: &str = "Listening for encrypted messages...";
/// The flags of a subscriber whose stdout is the readings and nothing else.
pub(crate) const RAW: [&str; 2] = ["--output", "raw"];

/// One owner of an identity key, over any number of runs.
pub(crate) struct Party {
    publishes: bool,
    home: Home,
    /// The name it proposes, and the one that others know it by.
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    /// 32 hexadecimal digits, as topics carry it.
    pub(crate) id: String,
    /// Its public key as `key export` prints it.
    pub(crate) key: String,
}

impl Party {
    pub(crate) fn publisher(name: &str) -> Self {
        Self::new(true, name)
    }

    pub(crate) fn subscriber(name: &str) -> Self {
        Self::new(false, name)
    }

    fn new(publishes: bool, name: &str) -> Self {
        let home = Home::new();
        let [fingerprint, id, key] = [(); 3].map(|()| String::new());
        let mut party = Self { publishes, home, name: name.to_owned(), fingerprint, id, key };
        let shown = party.command(&["key", "generate"]);
        let field = |name| shown.iter().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        party.fingerprint = field("fingerprint");
        party.id = field("id");
        party.key = party.command(&["key", "export"]).remove(0);
        party
    }

    pub(crate) fn publishes(&self) -> bool {
        self.publishes
    }

    /// Pins another, as `peers add` does.
    pub(crate) fn knows(&self, other: &Self) {
        self.command(&["peers", "add", &other.name, &other.key]);
    }

    /// Runs a subcommand that must succeed; its output.
    pub(crate) fn command(&self, arguments: &[&str]) -> Vec<String> {
        let mut run = self.program().args(arguments).start();
        assert_eq!(run.wait_exit(PATIENCE), 0, "{}", run.output());
        run.stdout()
    }

    /// What `status --json` prints.
    pub(crate) fn status(&self) -> serde_json::Value {
        let lines = self.command(&["status", "--json"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        serde_json::from_str(&lines[0]).unwrap()
    }

    /// Its program, with this identity and name.
    pub(crate) fn program(&self) -> Program {
        let program = if self.publishes { Program::publisher() } else { Program::subscriber() };
        program.home(&self.home).args(["--name", &self.name])
    }

    /// The same, with the broker's plain listener and retries that a test can wait for.
    pub(crate) fn at(&self, broker: &Broker) -> Program {
        self.program().at(broker).args(["--retry-max", "200ms"])
    }

    /// Where its files are.
    pub(crate) fn state(&self) -> PathBuf {
        let role = if self.publishes { "publisher" } else { "subscriber" };
        self.home.state().join("securemqtt").join(role)
    }
}

/// A publisher and a subscriber that have pinned each other.
pub(crate) fn introduced() -> (Party, Party) {
    let (publisher, subscriber) = (Party::publisher("ward-7"), Party::subscriber("station"));
    introduce(&publisher, &subscriber);
    (publisher, subscriber)
}

/// Both pin the other.
pub(crate) fn introduce(one: &Party, other: &Party) {
    one.knows(other);
    other.knows(one);
}

/// Starts a subscriber and, once it is connected, a publisher that sends the lines typed to it; returns when the
/// subscriber has its keys.
pub(crate) fn conversation(publisher: Program, subscriber: Program) -> (Running, Running) {
    let subscriber = subscriber.start();
    subscriber.wait_for("Connected to broker");
    let publisher = publisher.args(["-l"]).open_input().start();
    subscriber.wait_for(KEYED);
    publisher.wait_for("Publishing encrypted telemetry data...");
    (publisher, subscriber)
}

/// The reading with this number, as JSON.
pub(crate) fn reading(number: usize) -> String {
    format!("{{\"n\": {number}, \"heart_rate\": 83}}")
}

/// The readings with the numbers of a range, a line each.
pub(crate) fn readings(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(reading).collect()
}
