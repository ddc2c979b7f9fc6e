//! A publisher and two subscribers at one of the brokers, over any number of runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::server::Server;
use super::stage::Stage;
use crate::parties::{EXCHANGED, KEYED, Party, RAW, introduce, reading};
use crate::process::Running;
use crate::tail::{LOOK, lines};

/// NATS waits half a minute before it delivers again what a client that left had not acknowledged.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// One owner of an identity, running or not.
pub(super) struct Actor {
    pub(super) party: Party,
    topic: Option<&'static str>,
    running: Option<Running>,
    stage: Arc<Stage>,
}

impl Actor {
    pub(super) fn new(party: Party, topic: Option<&'static str>, stage: &Arc<Stage>) -> Self {
        Self { party, topic, running: None, stage: Arc::clone(stage) }
    }

    /// A publisher reads from an open pipe, a subscriber writes to its file.
    pub(super) fn start(&mut self, server: &Server) {
        assert!(self.running.is_none(), "{} runs", self.party.name);
        let mut program = server.reached_by(self.party.program()).args(["--retry-max", "200ms"]);
        if let Some(topic) = self.topic {
            program = program.args(["-t", topic]);
        }
        program = if self.party.publishes() {
            // What rumqttc has to say of a connection, the program says in words for people.
            let log = "warn,mqtt_publisher=info,rumqttc=off";
            program.args(["-l", "--tick-every", "1s"]).env("SECUREMQTT_LOG", log).open_input()
        } else {
            program.args(RAW).args(["-o", self.file().to_str().unwrap()])
        };
        self.running = Some(program.start());
    }

    pub(super) fn running(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// As long as a broker on a busy machine needs.
    pub(super) fn wait_for(&mut self, text: &str) {
        self.running().wait_for_line(|line| line.contains(text), PATIENCE);
    }

    /// How often it has said it, in this run.
    pub(super) fn has_said(&self, text: &str) -> usize {
        let output = self.running.as_ref().map(Running::output).unwrap_or_default();
        output.lines().filter(|line| line.contains(text)).count()
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
        self.leave();
        exit
    }

    /// What a subscriber has put out.
    pub(super) fn lines(&self) -> Vec<String> {
        lines(&self.file())
    }

    fn file(&self) -> PathBuf {
        self.party.state().join("readings")
    }

    fn leave(&mut self) {
        if let Some(running) = self.running.take() {
            self.stage.hear(&self.party.name, &running.output());
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.leave();
        if !self.party.publishes() {
            self.stage.take(self.lines());
        }
    }
}

/// A publisher, the subscriber that things happen to, and one that is left alone: what it has was published.
pub(super) struct Cast {
    pub(super) publisher: Actor,
    pub(super) station: Actor,
    pub(super) witness: Actor,
    typed: Vec<String>,
}

impl Cast {
    /// All are connected and have exchanged keys.
    pub(super) fn meet(server: &Server, stage: &Arc<Stage>) -> Self {
        Self::of_actors(None, server, stage)
    }

    /// The same, about a topic that is not made of the publisher's name.
    pub(super) fn meet_about(server: &Server, stage: &Arc<Stage>, topic: &'static str) -> Self {
        Self::of_actors(Some(topic), server, stage)
    }

    fn of_actors(topic: Option<&'static str>, server: &Server, stage: &Arc<Stage>) -> Self {
        // A name of its own, and a topic made of it: what the broker has kept of others is nobody's business here.
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let publisher = Party::publisher(&format!("ward-{}", COUNT.fetch_add(1, Ordering::SeqCst)));
        let [station, witness] = ["station", "witness"].map(Party::subscriber);
        for subscriber in [&station, &witness] {
            introduce(&publisher, subscriber);
        }
        let [publisher, station, witness] = [publisher, station, witness].map(|party| Actor::new(party, topic, stage));
        let mut cast = Self { publisher, station, witness, typed: Vec::new() };
        for subscriber in [&mut cast.station, &mut cast.witness] {
            subscriber.start(server);
            subscriber.wait_for("Connected to broker");
        }
        cast.publisher.start(server);
        for subscriber in [&mut cast.station, &mut cast.witness] {
            subscriber.wait_for(KEYED);
        }
        cast.wait_until(|cast| cast.publisher.has_said(EXCHANGED) == 2);
        cast
    }

    /// The next readings.
    pub(super) fn publish(&mut self, count: usize) {
        let next = self.typed.len();
        self.type_lines((next..next + count).map(reading).collect());
    }

    /// One reading of about so many bytes.
    pub(super) fn publish_bytes(&mut self, count: usize) {
        self.type_lines(vec![format!("{{\"n\": \"{}\"}}", "7".repeat(count))]);
    }

    fn type_lines(&mut self, lines: Vec<String>) {
        self.publisher.running().type_line(&lines.join("\n"));
        self.typed.extend(lines);
    }

    /// All that was published is in both files.
    pub(super) fn arrives(&mut self) {
        self.is_published();
        self.wait_until(|cast| cast.station.lines().len() >= cast.typed.len());
    }

    /// What somebody who is left alone has: it was published, and the broker has had it.
    pub(super) fn is_published(&mut self) {
        self.wait_until(|cast| cast.witness.lines().len() >= cast.typed.len());
    }

    /// Panics if that takes too long, or cannot come any more.
    pub(super) fn wait_until(&mut self, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let has = [&self.station, &self.witness].map(|subscriber| subscriber.lines().len());
            let in_vain = self.in_vain();
            assert!(!in_vain, "of {} readings there are {has:?}, and no more come", self.typed.len());
            assert!(
                Instant::now() < deadline,
                "of {} readings there are {has:?}, after {PATIENCE:?}",
                self.typed.len()
            );
            thread::sleep(LOOK);
        }
    }

    /// The publisher has ended, or somebody has said that this broker does not do it.
    fn in_vain(&mut self) -> bool {
        let last_word = self.publisher.stage.last_word();
        let actors = [&self.publisher, &self.station, &self.witness];
        last_word.is_some_and(|word| actors.iter().any(|actor| actor.has_said(word) > 0))
            || self.publisher.running().has_ended()
    }

    /// Nothing is left over or twice, with one more reading as the last.
    pub(super) fn ends_in_order(mut self) {
        self.last();
        for subscriber in [&self.station, &self.witness] {
            assert!(subscriber.lines() == self.typed, "{}: not in order", subscriber.party.name);
        }
    }

    /// The same, in whatever order.
    pub(super) fn ends_each_once(mut self) {
        self.last();
        self.typed.sort();
        for subscriber in [&self.station, &self.witness] {
            let mut lines = subscriber.lines();
            lines.sort();
            assert!(lines == self.typed, "{}: not each once", subscriber.party.name);
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
