//! The directory itself: created 0700, refused if others may enter it, held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use securemqtt_core::identity::IdentityKey;

use super::atomic;
use super::error::StateError;
use super::identity::{self, read_identity, refuse_open_mode};
use super::peers::PeersFile;
use super::store;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity.pem";
const KNOWN_PEERS: &str = "known_peers";
/// There while somebody wants a stopped publisher to begin a new stream.
const ROTATE: &str = "rotate";

/// Whoever only looks at the lock holds it for a moment: this often, and with these pauses, it is tried again.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// An open state directory. The lock lasts as long as this value.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: Option<File>,
}

impl StateDir {
    /// Opens the directory for this process alone, creating it if need be.
    ///
    /// # Errors
    /// If others may enter it, another process holds it, or it cannot be written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        create(&path)?;
        check(&path)?;
        let lock = lock(&path)?;
        atomic::sweep(&path);
        Ok(Self { path, lock: Some(lock) })
    }

    /// Opens an existing directory for looking only, whoever holds it.
    ///
    /// # Errors
    /// If it does not exist, or others may enter it.
    pub fn open_read_only(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        check(&path)?;
        Ok(Self { path, lock: None })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The identity key, made and stored if there is none yet.
    ///
    /// # Errors
    /// If the file is there and not a key that only we can read, or cannot be written.
    pub fn identity(&self) -> Result<IdentityKey, StateError> {
        let path = self.file(IDENTITY);
        match read_identity(&path)? {
            Some(key) => Ok(key),
            None => identity::create(&self.writable(path)?),
        }
    }

    /// The identity key if there is one.
    ///
    /// # Errors
    /// If the file is there and not a key that only we can read.
    pub fn existing_identity(&self) -> Result<Option<IdentityKey>, StateError> {
        read_identity(&self.file(IDENTITY))
    }

    /// The known_peers file of this directory. It has its own lock: editing needs none of ours.
    pub fn known_peers(&self) -> PeersFile {
        PeersFile::new(self.file(KNOWN_PEERS))
    }

    /// Bytes that the database takes; `None` if there is none yet.
    pub fn database_size(&self) -> Option<u64> {
        fs::metadata(self.file(store::FILE)).map(|metadata| metadata.len()).ok()
    }

    /// Asks the publisher of this directory to begin a new stream at its next start.
    ///
    /// # Errors
    /// If the mark cannot be written, or the state was opened for reading only.
    pub fn leave_rotation_mark(&self) -> Result<(), StateError> {
        atomic::write(&self.writable(self.file(ROTATE))?, b"")
    }

    /// Whether [`StateDir::leave_rotation_mark`] was called since the last [`StateDir::take_rotation_mark`].
    pub fn has_rotation_mark(&self) -> bool {
        self.file(ROTATE).exists()
    }

    /// Takes the mark away, and says whether there was one. Only when the new stream is durable: a crash before that
    /// must not forget what was asked.
    ///
    /// # Errors
    /// If it cannot be removed, or the state was opened for reading only.
    pub fn take_rotation_mark(&self) -> Result<bool, StateError> {
        let path = self.writable(self.file(ROTATE))?;
        let removed = fs::remove_file(&path).and_then(|()| atomic::sync_directory(&self.path));
        match removed {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StateError::Write { path, source }),
        }
    }

    /// Whether a process holds the directory at `path`.
    pub fn is_in_use(path: &Path) -> bool {
        // Shared, so that two that look do not see each other; it is released at once.
        let lock = File::open(path.join(LOCK)).map(|file| file.try_lock_shared());
        matches!(lock, Ok(Err(TryLockError::WouldBlock)))
    }

    fn writable(&self, path: PathBuf) -> Result<PathBuf, StateError> {
        if self.lock.is_some() { Ok(path) } else { Err(StateError::ReadOnly(path)) }
    }
}

fn create(path: &Path) -> Result<(), StateError> {
    if path.exists() {
        return Ok(());
    }
    let fail = |source| StateError::Write { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)
}

fn check(path: &Path) -> Result<(), StateError> {
    let metadata = fs::metadata(path).map_err(|source| StateError::Read { path: path.to_owned(), source })?;
    if !metadata.is_dir() {
        return Err(StateError::NotADirectory(path.to_owned()));
    }
    refuse_open_mode(path, &metadata, 0o700)
}

fn lock(directory: &Path) -> Result<File, StateError> {
    let path = directory.join(LOCK);
    let fail = |source| StateError::Write { path: path.clone(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(fail)?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StateError::Locked { path: directory.to_owned(), holder: holder(&mut file) });
        }
        Err(TryLockError::Error(source)) => return Err(fail(source)),
    }
    // For the message above; the lock holds without it.
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(fail)?;
    Ok(file)
}

fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            tried => return tried,
        }
    }
    file.try_lock()
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_private_and_remembered() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state/publisher");
        let fingerprint = StateDir::open(&path).unwrap().identity().unwrap().public().fingerprint();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(StateDir::open(&path).unwrap().identity().unwrap().public().fingerprint(), fingerprint);
    }

    #[test]
    fn one_process_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let held = StateDir::open(&path).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(matches!(error, StateError::Locked { holder: Some(pid), .. } if pid == std::process::id()), "{error}");
        let looking = StateDir::open_read_only(&path).unwrap();
        assert!(looking.existing_identity().unwrap().is_none());
        assert!(matches!(looking.identity(), Err(StateError::ReadOnly(_))));
        drop(held);
        assert!(StateDir::open(&path).is_ok());
    }

    #[test]
    fn looking_whether_it_is_held_disturbs_nobody() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        assert!(!StateDir::is_in_use(&path));
        let held = StateDir::open(&path).unwrap();
        assert!(StateDir::is_in_use(&path));
        assert!(StateDir::is_in_use(&path));
        drop(held);
        assert!(!StateDir::is_in_use(&path));
        // Somebody looks at the very moment of a start.
        let looking = File::open(path.join(LOCK)).unwrap();
        looking.try_lock_shared().unwrap();
        let looked = thread::spawn(move || {
            thread::sleep(LOCK_PAUSE);
            drop(looking);
        });
        assert!(StateDir::open(&path).is_ok());
        looked.join().unwrap();
    }

    #[test]
    fn a_rotation_is_asked_for_until_it_is_taken() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(parent.path().join("state")).unwrap();
        assert!(!state.has_rotation_mark());
        assert!(!state.take_rotation_mark().unwrap());
        state.leave_rotation_mark().unwrap();
        state.leave_rotation_mark().unwrap();
        let path = state.file(ROTATE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let looking = StateDir::open_read_only(state.path()).unwrap();
        assert!(looking.has_rotation_mark());
        assert!(matches!(looking.take_rotation_mark(), Err(StateError::ReadOnly(_))));
        assert!(matches!(looking.leave_rotation_mark(), Err(StateError::ReadOnly(_))));
        assert!(state.take_rotation_mark().unwrap());
        assert!(!state.has_rotation_mark() && !state.take_rotation_mark().unwrap());
    }

    #[test]
    fn others_may_not_enter() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = StateDir::open(parent.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn what_is_not_there_or_no_directory() {
        let parent = tempfile::tempdir().unwrap();
        assert!(StateDir::open_read_only(parent.path().join("none")).is_err());
        let file = parent.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(StateDir::open(&file), Err(StateError::NotADirectory(_))));
    }
}
