//! What both programs do before they connect: state directory, identity, known peers, trust, broker.

use securemqtt_client::ClientError;
use securemqtt_client::mqtt::BrokerOptions;
use securemqtt_client::state::{PeersFile, StateDir, StateKey};
use securemqtt_core::identity::IdentityKey;
use securemqtt_core::peers::PeerName;
use securemqtt_core::trust::{Trust, TrustMode};

use crate::broker::BrokerArgs;
use crate::exit::{Failure, Outcome};
use crate::identity::{Role, StateArgs, TrustArgs};

/// Everything that a run needs to know of itself.
#[derive(Debug)]
pub struct Start {
    /// The state directory, locked for as long as this lives.
    pub state: StateDir,
    /// What the state is sealed with.
    pub state_key: Option<StateKey>,
    /// Our key.
    pub identity: IdentityKey,
    /// The name that we propose.
    pub name: PeerName,
    /// Where new peers are remembered.
    pub peers: PeersFile,
    /// Whom we trust.
    pub trust: Trust,
    /// The broker.
    pub broker: BrokerOptions,
}

impl Start {
    /// Opens the state directory, and puts the flags together with what it holds.
    ///
    /// # Errors
    /// The state cannot be used, or the flags contradict each other.
    pub fn new(role: Role, state: &StateArgs, trust: &TrustArgs, broker: &BrokerArgs) -> Outcome<Self> {
        let directory = state.state_dir(role)?;
        let address = broker.address()?;
        let known_peers = state.known_peers(&directory);
        let state_key = state.state_key()?;
        let directory = StateDir::open(directory)?;
        let identity = directory.identity()?;
        let id = identity.public().id();
        let mut peers = PeersFile::new(known_peers);
        let known = peers.load()?;
        let mode = trust.mode(address.is_local(), known.is_empty())?;
        Ok(Self {
            name: state.name(role, id),
            trust: Trust::new(mode, id, known, trust.pins()),
            broker: broker.options(&client_id(role, &id.to_string()))?,
            identity,
            peers,
            state: directory,
            state_key,
        })
    }

    /// How a new peer came to be remembered, for the line that says so.
    pub fn first_contact(&self) -> &'static str {
        match self.trust.mode() {
            TrustMode::FirstPeer => "first contact, local broker: remembered",
            TrustMode::AcceptNew => "first contact: remembered",
            TrustMode::Ask => "accepted: remembered",
            TrustMode::Strict => "fingerprint as given: remembered",
        }
    }
}

/// At most 23 characters, which every MQTT 3.1.1 broker must take: `smq-p-` and 16 of the id's 32 digits.
fn client_id(role: Role, id: &str) -> String {
    let letter = match role {
        Role::Publisher => 'p',
        Role::Subscriber => 's',
    };
    format!("smq-{letter}-{}", id.get(..16).unwrap_or(id))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Link(error) => error.into(),
            ClientError::State(error) => error.into(),
        }
    }
}
