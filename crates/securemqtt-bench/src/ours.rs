//! Our two clients as the programs set them up, and the state directories they need. What of their interface may change
//! stands here and nowhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use securemqtt_client::mqtt::{BrokerAddress, BrokerOptions};
use securemqtt_client::publisher::{self, Publisher, WhenFull};
use securemqtt_client::state::{PeersFile, StateDir, Store};
use securemqtt_client::subscriber::{self, Subscriber};
use securemqtt_core::Qos;
use securemqtt_core::identity::IdentityPublic;
use securemqtt_core::peers::{Peer, PeerName};
use securemqtt_core::trust::{Trust, TrustMode};

use crate::broker::{HOST, IN_FLIGHT};
use crate::job::Site;
use crate::outcome::Outcome;

/// Bytes of a spool, as `mqtt-publisher` has by default.
pub(crate) const SPOOL: usize = 64 << 20;

/// The broker's options, with as much in flight as everybody has here.
pub(crate) fn options(site: &Site, client_id: &str) -> BrokerOptions {
    let tls = site.authority.is_some();
    let mut options = BrokerOptions::new(BrokerAddress::Tcp { host: HOST.to_owned(), port: site.port, tls }, client_id);
    options.tls.cafile.clone_from(&site.authority);
    options.in_flight = IN_FLIGHT;
    // Nothing is asked of a broker that was started for this run; and a restart is not waited for.
    options.clean_start = true;
    options.session_expiry = Duration::ZERO;
    options.retry.max_delay = Duration::from_secs(2);
    options
}

/// The quality of service with this number.
pub(crate) fn quality(qos: u8) -> Qos {
    if qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce }
}

/// A party with a state directory of its own.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    /// Its directory.
    pub state: PathBuf,
    /// Its name.
    pub name: PeerName,
    /// Its public key.
    pub key: IdentityPublic,
}

impl Party {
    /// A new identity below `scratch`.
    ///
    /// # Errors
    /// If the name is none, or the directory cannot be made.
    pub(crate) fn make(scratch: &Path, name: &str) -> Outcome<Self> {
        let state = scratch.join(name);
        let key = StateDir::open(&state)?.identity()?.public().clone();
        Ok(Self { state, name: name.parse()?, key })
    }

    /// Pins others.
    ///
    /// # Errors
    /// If a name or key is there already, or the file cannot be written.
    pub(crate) fn knows<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Outcome<()> {
        let mut file = PeersFile::new(self.known_peers());
        let added = file.edit(|known| others.into_iter().try_for_each(|other| known.add(other.as_peer())))?;
        Ok(added.map_err(|conflict| conflict.to_string())?)
    }

    /// The file of those it has pinned.
    pub(crate) fn known_peers(&self) -> PathBuf {
        self.state.join("known_peers")
    }

    fn as_peer(&self) -> Peer {
        Peer { name: self.name.clone(), key: self.key.clone(), revoked: false, comment: None }
    }
}

/// The name of a state directory's owner.
fn owner(state: &Path) -> Outcome<PeerName> {
    let name = state.file_name().and_then(|name| name.to_str()).ok_or("a state directory without a name")?;
    Ok(name.parse()?)
}

/// Starts a publisher. The directory is held as long as the value beside it.
///
/// # Errors
/// If its state cannot be opened.
pub(crate) async fn publisher(site: &Site, state: &Path, spool: bool) -> Outcome<(Publisher, StateDir)> {
    let name = owner(state)?;
    let directory = StateDir::open(state)?;
    let identity = directory.identity()?;
    let mut peers = directory.known_peers();
    let trust = Trust::new(TrustMode::Strict, identity.public().id(), peers.load()?, Vec::new());
    let (store, loaded) = Store::open(&directory, None)?;
    let broker = options(site, name.as_str());
    let mut engine = securemqtt_core::publisher::Config::new(name);
    engine.spool_max = if spool { SPOOL } else { 0 };
    let settings =
        publisher::Settings { broker, identity, trust, engine, peers, store, loaded, when_full: WhenFull::Wait };
    Ok((Publisher::start(settings).await?, directory))
}

/// Starts a subscriber. The directory is held as long as the value beside it.
///
/// # Errors
/// If its state cannot be opened.
pub(crate) fn subscriber(site: &Site, state: &Path, filter: &str, qos: u8) -> Outcome<(Subscriber, StateDir)> {
    let name = owner(state)?;
    let directory = StateDir::open(state)?;
    let identity = directory.identity()?;
    let mut peers = directory.known_peers();
    let trust = Trust::new(TrustMode::Strict, identity.public().id(), peers.load()?, Vec::new());
    let (store, loaded) = Store::open(&directory, None)?;
    let broker = options(site, name.as_str());
    let filters = vec![filter.to_owned()];
    let engine = securemqtt_core::subscriber::Config { name, filters, exclude: Vec::new(), accept_rollback: false };
    let qos = quality(qos);
    let settings =
        subscriber::Settings { broker, identity, trust, engine, qos, times: false, peers, store, loaded, cursor: None };
    Ok((Subscriber::start(settings)?, directory))
}
