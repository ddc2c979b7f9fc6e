//! Systems without inotify: nothing is watched, and the clock says when to look.

use std::convert::Infallible;
use std::io;
use std::path::Path;

/// There is none.
#[derive(Debug)]
pub(super) struct Watch(Infallible);

impl Watch {
    /// # Errors
    /// Always.
    pub(super) fn start(_: &Path) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no inotify"))
    }

    pub(super) fn follow(&mut self) -> io::Result<()> {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "where there is one it waits")]
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
