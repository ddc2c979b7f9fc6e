//! The programs that are measured beside ours, as far as this machine has them. What is missing is named.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::FEATURES;
use crate::outcome::Outcome;

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// The broker.
    pub mosquitto: Option<PathBuf>,
    /// `mosquitto_pub` and `mosquitto_sub`.
    pub clients: Option<Clients>,
    /// `mqtt-publisher` and `mqtt-subscriber`, built in the profile of this program.
    pub programs: Option<Clients>,
    /// Python with what its baseline needs.
    pub python: Option<Python>,
    /// Why something is missing.
    pub missing: Vec<String>,
}

/// A program that publishes lines and one that prints what comes.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    /// Publishes.
    pub publish: PathBuf,
    /// Subscribes.
    pub subscribe: PathBuf,
}

/// A Python interpreter with paho-mqtt and cryptography.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    /// The interpreter.
    pub interpreter: PathBuf,
    /// What it says of itself and of the two packages.
    pub versions: String,
}

/// Prints the three versions.
const VERSIONS: &str = "import platform, paho.mqtt, cryptography; \
    print(platform.python_version(), 'paho-mqtt', paho.mqtt.__version__, 'cryptography', cryptography.__version__)";

impl Tools {
    /// Looks for everything that is wanted; builds our programs, and a virtual environment for Python, under `target`.
    pub(crate) fn find(target: &Path, wants_programs: bool, wants_python: bool) -> Self {
        let mut tools = Self { mosquitto: in_path("mosquitto"), ..Self::default() };
        if tools.mosquitto.is_none() {
            tools.missing.push("There is no mosquitto: only what needs no broker is measured.".to_owned());
        }
        tools.clients = in_path("mosquitto_pub")
            .zip(in_path("mosquitto_sub"))
            .map(|(publish, subscribe)| Clients { publish, subscribe });
        if tools.clients.is_none() {
            tools.missing.push("There are no mosquitto_pub and mosquitto_sub: their rows are missing.".to_owned());
        }
        if wants_programs {
            match programs() {
                Ok(programs) => tools.programs = Some(programs),
                Err(why) => {
                    tools.missing.push(format!("Rows of mqtt-publisher and mqtt-subscriber are missing: {why}"));
                }
            }
        }
        if wants_python {
            match python(target) {
                Ok(python) => tools.python = Some(python),
                Err(why) => tools.missing.push(format!("Rows of the Python baseline are missing: {why}")),
            }
        }
        tools
    }
}

/// A program of this name. Debian puts mosquitto where only root's `PATH` looks.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// Where cargo puts everything: two levels above this program, or three for a test.
pub(crate) fn target_directory() -> Outcome<PathBuf> {
    let here = env::current_exe()?;
    let profile = profile_directory(&here).ok_or("this program is not in a target directory of cargo's")?;
    Ok(profile.parent().unwrap_or(profile).to_owned())
}

fn profile_directory(program: &Path) -> Option<&Path> {
    let directory = program.parent()?;
    if directory.file_name().is_some_and(|name| name == "deps") { directory.parent() } else { Some(directory) }
}

/// Our programs, beside this one: built now where cargo is there, so that an old build is not measured.
fn programs() -> Outcome<Clients> {
    let here = env::current_exe()?;
    let directory = profile_directory(&here).ok_or("this program is not in a target directory of cargo's")?;
    build(directory)?;
    let [publish, subscribe] = ["mqtt-publisher", "mqtt-subscriber"].map(|name| directory.join(name));
    if publish.is_file() && subscribe.is_file() {
        return Ok(Clients { publish, subscribe });
    }
    Err(format!("they are not in {}; `cargo build -p securemqtt` puts them there", directory.display()).into())
}

fn build(directory: &Path) -> Outcome<()> {
    let Some(cargo) = env::var_os("CARGO") else { return Ok(()) };
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(profile) => profile,
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = directory.parent().map_or_else(OsString::new, |target| target.as_os_str().to_owned());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "securemqtt", "--bins", "--profile", profile]);
    command.args(["--features", FEATURES]).arg("--target-dir").arg(target).current_dir(workspace).stdin(Stdio::null());
    if command.status()?.success() { Ok(()) } else { Err("cargo could not build them".into()) }
}

/// An interpreter with both packages: the system's, or one in a virtual environment that is made where pip can.
fn python(target: &Path) -> Outcome<Python> {
    let system = in_path("python3").ok_or("there is no python3")?;
    if let Ok(python) = with_packages(&system) {
        return Ok(python);
    }
    let environment = target.join("bench-python");
    let interpreter = environment.join("bin/python3");
    if let Ok(python) = with_packages(&interpreter) {
        return Ok(python);
    }
    fs::create_dir_all(target)?;
    quietly(Command::new(&system).args(["-m", "venv"]).arg(&environment))?;
    quietly(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "paho-mqtt>=2", "cryptography"]))?;
    with_packages(&interpreter)
}

fn with_packages(interpreter: &Path) -> Outcome<Python> {
    let output = Command::new(interpreter).args(["-c", VERSIONS]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err("it lacks paho-mqtt or cryptography".into());
    }
    let versions = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Python { interpreter: interpreter.to_owned(), versions })
}

fn quietly(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
    Err(format!("{}: {last}", command.get_program().display()).into())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name() {
        assert!(in_path("sh").unwrap().is_file());
        assert_eq!(in_path("no-such-program-here"), None);
    }

    #[test]
    fn the_profile_is_the_directory_of_the_program() {
        let profile = |path| profile_directory(Path::new(path)).map(Path::to_owned);
        assert_eq!(profile("/w/target/release/securemqtt-bench"), Some("/w/target/release".into()));
        assert_eq!(profile("/w/target/debug/deps/bench-1f"), Some("/w/target/debug".into()));
        assert!(target_directory().unwrap().is_dir());
    }

    #[test]
    fn what_a_command_said_last_is_the_reason() {
        let error = quietly(Command::new("sh").args(["-c", "echo one >&2; echo two >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().ends_with(": two"), "{error}");
        quietly(Command::new("sh").args(["-c", "exit 0"])).unwrap();
    }
}
