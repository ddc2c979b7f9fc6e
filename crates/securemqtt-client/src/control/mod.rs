//! How a command line talks to the program that holds a state directory: a unix socket in that directory, where one line
//! of JSON asks and one line answers. The directory is 0700 and the socket 0600, so only their owner can ask, and root.
//!
//! ```text
//! {"command":"status"}                       to the program
//! {"ok":{"running":true,"pid":4711, … }}     from it, or
//! {"error":"…"}
//! ```

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::{AskError, ask};
pub use server::{ControlSocket, Request};

/// What a running program can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Command {
    /// How things stand.
    Status,
    /// Begin a new stream. For publishers.
    Rotate,
    /// Read known_peers again now.
    Reload,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// The socket's place.
fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("control")
}

/// One line of JSON.
fn line(message: &impl Serialize) -> Vec<u8> {
    // Our messages have string keys and no numbers that JSON lacks: this does not fail.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
