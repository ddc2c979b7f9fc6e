//! Who is measured side by side, and how each is started.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Bench;
use super::run::{self, PATIENCE, Sample};
use crate::broker::{Broker, HOST};
use crate::job::{Job, Load, Site};
use crate::ours::Party;
use crate::outcome::Outcome;
use crate::process::{Lines, Printed, Role};

const TOPIC: &str = "bench/vitals";
/// `mqtt-publisher`'s, where readings are gathered.
const LINGER: [&str; 2] = ["--linger", "10ms"];

/// What a contender is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// rumqttc with plaintext.
    Plain,
    /// Our clients.
    Ours,
    /// `mosquitto_pub` and `mosquitto_sub`, with plaintext.
    Mosquitto,
    /// `mqtt-publisher` and `mqtt-subscriber`.
    Programs,
    /// The Python baseline: encrypted, not authenticated.
    Python,
}

impl Kind {
    /// Whether it is programs: lines go into the one's pipe and come out of the other's.
    pub(super) fn has_pipes(self) -> bool {
        matches!(self, Self::Mosquitto | Self::Programs)
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    /// As the table names it.
    pub name: &'static str,
    /// What it is made of.
    pub kind: Kind,
    /// Quality of service.
    pub qos: u8,
    /// Over TLS.
    pub tls: bool,
    /// With the durable spool.
    pub spool: bool,
    /// Many readings in one message.
    pub linger: bool,
}

/// What is published in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bytes of a reading.
    pub size: usize,
    /// For so long.
    pub time: Duration,
    /// So many a second, each with its time; as many as go where none.
    pub per_second: Option<u32>,
}

impl Contender {
    /// A plain row; the others are made from it.
    pub(super) const fn new(name: &'static str, kind: Kind, qos: u8) -> Self {
        Self { name, kind, qos, tls: false, spool: false, linger: false }
    }

    /// Over TLS.
    pub(super) const fn over_tls(self) -> Self {
        Self { tls: true, ..self }
    }

    /// With the durable spool.
    pub(super) const fn spooled(self) -> Self {
        Self { spool: true, ..self }
    }

    /// Many readings in one message.
    pub(super) const fn lingering(self) -> Self {
        Self { linger: true, ..self }
    }

    /// One run, on a broker of its own.
    ///
    /// # Errors
    /// If something is missing or fails.
    pub(super) fn run(&self, bench: &Bench, shape: Shape) -> Outcome<Sample> {
        let broker = bench.broker()?;
        let directory = bench.directory()?;
        if self.kind.has_pipes() {
            self.run_programs(bench, &broker, directory.path(), shape)
        } else {
            self.run_roles(bench, &broker, directory.path(), shape)
        }
    }

    fn run_roles(&self, bench: &Bench, broker: &Broker, directory: &Path, shape: Shape) -> Outcome<Sample> {
        let [mut publisher, mut subscriber] = self.start_roles(bench, broker, directory, shape)?;
        run::roles(&mut publisher, &mut subscriber, broker.meter()?, shape.time, 1)
    }

    /// Publisher and subscriber, ready.
    ///
    /// # Errors
    /// If something is missing, or one does not get ready.
    pub(super) fn start_roles(
        &self,
        bench: &Bench,
        broker: &Broker,
        directory: &Path,
        shape: Shape,
    ) -> Outcome<[Role; 2]> {
        let [publisher, subscriber] = self.jobs(broker, directory, shape)?;
        let start = |job: &Job, script: &str| match self.kind {
            Kind::Python => python(bench, directory, job, script),
            _ => Role::start(job),
        };
        let subscriber = start(&subscriber, "subscriber.py")?;
        subscriber.ready(PATIENCE)?;
        let publisher = start(&publisher, "publisher.py")?;
        publisher.ready(PATIENCE)?;
        Ok([publisher, subscriber])
    }

