//! The two parties of the demo, each with a state directory of its own.

use std::path::Path;
use std::time::Duration;

use mqtt_publisher::input::{Input, Item, Items, Pace};
use securemqtt_cli::exit::{Exit, Failure, Outcome};
use securemqtt_cli::logging::Talk;
use securemqtt_client::mqtt::{BrokerAddress, BrokerOptions};
use securemqtt_client::publisher::{self, Publisher};
use securemqtt_client::state::{StateDir, Store};
use securemqtt_client::subscriber::{self, Subscriber};
use securemqtt_core::Qos;
use securemqtt_core::identity::Fingerprint;
use securemqtt_core::peers::{KnownPeers, PeerName};
use securemqtt_core::trust::{Trust, TrustMode};
use tokio::task::JoinHandle;

use super::TOPIC;

/// Bytes of the publisher's spool.
const SPOOL: usize = 1 << 20;
const INTERVAL: Duration = Duration::from_secs(1);

/// How everybody reaches the demo's broker.
pub(super) fn options(port: u16, client_id: &str) -> BrokerOptions {
    let mut options =
        BrokerOptions::new(BrokerAddress::Tcp { host: "127.0.0.1".to_owned(), port, tls: false }, client_id);
    options.clean_start = true;
    options.session_expiry = Duration::ZERO;
    options
}

fn name(text: &str) -> Outcome<PeerName> {
    text.parse().map_err(|error| Failure::new(Exit::Config, format!("{text}: {error}")))
}

pub(super) fn start_subscriber(state: &StateDir, port: u16) -> Outcome<Subscriber> {
    let identity = state.identity()?;
    let id = identity.public().id();
    let (store, loaded) = Store::open(state, None)?;
    Ok(Subscriber::start(subscriber::Settings {
        broker: options(port, "demo-subscriber"),
        trust: Trust::new(TrustMode::AcceptNew, id, KnownPeers::default(), Vec::new()),
        identity,
        engine: securemqtt_core::subscriber::Config {
            name: name("demo-subscriber")?,
            filters: vec![TOPIC.to_owned()],
            exclude: Vec::new(),
            accept_rollback: false,
        },
        qos: Qos::AtLeastOnce,
        times: true,
        peers: state.known_peers(),
        store,
        loaded,
        cursor: None,
    })?)
}

pub(super) async fn start_publisher(
    directory: &Path,
    port: u16,
    talk: Talk,
) -> Outcome<(Fingerprint, JoinHandle<Outcome<()>>)> {
    let state = StateDir::open(directory.join("publisher"))?;
    let identity = state.identity()?;
    let (id, fingerprint) = (identity.public().id(), identity.public().fingerprint());
    talk.say(format_args!("Identity {fingerprint}"))?;
    let (store, loaded) = Store::open(&state, None)?;
    let mut engine = securemqtt_core::publisher::Config::new(name("demo-publisher")?);
    engine.spool_max = SPOOL;
    let publisher = Publisher::start(publisher::Settings {
        broker: options(port, "demo-publisher"),
        trust: Trust::new(TrustMode::AcceptNew, id, KnownPeers::default(), Vec::new()),
        identity,
        engine,
        peers: state.known_peers(),
        store,
        loaded,
        when_full: publisher::WhenFull::DropOldest,
    })
    .await?;
    let task = tokio::spawn(async move {
        let _state = state;
        publish(publisher, talk).await
    });
    Ok((fingerprint, task))
}

/// The simulated publisher: vital signs from the moment that somebody can read them.
async fn publish(mut publisher: Publisher, talk: Talk) -> Outcome<()> {
    while publisher.engine().confirmed() == 0 {
        publisher.next().await?;
    }
    talk.say("ECDH key exchange completed")?;
    let pace = Pace { interval: INTERVAL, count: None };
    let mut readings = Items::start(&Input::Vitals, Input::Vitals.open(false)?, false, pace)?;
    loop {
        tokio::select! {
            biased;
            notice = publisher.next() => drop(notice?),
            item = readings.next() => match item.transpose()? {
                Some(Item::Reading(reading)) => {
                    let published = publisher.publish(TOPIC, &[&reading.payload], Qos::AtLeastOnce, false);
                    published.map_err(|error| Failure::new(Exit::Protocol, error.to_string()))?;
                }
                Some(Item::Skipped(_)) => {}
                None => return Ok(()),
            },
        }
    }
}
