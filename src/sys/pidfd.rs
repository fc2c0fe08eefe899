//! pidfd_open(2), pidfd_send_signal(2) and waiting: processes by descriptor, so that a reused number cannot be hit.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// Opens a close-on-exec pidfd.
///
/// # Errors
/// `ESRCH` when there is no such process; a zombie still has one.
pub fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
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
