//! Starts all of them, lets it happen, and waits for the dust to settle.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ChildStdin;
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;
use super::actors::Actor;
use super::feeder::Life;
use super::plan::{Blow, Dice, Tally, Victim, Wishes, possible};
use crate::broker::Broker;
use crate::parties::{KEYED, Party, introduce};

const PUBLISHERS: [&str; 2] = ["ward-1", "ward-2"];
const SUBSCRIBERS: [&str; 2] = ["station", "archive"];

/// Without anything further happening, all that is owed arrives in this time.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);

/// Between two looks at what has arrived.
const LOOK: Duration = Duration::from_millis(200);

/// Everything that runs.
pub(super) struct Driver {
    broker: Broker,
    publishers: Vec<Actor>,
    subscribers: Vec<Actor>,
    dice: Dice,
    tally: Tally,
    /// Who goes on again, and when.
    due: Vec<(Instant, Victim, Blow)>,
}

impl Driver {
    /// All connected, keyed and fed.
    pub(super) fn start(broker: Broker, seed: u64) -> Self {
        let publishers = PUBLISHERS.map(Party::publisher);
        let subscribers = SUBSCRIBERS.map(Party::subscriber);
        for publisher in &publishers {
            for subscriber in &subscribers {
                introduce(publisher, subscriber);
            }
        }
        let port = broker.port();
        let act = |party| Actor::start(party, port);
        let subscribers: Vec<Actor> = subscribers.into_iter().map(act).collect();
        for subscriber in &subscribers {
            subscriber.wait_for("Connected to broker");
        }
        let mut publishers: Vec<Actor> = publishers.into_iter().map(act).collect();
        for subscriber in &subscribers {
            subscriber.wait_for(KEYED);
        }
        for publisher in &mut publishers {
            publisher.wait_for("Publishing encrypted telemetry data...");
            publisher.feed();
        }
        Self { broker, publishers, subscribers, dice: Dice::new(seed), tally: Tally::new(), due: Vec::new() }
    }

    /// Until there were enough kills, or the time is up.
    pub(super) fn strike(&mut self, victims: &str, wishes: &Wishes) {
        let possible = possible(victims, self.publishers.len(), self.subscribers.len());
        let end = Instant::now() + wishes.time;
        while Instant::now() < end && self.kills() < wishes.kills {
            let (victim, blow) = self.dice.among(&possible);
            *self.tally.entry((victim.kind(), blow)).or_default() += 1;
            self.deal(victim, blow);
            let pause = self.dice.pause(50..600);
            self.wait_until(Instant::now() + pause);
        }
        self.wait_until(end.min(Instant::now() + Duration::from_secs(3)));
        for (_, victim, blow) in std::mem::take(&mut self.due) {
            self.undo(victim, blow);
        }
    }

    fn deal(&mut self, victim: Victim, blow: Blow) {
        let lasts = self.dice.pause(100..2_500);
        let Some(actor) = self.actor(victim) else {
            if blow == Blow::Kill {
                self.broker.kill();
            } else {
                self.broker.stop();
            }
            thread::sleep(lasts / 4);
            return self.broker.start_again();
        };
        match blow {
            Blow::Kill => actor.kill(),
            Blow::Restart => actor.restart(),
            Blow::Cut => actor.proxy.cut(),
            Blow::Stop => actor.stand_still(),
            Blow::Stall => actor.proxy.stall(),
        }
        if matches!(blow, Blow::Stop | Blow::Stall) {
            self.due.push((Instant::now() + lasts, victim, blow));
        }
    }

    fn undo(&mut self, victim: Victim, blow: Blow) {
        let Some(actor) = self.actor(victim) else { return };
        if blow == Blow::Stop { actor.go_on() } else { actor.proxy.resume() }
    }

    fn wait_until(&mut self, then: Instant) {
        loop {
            let (over, due) = std::mem::take(&mut self.due).into_iter().partition(|(at, ..)| *at <= Instant::now());
            self.due = due;
            for (_, victim, blow) in Vec::from_iter::<Vec<_>>(over) {
                self.undo(victim, blow);
            }
            let next = self.due.iter().map(|(at, ..)| *at).min().unwrap_or(then).min(then);
            thread::sleep(next.saturating_duration_since(Instant::now()));
            if Instant::now() >= then {
                return;
            }
        }
    }

