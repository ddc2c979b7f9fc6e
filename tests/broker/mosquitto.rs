//! One Mosquitto process: free ports, readiness without a fixed sleep, an end that cannot be missed.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{HOST, PATIENCE, free_port};

/// How often a new set of ports is tried: another process may take one between finding it free and using it.
const ATTEMPTS: u32 = 5;

/// Between two looks at a broker that is starting or stopping (it takes some 40 ms).
const POLL: Duration = Duration::from_millis(10);

/// How many of the last lines of its log a failing test shows.
const LOG_SHOWN: usize = 60;

/// A port for each listener a configuration may have.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) tls: u16,
    pub(super) client_certificate: u16,
    pub(super) websocket: u16,
}

impl Ports {
    fn free() -> Self {
        let [plain, tls, client_certificate, websocket] = [(); 4].map(|()| free_port());
        Self { plain, tls, client_certificate, websocket }
    }
}

/// Makes the text of `mosquitto.conf` for the ports it is given.
pub(super) type Configuration = Box<dyn Fn(Ports) -> String + Send>;

/// A Mosquitto process in a directory of its own, killed when dropped.
pub(super) struct Mosquitto {
    process: Option<Child>,
    ports: Ports,
    directory: TempDir,
}

/// The log of a start that failed.
struct NotStarted(String);

impl Mosquitto {
    /// The program, if this machine has it. Debian puts it where only root's `PATH` looks.
    pub(super) fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].map(PathBuf::from))
            .map(|directory| directory.join("mosquitto"))
            .find(|program| program.is_file())
    }

    /// Starts it in `directory`, against which the paths in the configuration count.
    pub(super) fn start(directory: TempDir, configuration: &Configuration) -> Self {
        let mut broker = Self { process: None, ports: Ports::free(), directory };
        for attempt in 1.. {
            let text = configuration(broker.ports);
            fs::write(broker.directory().join("mosquitto.conf"), text).unwrap();
            match broker.launch() {
                Ok(()) => break,
                // A taken port, most likely. (The log says so, but not of a WebSocket listener.)
                Err(_) if attempt < ATTEMPTS => broker.ports = Ports::free(),
                Err(NotStarted(log)) => panic!("Mosquitto did not start {ATTEMPTS} times:\n{log}"),
            }
        }
        broker
    }

    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything since the first start.
    pub(super) fn log(&self) -> String {
        fs::read(self.log_file()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Asks it to end, and waits until it has. It asks again and again, for Mosquitto 2.0 forgets a signal that comes
    /// between saying that it runs and entering its main loop.
    pub(super) fn stop(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "Mosquitto did not stop");
            crate::process::send_signal("TERM", process.id());
            thread::sleep(POLL);
        }
        self.process = None;
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only where the process has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Again on the same ports, which the last of its old connections may hold for a moment.
    pub(super) fn start_again(&mut self) {
        assert!(self.process.is_none(), "it has not been stopped");
        let deadline = Instant::now() + PATIENCE;
        while let Err(NotStarted(log)) = self.launch() {
            assert!(Instant::now() < deadline, "Mosquitto did not start again:\n{log}");
            thread::sleep(POLL);
        }
    }

    fn launch(&mut self) -> Result<(), NotStarted> {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let seen = self.log().len();
        let program = Self::program().expect("Mosquitto was here a moment ago");
        let process = Command::new(program)
            .args(["-c", "mosquitto.conf"])
            .current_dir(self.directory())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        self.wait_until_ready(seen)
    }

    /// Ready when it says that it runs (so that the port is its own, not another process's) and takes a connection.
    fn wait_until_ready(&mut self, seen: usize) -> Result<(), NotStarted> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = self.log().split_off(seen);
            if ended.is_some() {
                self.process = None;
                return Err(NotStarted(log));
            }
            if log.contains(" running") && self.first_listener_answers() {
                return Ok(());
            }
            if Instant::now() > deadline {
                self.kill();
                return Err(NotStarted(log));
            }
            thread::sleep(POLL);
        }
    }

    /// The TLS example has no plain listener.
    fn first_listener_answers(&self) -> bool {
        [self.ports.plain, self.ports.tls].into_iter().any(|port| TcpStream::connect((HOST, port)).is_ok())
    }

    fn log_file(&self) -> PathBuf {
        self.directory().join("mosquitto.log")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_SHOWN)..].join("\n");
            let _ = writeln!(std::io::stderr(), "--- the broker's log\n{last}\n---");
        }
    }
}
