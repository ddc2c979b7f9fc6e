//! The directory itself: created 0700, refused if others may enter it, held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use securemqtt_core::identity::IdentityKey;

use super::atomic;
use super::error::StateError;
use super::identity::{self, read_identity, refuse_open_mode};
use super::peers::PeersFile;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity.pem";
const KNOWN_PEERS: &str = "known_peers";

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
    match file.try_lock() {
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
