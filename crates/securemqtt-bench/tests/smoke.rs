//! The command itself, on one small part: that it measures, not what.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Command;

/// Runs it and returns its report.
fn measure(part: &str, out: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_securemqtt-bench"));
    let output = command.args(["--quick", "--only", part, "--out"]).arg(out).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(out.join("report.md")).unwrap(), text);
    assert!(text.contains("A quick run"), "{text}");
    text
}

/// The cells of the row that begins with `name`.
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let cells = |line: &'a str| line.split('|').map(str::trim).collect::<Vec<_>>();
    let found = text.lines().map(cells).find(|cells| cells.get(1) == Some(&name));
    found.unwrap_or_else(|| panic!("no row {name:?} in\n{text}"))
}

#[test]
fn what_needs_no_broker_is_measured_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let text = measure("crypto,handshake", directory.path());
    assert!(!text.contains("Not measured"), "{text}");
    let backend = match (cfg!(feature = "aws-lc-rs"), cfg!(feature = "ring")) {
        (false, false) => "RustCrypto",
        (true, false) => "AWS-LC",
        (false, true) => "RustCrypto, frames by ring",
        (true, true) => "AWS-LC, frames by ring",
    };
    assert_eq!(row(&text, "cryptography of securemqtt")[2], backend);
    let nanos = row(&text, &format!("securemqtt ({backend})"))[2].split_whitespace().next().unwrap().replace(',', "");
    assert!(nanos.parse::<f64>().unwrap() > 0.0, "{text}");
    assert_eq!(row(&text, "one reading a frame, the first")[2], "24");
    assert!(directory.path().join("handshake.svg").is_file());
}

#[test]
fn processes_are_measured_on_a_broker_where_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let text = measure("fanout", directory.path());
    if text.contains("There is no mosquitto") {
        assert!(text.contains("**Not measured:**"), "{text}");
        return;
    }
    assert!(!text.contains("Not measured"), "{text}");
    for subscribers in ["1", "5"] {
        let micros: f64 = row(&text, subscribers)[2].replace(',', "").parse().unwrap();
        assert!(micros > 0.0, "{text}");
    }
}
