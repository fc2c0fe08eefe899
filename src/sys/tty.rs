//! Pseudo terminals (ioctl_tty(2), pts(4)).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::pty::Winsize;

/// The number of the terminal that belongs to a master: `/dev/pts/<number>`.
///
/// # Errors
/// `ENOTTY` when the descriptor is no master.
pub fn number(master: BorrowedFd<'_>) -> nix::Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN stores one unsigned int at the address, which lives through the call.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
    Ok(number)
}

/// Unlocks the terminal behind a master and opens it by descriptor, so that no path is involved (Linux 4.13).
///
/// # Errors
/// Those of `TIOCSPTLCK` and `TIOCGPTPEER`.
pub fn open_peer(master: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int at the address.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value.
    let peer = Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: a fresh descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(peer) })
}

/// The size of a terminal in characters.
///
/// # Errors
/// `ENOTTY` when the descriptor is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> nix::Result<Winsize> {
    let mut size = Winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ stores one winsize at the address.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(size)
}

/// Sets the size of a terminal.
///
/// # Errors
/// `ENOTTY` when the descriptor is no terminal.
pub fn set_size(terminal: BorrowedFd<'_>, size: &Winsize) -> nix::Result<()> {
    // SAFETY: TIOCSWINSZ reads one winsize at the address.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const *size) }).map(drop)
}

/// Makes a terminal the controlling terminal of this session, of which we are the leader.
///
/// # Errors
/// `EPERM` when we lead no session or the terminal has one already.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: TIOCSCTTY takes an integer: 0 steals from nobody.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}
