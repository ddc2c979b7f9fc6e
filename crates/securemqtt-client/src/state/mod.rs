//! The state directory: identity, known peers and database, each written so that a power cut leaves the old or the new.

pub(crate) mod atomic;
mod directory;
mod error;
mod identity;
mod key;
mod peers;
mod store;
#[cfg_attr(not(target_os = "linux"), path = "unwatched.rs")]
mod watch;

pub use directory::StateDir;
pub use error::{StateError, StateErrorKind};
pub use identity::{IdentityProblem, read_identity};
pub use key::{KeyProblem, StateKey};
pub use peers::PeersFile;
pub use store::{Batch, Cursor, Loaded, Store, StoreEvent, Ticket};
