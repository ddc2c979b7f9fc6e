//! The file of known peers, when it has changed.

use super::Subscriber;
use super::peer::Peer;
use crate::identity::PeerId;
use crate::peers::KnownPeers;

impl Subscriber {
    /// The file of known peers has changed: whoever is no longer allowed is not read any more.
    pub fn set_known(&mut self, known: KnownPeers) {
        self.trust.set_known(known);
        self.reported.clear();
        let trust = &self.trust;
        let gone = |peer: &Peer| trust.known().by_key(&peer.hello.key).is_none_or(|known| known.revoked);
        let gone: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| !peer.stranger && gone(peer)).map(|(id, _)| *id).collect();
        for id in gone {
            self.touch(id);
            let streams = self.peers.get(&id).map(|peer| peer.streams.clone()).unwrap_or_default();
            for stream in streams {
                self.drop_stream(id, stream);
            }
            self.peers.remove(&id);
            self.held.remove(&id);
        }
    }
}
