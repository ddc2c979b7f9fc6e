//! The handshake: the Noise IK pattern (Noise Protocol Framework, sections 5 and 7.5) over P-256, two messages.
//!
//! The subscriber is the initiator, since it knows the publisher's key from its hello; the publisher answers.
//! Each step consumes its state and returns a named struct; a message that fails leaves the state as it was.

mod initiator;
mod responder;
mod symmetric;

use std::fmt;

pub use initiator::{AwaitingGrant, Granted, Outcome, RequestInput, Sent, start};
pub(crate) use responder::mac_verifies;
pub use responder::{Accepted, VerifiedRequest, read_request, request_mac_key};

use crate::kdf::{AckKey, WrapKey};
use crate::primitives::{InvalidPoint, NotAuthentic};
use crate::wire::WireError;

/// What both sides hold after the handshake.
#[derive(Clone, Debug)]
pub struct SessionKeys {
    /// The session's id.
    pub sid: [u8; 8],
    /// Authenticates ACKs, REPORTs and RECEIPTs.
    pub ka: AckKey,
    /// Wraps the first entry of the key chain.
    pub wk_0: WrapKey,
}

/// Why a handshake message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// It is malformed.
    Wire(WireError),
    /// It does not authenticate.
    NotAuthentic,
    /// The sealed key is not the one that the header names.
    WrongIdentity,
    /// It is our own key: a reflection.
    OwnKey,
    /// The publisher speaks no suite of ours.
    NoCommonSuite,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(f),
            Self::NotAuthentic => NotAuthentic.fmt(f),
            Self::WrongIdentity => f.write_str("the key inside the message is not the one that it names"),
            Self::OwnKey => f.write_str("the message carries our own key"),
            Self::NoCommonSuite => f.write_str("the publisher offers no cipher suite that this program supports"),
        }
    }
}

impl std::error::Error for HandshakeError {}

impl From<WireError> for HandshakeError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<NotAuthentic> for HandshakeError {
    fn from(_: NotAuthentic) -> Self {
        Self::NotAuthentic
    }
}

impl From<InvalidPoint> for HandshakeError {
    fn from(_: InvalidPoint) -> Self {
        Self::Wire(WireError::Point)
    }
}
