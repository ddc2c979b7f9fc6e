//! What a person asks a running subscriber: how it stands with each publisher.

use super::Subscriber;
use crate::identity::{Fingerprint, PeerId};
use crate::peers::PeerName;

/// A pinned publisher that is not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPublisher {
    /// Its name.
    pub name: PeerName,
    /// Its key's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether there is a session with it.
    pub keyed: bool,
    /// Whether its ticks stay away; `None` where none is expected: before the first one, and after a clean end.
    pub silent: Option<bool>,
}

impl Subscriber {
    /// How many publishers have a session.
    pub fn keyed(&self) -> usize {
        self.peers.values().filter(|peer| peer.session.is_some()).count()
    }

    /// How many publishers are remembered, strangers included.
    pub fn remembered(&self) -> usize {
        self.peers.len()
    }

    /// How many frames wait for a key.
    pub fn parked(&self) -> usize {
        self.parking.len()
    }

    /// The name and fingerprint of a publisher, for the output.
    pub fn publisher(&self, id: PeerId) -> Option<(&PeerName, Fingerprint)> {
        self.peers.get(&id).map(|peer| (&peer.name, peer.hello.key.fingerprint()))
    }

    /// The pinned publishers, in the order of known_peers.
    pub fn publishers(&self) -> Vec<KnownPublisher> {
        let pinned = self.trust.known().iter().filter(|peer| !peer.revoked);
        let publishers = pinned.map(|pinned| {
            let peer = self.peers.get(&pinned.key.id());
            KnownPublisher {
                name: pinned.name.clone(),
                fingerprint: pinned.key.fingerprint(),
                keyed: peer.is_some_and(|peer| peer.session.is_some()),
                silent: peer.and_then(|peer| peer.pulse.last_ms.map(|_| peer.pulse.silent)),
            }
        });
        publishers.collect()
    }
}
