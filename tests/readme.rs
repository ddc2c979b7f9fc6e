//! What the README shows as a terminal (blocks marked `console`) is run: one command after the other, in one empty
//! directory with an empty home, and its output compared. `…` stands for anything within a line; the lines of several
//! programs may come in another order.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Home;

/// How the README starts a program that is not installed yet.
const CARGO_RUN: &str = "cargo run --release --bin ";

#[test]
fn the_readme_shows_what_happens() {
    assert!(run_examples(&repository().join("README.md")) > 0, "the README shows nothing");
}

#[test]
fn the_readmes_of_the_examples_show_what_happens() {
    for entry in fs::read_dir(repository().join("examples")).unwrap() {
        let file = entry.unwrap().path().join("README.md");
        assert!(file.exists(), "{} is missing", file.display());
        run_examples(&file);
    }
}

#[test]
fn an_example_that_is_not_true_fails() {
    let ends_as = |command: &str, output: &[&str]| {
        let example = Example { command: command.to_owned(), output: output.iter().map(|&line| line.into()).collect() };
        example.run(&Home::new()).is_ok()
    };
    assert!(ends_as("echo one; echo two", &["two", "o…e"]));
    assert!(!ends_as("echo one; echo two", &["two"]), "a line that is not shown");
    assert!(!ends_as("echo one", &["one", "two"]), "a line that does not come");
    assert!(!ends_as("echo one; false", &["one"]), "a command that fails");
    assert!(!ends_as("mqtt-subscriber --versoin", &["…"]));
    assert!(ends_as("cargo run --release --bin mqtt-subscriber -- --version", &["mqtt-subscriber 0.…"]));
}

struct Example {
    command: String,
    output: Vec<String>,
}

/// Runs every example of a file and returns how many there were.
fn run_examples(file: &Path) -> usize {
    let examples = examples(&fs::read_to_string(file).unwrap());
    let home = Home::new();
    for example in &examples {
        if let Err(why) = example.run(&home) {
            panic!("{}: `{}`: {why}", file.display(), example.command);
        }
    }
    examples.len()
}

/// The commands in `console` blocks, each with the lines up to the next.
fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(info) = line.strip_prefix("```") {
            inside = info == "console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            examples.push(Example { command: command.to_owned(), output: Vec::new() });
        } else if inside {
            examples.last_mut().expect("a block begins with its command").output.push(line.to_owned());
        }
    }
    examples
}

impl Example {
    fn run(&self, home: &Home) -> Result<(), String> {
        let programs = Path::new(env!("CARGO_BIN_EXE_mqtt-subscriber")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", &format!("{{ {}\n}} 2>&1", installed(&self.command))])
            .env_clear()
            .env("PATH", path)
            .env("HOME", home.path())
            .env("XDG_STATE_HOME", home.state())
            .current_dir(home.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("{}\n{text}", output.status));
        }
        self.compare(text.lines().collect()).map_err(|why| format!("{why} in\n{text}"))
    }

    fn compare(&self, mut lines: Vec<&str>) -> Result<(), String> {
        for wanted in &self.output {
            let place = lines.iter().position(|line| matches(wanted, line));
            lines.remove(place.ok_or_else(|| format!("no line like {wanted:?}"))?);
        }
        lines.first().map_or(Ok(()), |line| Err(format!("the line {line:?} is not shown")))
    }
}

/// `cargo run … --bin NAME -- ARGS` as `NAME ARGS`.
fn installed(command: &str) -> String {
    match command.strip_prefix(CARGO_RUN) {
        Some(rest) => rest.replacen(" --", "", 1),
        None => command.to_owned(),
    }
}

/// Whether a line is as shown, `…` being anything.
fn matches(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(end) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
