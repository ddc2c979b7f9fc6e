//! The library's publisher, as a program of somebody else would use it.

use securemqtt_client::mqtt::{BrokerAddress, BrokerOptions};
use securemqtt_client::publisher::{Publisher, Settings, WhenFull};
use securemqtt_client::state::{StateDir, Store};
use securemqtt_core::publisher::Config;
use securemqtt_core::trust::{Trust, TrustMode};

use crate::broker::{Broker, HOST};

/// Starts one with the identity, the peers and the state of a directory, which must outlive it.
pub(crate) async fn started(broker: &Broker, directory: &StateDir, engine: Config) -> Publisher {
    let identity = directory.identity().unwrap();
    let (store, loaded) = Store::open(directory, None).unwrap();
    let mut peers = directory.known_peers();
    let address = BrokerAddress::Tcp { host: HOST.to_owned(), port: broker.port(), tls: false };
    let settings = Settings {
        broker: BrokerOptions::new(address, "library"),
        trust: Trust::new(TrustMode::Strict, identity.public().id(), peers.load().unwrap(), Vec::new()),
        identity,
        engine,
        peers,
        store,
        loaded,
        when_full: WhenFull::Wait,
    };
    Publisher::start(settings).await.unwrap()
}
