//! What a driver tells the program around it.

use std::fmt;
use std::time::Duration;

use securemqtt_core::identity::IdentityPublic;
use securemqtt_core::peers::{Peer, PeerName};

use crate::mqtt::LinkEvent;
use crate::state::PeersFile;

/// Something to tell; `E` is the engine's event.
#[derive(Debug)]
pub enum Notice<E> {
    /// The broker accepted us.
    Connected,
    /// The broker has granted a subscriber's filters for readings: what is published from now on comes.
    Listening,
    /// Something is wrong and will be tried again, or concerns one thing only.
    Trouble(Trouble),
    /// From the engine.
    Event(E),
    /// Something has moved that the program waits for.
    Moved,
}

/// What can be wrong while everything else goes on. Its text says what happened, and what to try.
#[derive(Debug)]
pub enum Trouble {
    /// The connection is lost, or could not be made; the next attempt comes after `retry_in`.
    Disconnected {
        /// What happened, and what to try.
        reason: String,
        /// Delay until the next attempt.
        retry_in: Duration,
    },
    /// The broker refuses a publish.
    PublishRefused {
        /// The topic.
        topic: String,
        /// Its reason.
        reason: String,
    },
    /// The broker refuses a subscription.
    SubscriptionRefused {
        /// The filter.
        filter: String,
        /// Its reason.
        reason: String,
    },
    /// The known_peers file was changed and cannot be read; the peers stay as they were.
    NotReloaded {
        /// Why.
        why: String,
    },
    /// The state cannot be stored: nothing is acknowledged until it can.
    NotStored {
        /// Why, and what to do.
        why: String,
    },
    /// The state can be stored again.
    StoredAgain,
    /// A new peer could not be written to known_peers: it is trusted until the restart only.
    NotRemembered {
        /// Why.
        why: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected { reason, retry_in } => {
                write!(f, "{reason}; trying again in {:.1} s", retry_in.as_secs_f32())
            }
            Self::PublishRefused { topic, reason } => {
                write!(f, "the broker refuses to publish on {topic}: {reason}; allow it there")
            }
            Self::SubscriptionRefused { filter, reason } => {
                write!(f, "the broker refuses the subscription to {filter}: {reason}; allow it there")
            }
            Self::NotReloaded { why } => write!(f, "the known peers stay as they were: {why}"),
            Self::NotStored { why } => write!(f, "the state cannot be stored, so nothing is acknowledged: {why}"),
            Self::StoredAgain => f.write_str("the state can be stored again; it goes on"),
            Self::NotRemembered { why } => write!(f, "the new peer is trusted until the restart only: {why}"),
        }
    }
}

impl Trouble {
    /// The trouble that a link event tells of.
    pub(crate) fn of(event: LinkEvent) -> Option<Self> {
        match event {
            LinkEvent::Disconnected { reason, retry_in } => Some(Self::Disconnected { reason, retry_in }),
            LinkEvent::PublishRefused { topic, reason, .. } => Some(Self::PublishRefused { topic, reason }),
            LinkEvent::SubscriptionRefused { filter, reason } => Some(Self::SubscriptionRefused { filter, reason }),
            _ => None,
        }
    }
}

/// Writes a new peer to known_peers.
pub(crate) fn remember(peers: &mut PeersFile, name: &PeerName, key: &IdentityPublic) -> Option<Trouble> {
    let peer = Peer { name: name.clone(), key: key.clone(), revoked: false, comment: None };
    let why = match peers.edit(|known| known.add(peer)) {
        Ok(Ok(())) => return None,
        Ok(Err(conflict)) => conflict.to_string(),
        Err(error) => error.to_string(),
    };
    Some(Trouble::NotRemembered { why })
}
