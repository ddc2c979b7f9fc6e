//! What a subscriber is made of.

use securemqtt_core::Qos;
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::subscriber::Config;
use securemqtt_core::trust::Trust;

use crate::mqtt::BrokerOptions;
use crate::state::{Cursor, Loaded, PeersFile, Store};

/// What a subscriber is made of.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: BrokerOptions,
    /// Who we are.
    pub identity: IdentityKey,
    /// Whom we trust.
    pub trust: Trust,
    /// What the engine reads.
    pub engine: Config,
    /// The quality of service that readings are subscribed with.
    pub qos: Qos,
    /// Whether [`Arrival::elapsed`](super::Arrival::elapsed) is measured.
    pub times: bool,
    /// Where new peers are remembered.
    pub peers: PeersFile,
    /// The state on disk.
    pub store: Store,
    /// What was found in it.
    pub loaded: Loaded,
    /// Where the output file ends now.
    pub cursor: Option<Cursor>,
}
