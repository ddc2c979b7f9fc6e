//! The known_peers file: read as a whole, edited under a lock, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use securemqtt_core::peers::KnownPeers;

use super::atomic;
use super::error::StateError;

/// How soon a running program notices an edit by hand, without being told: it wakes up for that alone. The `peers` commands
/// tell it at once, and so does HUP.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A known_peers file. A running program and a command that edits it may share it.
#[derive(Debug)]
pub struct PeersFile {
    path: PathBuf,
    seen: Option<Stamp>,
    next_look: Instant,
}

/// Changes whenever the file is replaced or written to, or its mode is changed.
type Stamp = (u64, u64, i64, i64);

impl PeersFile {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: None, next_look: Instant::now() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it; a missing file has no peers.
    ///
    /// # Errors
    /// If others may change the file, or a line is bad: the message has its number.
    pub fn load(&mut self) -> Result<KnownPeers, StateError> {
        let seen = self.stamp();
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| StateError::Read { path: self.path.clone(), source })?,
        };
        self.refuse_writable_by_others()?;
        let peers = KnownPeers::parse(&text).map_err(|error| StateError::Peers { path: self.path.clone(), error })?;
        self.seen = seen;
        Ok(peers)
    }

    /// When [`PeersFile::load_if_changed`] is next due.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Reads it again if it changed since the last time. What is wrong with it is told once for each change.
    ///
    /// # Errors
    /// As [`PeersFile::load`].
    pub fn load_if_changed(&mut self) -> Result<Option<KnownPeers>, StateError> {
        self.next_look = Instant::now() + LOOK_EVERY;
        let stamp = self.stamp();
        if stamp == self.seen {
            return Ok(None);
        }
        self.load().map(Some).inspect_err(|_| self.seen = stamp)
    }

    /// Reads the latest version, lets `change` edit it and stores it, with other editors kept out. An `Err` of `change`
    /// leaves the file as it was.
    ///
    /// # Errors
    /// As [`PeersFile::load`], or if the file cannot be written.
    pub fn edit<T, E>(
        &mut self,
        change: impl FnOnce(&mut KnownPeers) -> Result<T, E>,
    ) -> Result<Result<T, E>, StateError> {
        let _lock = self.lock()?;
        let before = self.seen;
        let mut peers = self.load()?;
        // What somebody else changed has not been told by `load_if_changed` yet: a revocation, perhaps.
        let untold = self.seen != before;
        let outcome = change(&mut peers);
        if outcome.is_ok() {
            atomic::write(&self.path, peers.to_string().as_bytes())?;
            self.seen = self.stamp();
        }
        if untold {
            self.seen = before;
        }
        Ok(outcome)
    }

    /// Waits for other editors, for as long as the file lives. The lock is a file of its own, as this one is replaced.
    fn lock(&self) -> Result<File, StateError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let path = self.path.with_file_name(format!(".{name}.lock"));
        let fail = |source| StateError::Write { path: path.clone(), source };
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    }

    /// Whoever can write the file decides whom we trust; reading it harms nobody.
    fn refuse_writable_by_others(&self) -> Result<(), StateError> {
        let Ok(metadata) = fs::metadata(&self.path) else { return Ok(()) };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o022 == 0 { Ok(()) } else { Err(StateError::Mode { path: self.path.clone(), mode, wanted: 0o600 }) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use securemqtt_core::identity::IdentityKey;
    use securemqtt_core::peers::Peer;

    use super::*;

    fn peer(name: &str, byte: u8) -> Peer {
        let key = IdentityKey::from_bytes(&[byte; 32]).unwrap();
        Peer { name: name.parse().unwrap(), key: key.public().clone(), revoked: false, comment: None }
    }

    #[test]
    fn edits_are_kept_and_seen_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        let (mut one, mut other) = (PeersFile::new(&path), PeersFile::new(&path));
        assert!(one.load().unwrap().is_empty());
        assert!(other.load_if_changed().unwrap().is_none());
        one.edit(|peers| peers.add(peer("pump", 1))).unwrap().unwrap();
        assert!(one.load_if_changed().unwrap().is_none());
        assert_eq!(other.load_if_changed().unwrap().unwrap().iter().count(), 1);
        other.edit(|peers| peers.add(peer("valve", 2))).unwrap().unwrap();
        assert_eq!(one.load().unwrap().iter().count(), 2);
    }

    #[test]
    fn an_edit_does_not_hide_what_others_changed_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        let (mut one, mut other) = (PeersFile::new(&path), PeersFile::new(&path));
        one.edit(|peers| peers.add(peer("pump", 1))).unwrap().unwrap();
        other.load().unwrap();
        one.edit(|peers| Ok::<_, ()>(peers.revoke(&"pump".parse().unwrap()))).unwrap().unwrap();
        other.edit(|peers| peers.add(peer("valve", 2))).unwrap().unwrap();
        let told = other.load_if_changed().unwrap().unwrap();
        assert!(told.by_name(&"pump".parse().unwrap()).unwrap().revoked);
        assert!(other.load_if_changed().unwrap().is_none());
    }

    #[test]
    fn a_refused_edit_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = PeersFile::new(directory.path().join("known_peers"));
        file.edit(|peers| peers.add(peer("pump", 1))).unwrap().unwrap();
        let before = fs::read(file.path()).unwrap();
        assert!(file.edit(|peers| peers.add(peer("pump", 2))).unwrap().is_err());
        assert_eq!(fs::read(file.path()).unwrap(), before);
    }

    #[test]
    fn a_bad_line_is_named_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        atomic::write(&path, b"# fine\nnonsense\n").unwrap();
        let error = PeersFile::new(&path).load().unwrap_err().to_string();
        assert!(error.contains("known_peers") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn others_may_read_but_not_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        atomic::write(&path, b"").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(PeersFile::new(&path).load().is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(matches!(PeersFile::new(&path).load(), Err(StateError::Mode { .. })));
    }
}
