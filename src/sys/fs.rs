//! openat2(2) and other calls on descriptors of files.

use std::os::fd::{AsFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};

/// The kernel gives up a scoped lookup when anything on the host is renamed meanwhile; a busy host can do that often, an
/// attacker always. So the number of attempts is bounded.
const ATTEMPTS: usize = 256;

/// openat2(2), close-on-exec, tried again while the kernel cannot tell whether a concurrent rename led the lookup out.
///
/// # Errors
/// ELOOP for a symbolic link that `resolve` forbids; EXDEV for a way out; EAGAIN when renames never stop; else as open(2).
pub fn openat2<P: ?Sized + NixPath>(
    directory: impl AsFd,
    path: &P,
    flags: OFlag,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let mut attempts = 0;
    loop {
        match nix::fcntl::openat2(directory.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) if attempts < ATTEMPTS => attempts += 1,
            result => return result,
        }
    }
}

/// Swaps two names of a directory in one step: what an attacker does to a path that is being looked at.
///
/// # Errors
/// As renameat2(2).
#[cfg(test)]
pub(crate) fn exchange(directory: impl AsFd, a: &std::ffi::CStr, b: &std::ffi::CStr) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    let fd = directory.as_fd().as_raw_fd();
    // SAFETY: both names are terminated strings and live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            fd,
            a.as_ptr(),
            fd,
            b.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    Errno::result(result).map(drop)
}
