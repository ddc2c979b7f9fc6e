//! One Mosquitto process: free loopback ports, a fresh directory, stopped by its handle.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::outcome::{Failure, Outcome};
use crate::process::Meter;
use crate::tls::Certificates;

/// The only address that it listens on.
pub(crate) const HOST: &str = "127.0.0.1";
/// QoS 1 messages under way at once: the broker's limit, and what every client here asks for.
pub(crate) const IN_FLIGHT: u16 = 100;
/// Longer than it takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where ports are looked for.
const FIRST_PORT: u16 = 12_000;
const PORTS: u32 = 20_000;
/// Lines of its log that are shown when it fails.
const SHOWN: usize = 10;
const POLL: Duration = Duration::from_millis(5);
/// Another process may take a port between finding it free and using it.
const ATTEMPTS: u32 = 5;

/// What Mosquitto says of a port that is another's.
const TAKEN: &str = "Address already in use";

/// How a start went.
#[derive(Debug)]
enum Started {
    Running(Child),
    /// A port is another process's by now; with the end of its log.
    PortTaken(Failure),
}

/// A running broker, killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    program: PathBuf,
    process: Child,
    /// The plain listener.
    pub port: u16,
    /// The TLS listener.
    pub tls_port: u16,
    /// The certificates of the TLS listener.
    pub certificates: Certificates,
    directory: TempDir,
}

impl Broker {
    /// Starts one in a new directory below `scratch`.
    ///
    /// # Errors
    /// If it does not start; with the end of its log.
    pub(crate) fn start(program: &Path, scratch: &Path) -> Outcome<Self> {
        let directory = TempDir::with_prefix_in("broker-", scratch)?;
        let certificates = Certificates::make(directory.path())?;
        let mut attempt = 1;
        loop {
            let (port, tls_port) = (free_port()?, free_port()?);
            fs::write(directory.path().join("mosquitto.conf"), configuration(port, tls_port, &certificates))?;
            match launch(program, directory.path(), port)? {
                Started::Running(process) => {
                    let program = program.to_owned();
                    return Ok(Self { program, process, port, tls_port, certificates, directory });
                }
                Started::PortTaken(_) if attempt < ATTEMPTS => attempt += 1,
                Started::PortTaken(why) => return Err(why),
            }
        }
    }

    /// Its processor time and memory.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn meter(&self) -> Outcome<Meter> {
        Meter::of(self.process.id())
    }

    /// Stops it cleanly. It asks again and again: Mosquitto 2.0 forgets a signal that comes before its main loop.
    ///
    /// # Errors
    /// If it does not stop.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        let pid = Pid::from_raw(i32::try_from(self.process.id())?);
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err("Mosquitto did not stop".into());
            }
            kill(pid, Signal::SIGTERM)?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts it again on the same ports, with nothing kept.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start_again(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match launch(&self.program, self.directory.path(), self.port)? {
                Started::Running(process) => {
                    self.process = process;
                    return Ok(());
                }
                Started::PortTaken(why) if Instant::now() > deadline => return Err(why),
                // The last of the old connections may hold the port for a moment.
                Started::PortTaken(_) => thread::sleep(POLL),
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails only where it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(port: u16, tls_port: u16, certificates: &Certificates) -> String {
    let (certificate, key) = (certificates.server.display(), certificates.key.display());
    format!(
        "allow_anonymous true\nuser root\npersistence false\n\
         # Nothing is dropped: a slow subscriber shows as time, not as loss.\n\
         max_queued_messages 0\nmax_inflight_messages {IN_FLIGHT}\n\
         log_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\nconnection_messages false\n\
         listener {port} {HOST}\n\
         listener {tls_port} {HOST}\ncertfile {certificate}\nkeyfile {key}\n"
    )
}

/// A port that nobody listens on, and below those that the system gives to outgoing connections (from 32768 on Linux).
fn free_port() -> Outcome<u16> {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % PORTS)?;
    for _ in 0..PORTS {
        let number = u32::from(COUNT.fetch_add(1, Ordering::Relaxed)) + u32::from(offset);
        let port = FIRST_PORT + u16::try_from(number % PORTS)?;
        if TcpListener::bind((HOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}

/// The last lines of a log.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

fn launch(program: &Path, directory: &Path, port: u16) -> Outcome<Started> {
    let path = directory.join("mosquitto.log");
    let log = File::create(&path)?;
    let mut process = Command::new(program)
        .args(["-c", "mosquitto.conf"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Whether it has ended is asked first: then its log is whole.
        let has_ended = process.try_wait()?.is_some();
        let said = fs::read_to_string(&path).unwrap_or_default();
        if has_ended {
            let why = Failure::from(format!("Mosquitto did not start:\n{}", end_of(&said)));
            return if said.contains(TAKEN) { Ok(Started::PortTaken(why)) } else { Err(why) };
        }
        // It says so when the ports are its own.
        if said.contains(" running") && TcpStream::connect((HOST, port)).is_ok() {
            return Ok(Started::Running(process));
        }
        if Instant::now() > deadline {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("Mosquitto did not start in {PATIENCE:?}:\n{}", end_of(&said)).into());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What says something and ends, in the place of Mosquitto; it counts how often it was started.
    fn broken(directory: &Path, says: &str) -> PathBuf {
        let program = directory.join("mosquitto");
        let starts = directory.join("starts");
        fs::write(&program, format!("#!/bin/sh\necho start >> {}\necho '{says}' >&2\nexit 1\n", starts.display()))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn starts(directory: &Path) -> usize {
        fs::read_to_string(directory.join("starts")).unwrap().lines().count()
    }

    #[test]
    fn only_a_port_that_is_taken_is_a_reason_to_try_another() {
        let [taken, wrong] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let error = Broker::start(&broken(taken.path(), "Error: Address already in use"), taken.path()).unwrap_err();
        assert!(error.to_string().ends_with("Address already in use"), "{error}");
        assert_eq!(starts(taken.path()), usize::try_from(ATTEMPTS).unwrap());
        let error = Broker::start(&broken(wrong.path(), "Error: Unknown option"), wrong.path()).unwrap_err();
        assert!(error.to_string().ends_with("Unknown option"), "{error}");
        assert_eq!(starts(wrong.path()), 1);
    }
}
