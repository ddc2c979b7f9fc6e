use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::Broker;
use crate::parties::{Party, introduced};
use crate::process::{Home, PATIENCE, Program};

/// A subscriber's state directory with an identity key, and a broker that is not there: whatever ends the program earlier
/// has nothing to do with the network.
struct State(Party);

impl State {
    fn new() -> Self {
        Self(Party::subscriber("station"))
    }

    /// One of each program.
    fn of_both() -> [Self; 2] {
        [Self(Party::publisher("ward-7")), Self::new()]
    }

    fn directory(&self) -> PathBuf {
        self.0.state()
    }

    /// A file of the directory, readable by its owner only.
    fn write(&self, name: &str, contents: &[u8]) {
        let path = self.directory().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.directory().join(name), Permissions::from_mode(mode)).unwrap();
    }

    /// The program does not even start to connect.
    fn assert_refused(&self, code: i32, says: &[&str]) {
        self.assert_refused_with(&[], code, says);
    }

    fn assert_refused_with(&self, arguments: &[&str], code: i32, says: &[&str]) {
        assert_ends(self.0.program().args(arguments), code, says);
    }
}

fn assert_ends(program: Program, code: i32, says: &[&str]) {
    let mut running = program.args(["-p", "1", "--no-retry"]).start();
    assert_eq!(running.wait_exit(PATIENCE), code, "{}", running.output());
    for text in says {
        assert!(running.output().contains(text), "no {text:?} in: {}", running.output());
    }
}

#[test]
fn a_good_state_directory_gets_as_far_as_the_network() {
    State::new().assert_refused(69, &["nothing listens at"]);
}

#[test]
fn a_directory_or_a_key_that_others_may_read() {
    let state = State::new();
    state.set_mode("", 0o755);
    let directory = state.directory().display().to_string();
    let fix = format!("chmod 700 {directory}");
    state.assert_refused(78, &["is open to other users (mode 0755)", &fix]);
    state.set_mode("", 0o700);
    state.set_mode("identity.pem", 0o640);
    state.assert_refused(78, &["identity.pem is open to other users (mode 0640)", "chmod 600"]);
}

#[test]
fn an_identity_that_is_half_written_or_another_kind_of_key() {
    let state = State::new();
    let whole = fs::read(state.directory().join("identity.pem")).unwrap();
    for length in [0, 30, whole.len() / 2, whole.len() - 10] {
        state.write("identity.pem", &whole[..length]);
        state.assert_refused(78, &["identity.pem is cut short; restore it from a backup"]);
    }
    state.write("identity.pem", b"my key\n");
    state.assert_refused(78, &["identity.pem holds no private key"]);
    for curve in ["P-384", "secp256k1"] {
        let Some(pem) = openssl_key(curve) else { return };
        state.write("identity.pem", &pem);
        state.assert_refused(78, &["holds a key of another kind; an identity is a P-256 key"]);
    }
    // The right curve, made elsewhere, will do.
    state.write("identity.pem", &openssl_key("P-256").unwrap());
    state.assert_refused(69, &["nothing listens at"]);
}

/// A PKCS#8 key; `None` where there is no openssl.
fn openssl_key(curve: &str) -> Option<Vec<u8>> {
    let option = format!("ec_paramgen_curve:{curve}");
    let output = Command::new("openssl").args(["genpkey", "-algorithm", "EC", "-pkeyopt", &option]).output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(output.stdout)
}

