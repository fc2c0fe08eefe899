//! pidfd_open(2), pidfd_send_signal(2) and waiting: processes by descriptor, so that a reused number cannot be hit.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// Opens a close-on-exec pidfd.
///
/// # Errors
/// `ESRCH` when there is no such process; a zombie still has one, until it is reaped.
pub fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd).map_err(|errno| match errno {
        // The number leads no thread group: it is a thread's, or its process is being reaped this moment. The kernel says
        // EINVAL to this, newer ones ENOENT.
        Errno::EINVAL | Errno::ENOENT => Errno::ESRCH,
        errno => errno,
    })?;
    // SAFETY: a fresh descriptor, which nothing else owns; descriptors fit in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// A close-on-exec copy of another process' descriptor (pidfd_getfd(2)).
///
/// # Errors
/// `EBADF` when it has none of this number, `EPERM` without the right to trace it, `ESRCH` when it has ended.
pub fn descriptor(pidfd: BorrowedFd<'_>, number: i32) -> nix::Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: a fresh descriptor, which nothing else owns; descriptors fit in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends a signal by its number; real-time signals have no name in nix.
///
/// # Errors
/// `ESRCH` when the process was reaped or is a zombie, `EINVAL` for a bad number, `EPERM`.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> nix::Result<()> {
    // SAFETY: a null siginfo makes the kernel fill in the one of kill(2).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// Waits until the process has ended; true when it has, false when `timeout` ran out first.
///
/// # Errors
/// Those of poll(2), `EINTR` aside.
pub fn wait_exit(pidfd: BorrowedFd<'_>, timeout: PollTimeout) -> nix::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Ok(ready) => return Ok(ready > 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// The exit status of a process that has ended and was waited for, in the form of wait(2); `None` as long as its parent
/// has not taken note (`PIDFD_GET_INFO` of linux/pidfd.h).
///
/// # Errors
/// `ENOTTY` and `EINVAL` before Linux 6.15, which does not keep it.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> nix::Result<Option<i32>> {
    /// `struct pidfd_info` in its first size.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        /// Process, thread group, parent; the four kinds of user and group ids.
        ids: [u32; 11],
        exit_code: i32,
    }
    const EXIT: u64 = 1 << 3;
    const READ_WRITE: libc::Ioctl = 3 << 30;
    const GET_INFO: libc::Ioctl = READ_WRITE | (size_of::<Info>() as libc::Ioctl) << 16 | 0xff << 8 | 11;
    let mut info = Info {
        mask: EXIT,
        ..Info::default()
    };
    // SAFETY: the request carries the size of the structure that the pointer leads to.
    Errno::result(unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) })?;
    Ok((info.mask & EXIT != 0).then_some(info.exit_code))
}
