//! A publisher and a subscriber with keys of their own, who know each other or not.

use crate::process::{Home, PATIENCE, Program, Running};

/// Their names, as each proposes its own.
pub(crate) const PUBLISHER: &str = "pump";
pub(crate) const SUBSCRIBER: &str = "station";

/// The two state directories; the programs may start, end and start again.
pub(crate) struct Pair {
    publisher: Home,
    subscriber: Home,
}

impl Pair {
    /// Each has a key and knows nobody.
    pub(crate) fn strangers() -> Self {
        let pair = Self { publisher: Home::new(), subscriber: Home::new() };
        run(pair.publisher(), &["key", "generate"]);
        run(pair.subscriber(), &["key", "generate"]);
        pair
    }

    /// Each has pinned the other.
    pub(crate) fn pinned() -> Self {
        let pair = Self::strangers();
        pair.subscriber_pins_publisher();
        pair.publisher_pins_subscriber();
        pair
    }

    pub(crate) fn subscriber_pins_publisher(&self) {
        run(self.subscriber(), &["peers", "add", PUBLISHER, &exported_key(self.publisher())]);
    }

    pub(crate) fn publisher_pins_subscriber(&self) {
        run(self.publisher(), &["peers", "add", SUBSCRIBER, &exported_key(self.subscriber())]);
    }

    /// The publisher, to be given its arguments.
    pub(crate) fn publisher(&self) -> Program {
        Program::publisher().home(&self.publisher).env("SECUREMQTT_NAME", PUBLISHER)
    }

    /// The subscriber, likewise.
    pub(crate) fn subscriber(&self) -> Program {
        Program::subscriber().home(&self.subscriber).env("SECUREMQTT_NAME", SUBSCRIBER)
    }

    /// A publisher of this name whose key is another.
    pub(crate) fn with_new_publisher(&self) -> Self {
        Self { publisher: Self::strangers().publisher, subscriber: self.subscriber.clone() }
    }

    /// A subscriber of this name whose key is another.
    pub(crate) fn with_new_subscriber(&self) -> Self {
        Self { publisher: self.publisher.clone(), subscriber: Self::strangers().subscriber }
    }
}

/// Runs a command that must succeed, and returns its output.
pub(crate) fn run(program: Program, arguments: &[&str]) -> Vec<String> {
    let mut running = program.args(arguments).start();
    assert_eq!(running.wait_exit(PATIENCE), 0, "{arguments:?}: {}", running.output());
    running.stdout()
}

/// The public key as `key export` prints it: type and base64.
pub(crate) fn exported_key(program: Program) -> String {
    let line = run(program, &["key", "export"]).remove(0);
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The fingerprint as `key show` prints it.
pub(crate) fn fingerprint(program: Program) -> String {
    let shown = run(program, &["key", "show"]);
    shown[0].split_ascii_whitespace().last().unwrap().to_owned()
}

/// Runs the command that a message of `running` offers, in the program's own home.
pub(crate) fn run_offered(program: Program, running: &Running, offer: &str) {
    let line = running.wait_for(offer);
    let words: Vec<&str> = line.split(offer).nth(1).unwrap().split_ascii_whitespace().collect();
    assert!(words[0] == "mqtt-publisher" || words[0] == "mqtt-subscriber", "{line}");
    run(program, &words[1..]);
}
