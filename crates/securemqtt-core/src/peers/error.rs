//! Why a line of known_peers cannot be read, or a peer not be added.

use std::fmt;

use super::{InvalidName, Peer, REVOKED};
use crate::identity::InvalidOpenSsh;

/// A line of known_peers that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: ParseErrorKind,
}

/// What is wrong with a line of known_peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// The name is missing or not allowed.
    Name(InvalidName),
    /// The key does not read.
    Key(InvalidOpenSsh),
    /// An unknown marker.
    Marker(String),
    /// The name or key stands in an earlier line already.
    Duplicate(Conflict),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            ParseErrorKind::Name(error) => error.fmt(f),
            ParseErrorKind::Key(error) => error.fmt(f),
            ParseErrorKind::Marker(marker) => write!(f, "unknown marker {marker:?}; the only one is {REVOKED}"),
            ParseErrorKind::Duplicate(conflict) => conflict.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}

/// A name or a key that is pinned already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The name belongs to another key.
    Name(Box<Peer>),
    /// The key has another name.
    Key(Box<Peer>),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(peer) => write!(f, "the name {} belongs to the key {}", peer.name, peer.key.fingerprint()),
            Self::Key(peer) => write!(f, "the key {} is known as {}", peer.key.fingerprint(), peer.name),
        }
    }
}

impl std::error::Error for Conflict {}