#[test]
fn known_peers_that_are_half_written_or_wrong() {
    let state = State::new();
    // Type and base64, without the name.
    let key = state.0.key.rsplit_once(' ').unwrap().0;
    let pinned = format!("# the ward\npump {key} in room 7\n");
    state.write("known_peers", pinned.as_bytes());
    state.assert_refused(69, &["nothing listens at"]);

    let half = format!("{pinned}other {}", &key[..60]);
    state.write("known_peers", half.as_bytes());
    state.assert_refused(78, &["known_peers, line 3: ", "correct or remove the line"]);
    state.write("known_peers", format!("{pinned}other ecdsa-sha2-nistp256").as_bytes());
    state.assert_refused(78, &["known_peers, line 3: the key is cut short"]);
    state.write("known_peers", format!("pu\u{7}mp {key}\n").as_bytes());
    state.assert_refused(78, &["known_peers, line 1: a name is 1 to 64 ASCII letters"]);
    state.write("known_peers", b"pump ssh-rsa AAAA\n");
    state.assert_refused(78, &["known_peers, line 1: key type \"ssh-rsa\""]);
    state.write("known_peers", format!("@banned pump {key}\n").as_bytes());
    state.assert_refused(78, &["known_peers, line 1: unknown marker \"@banned\""]);
    state.write("known_peers", format!("{pinned}pump2 {key}\n").as_bytes());
    state.assert_refused(78, &["known_peers, line 3: the key", "is known as pump"]);
    state.write("known_peers", b"pump \xff\xfe\n");
    state.assert_refused(74, &["known_peers", "it is not a text file"]);

    state.write("known_peers", pinned.as_bytes());
    state.set_mode("known_peers", 0o664);
    state.assert_refused(78, &["known_peers is open to other users (mode 0664)", "chmod 600"]);
}

#[test]
fn a_counter_that_is_half_written() {
    let state = State::new();
    state.write("counter", b"00000000000000010");
    state.assert_refused(78, &["counter is damaged", "restore the whole directory from a backup"]);
}

#[test]
fn a_state_that_is_sealed_opens_with_its_own_key_only() {
    const GOOD: &[&str] = &["nothing listens at"];
    for state in State::of_both() {
        let key = |name: &str| {
            state.write(name, &[name.as_bytes(), &[7; 32]].concat());
            state.directory().join(name).display().to_string()
        };
        let (ours, other) = (key("ours"), key("other"));
        let with_ours = ["--state-key-file", &ours];
        // Not sealed before.
        state.assert_refused(69, GOOD);
        state.assert_refused_with(&with_ours, 69, GOOD);
        state.assert_refused_with(&with_ours, 69, GOOD);
        let file = state.directory().join("state.redb").display().to_string();
        let way_out = format!("mv {file}");
        state.assert_refused(78, &["is sealed, and there is no key", "as --state-key-file", &way_out]);
        let with_other = ["--state-key-file", &other];
        state.assert_refused_with(
            &with_other,
            78,
            &["is sealed with another key than", "/other; name the file", &way_out],
        );
        // As systemd hands it over.
        let credentials = state.directory().join("credentials");
        fs::create_dir(&credentials).unwrap();
        fs::copy(&ours, credentials.join("securemqtt-state-key")).unwrap();
        assert_ends(state.0.program().env("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()), 69, GOOD);
        assert_ends(state.0.program().env("SECUREMQTT_STATE_KEY_FILE", &ours), 69, GOOD);
    }
}

#[test]
fn a_state_key_that_is_none() {
    let state = State::new();
    let file = state.directory().join("state-key");
    let flag = ["--state-key-file", file.to_str().unwrap()];
    state.assert_refused_with(&flag, 78, &["cannot read the state key", "check --state-key-file"]);
    state.write("state-key", &[1; 31]);
    let way_out = format!("head -c 32 /dev/urandom > {}", file.display());
    state.assert_refused_with(&flag, 78, &["has only 31 bytes", &way_out]);
    state.write("state-key", &[1; 32]);
    state.set_mode("state-key", 0o644);
    state.assert_refused_with(&flag, 78, &["state-key is open to other users (mode 0644)", "chmod 600"]);
    state.set_mode("state-key", 0o400);
    state.assert_refused_with(&flag, 69, &["nothing listens at"]);
}

#[test]
fn a_configuration_that_is_half_written_or_has_unknown_keys() {
    let state = State::new();
    let file = state.directory().join("c.toml");
    let path = file.to_str().unwrap();
    let refused = |text: &[u8], says: &[&str]| {
        fs::write(&file, text).unwrap();
        state.assert_refused_with(&["--config", path], 78, says);
    };
    refused(b"host = \"localhost\"\nprot = 1883\n", &["c.toml:2:1: unknown key `prot`", "the keys are the long flags"]);
    refused(b"host = \"local", &["c.toml:1:"]);
    refused(b"host = \"localhost\"\nretry-max = ", &["c.toml:2:"]);
    refused(b"[broker]\nhost = \"localhost\"\n", &["c.toml:1:", "keys are flat"]);
    refused(b"retry-max = \"soon\"\n", &["c.toml:1:13: `retry-max` cannot be \"soon\""]);
    refused(b"password = \"x\"\n", &["c.toml:1:1: a password may not stand in this file"]);
    refused(b"host = \"\xff\"\n", &["c.toml:1:9: not UTF-8"]);
    state.assert_refused_with(&["--config", "none.toml"], 78, &["cannot read the configuration none.toml"]);
}

#[test]
fn a_directory_that_is_none() {
    let state = State::new();
    let file = state.directory().join("file");
    fs::write(&file, b"").unwrap();
    state.assert_refused_with(
        &["--state-dir", file.to_str().unwrap()],
        78,
        &["file is not a directory; name one with --state-dir"],
    );
}

/// Runs a command line in a mount namespace with a small file system of its own at `mount`; `None` where that is not
/// permitted.
fn on_a_file_system(mount: &Path, options: &str, then: &str) -> Option<std::process::Output> {
    fs::create_dir_all(mount).unwrap();
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).env_remove("XDG_STATE_HOME").output().ok()
    };
    let mounted = format!("mount -t tmpfs -o {options} tmpfs '{}'", mount.display());
    if !namespace(&mounted)?.status.success() {
        let test = std::thread::current();
        let name = test.name().unwrap_or_default().to_owned();
        let _ = writeln!(std::io::stderr(), "{name}: SKIPPED, mounting a file system is not permitted here");
        return None;
    }
    namespace(&format!("{mounted} && {then}"))
}

