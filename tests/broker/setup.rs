//! What a test wants of its broker, and the `mosquitto.conf` that gives it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::embedded::Embedded;
use super::mosquitto::{Configuration, Mosquitto, Ports};
use super::{Broker, HOST, Running};
use crate::tls::Authority;

/// The lines of the repository's `mosquitto.conf` that a test replaces. Its wording is checked by their presence.
const LISTENER: &str = "listener 1883 127.0.0.1\n";
const ANONYMOUS: &str = "allow_anonymous true\n";
const NOT_PERSISTENT: &str = "persistence false\n";

/// Collects wishes; [`Self::start`] fulfils them, or reports the test as skipped.
pub(crate) struct Setup {
    directory: TempDir,
    /// Lines behind those of the repository's file; the ports are known only at the start.
    extras: Vec<Box<dyn Fn(Ports) -> String + Send>>,
    passwords: bool,
    persistent: bool,
    /// What the embedded broker does not have.
    needs: Vec<&'static str>,
}

impl Setup {
    /// The repository's `mosquitto.conf` as it is, on a free port.
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            extras: Vec::new(),
            passwords: false,
            persistent: false,
            needs: Vec::new(),
        }
    }

    /// A TLS listener with the authority's server certificate, see [`Broker::tls_port`].
    pub(crate) fn tls(self, authority: &Authority) -> Self {
        self.tls_listener(authority, false)
    }

    /// The same, and it refuses clients without a certificate of the authority.
    pub(crate) fn tls_with_client_certificates(self, authority: &Authority) -> Self {
        self.tls_listener(authority, true)
    }

    fn tls_listener(self, authority: &Authority, require: bool) -> Self {
        let server = authority.server();
        let ca = authority.certificate().to_owned();
        self.needing("a TLS listener").extra(move |ports| {
            let (ca, certificate, key) = (ca.display(), server.certificate.display(), server.key.display());
            format!(
                "listener {} {HOST}\ncafile {ca}\ncertfile {certificate}\nkeyfile {key}\nrequire_certificate {require}\n",
                ports.tls
            )
        })
    }

    /// A WebSocket listener, see [`Broker::websocket_port`]. Without `socket_domain` it would be on every interface.
    pub(crate) fn websocket(self) -> Self {
        self.needing("a WebSocket listener")
            .extra(|ports| format!("listener {} {HOST}\nprotocol websockets\nsocket_domain ipv4\n", ports.websocket))
    }

    /// Accounts, and no one without.
    pub(crate) fn passwords(mut self, accounts: &[(&str, &str)]) -> Self {
        write_passwords(&self.directory.path().join("passwords"), accounts);
        self.passwords = true;
        self.needing("a password file").extra(|_| "password_file passwords\n".to_owned())
    }

    /// The text of an access list.
    pub(crate) fn acl(self, text: &str) -> Self {
        fs::write(self.directory.path().join("acl"), text).unwrap();
        self.needing("an access list").extra(|_| "acl_file acl\n".to_owned())
    }

    /// Another line of `mosquitto.conf`.
    pub(crate) fn line(self, line: &'static str) -> Self {
        self.needing("a setting of Mosquitto").extra(move |_| format!("{line}\n"))
    }

    /// The test stops and starts the broker.
    pub(crate) fn restartable(self) -> Self {
        self.needing("a broker that restarts")
    }

    /// Sessions and retained messages survive a restart, as the comment in `mosquitto.conf` says how.
    pub(crate) fn persistent(mut self) -> Self {
        self.persistent = true;
        self.restartable()
    }

    /// The broker; `None`, and a line on stderr with the test's name, where this machine cannot fulfil a wish.
    pub(crate) fn start(self) -> Option<Broker> {
        let running = if mosquitto_is_here() {
            let directory = self.directory;
            let (extras, passwords, persistent) = (self.extras, self.passwords, self.persistent);
            let configuration: Configuration = Box::new(move |ports| {
                let base = base_configuration(ports, passwords, persistent);
                extras.iter().fold(base, |text, extra| text + &extra(ports))
            });
            Running::Mosquitto(Box::new(Mosquitto::start(directory, &configuration)))
        } else if self.needs.is_empty() {
            say("runs on the embedded broker, for there is no Mosquitto");
            Running::Embedded(Embedded::start())
        } else {
            skip(&self.needs);
            return None;
        };
        Some(Broker { running })
    }

    fn needing(mut self, feature: &'static str) -> Self {
        self.needs.push(feature);
        self
    }

    fn extra(mut self, lines: impl Fn(Ports) -> String + Send + 'static) -> Self {
        self.extras.push(Box::new(lines));
        self
    }
}

