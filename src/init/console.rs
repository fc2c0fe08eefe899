//! The container's terminal: a pseudo terminal of the container's own devpts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::pty::Winsize;
use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use super::process::TerminalSize;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::tty;

/// A fresh pseudo terminal.
#[derive(Debug)]
pub struct Console {
    /// For whoever shows the terminal: an engine, or our own relay.
    pub master: OwnedFd,
    /// The container's side.
    pub terminal: OwnedFd,
}

impl Console {
    /// Opens a terminal on the devpts at `dev/pts` below `root`, owned by `uid`.
    ///
    /// # Errors
    /// When there is no devpts in that place: a hostile image must not hand us another device.
    pub fn open(root: BorrowedFd<'_>, size: TerminalSize, uid: u32) -> Result<Console> {
        const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);
        let path = "dev/pts/ptmx";
        let how = OpenHow::new()
            .flags(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let master = openat2(root, path, how).map_err(|errno| {
            Error::os("process.terminal: open", format_args!("/{path}"), errno)
                .hint("mount a devpts at /dev/pts")
        })?;
        let status = fstat(&master).os("stat", path)?;
        let on_devpts = fstatfs(&master).os("statfs", path)?.filesystem_type() == DEVPTS_SUPER_MAGIC;
        if !on_devpts || (major(status.st_rdev), minor(status.st_rdev)) != (5, 2) {
            return Err(Error::new(
                Kind::InvalidConfig,
                "process.terminal: /dev/pts/ptmx is not the multiplexer of a devpts",
            ));
        }
        let terminal = tty::open_peer(master.as_fd()).os("open", "the terminal behind /dev/pts/ptmx")?;
        if size != TerminalSize::default() {
            let size = Winsize {
                ws_row: size.height,
                ws_col: size.width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tty::set_size(master.as_fd(), &size).os("set size of", "the container's terminal")?;
        }
        match fchown(&terminal, Some(Uid::from_raw(uid)), None::<Gid>) {
            // Not mapped, or a devpts that does not take owners: the group still has access.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::EROFS) => {}
            Err(errno) => return Err(Error::os("change owner of", "the container's terminal", errno)),
        }
        Ok(Console { master, terminal })
    }
}

/// Makes `terminal` the controlling terminal of this session and its standard streams.
///
/// # Errors
/// Those of `TIOCSCTTY` and dup2(2).
pub fn attach(terminal: &OwnedFd) -> Result<()> {
    tty::set_controlling(terminal.as_fd()).os("take", "controlling terminal")?;
    dup2_stdin(terminal)
        .and_then(|()| dup2_stdout(terminal))
        .and_then(|()| dup2_stderr(terminal))
        .os("connect", "standard streams to the terminal")
}
