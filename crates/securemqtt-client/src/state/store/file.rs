//! The file of the database: made, opened, and what redb says of one that is none.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::Database;
use redb::backends::FileBackend;

use super::super::atomic;
use super::super::identity::refuse_open_mode;
use super::StateError;

/// redb's default is a gigabyte.
const CACHE_BYTES: usize = 1 << 20;

/// Opens a database. Every page is checked: half of the damage that a disk can do would go unnoticed.
pub(super) fn open(path: &Path) -> Result<Database, StateError> {
    let fail = |source| StateError::Write { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    refuse_open_mode(path, &metadata, 0o600)?;
    if metadata.len() == 0 {
        return Err(StateError::Database { path: path.to_owned(), why: "it is empty".to_owned() });
    }
    guarded(|| connect(file)).map_err(|trouble| trouble.of(path))
}

/// Makes a database beside its place, and moves it there when it is whole: what a kill leaves half made is swept away.
pub(super) fn make(path: &Path, fill: impl FnOnce(&Database) -> Result<(), redb::Error>) -> Result<(), StateError> {
    let fail = |source| StateError::Write { path: path.to_owned(), source };
    let beside = path.with_file_name(".state.redb.tmp");
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&beside).map_err(fail)?;
    let made = guarded(|| {
        let database = connect(file)?;
        fill(&database)?;
        Ok(database.close()?)
    });
    made.map_err(|trouble| {
        // Half a file is of no use, and takes room; the first error is the one to tell.
        let _ = fs::remove_file(&beside);
        trouble.of(path)
    })?;
    fs::rename(&beside, path).and_then(|()| atomic::sync_directory(directory(path))).map_err(fail)
}

fn connect(file: File) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(FileBackend::new(file)?)?)
}

fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// What is wrong: with the file, or with the disk that it is on.
pub(super) enum Trouble {
    Damaged(String),
    Disk(io::Error),
    /// Somebody has it open: who left a store behind on a disk that hangs, for one.
    Held,
}

impl Trouble {
    pub(super) fn of(self, path: &Path) -> StateError {
        let path = path.to_owned();
        match self {
            Self::Held => StateError::Locked { path, holder: None },
            Self::Damaged(why) => StateError::Database { path, why },
            Self::Disk(source) => StateError::Write { path, source },
        }
    }

    pub(super) fn why(&self) -> String {
        match self {
            Self::Damaged(why) => why.clone(),
            Self::Held => "another process has it open".to_owned(),
            Self::Disk(error) if error.kind() == io::ErrorKind::StorageFull => {
                "the disk is full; free some space".to_owned()
            }
            Self::Disk(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "the file system is read-only; check the disk, and make it writable again".to_owned()
            }
            Self::Disk(error) => error.to_string(),
        }
    }
}

/// A damaged file can make redb panic: that is an error like others.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(judge),
        Err(_) => Err(Trouble::Damaged("its contents contradict each other".to_owned())),
    }
}

fn judge(error: redb::Error) -> Trouble {
    match error {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            Trouble::Damaged("it is no database of ours".to_owned())
        }
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Trouble::Damaged("it is cut short".to_owned())
        }
        redb::Error::Io(error) => Trouble::Disk(error),
        redb::Error::DatabaseAlreadyOpen => Trouble::Held,
        error => Trouble::Damaged(error.to_string()),
    }
}
