//! What ends a driver.

use std::fmt;

use crate::mqtt::LinkError;
use crate::state::StateError;

/// Why a driver cannot go on.
#[derive(Debug)]
pub enum ClientError {
    /// The connection: a permanent error, or the end of the link.
    Link(LinkError),
    /// The state directory.
    State(StateError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<LinkError> for ClientError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<StateError> for ClientError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}
