//! Loading a seccomp filter.

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
    match Errno::result(result)? {
        0 => Ok(()),
        _thread => Err(Errno::ESRCH),
    }
}
