//! The known_peers file: read as a whole, edited under a lock, replaced as a whole; a running program watches it.

use std::fs::{self, File, OpenOptions};
use std::future::pending;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use securemqtt_core::peers::KnownPeers;

use super::atomic;
use super::error::StateError;
use super::watch::Watch;

/// How soon after it was changed the file is read: an editor may take it away before it puts the new one there, which must
/// not count as no peers at all.
const SETTLE: Duration = Duration::from_millis(200);
/// How soon an edit by hand is noticed where the file cannot be watched: a program wakes up for that alone. The `peers`
/// commands tell it at once, and so does HUP.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A known_peers file. A running program and a command that edits it may share it.
#[derive(Debug)]
pub struct PeersFile {
    path: PathBuf,
    seen: Option<Stamp>,
    watch: Option<Watch>,
    next_look: Option<Instant>,
}

/// Changes whenever the file is replaced or written to, or its mode is changed.
type Stamp = (u64, u64, i64, i64);

impl PeersFile {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: None, watch: None, next_look: None }
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

    /// Begins to watch the file, for [`PeersFile::load_if_changed`]. Needs a tokio runtime.
    pub(crate) fn watch(&mut self) {
        match Watch::start(&self.path) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => self.unwatched(&error),
        }
        // What happened since it was read last nobody has told.
        if self.stamp() != self.seen {
            self.next_look = Some(Instant::now());
        }
    }

    /// Waits until something has happened to the file: it is looked at soon. Safe to be cancelled.
    pub(crate) async fn touched(&mut self) {
        let Some(watch) = &mut self.watch else { return pending().await };
        match watch.changed().await {
            Ok(()) => {
                let soon = Instant::now() + SETTLE;
                self.next_look = Some(self.next_look.map_or(soon, |look| look.min(soon)));
            }
            Err(error) => self.unwatched(&error),
        }
    }

    fn unwatched(&mut self, why: &io::Error) {
        tracing::debug!(file = %self.path.display(), %why, "not watched: it is looked at every {LOOK_EVERY:?}");
        self.watch = None;
        self.next_look = Some(Instant::now() + LOOK_EVERY);
    }

    /// When [`PeersFile::load_if_changed`] is next due.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether it is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.next_look.is_some_and(|look| look <= now)
    }

    /// Reads it again if it changed since the last time. What is wrong with it is told once for each change.
    ///
    /// # Errors
    /// As [`PeersFile::load`].
    pub fn load_if_changed(&mut self) -> Result<Option<KnownPeers>, StateError> {
        // Before it is read: what is written afterwards is told.
        if let Some(Err(error)) = self.watch.as_mut().map(Watch::follow) {
            self.unwatched(&error);
        }
        self.next_look = if self.watch.is_some() { None } else { Some(Instant::now() + LOOK_EVERY) };
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

    #[tokio::test]
    async fn a_watched_file_is_read_soon_after_a_change_and_not_in_the_middle_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        let mut file = PeersFile::new(&path);
        file.watch();
        assert_eq!(file.next_look(), None);
        let mut known = KnownPeers::default();
        for (round, name) in ["pump", "valve", "gauge"].into_iter().enumerate() {
            known.add(peer(name, u8::try_from(round + 1).unwrap())).unwrap();
            if round > 0 {
                fs::remove_file(&path).unwrap();
            }
            if round < 2 {
                fs::write(&path, "").unwrap();
            }
            tokio::time::timeout(LOOK_EVERY / 2, file.touched()).await.unwrap();
            let look = file.next_look().unwrap();
            assert!(look > Instant::now() && look <= Instant::now() + SETTLE);
            atomic::write(&path, known.to_string().as_bytes()).unwrap();
            tokio::time::sleep_until(look.into()).await;
            assert_eq!(file.load_if_changed().unwrap().unwrap().iter().count(), round + 1);
            assert_eq!(file.next_look(), None);
        }
    }

    #[tokio::test]
    async fn what_was_changed_before_it_was_watched_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        let (mut one, mut other) = (PeersFile::new(&path), PeersFile::new(&path));
        one.load().unwrap();
        other.edit(|peers| peers.add(peer("pump", 1))).unwrap().unwrap();
        one.watch();
        assert!(one.is_due(Instant::now()));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_watched_is_looked_at_by_the_clock() {
        let mut file = PeersFile::new("/nowhere/known_peers");
        for _ in 0..2 {
            file.watch();
            let look = file.next_look().unwrap();
            assert!(look > Instant::now() && look <= Instant::now() + LOOK_EVERY);
            file.load_if_changed().unwrap();
        }
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
