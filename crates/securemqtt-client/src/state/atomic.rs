//! Files replaced as a whole: written beside, flushed, renamed over, and the directory flushed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::error::StateError;

const SUFFIX: &str = ".tmp";

/// Replaces `path` with `bytes`, mode 0600. On success the new contents survive a power cut; on failure the old stand.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let beside = temporary_name(path)?;
    write_and_rename(&beside, path, bytes).map_err(|source| {
        // Whatever is left of it is of no use; the first error is the one to tell.
        let _ = fs::remove_file(&beside);
        StateError::Write { path: path.to_owned(), source }
    })
}

fn write_and_rename(beside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    sync_directory(parent(path))
}

/// Makes the names in `directory` survive a power cut.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes what a process killed in the middle of [`write`] left in `directory`. Only for the holder of its lock.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX)) {
            // If it stays, it only takes room.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary_name(path: &Path) -> Result<PathBuf, StateError> {
    let random = getrandom::u64().map_err(|_| StateError::Random)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{random:016x}{SUFFIX}")))
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn replaces_the_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, b"a longer first version").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("directory-in-the-way");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kept"), b"").unwrap();
        assert!(write(&path, b"new").is_err());
        assert!(path.join("kept").exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_named() {
        // Writing there fails with ENOSPC on every Linux.
        let error = StateError::Write { path: "/dev/full".into(), source: fs::write("/dev/full", b"x").unwrap_err() };
        assert!(error.to_string().contains("disk is full"), "{error}");
    }

    #[test]
    fn sweeping_takes_only_leftovers() {
        let directory = tempfile::tempdir().unwrap();
        for name in [".identity.pem.0123.tmp", "identity.pem", ".hidden"] {
            fs::write(directory.path().join(name), b"").unwrap();
        }
        sweep(directory.path());
        let mut left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".hidden", "identity.pem"]);
    }
}
