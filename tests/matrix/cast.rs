//! A publisher and its subscribers at one of the brokers, over any number of runs, and all that they have said.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::server::Server;
use crate::parties::{EXCHANGED, KEYED, Party, RAW, introduce, reading, readings};
use crate::process::{Program, Running};
use crate::tail::{LOOK, lines};

/// NATS waits half a minute before it delivers again what a client that left had not acknowledged.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// What all programs have said, with who said it.
pub(super) type Said = Arc<Mutex<Vec<String>>>;

/// One owner of an identity, running or not.
pub(super) struct Actor {
    pub(super) party: Party,
    running: Option<Running>,
    said: Said,
}

impl Actor {
    fn new(party: Party, said: &Said) -> Self {
        Self { party, running: None, said: Arc::clone(said) }
    }

    /// A publisher reads from an open pipe, a subscriber writes to its file.
    pub(super) fn start(&mut self, server: &Server) {
        assert!(self.running.is_none(), "{} runs", self.party.name);
        let (address, password) = server.address();
        let program = self.party.program().args(address).args(["--retry-max", "200ms"]);
        let program = if self.party.publishes() {
            program
                .args(["-l", "--tick-every", "1s"])
                .env("SECUREMQTT_LOG", "warn,mqtt_publisher=info,rumqttc=off")
                .open_input()
        } else {
            program.args(RAW).args(["-o", self.file().to_str().unwrap()])
        };
        let program = password.into_iter().fold(program, |program: Program, it| program.env("SECUREMQTT_PASSWORD", it));
        self.running = Some(program.start());
    }

    pub(super) fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// As a broker on a busy machine needs.
    pub(super) fn wait_for(&mut self, text: &str) {
        self.running().wait_for_line(|line| line.contains(text), PATIENCE);
    }

    /// How often it has said it, in this run.
    pub(super) fn has_said(&mut self, text: &str) -> usize {
        self.running().output().lines().filter(|line| line.contains(text)).count()
    }

    /// A publisher at the end of its input, a subscriber by Ctrl-C; the exit code.
    pub(super) fn end(&mut self) -> i32 {
        let publishes = self.party.publishes();
        let running = self.running();
        if publishes {
            running.close_input();
        } else {
            running.signal("INT");
        }
        let exit = running.wait_exit(PATIENCE);
        self.keep_what_was_said();
        exit
    }

    /// What a subscriber has put out.
    pub(super) fn lines(&self) -> Vec<String> {
        lines(&self.file())
    }

    /// So many lines are in its file.
    pub(super) fn has(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines().len() < count {
            assert!(Instant::now() < deadline, "{} has {} of {count}", self.party.name, self.lines().len());
            thread::sleep(LOOK);
        }
    }

    fn file(&self) -> PathBuf {
        self.party.state().join("readings")
    }

    fn keep_what_was_said(&mut self) {
        if let Some(running) = self.running.take() {
            let name = &self.party.name;
            self.said.lock().unwrap().extend(running.output().lines().map(|line| format!("{name}: {line}")));
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.keep_what_was_said();
    }
}

/// A publisher, the subscriber that things happen to, and one that is left alone: what it has was published.
pub(super) struct Cast {
    pub(super) publisher: Actor,
    pub(super) station: Actor,
    pub(super) witness: Actor,
    typed: usize,
}

impl Cast {
    /// All are connected and have exchanged keys.
    pub(super) fn meet(server: &Server, said: &Said) -> Self {
        // A name of its own, and a topic made of it: what the broker has kept of others is nobody's business here.
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("ward-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let publisher = Party::publisher(&name);
        let [station, witness] = ["station", "witness"].map(Party::subscriber);
        for subscriber in [&station, &witness] {
            introduce(&publisher, subscriber);
        }
        let [mut publisher, mut station, mut witness] =
            [publisher, station, witness].map(|party| Actor::new(party, said));
        for subscriber in [&mut station, &mut witness] {
            subscriber.start(server);
            subscriber.wait_for("Connected to broker");
        }
        publisher.start(server);
        for subscriber in [&mut station, &mut witness] {
            subscriber.wait_for(KEYED);
        }
        publisher.running().wait_for_lines(2, |line| line.contains(EXCHANGED), PATIENCE);
        Self { publisher, station, witness, typed: 0 }
    }

    /// The next readings.
    pub(super) fn publish(&mut self, count: usize) {
        let next = self.typed + count;
        self.publisher.running().type_line(&readings(self.typed..next).join("\n"));
        self.typed = next;
    }

    /// All that was published is in both files.
    pub(super) fn arrives(&mut self) {
        let typed = self.typed;
        self.witness.has(typed);
        self.station.has(typed);
    }

    /// What somebody who is left alone has: it was published, and the broker has had it.
    pub(super) fn is_published(&mut self) {
        self.witness.has(self.typed);
    }

    /// Nothing is left over or twice, with one more reading as the last.
    pub(super) fn ends_in_order(mut self) {
        self.last();
        for subscriber in [&self.station, &self.witness] {
            assert_eq!(subscriber.lines(), readings(0..self.typed), "{}, in order", subscriber.party.name);
        }
    }

    /// The same, in whatever order.
    pub(super) fn ends_each_once(mut self) {
        self.last();
        for subscriber in [&self.station, &self.witness] {
            let mut wanted = readings(0..self.typed);
            let mut got = subscriber.lines();
            wanted.sort();
            got.sort();
            assert_eq!(got, wanted, "{}, each once", subscriber.party.name);
        }
    }

    /// One more reading, behind which nothing comes, and the end of all three.
    fn last(&mut self) {
        self.publish(1);
        self.arrives();
        assert_eq!(self.publisher.end(), 0);
        assert_eq!(self.station.end(), 0);
        assert_eq!(self.witness.end(), 0);
    }
}
