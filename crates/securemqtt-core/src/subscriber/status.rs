//! What a person asks a running subscriber: how it stands with each publisher.

use super::Subscriber;
use crate::identity::Fingerprint;
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
