//! Network namespaces: who is who, and a short visit to another one.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::error::{OsContext, Result};

/// What identifies a namespace while it lives: device and inode of its file (namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceId {
    /// Device number of the nsfs.
    pub device: u64,
    /// Inode number; the kernel may give it to a new namespace once this one is gone.
    pub inode: u64,
}

impl NamespaceId {
    pub(in crate::net) fn of(netns: impl AsFd) -> Result<Self> {
        let stat = fstat(netns).os("stat", "network namespace")?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// The calling thread's network namespace.
pub(in crate::net) fn current() -> Result<File> {
    const PATH: &str = "/proc/thread-self/ns/net";
    File::open(PATH).os("open", PATH)
}

/// Runs `visit` with the calling thread inside `netns`, then goes back to `home`.
///
/// Sockets opened inside stay there. Keep visits short: whatever else the thread does meanwhile happens there too.
pub(in crate::net) fn visit<T>(
    netns: BorrowedFd<'_>,
    home: impl AsFd,
    visit: impl FnOnce() -> Result<T>,
) -> Result<T> {
    setns(netns, CloneFlags::CLONE_NEWNET).os("enter", "network namespace of the container")?;
    let result = visit();
    setns(home, CloneFlags::CLONE_NEWNET).os("return to", "network namespace of the host")?;
    result
}
