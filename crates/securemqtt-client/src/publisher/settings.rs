//! What a publisher is made of, and what it does when there is no more room.

use securemqtt_core::identity::IdentityKey;
use securemqtt_core::publisher::Config;
use securemqtt_core::trust::Trust;

use crate::mqtt::BrokerOptions;
use crate::state::{Loaded, PeersFile, Store};

/// What a publisher is made of.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: BrokerOptions,
    /// Who we are.
    pub identity: IdentityKey,
    /// Whom we trust.
    pub trust: Trust,
    /// How the engine behaves.
    pub engine: Config,
    /// Where new peers are remembered.
    pub peers: PeersFile,
    /// The state on disk.
    pub store: Store,
    /// What was found in it.
    pub loaded: Loaded,
    /// What happens when the spool is full.
    pub when_full: WhenFull,
}

/// What happens when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Readings wait.
    Wait,
    /// The oldest gives way.
    DropOldest,
}
