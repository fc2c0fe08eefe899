//! Making the container's root the root of the process.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};

use super::kernel_mounts;
use super::plan::Switch;
use super::root_fd::RootFd;
use crate::error::{Error, OsContext, Result};
use crate::sys::mount::{self, Change, Propagation, set_attributes};

const ROOT: &str = "the container's root";

/// Afterwards `/` and the working directory are the container's root.
pub(super) fn enter(root: &RootFd, switch: Switch) -> Result<()> {
    match switch {
        Switch::Pivot => pivot(root),
        Switch::Move => move_over(root),
        Switch::Chroot => chroot_into(root),
    }
}

/// pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one and needs no directory there.
fn pivot(root: &RootFd) -> Result<()> {
    let old = host_root()?;
    fchdir(root).os("chdir to", ROOT)?;
    pivot_root(c".", c".").map_err(|errno| match errno {
        Errno::EINVAL => Error::os("pivot_root to", ROOT, errno)
            .hint("on a host whose own root is an initramfs use --no-pivot"),
        _ => Error::os("pivot_root to", ROOT, errno),
    })?;
    // Unmounting must not reach the host, whose mounts may be shared with ours.
    set_attributes(&old, true, Change::propagation(Propagation::Slave)).os("make slave", "the old root")?;
    fchdir(&old).os("chdir to", "the old root")?;
    umount2(c".", MntFlags::MNT_DETACH).os("unmount", "the old root")?;
    chdir(c"/").os("chdir to", "/")
}

/// Moves the root over `/`. The old root stays below it, and with it a fully visible procfs or sysfs would let a user
/// namespace in the container mount one of its own; so those go first.
fn move_over(root: &RootFd) -> Result<()> {
    kernel_mounts::hide(root)?;
    mount::attach(root, host_root()?).os("move to /", ROOT)?;
    chroot_into(root)
}

fn chroot_into(root: &RootFd) -> Result<()> {
    fchdir(root).os("chdir to", ROOT)?;
    chroot(c".").os("chroot to", ROOT)?;
    chdir(c"/").os("chdir to", "/")
}

fn host_root() -> Result<OwnedFd> {
    open(
        c"/",
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .os("open", "/")
}
