//! The publishers and subscribers that it happens to, over all of their lives.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::account::Account;
use super::feeder::{Feeder, Life};
use super::proxy::Proxy;
use crate::broker::HOST;
use crate::parties::Party;
use crate::process::{Program, Running};

/// A drain is bounded by the program; this is longer.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// One program behind a network of its own.
pub(super) struct Actor {
    pub(super) party: Party,
    pub(super) proxy: Proxy,
    running: Running,
    /// The lines to a publisher.
    feeder: Option<Feeder>,
    pub(super) lives: Vec<Life>,
    /// The last time that it stood still, from and to.
    still: Option<(Instant, Option<Instant>)>,
}

impl Actor {
    pub(super) fn start(party: Party, broker_port: u16) -> Self {
        let proxy = Proxy::to(broker_port);
        let running = program(&party, &proxy).start();
        Self { party, proxy, running, feeder: None, lives: Vec::new(), still: None }
    }

    pub(super) fn wait_for(&self, text: &str) {
        self.running.wait_for(text);
    }

    /// A publisher is given lines from now on, in each of its lives.
    pub(super) fn feed(&mut self) {
        let input = self.running.take_input();
        self.feeder = Some(Feeder::start(&self.party.name, self.lives.len(), input));
    }

    pub(super) fn kill(&mut self) {
        self.running.signal("KILL");
        self.begin_again();
    }

    /// A clean end, and a new start. What keeps it from ending is over first.
    pub(super) fn restart(&mut self) {
        self.proxy.resume();
        self.go_on();
        self.running.signal("TERM");
        self.begin_again();
    }

    pub(super) fn stand_still(&mut self) {
        self.still = Some((Instant::now(), None));
        self.running.signal("STOP");
    }

    pub(super) fn go_on(&mut self) {
        self.running.signal("CONT");
        if let Some((_, to @ None)) = &mut self.still {
            *to = Some(Instant::now());
        }
    }

    fn begin_again(&mut self) {
        let running_until = match self.still.take() {
            Some((from, None)) => from,
            // It may have had too little time for what was written since.
            Some((from, Some(to))) if to.elapsed() < Duration::from_secs(5) => from,
            _ => Instant::now(),
        };
        self.running.wait_exit(ENDS_WITHIN);
        let feeder = self.feeder.take();
        self.running = program(&self.party, &self.proxy).start();
        if let Some(feeder) = feeder {
            self.lives.push(feeder.cut_off(running_until));
            self.feed();
        }
    }

    /// No further lines; the program goes on, for what is missing may be asked for.
    pub(super) fn rest(&mut self) -> Option<std::process::ChildStdin> {
        let (life, input) = self.feeder.take()?.rest();
        self.lives.push(life);
        Some(input)
    }

    /// The end of a publisher's input, or TERM for a subscriber; its exit code.
    pub(super) fn end(&mut self, input: Option<std::process::ChildStdin>) -> i32 {
        if input.is_none() {
            self.running.signal("TERM");
        }
        drop(input);
        self.running.wait_exit(ENDS_WITHIN)
    }

    /// What its last life said, for the message of a failing test.
    pub(super) fn said(&self) -> String {
        format!("{}:\n{}", self.party.name, self.running.stderr().join("\n"))
    }

    /// What a subscriber has put out so far.
    pub(super) fn account(&self) -> Account {
        Account::of(&std::fs::read_to_string(file(&self.party)).unwrap_or_default())
    }
}

/// The output file of a subscriber.
fn file(party: &Party) -> PathBuf {
    party.state().join("readings.jsonl")
}

fn program(party: &Party, proxy: &Proxy) -> Program {
    let port = proxy.port().to_string();
    let program = party.program().args(["-h", HOST, "-p", &port, "--retry-max", "500ms", "--keepalive", "5"]);
    if party.publishes() {
        program.args(["-l", "--tick-every", "1s"]).open_input()
    } else {
        program.args(["--output", "json", "-o", file(party).to_str().unwrap()])
    }
}
