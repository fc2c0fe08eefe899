//! Loading a seccomp filter.

use std::os::fd::{FromRawFd, OwnedFd};

use libc::sock_filter;
use nix::errno::Errno;

/// Puts a classic BPF program on the calling thread (seccomp(2), `SECCOMP_SET_MODE_FILTER`).
///
/// `flags`: `SECCOMP_FILTER_FLAG_*`. Allocates nothing.
///
/// # Errors
/// `EACCES` without no_new_privs and without CAP_SYS_ADMIN, `EINVAL` for a program or flag that the kernel does not
/// take, `ESRCH` when `SECCOMP_FILTER_FLAG_TSYNC` finds a thread with filters of its own.
pub fn load(program: &[sock_filter], flags: libc::c_ulong) -> nix::Result<()> {
    match set(program, flags)? {
        0 => Ok(()),
        _thread => Err(Errno::ESRCH),
    }
}

/// As [`load`], for a program that has `SECCOMP_RET_USER_NOTIF`: the descriptor over which the calls that it stops are
/// answered (seccomp_unotify(2)), close-on-exec.
///
/// # Errors
/// As [`load`]; `EBUSY` when a filter with a listener is loaded already.
pub fn load_with_listener(program: &[sock_filter], flags: libc::c_ulong) -> nix::Result<OwnedFd> {
    // The flag that asks for all threads makes the result a thread's number on failure; there is one thread.
    let flags = flags & !libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listener = set(program, flags)?;
    // SAFETY: the kernel has just made this descriptor for us, it fits an int, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as libc::c_int) })
}

fn set(program: &[sock_filter], flags: libc::c_ulong) -> nix::Result<libc::c_long> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: pointer and length describe the slice, which the kernel copies and does not write.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    Errno::result(result)
}
