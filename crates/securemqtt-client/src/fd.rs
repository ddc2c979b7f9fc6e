//! File descriptors of the system that become readable: timers, watches, pipes.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers it with the runtime, which must be there.
///
/// # Errors
/// If nobody is told when it is ready: of a file, for one.
#[allow(deprecated, reason = "its successor is unsafe, for types that lie about their descriptor: OwnedFd does not")]
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
