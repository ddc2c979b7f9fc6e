//! What is asked of a running program: to rotate, to read its peers again. A stopped publisher finds a mark.

use std::path::Path;

use securemqtt_client::control::{AskError, Command, ask};
use securemqtt_client::state::{StateDir, StateError};

use crate::exit::{Exit, Failure, Outcome};
use crate::identity::{Role, StateArgs};
use crate::key;
use crate::pages::write_stdout;

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let exit = match error {
            AskError::NoAnswer(_) => Exit::TimedOut,
            AskError::Refused(_) => Exit::Protocol,
            _ => Exit::Io,
        };
        Self::new(exit, error.to_string())
    }
}

/// Runs `rotate`: a running publisher begins a new stream, a stopped one will at its next start.
///
/// # Errors
/// There is no publisher yet, or it runs and does not answer.
pub fn rotate(state: &StateArgs) -> Outcome<Exit> {
    let dir = state.state_dir(Role::Publisher)?;
    key::existing(&dir, Role::Publisher)?;
    let text = match ask(&dir, Command::Rotate)? {
        Some(answer) => begun(&answer),
        None => mark(&dir)?,
    };
    write_stdout(text.as_bytes())
}

/// What a running publisher answers, in words.
fn begun(answer: &serde_json::Value) -> String {
    let stream = &answer["stream"];
    match answer["waiting"].as_u64() {
        None | Some(0) => format!("stream {stream}: in use\n"),
        Some(1) => format!("stream {stream}: in use as soon as 1 subscriber has its key\n"),
        Some(n) => format!("stream {stream}: in use as soon as {n} subscribers have its key\n"),
    }
}

/// Marks a stopped publisher's directory, and says so. Only under its lock: one that runs would not look.
fn mark(dir: &Path) -> Outcome<String> {
    match StateDir::open(dir) {
        Err(StateError::Locked { holder, .. }) => Err(deaf(dir, holder)),
        opened => {
            opened?.leave_rotation_mark()?;
            Ok("not running: the next start begins a new stream\n".to_owned())
        }
    }
}

fn deaf(dir: &Path, pid: Option<u32>) -> Failure {
    let process = pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
    Failure::new(Exit::TimedOut, format!("a process{process} runs in {} and cannot be asked", dir.display()))
        .hint("if it has just started, try again; else it said at its start why, and a restart begins a new stream after `rotate`")
}

/// Has a running program read its peers again now. One that does not answer sees the change by itself.
pub(crate) fn reload(dir: &Path) {
    if let Err(error) = ask(dir, Command::Reload) {
        tracing::warn!("{error}; it will notice the change by itself");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::store;

    fn state(dir: &Path) -> StateArgs {
        StateArgs { name: None, state_dir: Some(dir.to_owned()), known_peers: None, state_key_file: None }
    }

    #[test]
    fn a_stopped_publisher_is_marked_and_one_that_cannot_be_asked_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("state");
        assert_eq!(rotate(&state(&dir)).unwrap_err().exit(), Exit::Config);
        store::generate_identity(&dir).unwrap();
        let held = StateDir::open(&dir).unwrap();
        let failure = rotate(&state(&dir)).unwrap_err();
        assert_eq!(failure.exit(), Exit::TimedOut);
        assert!(failure.message().contains(&format!("({})", std::process::id())), "{failure}");
        assert!(!held.has_rotation_mark());
        drop(held);
        rotate(&state(&dir)).unwrap();
        assert!(StateDir::open(&dir).unwrap().has_rotation_mark());
    }

    #[test]
    fn the_new_stream_is_named_with_whom_it_waits_for() {
        assert_eq!(begun(&json!({ "stream": 7, "waiting": 0 })), "stream 7: in use\n");
        assert!(begun(&json!({ "stream": 7, "waiting": 1 })).ends_with("as soon as 1 subscriber has its key\n"));
        assert!(begun(&json!({ "stream": 7, "waiting": 2 })).ends_with("as soon as 2 subscribers have its key\n"));
    }
}
