//! One message with one descriptor to whoever listens: `--console-socket`, `--pidfd-socket`, the seccomp agent.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::Mode;

use crate::error::{OsContext, Result};
use crate::sys;
use crate::sys::tty;

/// Sends the master of a terminal; the data of the message is the terminal's name.
///
/// # Errors
/// When nobody listens at `path`.
pub fn send_terminal(path: &Path, master: &OwnedFd) -> Result<()> {
    let number = tty::number(master.as_fd()).os("read number of", "the container's terminal")?;
    send(
        "--console-socket",
        path,
        format!("/dev/pts/{number}").as_bytes(),
        master.as_fd(),
    )
}

/// Sends a pidfd.
///
/// # Errors
/// When nobody listens at `path`.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>) -> Result<()> {
    send("--pidfd-socket", path, b"pidfd", pidfd)
}

/// Connects to the socket at `path`, which the option or property `flag` names, and sends.
///
/// # Errors
/// When nobody listens there.
pub(super) fn send(flag: &str, path: &Path, data: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .os(flag, "create socket")?;
    // Through a descriptor, because a socket's path holds 108 bytes at most.
    let target = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .os(format_args!("{flag}: open"), path.display())?;
    let name = format!("/proc/self/fd/{}", target.as_raw_fd());
    let address = UnixAddr::new(name.as_str()).os(flag, &name)?;
    connect(socket.as_raw_fd(), &address).os(format_args!("{flag}: connect to"), path.display())?;
    sys::socket::send(socket.as_fd(), data, Some(fd)).os(format_args!("{flag}: send to"), path.display())
}
