//! What the running subscriber answers to `status` and to a change of the peers.

use securemqtt_cli::exit::Outcome;
use securemqtt_cli::status::{About, counters};
use securemqtt_client::control::{Command, Request};
use securemqtt_core::subscriber::{KnownPublisher, Subscriber as Engine};
use serde_json::{Value, json};

use super::App;

impl App {
    pub(super) fn answer(&mut self, request: Request) -> Outcome<()> {
        match request.command {
            Command::Status => {
                let (connected, engine) = (self.subscriber.is_connected(), self.subscriber.engine());
                request.reply(status(&self.about, connected, engine));
            }
            Command::Reload => {
                self.subscriber.reload()?;
                request.reply(json!({}));
            }
            Command::Rotate => request.refuse("a subscriber has no stream"),
        }
        Ok(())
    }
}

fn status(about: &About, connected: bool, engine: &Engine) -> Value {
    let mut status = about.status(connected);
    let mut add = |name: &str, value: Value| status.insert(name.to_owned(), value);
    add("publishers", engine.publishers().iter().map(publisher).collect());
    add("counters", counted(engine));
    add("parked", engine.parked().into());
    status.into()
}

fn publisher(publisher: &KnownPublisher) -> Value {
    let mut object = json!({
        "name": publisher.name.as_str(),
        "fingerprint": publisher.fingerprint.to_string(),
        "keyed": publisher.keyed,
    });
    if let Some(silent) = publisher.silent {
        object["silent"] = silent.into();
    }
    object
}

fn counted(engine: &Engine) -> Value {
    let all = engine.counters();
    counters([
        ("delivered", all.delivered),
        ("duplicates", all.duplicates),
        ("replays", all.replays),
        ("rejected", all.rejected),
        ("forged", all.forged),
        ("missing", all.missing),
        ("lost", all.lost),
        ("before_grant", all.before_grant),
        ("parking_full", all.parking_full),
        ("rate_limited", all.rate_limited),
    ])
}
