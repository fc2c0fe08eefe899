//! How a child gets into its control group.
//!
//! On version 2 it is born there (`CLONE_INTO_CGROUP`), which is the fastest way and leaves no moment outside. Where that
//! is refused the child is cloned outside and moved in by the runtime, before it is told to go on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, close, write};

use super::parent;
use crate::error::{OsContext, Result};
use crate::sys::clone::Child;

/// How a child gets into its control group.
#[derive(Debug, Default)]
pub struct Cgroup {
    /// Version 2: the directory that the child is born in.
    pub directory: Option<OwnedFd>,
    /// Version 1: the opened `tasks` file of every hierarchy.
    pub tasks: Vec<OwnedFd>,
}

/// A child that waits for its first word.
#[must_use]
pub(super) struct Spawned {
    child: Child,
    /// It has yet to be moved into its group.
    outside: bool,
}

impl Cgroup {
    /// In the child. On version 1 it moves itself: a single thread that does skips the wait for an RCU grace period (over
    /// 10 ms) that a write of its id to `cgroup.procs` by another process pays for.
    ///
    /// Closes the child's copies after: a container that waits for its start holds nothing of the host's cgroup tree. The
    /// child uses them no more, and ends without dropping what it has from its parent.
    pub(super) fn join(&self) -> Result<()> {
        for tasks in &self.tasks {
            write(tasks, b"0").os("join", "cgroup")?;
        }
        for used in self.tasks.iter().chain(&self.directory) {
            close(used.as_raw_fd()).os("close", "cgroup")?;
        }
        Ok(())
    }

    /// Makes a child with `clone`, which is told the directory that the child is to be born in. It is called a second
    /// time, without one, when the first call failed in a way that may be the directory's doing.
    pub(super) fn spawn(
        &self,
        mut clone: impl FnMut(Option<BorrowedFd<'_>>) -> Result<Child>,
    ) -> Result<Spawned> {
        let directory = self.directory.as_ref().map(AsFd::as_fd);
        let (child, outside) = match clone(directory) {
            Err(error) if directory.is_some() && error.errno().is_some_and(is_worth_moving) => {
                (clone(None)?, true)
            }
            result => (result?, false),
        };
        Ok(Spawned { child, outside })
    }

    /// Moves the child in if it is not there yet. `beside` names another group for the case that this one takes no
    /// processes, because it hands controllers down to groups in it ("no internal processes" of cgroups(7)).
    ///
    /// # Errors
    /// Those of writing `cgroup.procs`, and of `beside`; the child is dead and reaped then.
    pub(super) fn settle(
        &self,
        spawned: Spawned,
        beside: impl FnOnce() -> Result<Option<Cgroup>>,
    ) -> Result<Child> {
        let Spawned { child, outside } = spawned;
        let (Some(directory), true) = (&self.directory, outside) else {
            return Ok(child);
        };
        match move_in(directory, child.pid, beside) {
            Ok(()) => Ok(child),
            Err(error) => {
                parent::kill(&child);
                Err(error)
            }
        }
    }
}

fn move_in(directory: &OwnedFd, child: Pid, beside: impl FnOnce() -> Result<Option<Cgroup>>) -> Result<()> {
    let move_into = |directory: &OwnedFd| -> nix::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let members = openat(directory, "cgroup.procs", flags, Mode::empty())?;
        write(members, child.to_string().as_bytes()).map(drop)
    };
    let mut moved = move_into(directory);
    if moved == Err(Errno::EBUSY)
        && let Some(Cgroup {
            directory: Some(other),
            ..
        }) = beside()?
    {
        moved = move_into(&other);
    }
    moved.os("join", "the container's cgroup")
}

/// Whether a birth in a directory that failed like this may succeed outside of it: the kernel is too old, the group is
/// threaded, it has as many processes as it may have (which does not hold for those that move in), it takes no processes
/// at all, or it is not below the cgroup namespace that the runtime is in for the time of the clone. When it was not the
/// directory's doing, the second attempt fails in the same way.
fn is_worth_moving(errno: Errno) -> bool {
    use Errno::{E2BIG, EACCES, EAGAIN, EBUSY, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP};
    matches!(
        errno,
        ENOSYS | EINVAL | E2BIG | EACCES | EOPNOTSUPP | EBUSY | EAGAIN | ENOENT
    )
}
