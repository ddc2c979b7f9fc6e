//! What the numbers were measured on.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::table::Table;
use crate::tools::Tools;

/// The features that choose the cryptography of ours, and whose it is: that of this program, and of the programs that it builds.
pub(crate) const FEATURES: &str = BACKENDS.0;
pub(crate) const BACKEND: &str = BACKENDS.1;
const BACKENDS: (&str, &str) = match (cfg!(feature = "aws-lc-rs"), cfg!(feature = "ring")) {
    (false, false) => ("", "RustCrypto"),
    (true, false) => ("aws-lc-rs", "AWS-LC"),
    (false, true) => ("ring", "RustCrypto, frames by ring"),
    (true, true) => ("aws-lc-rs,ring", "AWS-LC, frames by ring"),
};

/// Ours, as rows of the cryptography name it.
pub(crate) fn ours() -> String {
    format!("securemqtt ({BACKEND})")
}

/// The machine, and the versions of everything that takes part.
pub(crate) fn describe(tools: &Tools, scratch: &Path) -> Table {
    let mut table = Table::new(["machine", ""]);
    let profile = if cfg!(debug_assertions) { "debug: the numbers mean nothing" } else { "release" };
    let rows = [
        ("processor", processor()),
        ("memory", memory()),
        ("kernel", read_line("/proc/sys/kernel/osrelease")),
        ("load average at the start", read_line("/proc/loadavg")),
        ("file system of the state", file_system(scratch)),
        ("date", said(Command::new("date").args(["-u", "+%Y-%m-%d"]))),
        ("commit", said(Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]))),
        ("build", Some(profile.to_owned())),
        ("cryptography of securemqtt", Some(BACKEND.to_owned())),
        ("rustc", said(Command::new("rustc").arg("--version"))),
        ("Mosquitto", tools.mosquitto.as_ref().and_then(|path| said(Command::new(path).arg("-h")))),
        (
            "mosquitto_pub",
            tools.clients.as_ref().and_then(|clients| said(Command::new(&clients.publish).arg("--help"))),
        ),
        ("Python", tools.python.as_ref().map(|python| python.versions.clone())),
    ];
    for (name, value) in rows {
        table.row([name.to_owned(), value.unwrap_or_else(|| "not here".to_owned())]);
    }
    table
}

fn processor() -> Option<String> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| info.lines().find(|line| line.starts_with(name))?.split(':').nth(1).map(str::trim);
    let model = field("model name").unwrap_or("unknown").to_owned();
    let flags = field("flags").unwrap_or_default();
    let aes = if flags.split(' ').any(|flag| flag == "aes") { "" } else { ", without AES instructions" };
    Some(format!("{model}, {cores} cores{aes}"))
}

fn memory() -> Option<String> {
    let line = read_line("/proc/meminfo")?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(format!("{} MiB", kib >> 10))
}

/// Where fdatasync goes: the spool's numbers depend on it.
fn file_system(directory: &Path) -> Option<String> {
    said(Command::new("stat").args(["-f", "-c", "%T"]).arg(directory))
}

fn read_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

/// The line with its version among those that a command prints, or the first; whatever its exit code.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = || text.lines().map(str::trim).filter(|line| line.contains(char::is_alphanumeric));
    lines().find(|line| line.contains("version")).or_else(|| lines().next()).map(str::to_owned)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_named() {
        assert!(processor().unwrap().contains("cores"));
        assert!(memory().unwrap().ends_with("MiB"));
        let text = describe(&Tools::default(), Path::new("/")).to_string();
        assert!(text.contains(BACKEND), "{text}");
        assert!(text.contains("kernel") && text.contains("not here"), "{text}");
    }

    #[test]
    fn a_command_that_is_not_there_says_nothing() {
        assert_eq!(said(&mut Command::new("/nonexistent")), None);
        let shell = |script| said(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!(shell("echo; echo two; exit 3"), "two");
        assert_eq!(shell("echo a client; echo client version 2"), "client version 2");
    }
}
