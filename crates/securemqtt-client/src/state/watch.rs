//! What happens to a file that is edited in place or replaced, as inotify tells it.
//!
//! Its directory is watched for the names in it, since a file that is replaced is another one afterwards; and the file that
//! stands there, for what is written to it: the directory would tell of every write to the database beside it, too.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::atomic;
use crate::fd::readable;

const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
const CONTENTS: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::ATTRIB).union(WatchFlags::DELETE_SELF);

/// File systems whose every change comes through this kernel. On others (NFS, SMB, 9p, FUSE) another machine may change what
/// nobody tells here.
const LOCAL: [u32; 15] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // JFS
    0x5265_4973, // ReiserFS
    0x2405_1905, // UBIFS
    0x72B6,      // JFFS2
    0x4D44,      // FAT
    0x2011_BAB0, // exFAT
    0x0102_1994, // tmpfs
    0x8584_58F6, // ramfs
    0x794C_7630, // overlay
];

/// A watched file.
#[derive(Debug)]
pub(super) struct Watch {
    events: AsyncFd<OwnedFd>,
    path: PathBuf,
    name: OsString,
    directory: i32,
    file: Option<i32>,
    /// Where it points, any other name in the directory may decide.
    is_link: bool,
}

impl Watch {
    /// Begins to watch; the file need not be there. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where the system gives no events, or not all.
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let directory = atomic::parent(path);
        refuse_remote(directory)?;
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let watched = inotify::add_watch(&events, directory, NAMES)?;
        let mut watch = Self {
            events: readable(events)?,
            path: path.to_owned(),
            name: path.file_name().unwrap_or_default().to_owned(),
            directory: watched,
            file: None,
            is_link: false,
        };
        watch.follow()?;
        Ok(watch)
    }

    /// Watches the file that has this name now: to be called before it is read, whenever something has happened.
    ///
    /// # Errors
    /// Where there are no events of that one.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        self.is_link = self.path.is_symlink();
        let file = match inotify::add_watch(&self.events, &self.path, CONTENTS) {
            Ok(file) => Some(file),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        match refuse_remote(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(old) = self.file.filter(|_| self.file != file) {
            // Fails where that file is gone, and its watch with it.
            let _ = inotify::remove_watch(&self.events, old);
        }
        self.file = file;
        Ok(())
    }

    /// Waits until something has happened to the file. Safe to be cancelled.
    ///
    /// # Errors
    /// When the directory is not there any more, or is called otherwise: nothing more is told of this name.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            let Ok(concerned) = ready.try_io(|events| self.read(events.get_ref())) else { continue };
            if concerned? {
                return Ok(());
            }
        }
    }

    /// Takes what there is of events; whether one of them concerns the file.
    fn read(&self, events: &OwnedFd) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(events, &mut buffer);
        let mut concerned = false;
        loop {
            let event = reader.next()?;
            let of_directory = event.wd() == self.directory;
            let end = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
            if of_directory && event.events().intersects(end) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the directory was moved or removed"));
            }
            // Of the file, or that some were lost.
            let of_file = !of_directory && !event.events().contains(ReadFlags::IGNORED);
            let of_name = event.file_name().is_some_and(|name| name.to_bytes() == self.name.as_bytes());
            concerned |= of_file || of_name || self.is_link;
            if reader.is_buffer_empty() {
                return Ok(concerned);
            }
        }
    }
}

fn refuse_remote(path: &Path) -> io::Result<()> {
    let kind = rustix::fs::statfs(path)?.f_type;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "its type differs between machines; its values have 32 bits"
    )]
    let kind = kind as u32;
    if LOCAL.contains(&kind) {
        return Ok(());
    }
    let why = format!("other machines may change what is on this file system (type {kind:#x})");
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const SILENCE: Duration = Duration::from_millis(100);

    /// Waits for an event, and follows the file as whoever reads it does.
    async fn hears(watch: &mut Watch, what: &str) {
        timeout(PATIENCE, watch.changed()).await.unwrap_or_else(|_| unreachable!("{what}: not told")).unwrap();
        watch.follow().unwrap();
        // What else the same change has brought.
        while timeout(SILENCE, watch.changed()).await.is_ok() {}
    }

    async fn is_silent(watch: &mut Watch) -> bool {
        timeout(SILENCE, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn it_outlives_replacement_removal_and_a_file_that_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        let mut watch = Watch::start(&path).unwrap();
        for round in 0..3 {
            atomic::write(&path, b"").unwrap();
            hears(&mut watch, "a file that comes").await;
            for _ in 0..3 {
                atomic::write(&path, b"replaced").unwrap();
                hears(&mut watch, "a file that is replaced").await;
                fs::write(&path, format!("written {round}")).unwrap();
                hears(&mut watch, "a file that is written to").await;
            }
            fs::remove_file(&path).unwrap();
            hears(&mut watch, "a file that is removed").await;
        }
    }

    #[tokio::test]
    async fn what_happens_beside_it_wakes_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_peers");
        fs::write(&path, "").unwrap();
        let beside = directory.path().join("state.redb");
        fs::write(&beside, "").unwrap();
        let mut watch = Watch::start(&path).unwrap();
        fs::write(&beside, "a commit").unwrap();
        fs::read(&path).unwrap();
        assert!(is_silent(&mut watch).await);
    }

    #[tokio::test]
    async fn a_file_elsewhere_is_watched_through_its_link() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let link = |from: &str, to: &str| {
            std::os::unix::fs::symlink(from, at("beside")).unwrap();
            fs::rename(at("beside"), at(to)).unwrap();
        };
        for version in ["one", "two"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("peers"), version).unwrap();
        }
        link("one", "current");
        link("current/peers", "known_peers");
        let mut watch = Watch::start(&at("known_peers")).unwrap();
        fs::write(at("one/peers"), "edited").unwrap();
        hears(&mut watch, "the file behind the link").await;
        link("two", "current");
        hears(&mut watch, "another file behind the link").await;
        atomic::write(&at("two/peers"), b"replaced").unwrap();
        hears(&mut watch, "a replaced file behind the link").await;
    }

    #[tokio::test]
    async fn a_directory_that_is_moved_is_told_as_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("state");
        fs::create_dir(&inner).unwrap();
        let mut watch = Watch::start(&inner.join("known_peers")).unwrap();
        fs::rename(&inner, directory.path().join("old")).unwrap();
        assert!(timeout(PATIENCE, watch.changed()).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn where_others_may_change_it_unheard_it_is_not_watched() {
        // procfs tells of no changes either.
        let error = Watch::start(Path::new("/proc/self/status")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        assert!(Watch::start(Path::new("/nowhere/known_peers")).is_err());
    }
}