/// The broker of `examples/mosquitto-tls`, from those very files in a copy of the directory: only the ports and the ids
/// of the programs are put in. `clients` get a certificate from its `make-certs`, `accounts` a password; `ids` replaces
/// text in its access list. `None` without Mosquitto or openssl.
pub(crate) fn example_tls(clients: &[&str], accounts: &[(&str, &str)], ids: &[(&str, &str)]) -> Option<Broker> {
    if !mosquitto_is_here() {
        skip(&["the files of examples/mosquitto-tls"]);
        return None;
    }
    let directory = TempDir::new().unwrap();
    let example = repository().join("examples/mosquitto-tls");
    let conf = fs::read_to_string(example.join("mosquitto.conf")).unwrap();
    let acl = fs::read_to_string(example.join("acl")).unwrap();
    let acl = ids.iter().fold(acl, |text, (from, to)| replace(&text, from, to));
    fs::write(directory.path().join("acl"), acl).unwrap();
    let make_certs = directory.path().join("make-certs");
    fs::copy(example.join("make-certs"), &make_certs).unwrap();
    // Through `sh`: a file just written cannot be executed while another test's new process still has it open.
    run(Command::new("sh").arg(&make_certs).args(clients));
    write_passwords(&directory.path().join("passwords"), accounts);

    let configuration: Configuration = Box::new(move |ports| {
        let text = replace(&conf, "listener 8883\n", &format!("listener {} {HOST}\n", ports.tls));
        let certificates = format!("listener {} {HOST}\n", ports.client_certificate);
        replace(&text, "listener 8884\n", &certificates)
    });
    let broker = Mosquitto::start(directory, &configuration);
    Some(Broker { running: Running::Mosquitto(Box::new(broker)) })
}

/// The repository's file with what must differ in a test.
fn base_configuration(ports: Ports, passwords: bool, persistent: bool) -> String {
    let file = fs::read_to_string(repository().join("mosquitto.conf")).unwrap();
    let mut text = replace(&file, LISTENER, &format!("listener {} {HOST}\n", ports.plain));
    if passwords {
        text = replace(&text, ANONYMOUS, "allow_anonymous false\n");
    }
    if persistent {
        text = replace(&text, NOT_PERSISTENT, "");
        for setting in ["persistence ", "persistence_location ", "autosave_interval ", "autosave_on_changes "] {
            text = replace(&text, &format!("\n#{setting}"), &format!("\n{setting}"));
        }
    }
    // What a test adds may begin with a listener of its own.
    text.write_str("\n").unwrap();
    text
}

/// Replaces what must be there, so that an edit of the file cannot silently undo a test's wish.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the file no longer contains {from:?}");
    text.replace(from, to)
}

fn write_passwords(file: &Path, accounts: &[(&str, &str)]) {
    fs::write(file, "").unwrap();
    for (user, password) in accounts {
        run(Command::new("mosquitto_passwd").arg("-b").arg(file).args([user, password]));
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn mosquitto_is_here() -> bool {
    if std::env::var_os("SECUREMQTT_TEST_BROKER").is_some_and(|wish| wish == "embedded") {
        return false;
    }
    let here = Mosquitto::program().is_some();
    let must_be = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(here || !must_be, "CI=true, but there is no Mosquitto: install it (apt-get install mosquitto)");
    here
}

/// Tells that the running test is skipped, and why.
pub(super) fn skip(needs: &[&str]) {
    say(&format!("SKIPPED, it needs Mosquitto: {}", needs.join(", ")));
}

/// A line with the test's name, straight to stderr: the test runner would swallow `eprintln!` of a passing test.
fn say(what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "{test}: {what}");
}
