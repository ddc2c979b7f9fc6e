//! What the running publisher answers to `status`, `rotate` and a change of the peers.

use std::fmt::Write as _;

use securemqtt_cli::status::{About, counters};
use securemqtt_client::control::{Command, Request};
use securemqtt_client::publisher::Publisher;
use securemqtt_core::publisher::{KnownSubscriber, Publisher as Engine};
use serde_json::{Value, json};

use super::App;

impl App {
    pub(super) fn answer(&mut self, request: Request) {
        let answer = match request.command {
            Command::Status => status(&self.about, self.publisher.is_connected(), self.publisher.engine()),
            Command::Rotate => rotate(&mut self.publisher),
            Command::Reload => {
                self.publisher.reload();
                json!({})
            }
        };
        request.reply(answer);
    }
}

fn status(about: &About, connected: bool, engine: &Engine) -> Value {
    let mut status = about.status(connected);
    let mut add = |name: &str, value: Value| status.insert(name.to_owned(), value);
    add("stream", engine.stream().into());
    add("generation", engine.generation().into());
    add("run", hex(&engine.run()).into());
    let (bytes, unacknowledged) = engine.kept();
    add("spool", json!({ "bytes": bytes, "unacknowledged": unacknowledged }));
    add("subscribers", engine.subscribers().iter().map(subscriber).collect());
    add("counters", counted(engine));
    status.into()
}

fn subscriber(subscriber: &KnownSubscriber) -> Value {
    json!({
        "name": subscriber.name.as_str(),
        "fingerprint": subscriber.fingerprint.to_string(),
        "confirmed": subscriber.confirmed,
    })
}

fn counted(engine: &Engine) -> Value {
    let all = engine.counters();
    counters([
        ("requests", all.requests),
        ("grants", all.grants),
        ("refusals", all.refusals),
        ("retries", all.retries),
        ("rejected", all.rejected),
        ("replays", all.replays),
        ("rate_limited", all.rate_limited),
    ])
}

/// Begins a new stream, and names it.
fn rotate(publisher: &mut Publisher) -> Value {
    publisher.rotate();
    let engine = publisher.engine();
    match engine.rotating() {
        Some(rotating) => json!({ "stream": rotating.stream, "waiting": rotating.waiting }),
        // Nobody had to confirm it.
        None => json!({ "stream": engine.stream(), "waiting": 0 }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
