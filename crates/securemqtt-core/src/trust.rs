//! Who may become a peer: the trust modes, and the pins given by fingerprint.

use crate::identity::{Fingerprint, IdentityPublic, PeerId};
use crate::peers::{KnownPeers, Peer, PeerName};

/// What happens to a peer that is not pinned. A changed key is refused in every mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustMode {
    /// Only pinned peers.
    Strict,
    /// A person is asked.
    Ask,
    /// Every new peer is remembered.
    AcceptNew,
    /// The first peer is remembered, then a person is asked: the demo on a local broker.
    FirstPeer,
}

/// What the trust rules say of a key that a peer has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Pinned under this name.
    Pinned(PeerName),
    /// Its key is given by `--peer NAME=SHA256:…`: to be pinned under this name.
    Expected(PeerName),
    /// Pinned, and revoked since.
    Revoked(PeerName),
    /// Unknown, to be remembered under this name.
    AcceptNew(PeerName),
    /// Unknown, and a person decides.
    Ask(PeerName),
    /// Unknown, and the mode is strict.
    Unknown,
    /// The proposed name belongs to another key: a changed key, or an impostor.
    Changed {
        /// The name.
        name: PeerName,
        /// The fingerprint that is pinned for it.
        pinned: Fingerprint,
    },
    /// It is our own key.
    Own,
}

/// The trust rules of one party: its pins and its mode.
#[derive(Clone, Debug)]
pub struct Trust {
    mode: TrustMode,
    own: PeerId,
    known: KnownPeers,
    expected: Vec<(PeerName, Fingerprint)>,
}

impl Trust {
    /// The rules for the party with the id `own`.
    pub fn new(mode: TrustMode, own: PeerId, known: KnownPeers, expected: Vec<(PeerName, Fingerprint)>) -> Self {
        Self { mode, own, known, expected }
    }

    /// The mode.
    pub fn mode(&self) -> TrustMode {
        self.mode
    }

    /// The pins.
    pub fn known(&self) -> &KnownPeers {
        &self.known
    }

    /// Replaces the pins, after the file changed.
    pub fn set_known(&mut self, known: KnownPeers) {
        self.known = known;
    }

    /// Whether a key that is not in the file could still be accepted.
    pub fn may_accept_strangers(&self) -> bool {
        self.mode != TrustMode::Strict || self.expected.iter().any(|(name, _)| self.known.by_name(name).is_none())
    }

    /// Judges a key with the name that its holder proposes.
    pub fn judge(&self, key: &IdentityPublic, proposed: &PeerName) -> Standing {
        if key.id() == self.own {
            return Standing::Own;
        }
        if let Some(peer) = self.known.by_key(key) {
            let name = peer.name.clone();
            return if peer.revoked { Standing::Revoked(name) } else { Standing::Pinned(name) };
        }
        let fingerprint = key.fingerprint();
        if let Some((name, _)) = self.expected.iter().find(|(_, expected)| *expected == fingerprint) {
            return match self.known.by_name(name) {
                Some(other) => Standing::Changed { name: name.clone(), pinned: other.key.fingerprint() },
                None => Standing::Expected(name.clone()),
            };
        }
        if let Some(pinned) = self.pinned_fingerprint(proposed) {
            return Standing::Changed { name: proposed.clone(), pinned };
        }
        match self.mode {
            TrustMode::Strict => Standing::Unknown,
            TrustMode::AcceptNew => Standing::AcceptNew(proposed.clone()),
            TrustMode::FirstPeer if self.known.is_empty() => Standing::AcceptNew(proposed.clone()),
            TrustMode::Ask | TrustMode::FirstPeer => Standing::Ask(proposed.clone()),
        }
    }

    /// Pins a key. False when its name or key has been pinned meanwhile: nothing is changed then.
    pub fn pin(&mut self, name: PeerName, key: IdentityPublic) -> bool {
        self.known.add(Peer { name, key, revoked: false, comment: None }).is_ok()
    }

    fn pinned_fingerprint(&self, name: &PeerName) -> Option<Fingerprint> {
        let by_key = self.known.by_name(name).map(|peer| peer.key.fingerprint());
        by_key.or_else(|| {
            self.expected.iter().find(|(expected, _)| expected == name).map(|(_, fingerprint)| *fingerprint)
        })
    }
}
