//! What a subscriber reads.

use crate::peers::PeerName;

/// What a subscriber wants.
#[derive(Clone, Debug)]
pub struct Config {
    /// The petname that it proposes.
    pub name: PeerName,
    /// The filters it reads.
    pub filters: Vec<String>,
    /// The filters it leaves out.
    pub exclude: Vec<String>,
    /// Whether a state that was rolled back goes on, though it may show readings again.
    pub accept_rollback: bool,
}
