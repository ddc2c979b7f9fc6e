//! What a subscriber's engine tells the program around it.

use crate::handshake::HandshakeError;
use crate::identity::{Fingerprint, IdentityPublic, PeerId};
use crate::peers::PeerName;
use crate::wire::Status;

/// Something that a person or a counter may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A publisher's first GRANT verified and it is pinned: write known_peers.
    NewPeer {
        /// Its name.
        name: PeerName,
        /// Its key.
        key: IdentityPublic,
    },
    /// A stranger's GRANT verified, and a person decides: call [`super::Subscriber::decide`].
    AskPeer {
        /// Its id.
        id: PeerId,
        /// The name that it proposes.
        name: PeerName,
        /// Its key.
        key: IdentityPublic,
    },
    /// A publisher that is not pinned, and the mode is strict or a person said no.
    UnknownPublisher {
        /// The name that it proposes.
        name: PeerName,
        /// Its key.
        key: IdentityPublic,
    },
    /// A pinned name with another key: refused.
    KeyChanged {
        /// The name.
        name: PeerName,
        /// The fingerprint that is pinned.
        pinned: Fingerprint,
        /// The key that was shown.
        shown: IdentityPublic,
    },
    /// A hello on one publisher's topic with another key: somebody is in the middle. Ignored.
    ForeignHello {
        /// The publisher whose topic it is.
        id: PeerId,
        /// The key that was shown.
        shown: IdentityPublic,
    },
    /// A session is established.
    Keyed {
        /// The publisher's id.
        id: PeerId,
        /// Its name.
        name: PeerName,
        /// Whether there was no session before.
        first: bool,
    },
    /// The publisher refuses us, and says why; authenticated.
    RefusedBy {
        /// The publisher's name.
        name: PeerName,
        /// Why.
        status: Status,
    },
    /// The publisher has ended our session, and says why; authenticated.
    Dismissed {
        /// The publisher's name.
        name: PeerName,
        /// Why.
        status: Status,
    },
    /// Readings were sealed and did not arrive.
    Missing(Span),
    /// Readings that were reported missing have arrived.
    Late(Span),
    /// Readings that were reported missing will not come any more: the publisher no longer has them, or too much is
    /// missing. They are not asked for again; should they come all the same, they are late.
    Lost(Span),
    /// Frames that another subscriber must have forged: the publisher's signed tick contradicts them.
    Forged(Span),
    /// No tick for three intervals.
    Silent {
        /// The publisher's name.
        name: PeerName,
    },
    /// Ticks have come back.
    Back {
        /// The publisher's name.
        name: PeerName,
    },
    /// The publisher remembers a later counter than ours: our state was rolled back.
    RolledBack {
        /// The publisher's name.
        name: PeerName,
        /// Whether all that we held of it was dropped, so that no reading is shown again.
        quarantined: bool,
    },
    /// A message was refused; at most a few a second are reported, all are counted.
    Rejected {
        /// The topic that it came on.
        topic: String,
        /// Why.
        why: Reject,
    },
}

/// A range of sequence numbers of one topic of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The publisher.
    pub publisher: PeerId,
    /// The topic.
    pub topic: String,
    /// The run.
    pub run: [u8; 5],
    /// The first number.
    pub from: u32,
    /// One past the last number.
    pub to: u32,
}

/// Why a message from the broker was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Malformed, or not authentic.
    Handshake(HandshakeError),
    /// A frame or tick that does not verify.
    NotAuthentic,
    /// A frame whose number was accepted before with other bytes, although it verifies: a forgery by an insider.
    Conflict,
    /// A tick or signed frame whose signature is wrong: a forgery by an insider.
    BadSignature,
    /// The same bytes as before, recently: a redelivery.
    Duplicate,
    /// A number that was accepted long before: a replay.
    Replay,
    /// From before our grant.
    BeforeGrant,
    /// Too many frames of unknown runs.
    ParkingFull,
    /// A key chain message that does not verify.
    Keys,
    /// Over a rate.
    RateLimited,
}

/// How much was seen and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Readings delivered.
    pub delivered: u64,
    /// Redeliveries of frames that were accepted before.
    pub duplicates: u64,
    /// Replays of frames that were accepted long before.
    pub replays: u64,
    /// Messages that did not parse or verify.
    pub rejected: u64,
    /// Frames and ticks that only an insider could have made.
    pub forged: u64,
    /// Frames from before our grant, which nobody can open for us.
    pub before_grant: u64,
    /// Frames dropped because too many waited for a key.
    pub parking_full: u64,
    /// Messages dropped over a rate.
    pub rate_limited: u64,
    /// Readings reported missing, less those that came late.
    pub missing: u64,
    /// Of those, the ones that were given up as lost.
    pub lost: u64,
}