fn assert_output(output: &std::process::Output, code: i32, says: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for text in says {
        assert!(stderr.contains(text), "no {text:?} in: {stderr}");
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_no_half_of_a_key() {
    let home = Home::new();
    let mount = home.path().join("small");
    let program = env!("CARGO_BIN_EXE_mqtt-subscriber");
    // The lock file fits into the inode, the key does not fit any more.
    let then = format!(
        "cd '{}' && (cat /dev/zero >full 2>/dev/null || true) && '{program}' -p 1 --no-retry --state-dir . ; \
         code=$?; test ! -s identity.pem || exit 1; exit $code",
        mount.display()
    );
    let Some(output) = on_a_file_system(&mount, "size=8k,mode=700", &then) else { return };
    assert_output(&output, 74, &["the disk is full; make room and start again"]);
}

#[test]
fn a_read_only_file_system_is_named() {
    let home = Home::new();
    let mount = home.path().join("fixed");
    let program = env!("CARGO_BIN_EXE_mqtt-subscriber");
    let then = format!("'{program}' -p 1 --no-retry --state-dir '{}'", mount.display());
    let Some(output) = on_a_file_system(&mount, "ro,mode=700", &then) else { return };
    assert_output(&output, 74, &["the file system is read-only; name another with --state-dir"]);
}

#[test]
fn an_output_on_a_full_disk_makes_the_subscriber_wait_and_say_why() {
    let broker = Broker::start();
    let (ward, station) = introduced();
    let mut subscriber = station.at(&broker).args(["-o", "/dev/full", "--output", "json"]).start();
    let publisher = ward.at(&broker).args(["-m", "1"]).start();
    let said = subscriber.wait_for("readings wait, and go on when there is room");
    assert!(said.contains("/dev/full") && said.contains("No space left on device"), "{said}");
    assert_eq!(subscriber.interrupt(), 0, "{}", subscriber.output());
    subscriber.wait_for("the last readings are not written, and come again");
    drop(publisher);
}
