//! A broker that runs: ready when it takes a client, killed as `kill -9` does, started again where it was.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::brokers::{Place, Recipe};
use super::connack::{Mqtt, takes_a_client};
use super::loopback::open_to_others;
use crate::broker::{HOST, free_port};
use crate::process::Program;

/// RabbitMQ takes a quarter of a minute on an idle machine.
const STARTS_WITHIN: Duration = Duration::from_secs(180);

/// Between two looks at a broker that is starting.
const POLL: Duration = Duration::from_millis(50);

/// How many of the last lines of its log a failing test shows.
const LOG_SHOWN: usize = 60;

/// A broker process in a directory of its own; it and its companion are killed when dropped.
pub(super) struct Server {
    recipe: &'static Recipe,
    mqtt: Mqtt,
    directory: TempDir,
    port: u16,
    more_ports: [u16; 3],
    companion: Option<Child>,
    process: Option<Child>,
}

impl Server {
    /// `None`, and a line on stderr that names it, where this machine does not have it.
    pub(super) fn start(recipe: &'static Recipe, mqtt: Mqtt) -> Option<Self> {
        if (recipe.program)().is_none() {
            let (name, get) = (recipe.name, recipe.get);
            let _ = writeln!(std::io::stderr(), "matrix: SKIPPED {name}, MQTT {mqtt}: it is not installed ({get})");
            return None;
        }
        let [port, more_ports @ ..] = [(); 4].map(|()| free_port());
        let directory = TempDir::new().unwrap();
        let mut server = Self { recipe, mqtt, directory, port, more_ports, companion: None, process: None };
        if let Some(companion) = recipe.companion {
            server.companion = Some(server.spawn(companion(&server.place())));
        }
        server.start_again();
        Some(server)
    }

    pub(super) fn name(&self) -> &'static str {
        self.recipe.name
    }

    pub(super) fn mqtt(&self) -> Mqtt {
        self.mqtt
    }

    /// As the broker itself tells it.
    pub(super) fn version(&self) -> String {
        (self.recipe.version)(&(self.recipe.program)().unwrap(), &self.log())
    }

    /// A program that is told where it is, and who may connect.
    pub(super) fn reached_by(&self, program: Program) -> Program {
        self.reached_in(self.mqtt, program)
    }

    /// The same, in whatever version.
    pub(super) fn reached_in(&self, mqtt: Mqtt, program: Program) -> Program {
        let program = program.args(["-h", HOST, "-p", &self.port.to_string(), "-V", mqtt.flag()]);
        match self.recipe.account {
            Some((user, password)) => program.args(["-u", user]).env("SECUREMQTT_PASSWORD", password),
            None => program,
        }
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only where the process has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// On the same ports, in the same directory; returns when it takes a client.
    pub(super) fn start_again(&mut self) {
        assert!(self.process.is_none(), "it has not been killed");
        let program = (self.recipe.program)().expect("it was here a moment ago");
        let command = (self.recipe.command)(&program, &self.place());
        self.process = Some(self.spawn(command));
        let deadline = Instant::now() + STARTS_WITHIN;
        while !takes_a_client(self.port, self.mqtt, self.recipe.account).is_ok_and(|taken| taken) {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{} ended while it started: {ended:?}\n{}", self.name(), self.log());
            assert!(Instant::now() < deadline, "{} does not start:\n{}", self.name(), self.log());
            thread::sleep(POLL);
        }
        // What answers is our own process, and not one that had the port before.
        let ended = self.process.as_mut().unwrap().try_wait().unwrap();
        assert!(ended.is_none(), "{} ended: {ended:?}\n{}", self.name(), self.log());
        for process in [&self.process, &self.companion].into_iter().flatten() {
            let open = open_to_others(process.id());
            assert!(open.is_empty(), "{} listens beyond loopback: {open:?}", self.name());
        }
    }

    fn place(&self) -> Place<'_> {
        let (version, port, more_ports) = (self.mqtt, self.port, self.more_ports);
        Place { directory: self.directory.path(), version, port, more_ports }
    }

    /// Nothing of the environment of the tests but `PATH`.
    fn spawn(&self, mut command: Command) -> Child {
        let file = self.directory.path().join("broker.log");
        let log = File::options().create(true).append(true).open(file).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let wanted: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        command
            .env_clear()
            .env("PATH", format!("{path}:/usr/sbin"))
            .envs(wanted)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
    }

    /// Everything since the first start.
    fn log(&self) -> String {
        let bytes = fs::read(self.directory.path().join("broker.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of it, for the message of a failing step.
    pub(super) fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_SHOWN)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut companion) = self.companion.take() {
            let _ = companion.kill();
            let _ = companion.wait();
        }
    }
}
