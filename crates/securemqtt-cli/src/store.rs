//! The state directory, as `key` and `peers` use it.

use std::path::Path;

use securemqtt_client::state::{PeersFile, StateDir, StateError, StateErrorKind};
use securemqtt_core::identity::IdentityPublic;
use securemqtt_core::peers::{KnownPeers, Peer};

use crate::exit::{Exit, Failure, Outcome};

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let exit = match error.kind() {
            StateErrorKind::Io => Exit::Io,
            _ => Exit::Config,
        };
        Self::new(exit, error.to_string())
    }
}

/// Our public key, if there is one yet. Looking needs no lock: a program may be running.
pub(crate) fn identity(dir: &Path) -> Outcome<Option<IdentityPublic>> {
    if !dir.exists() {
        return Ok(None);
    }
    let key = StateDir::open_read_only(dir)?.existing_identity()?;
    Ok(key.map(|key| key.public().clone()))
}

/// A new identity key, where there is none.
pub(crate) fn generate_identity(dir: &Path) -> Outcome<IdentityPublic> {
    let state = StateDir::open(dir)?;
    if let Some(key) = state.existing_identity()? {
        let fingerprint = key.public().fingerprint();
        let message = format!("{} has an identity key already: {fingerprint}", dir.display());
        return Err(Failure::new(Exit::Config, message)
            .hint("to start with a new one, name another --state-dir; every peer has to accept it anew"));
    }
    Ok(state.identity()?.public().clone())
}

/// The pinned peers; none if there is no file yet.
pub(crate) fn known_peers(file: &Path) -> Outcome<KnownPeers> {
    Ok(PeersFile::new(file).load()?)
}

/// Changes the pinned peers on disk; a failed change leaves them as they are. A running program keeps the directory's
/// lock, and sees the change.
pub(crate) fn edit_known_peers(
    dir: &Path,
    file: &Path,
    change: impl FnOnce(&mut KnownPeers) -> Outcome<Vec<Peer>>,
) -> Outcome<Vec<Peer>> {
    if file.starts_with(dir) && !dir.exists() {
        StateDir::open(dir)?;
    }
    PeersFile::new(file).edit(change)?
}
