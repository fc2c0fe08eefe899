//! clone3(2): a child process in new namespaces, with a pidfd, in one call.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use super::heap;

/// linux/sched.h; libc's constant of this name has 32 bits and overflows.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child process: its number in our pid namespace and a descriptor that cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    /// The process id, valid until the child is reaped.
    pub pid: Pid,
    /// Close-on-exec pidfd of the child.
    pub pidfd: OwnedFd,
}

/// What [`spawn`] makes besides a copy of the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// `CLONE_NEW*` flags, and `CLONE_PARENT`.
    pub flags: Flags,
    /// A cgroup v2 directory that the child is born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// The namespace flags of clone3(2); 64 bits wide, because `CLONE_NEWTIME` shares a bit with the exit signal of clone(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u64);

impl Flags {
    /// New time namespace for the child.
    pub const NEWTIME: Flags = Flags(libc::CLONE_NEWTIME as u64);
    /// The child becomes a sibling: its parent is ours.
    pub const PARENT: Flags = Flags(libc::CLONE_PARENT as u64);

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags without those of `other`.
    #[must_use]
    pub fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl From<CloneFlags> for Flags {
    fn from(flags: CloneFlags) -> Self {
        Flags(u64::from(flags.bits().cast_unsigned()))
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

/// `struct clone_args` of clone3(2), as of Linux 5.7 (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Runs `child` in a copy of this process, as fork(2) would, and exits with the code that it returns.
///
/// The caller must be single-threaded: a lock that another thread held would stay locked in the child for ever.
///
/// # Errors
/// Those of clone3(2): `EPERM` without privilege, `ENOSPC`/`EUSERS` for namespace limits, `EBUSY` and others for a
/// cgroup that does not take the child.
pub fn spawn(options: Options<'_>, child: impl FnOnce() -> u8) -> nix::Result<Child> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = options.flags.0 | libc::CLONE_PIDFD as u64;
    let mut args = CloneArgs {
        pidfd: (&raw mut pidfd) as u64,
        ..CloneArgs::default()
    };
    // CLONE_PARENT takes the exit signal over from the caller and refuses one of its own.
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(directory) = options.cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd().unsigned_abs().into();
    }
    args.flags = flags;
    heap::leave_to_both();
    // SAFETY: the structure is live and has the size given; without CLONE_VM the child gets a copy of all memory, so
    // no memory is shared and the child goes on with a stack of its own.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match Errno::result(pid)? {
        0 => {
            let code = child();
            // SAFETY: _exit only ends the process; it runs no destructors or exit handlers of the parent's copy.
            unsafe { libc::_exit(code.into()) }
        }
        pid => {
            // SAFETY: the kernel stored a fresh descriptor, which nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            // A pid fits in 22 bits.
            Ok(Child {
                pid: Pid::from_raw(pid as libc::pid_t),
                pidfd,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    #[test]
    fn the_child_returns_its_exit_code() {
        let child = spawn(Options::default(), || 7).unwrap();
        assert_eq!(
            waitpid(child.pid, None).unwrap(),
            WaitStatus::Exited(child.pid, 7)
        );
    }

    #[test]
    fn a_child_in_a_new_pid_namespace_is_process_one() {
        let flags = CloneFlags::CLONE_NEWPID.into();
        let child = spawn(Options { flags, cgroup: None }, || {
            u8::from(Pid::this() != Pid::from_raw(1))
        })
        .unwrap();
        assert_eq!(
            waitpid(child.pid, None).unwrap(),
            WaitStatus::Exited(child.pid, 0)
        );
    }
}
