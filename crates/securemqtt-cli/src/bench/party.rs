//! The parties: an identity and a state directory each, made for the run, and only each other trusted.

use std::path::PathBuf;

use securemqtt_client::publisher::{self, Publisher, WhenFull};
use securemqtt_client::state::{PeersFile, StateDir, Store};
use securemqtt_client::subscriber::{self, Subscriber};
use securemqtt_core::identity::{IdentityPublic, PeerId};
use securemqtt_core::peers::{Peer, PeerName};
use securemqtt_core::trust::{Trust, TrustMode};

use super::site::Site;
use crate::exit::{Exit, Failure, Outcome};

/// A party before it starts.
#[derive(Clone, Debug)]
pub(super) struct Party {
    state: PathBuf,
    name: PeerName,
    key: IdentityPublic,
    /// Its own part of the client id.
    label: String,
}

impl Party {
    /// A new identity; `label` is its own in the whole run.
    pub(super) fn make(site: &Site, label: String) -> Outcome<Self> {
        let state = site.scratch().join(&label);
        let key = StateDir::open(&state)?.identity()?.public().clone();
        let name = format!("bench-{label}");
        let name = name.parse().map_err(|error| Failure::new(Exit::Config, format!("{name}: {error}")))?;
        Ok(Self { state, name, key, label })
    }

    /// Pins others.
    pub(super) fn knows(&self, others: &[Self]) -> Outcome<()> {
        let mut file = PeersFile::new(self.state.join("known_peers"));
        let added = file.edit(|known| others.iter().try_for_each(|other| known.add(other.as_peer())))?;
        added.map_err(|conflict| Failure::new(Exit::Config, conflict.to_string()))
    }

    pub(super) fn id(&self) -> PeerId {
        self.key.id()
    }

    fn as_peer(&self) -> Peer {
        Peer { name: self.name.clone(), key: self.key.clone(), revoked: false, comment: None }
    }

    /// Starts it as `mqtt-publisher` would. The directory is held as long as the value beside it.
    pub(super) async fn publisher(&self, site: &Site) -> Outcome<(Publisher, StateDir)> {
        let directory = StateDir::open(&self.state)?;
        let identity = directory.identity()?;
        let mut peers = directory.known_peers();
        let trust = Trust::new(TrustMode::Strict, identity.public().id(), peers.load()?, Vec::new());
        let (store, loaded) = Store::open(&directory, None)?;
        let mut engine = securemqtt_core::publisher::Config::new(self.name.clone());
        engine.spool_max = site.spool;
        let (broker, when_full) = (site.options(&self.label), WhenFull::Wait);
        let settings = publisher::Settings { broker, identity, trust, engine, peers, store, loaded, when_full };
        Ok((Publisher::start(settings).await?, directory))
    }

    /// Starts it as `mqtt-subscriber` would. The directory is held as long as the value beside it.
    pub(super) fn subscriber(&self, site: &Site) -> Outcome<(Subscriber, StateDir)> {
        let directory = StateDir::open(&self.state)?;
        let identity = directory.identity()?;
        let mut peers = directory.known_peers();
        let trust = Trust::new(TrustMode::Strict, identity.public().id(), peers.load()?, Vec::new());
        let (store, loaded) = Store::open(&directory, None)?;
        let engine = securemqtt_core::subscriber::Config {
            name: self.name.clone(),
            filters: vec![format!("{}/#", site.prefix())],
            exclude: Vec::new(),
            accept_rollback: false,
        };
        let (broker, qos, cursor) = (site.options(&self.label), site.qos, None);
        let settings =
            subscriber::Settings { broker, identity, trust, engine, qos, times: false, peers, store, loaded, cursor };
        Ok((Subscriber::start(settings)?, directory))
    }
}
