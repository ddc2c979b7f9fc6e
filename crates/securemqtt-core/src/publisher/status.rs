//! What a person asks a running publisher: how it stands with each subscriber, and with its stream.

use super::Publisher;
use crate::identity::Fingerprint;
use crate::peers::PeerName;

/// A pinned subscriber that is not revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSubscriber {
    /// Its name.
    pub name: PeerName,
    /// Its key's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether it has a confirmed session, and so the stream's key.
    pub confirmed: bool,
}

/// A new stream that is handed out and not used yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotating {
    /// The new stream's id.
    pub stream: u32,
    /// Subscribers that have not confirmed it.
    pub waiting: usize,
}

impl Publisher {
    /// The pinned subscribers, in the order of known_peers.
    pub fn subscribers(&self) -> Vec<KnownSubscriber> {
        let pinned = self.trust.known().iter().filter(|peer| !peer.revoked);
        let subscribers = pinned.map(|peer| KnownSubscriber {
            name: peer.name.clone(),
            fingerprint: peer.key.fingerprint(),
            confirmed: self.roster.get(peer.key.id()).is_some_and(|member| member.active.is_some()),
        });
        subscribers.collect()
    }

    /// The current stream's generation.
    pub fn generation(&self) -> u8 {
        self.sealer.stream().generation()
    }

    /// The rotation under way.
    pub fn rotating(&self) -> Option<Rotating> {
        let rotation = self.rotation.as_ref()?;
        Some(Rotating { stream: rotation.next.id(), waiting: rotation.waiting.len() })
    }
}
