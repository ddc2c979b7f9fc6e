//! How a refused peer is named: what happened, both fingerprints, and the command that would let it in.

use securemqtt_core::identity::{Fingerprint, IdentityPublic};
use securemqtt_core::peers::PeerName;

use crate::identity::Role;

/// A peer that is not pinned.
pub fn not_known(role: Role, name: &PeerName, key: &IdentityPublic) -> String {
    let (program, shown, line) = (role.program(), key.fingerprint(), key.to_openssh());
    format!("Refused {name} {shown}: not a known peer\n  to trust it: {program} peers add {name} {line}")
}

/// A peer whose name is pinned with another key.
pub fn changed_key(role: Role, name: &PeerName, pinned: Fingerprint, key: &IdentityPublic) -> String {
    let (program, shown, line) = (role.program(), key.fingerprint(), key.to_openssh());
    format!(
        "REFUSED {name}: its key has changed, or somebody pretends to be it\n  pinned {pinned}\n  shown  {shown}\n  \
         if the change is genuine: {program} peers replace {name} {line}"
    )
}
