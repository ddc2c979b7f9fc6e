//! What a publisher's engine tells the program around it.

use crate::handshake::HandshakeError;
use crate::identity::{Fingerprint, IdentityPublic, PeerId};
use crate::peers::PeerName;
use crate::wire::Status;

use super::reports::Unreported;

/// Something that a person or a counter may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A subscriber has confirmed its first handshake and is pinned: write known_peers.
    NewPeer {
        /// Its name.
        name: PeerName,
        /// Its key.
        key: IdentityPublic,
    },
    /// A stranger's REQUEST verified, and a person decides: call [`super::Publisher::decide`].
    AskPeer {
        /// Its id.
        id: PeerId,
        /// The name that it proposes.
        name: PeerName,
        /// Its key.
        key: IdentityPublic,
    },
    /// A session is confirmed.
    Confirmed {
        /// The subscriber's id.
        id: PeerId,
        /// Its name.
        name: PeerName,
        /// Whether it had no session before.
        first: bool,
    },
    /// A REQUEST verified and was refused.
    Refused {
        /// The name that the subscriber has or proposes.
        name: PeerName,
        /// Its key.
        key: IdentityPublic,
        /// What it was told.
        status: Status,
        /// For a changed key: the fingerprint that is pinned.
        pinned: Option<Fingerprint>,
    },
    /// A new stream has begun.
    Rotated {
        /// Its id.
        stream: u32,
    },
    /// A message was refused; at most a few a second are reported, all are counted.
    Rejected(Reject),
    /// A subscriber left so many entries unconfirmed that the oldest was dropped.
    EntryDropped {
        /// The subscriber.
        id: PeerId,
    },
    /// The spool is full, and what a subscriber has not reported had to go: it is lost to it.
    LostTo(Unreported),
    /// The spool is full, and readings that were never with the broker had to go for later ones.
    Dropped {
        /// The topic.
        topic: String,
        /// The first number.
        from: u32,
        /// One past the last.
        to: u32,
    },
    /// Our own later ticks are at the broker: our state was restored from a copy. The stream is rotated.
    Restored,
    /// Another process publishes with our identity, from a copy of our state.
    Twin {
        /// Whether it is we who have to end: of two exactly one does.
        we_end: bool,
    },
    /// A subscriber confirms what was never sent: this publisher's state was rolled back. The stream is rotated.
    RolledBack {
        /// The subscriber.
        id: PeerId,
    },
}

/// Why a message from the broker was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Malformed, or not authentic.
    Handshake(HandshakeError),
    /// A counter that does not increase: a replay.
    Replay,
    /// For a session that does not exist (any more).
    NoSession,
    /// Over the rate for strangers.
    RateLimited,
}

/// How much was seen and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// REQUESTs that verified.
    pub requests: u64,
    /// GRANTs sent, refusals not counted.
    pub grants: u64,
    /// Refusals sent.
    pub refusals: u64,
    /// RETRYs sent.
    pub retries: u64,
    /// Messages that did not parse or verify.
    pub rejected: u64,
    /// Replays.
    pub replays: u64,
    /// Messages dropped over a rate.
    pub rate_limited: u64,
    /// Diffie-Hellman operations spent on REQUESTs.
    pub diffie_hellman: u64,
}