    fn actor(&mut self, victim: Victim) -> Option<&mut Actor> {
        match victim {
            Victim::Broker => None,
            Victim::Publisher(number) => self.publishers.get_mut(number),
            Victim::Subscriber(number) => self.subscribers.get_mut(number),
        }
    }

    fn kills(&self) -> usize {
        self.tally.iter().filter(|((_, blow), _)| *blow == Blow::Kill).map(|(_, count)| count).sum()
    }

    /// Everybody rests and all that is owed arrives; then the publishers' input ends, and all end by themselves.
    pub(super) fn settle(mut self) -> Outcome {
        let inputs: Vec<Option<ChildStdin>> = self.publishers.iter_mut().map(Actor::rest).collect();
        let lives: Vec<Life> = self.publishers.iter().flat_map(|publisher| publisher.lives.clone()).collect();
        let deadline = Instant::now() + SETTLES_WITHIN;
        while Instant::now() < deadline && !are_complete(&self.accounts(), &lives) {
            thread::sleep(LOOK);
        }
        let mut exits: Vec<i32> =
            self.publishers.iter_mut().zip(inputs).map(|(actor, input)| actor.end(input)).collect();
        exits.extend(self.subscribers.iter_mut().map(|actor| actor.end(None)));
        let all = self.publishers.iter().chain(&self.subscribers);
        let failed = all.zip(&exits).filter(|(_, exit)| **exit != 0);
        let failures = failed.map(|(actor, exit)| format!("exit code {exit} of {}", actor.said())).collect();
        Outcome { accounts: self.accounts(), tally: self.tally, lives, failures }
    }

    fn accounts(&self) -> Vec<Account> {
        self.subscribers.iter().map(Actor::account).collect()
    }
}

fn are_complete(accounts: &[Account], lives: &[Life]) -> bool {
    let alike = accounts.iter().all(|one| accounts.iter().all(|other| one.lacks(other) == 0));
    alike && accounts.iter().all(|account| account.lost(lives).is_empty())
}

/// What is to be judged.
pub(super) struct Outcome {
    tally: Tally,
    lives: Vec<Life>,
    accounts: Vec<Account>,
    /// Programs that did not end well, and what they said.
    failures: Vec<String>,
}

impl Outcome {
    /// A line of a table, and what happened to whom.
    pub(super) fn report(&self, setting: &str, seed: u64) {
        let sent: usize = self.lives.iter().map(|life| life.written).sum();
        let mut text = format!("chaos: {setting}, seed {seed}: {sent} readings written\n");
        for ((victim, blow), count) in &self.tally {
            writeln!(text, "    {victim:10} {blow:?} {count}").unwrap();
        }
        for (name, account) in SUBSCRIBERS.iter().zip(&self.accounts) {
            let (delivered, lost) = (account.delivered(), account.lost(&self.lives).len());
            let (missing, late) = account.reported;
            let (twice, inversions, untold) = (account.twice.len(), account.inversions, account.unannounced.len());
            writeln!(
                text,
                "    {name:10} delivered {delivered}, lives with a loss {lost}, twice {twice}, late {inversions}, of them \
                 unannounced {untold}, reported missing {missing} and late {late}"
            )
            .unwrap();
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Lost 0, twice 0, all alike, and nothing out of order that was not reported missing.
    pub(super) fn assert_exactly_once(&self) {
        for account in &self.accounts {
            let lost = account.lost(&self.lives);
            assert!(lost.is_empty(), "lost: {lost:?}");
            assert!(account.twice.is_empty(), "twice: {:?}", account.twice);
            assert!(account.broken.is_empty(), "no JSON: {:?}", account.broken);
            assert!(account.unannounced.is_empty(), "out of order, and not reported: {:?}", account.unannounced);
            assert!(self.accounts.iter().all(|other| account.lacks(other) == 0), "the subscribers differ");
        }
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}
