//! How a new process becomes a member.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::file;
use crate::error::{Error, Result};

/// Opened by the parent, used by or for the child; close-on-exec.
#[derive(Debug)]
pub enum Join {
    /// Version 1: the `tasks` file of every hierarchy.
    Tasks(Vec<OwnedFd>),
    /// Version 2: the directory, for clone3 with CLONE_INTO_CGROUP.
    Directory(OwnedFd),
}

impl Join {
    /// The directory to give to clone3, on version 2.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Join::Tasks(_) => None,
            Join::Directory(directory) => Some(directory.as_fd()),
        }
    }

    /// In the child, while it has one thread: joins what clone3 did not join. Allocates only on failure.
    ///
    /// # Errors
    /// The kernel refuses, for example because the memory or pids limit does not let the process in.
    pub fn enter(&self) -> Result<()> {
        match self {
            Join::Tasks(files) => files.iter().try_for_each(|tasks| {
                file::write_to(tasks, "0").map_err(|errno| Error::os("join", "the container's cgroup", errno))
            }),
            Join::Directory(_) => Ok(()),
        }
    }
}