    /// The two processes.
    fn jobs(&self, broker: &Broker, directory: &Path, shape: Shape) -> Outcome<[Job; 2]> {
        let authority = self.tls.then(|| broker.certificates.authority.clone());
        let site = Site { port: if self.tls { broker.tls_port } else { broker.port }, authority };
        let Shape { size, per_second, .. } = shape;
        let load = Load { topic: TOPIC.to_owned(), qos: self.qos, size, per_second, linger: self.linger };
        let (topic, timed, qos) = (TOPIC.to_owned(), per_second.is_some(), self.qos);
        if self.kind != Kind::Ours {
            let subscriber = Job::PlainSubscriber { site: site.clone(), topic, qos, timed };
            return Ok([Job::PlainPublisher { site, load }, subscriber]);
        }
        let [publisher, subscriber] = introduced(directory)?;
        let states = vec![subscriber.state];
        let subscriber = Job::Subscribers { site: site.clone(), states, filter: topic, qos, timed };
        Ok([Job::Publisher { site, state: publisher.state, load, spool: self.spool, subscribers: 1 }, subscriber])
    }

    fn run_programs(&self, bench: &Bench, broker: &Broker, directory: &Path, shape: Shape) -> Outcome<Sample> {
        let (mut lines, printed) = self.start_programs(bench, broker, directory, false)?;
        run::programs(&mut lines, &printed, broker.meter()?, shape.size, shape.time)
    }

    /// The two programs: what goes into the one comes out of the other as soon as they are connected. The ages of readings are
    /// noted, where these are `timed`.
    ///
    /// # Errors
    /// If they are missing, or cannot be started.
    pub(super) fn start_programs(
        &self,
        bench: &Bench,
        broker: &Broker,
        directory: &Path,
        timed: bool,
    ) -> Outcome<(Lines, Printed)> {
        let ours = self.kind == Kind::Programs;
        let tools = if ours { &bench.tools.programs } else { &bench.tools.clients };
        let tools = tools.as_ref().ok_or("the programs are not here")?;
        let (port, qos) = (broker.port.to_string(), self.qos.to_string());
        let at = ["-h", HOST, "-p", &port, "-t", TOPIC, "-q", &qos];
        let mut publish = Command::new(&tools.publish);
        publish.args(at).arg("-l");
        let mut subscribe = Command::new(&tools.subscribe);
        subscribe.args(at);
        if ours {
            let [publisher, subscriber] = introduced(directory)?;
            publish.arg("--state-dir").arg(publisher.state);
            subscribe.args(["--output", "raw", "--state-dir"]).arg(subscriber.state);
            publish.args(if self.spool { None } else { Some("--no-spool") });
            publish.args(if self.linger { &LINGER[..] } else { &[] });
        }
        let printed = Printed::start(subscribe, timed)?;
        Ok((Lines::start(publish)?, printed))
    }
}

/// A publisher and a subscriber that have pinned each other.
pub(super) fn introduced(directory: &Path) -> Outcome<[Party; 2]> {
    let [publisher, subscriber] = [Party::make(directory, "publisher")?, Party::make(directory, "subscriber")?];
    publisher.knows([&subscriber])?;
    subscriber.knows([&publisher])?;
    Ok([publisher, subscriber])
}

const SCRIPTS: [(&str, &str); 3] = [
    ("common.py", include_str!("../python/common.py")),
    ("publisher.py", include_str!("../python/publisher.py")),
    ("subscriber.py", include_str!("../python/subscriber.py")),
];

fn python(bench: &Bench, directory: &Path, job: &Job, script: &str) -> Outcome<Role> {
    let python = bench.tools.python.as_ref().ok_or("there is no Python with paho-mqtt and cryptography")?;
    for (name, text) in SCRIPTS {
        std::fs::write(directory.join(name), text)?;
    }
    let mut command = Command::new(&python.interpreter);
    command.arg(directory.join(script)).arg(serde_json::to_string(job)?);
    Role::spawn(command)
}
