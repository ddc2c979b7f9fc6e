//! Who may hold the stream: a person's answers, and the file of known peers.

use rand_core::CryptoRng;

use super::member::Member;
use super::{Output, Publisher};
use crate::Now;
use crate::identity::PeerId;
use crate::peers::KnownPeers;

impl Publisher {
    /// A person's answer to [`super::Event::AskPeer`]. A subscriber that was let in is pinned when it confirms.
    pub fn decide(&mut self, id: PeerId, allow: bool) {
        if self.asked.remove(&id).is_some() {
            let list = if allow { &mut self.approved } else { &mut self.denied };
            list.insert(id);
        }
    }

    /// The file of known peers has changed: whoever is no longer allowed loses the next stream.
    /// A new challenge tells whoever was refused, and may be let in now, to ask again.
    pub fn set_known<R: CryptoRng + ?Sized>(&mut self, known: KnownPeers, now: Now, rng: &mut R, out: &mut Output) {
        let before = self.trust.known();
        let stood = |key| before.by_key(key).is_some_and(|peer| !peer.revoked);
        if known.iter().any(|peer| !peer.revoked && !stood(&peer.key)) {
            self.renew_challenge(now, rng, out);
        }
        self.trust.set_known(known);
        let gone = self.gone();
        for id in &gone {
            self.dismiss(*id, rng, out);
        }
        if !gone.is_empty() {
            self.rotate(now, rng, out);
        }
    }

    /// The members that hold the stream and may not.
    pub(super) fn gone(&self) -> Vec<PeerId> {
        self.roster.granted().filter(|(_, member)| !self.stays(member)).map(|(id, _)| id).collect()
    }

    /// Whether a member with a session, or with a GRANT that it has not confirmed, keeps the stream that it holds.
    pub(super) fn stays(&self, member: &Member) -> bool {
        match self.trust.known().by_key(&member.key) {
            Some(peer) => !peer.revoked,
            // A stranger is pinned when it confirms.
            None => member.active.is_none() && self.may_join(&member.key, &member.name),
        }
    }
}
