//! `status`: how things stand. A running program answers for itself; of a stopped one its directory tells.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use securemqtt_client::control::{Command, ask};
use securemqtt_client::state::StateDir;
use securemqtt_core::identity::IdentityPublic;
use securemqtt_core::peers::PeerName;
use serde_json::{Map, Value, json};

use crate::exit::{Exit, Outcome};
use crate::identity::{Role, StateArgs};
use crate::key;
use crate::pages::write_stdout;
use crate::start::Start;
use crate::store;

/// `status`.
#[derive(Args, Clone, Copy, Debug)]
pub struct StatusArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `status`.
///
/// # Errors
/// There is no identity yet, or the program runs and does not answer.
pub fn run(args: StatusArgs, state: &StateArgs, role: Role) -> Outcome<Exit> {
    let dir = state.state_dir(role)?;
    let key = key::existing(&dir, role)?;
    let status = match ask(&dir, Command::Status)? {
        Some(status) => status,
        None => from_outside(&dir, &key, state, role)?,
    };
    let text = if args.json { format!("{status}\n") } else { lines(&status) };
    write_stdout(text.as_bytes())
}

/// What the directory tells.
fn from_outside(dir: &Path, key: &IdentityPublic, state: &StateArgs, role: Role) -> Outcome<Value> {
    let running = StateDir::is_in_use(dir);
    if running {
        tracing::warn!("a process runs in {} and cannot be asked; it said at its start why", dir.display());
    }
    let known = store::known_peers(&state.known_peers(dir))?;
    let opened = StateDir::open_read_only(dir)?;
    let mut status = identity(running, &state.name(role, key.id()), key, dir);
    status.insert("peers".to_owned(), known.iter().filter(|peer| !peer.revoked).count().into());
    status.insert("state_bytes".to_owned(), opened.database_size().into());
    if opened.has_rotation_mark() {
        status.insert("rotates_at_start".to_owned(), true.into());
    }
    Ok(status.into())
}

fn identity(running: bool, name: &PeerName, key: &IdentityPublic, dir: &Path) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("running".to_owned(), running.into());
    status.insert("name".to_owned(), name.as_str().into());
    status.insert("fingerprint".to_owned(), key.fingerprint().to_string().into());
    status.insert("id".to_owned(), key.id().to_string().into());
    status.insert("state_dir".to_owned(), dir.display().to_string().into());
    status
}

/// What a running program says of itself: what it was started with.
#[derive(Debug)]
pub struct About {
    name: PeerName,
    key: IdentityPublic,
    state_dir: PathBuf,
    broker: String,
    since: SystemTime,
}

impl About {
    /// Taken at the start, from what the start is.
    pub fn new(start: &Start) -> Self {
        Self {
            name: start.name.clone(),
            key: start.identity.public().clone(),
            state_dir: start.state.path().to_owned(),
            broker: start.broker.address.to_string(),
            since: SystemTime::now(),
        }
    }

    /// The first part of a status; the program adds the rest.
    pub fn status(&self, connected: bool) -> Map<String, Value> {
        let mut status = identity(true, &self.name, &self.key, &self.state_dir);
        let since = humantime::format_rfc3339_seconds(self.since).to_string();
        status.insert("pid".to_owned(), std::process::id().into());
        status.insert("since".to_owned(), since.into());
        status.insert("broker".to_owned(), self.broker.as_str().into());
        status.insert("connected".to_owned(), connected.into());
        status
    }
}

/// An object as aligned lines, for people: what is in a list gets a line each.
fn lines(status: &Value) -> String {
    let Some(fields) = status.as_object() else { return format!("{status}\n") };
    let width = fields.keys().map(String::len).max().unwrap_or_default();
    let mut text = String::new();
    for (key, value) in fields {
        let label = key.replace('_', " ");
        for value in values(value) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{label:width$}  {value}");
        }
    }
    text
}

fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if items.is_empty() => vec!["none".to_owned()],
        Value::Array(items) => aligned(items),
        Value::Object(fields) => {
            vec![fields.iter().map(|(key, value)| part(key, value)).collect::<Vec<_>>().join(", ")]
        }
        value => vec![scalar(value)],
    }
}

/// The items of a list below each other.
fn aligned(items: &[Value]) -> Vec<String> {
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = width(column).unwrap_or_default();
            format!("{cell:width$}")
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(item: &Value) -> Vec<String> {
    match item {
        Value::Object(fields) => fields.iter().map(|(key, value)| part(key, value)).collect(),
        item => vec![scalar(item)],
    }
}

/// A field of something that has no line for each: text needs no label, yes is the label.
fn part(key: &str, value: &Value) -> String {
    let label = key.replace('_', " ");
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => label,
        Value::Bool(false) => format!("not {label}"),
        Value::String(text) => text.clone(),
        value => format!("{label} {value}"),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// The counters of a status: each with its name.
pub fn counters<const N: usize>(counters: [(&str, u64); N]) -> Value {
    counters.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_for_people() {
        let status = json!({
            "running": true, "state_dir": "/s", "connected": false, "generation": 3,
            "subscribers": [
                { "name": "a", "fingerprint": "SHA256:x", "confirmed": true },
                { "name": "long", "fingerprint": "SHA256:y", "confirmed": false, "silent": null },
            ],
            "others": [], "state_bytes": null,
            "counters": counters([("requests", 2), ("rate_limited", 0)]),
        });
        let want = "\
            running      yes\n\
            state dir    /s\n\
            connected    no\n\
            generation   3\n\
            subscribers  a     SHA256:x  confirmed\n\
            subscribers  long  SHA256:y  not confirmed\n\
            others       none\n\
            state bytes  none\n\
            counters     requests 2, rate limited 0\n";
        assert_eq!(lines(&status), want);
    }

    #[test]
    fn a_stopped_program_is_described_by_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("state");
        let key = store::generate_identity(&dir).unwrap();
        let state = StateArgs { name: None, state_dir: Some(dir.clone()), known_peers: None, state_key_file: None };
        let status = || from_outside(&dir, &key, &state, Role::Publisher).unwrap();
        let first = status();
        assert_eq!(
            [&first["running"], &first["peers"], &first["state_bytes"]],
            [&json!(false), &json!(0), &Value::Null]
        );
        assert_eq!(first["fingerprint"], key.fingerprint().to_string());
        assert_eq!(first.get("rotates_at_start"), None);
        let held = StateDir::open(&dir).unwrap();
        held.leave_rotation_mark().unwrap();
        let other = store::generate_identity(&directory.path().join("other")).unwrap();
        let peers = format!("@revoked old {}\nnew {}\n", key.to_openssh(), other.to_openssh());
        std::fs::write(dir.join("known_peers"), peers).unwrap();
        std::fs::write(dir.join("state.redb"), [0; 100]).unwrap();
        let held = status();
        assert_eq!([&held["running"], &held["peers"], &held["state_bytes"]], [&json!(true), &json!(1), &json!(100)]);
        assert_eq!(held["rotates_at_start"], true);
    }
}
