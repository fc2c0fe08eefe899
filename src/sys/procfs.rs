//! The procfs of the runtime's own mount namespace, opened so that nothing that lies over it is taken for it.
//!
//! A container can put a file, a link or a mount anywhere below its own /proc. What is written there would go astray and
//! seem to have succeeded (CVE-2019-16884, CVE-2025-52881).

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

/// Inode of the root of every procfs (`PROC_ROOT_INO` of the kernel).
const ROOT_INODE: u64 = 1;

/// The root of the procfs on /proc.
///
/// # Errors
/// `EMEDIUMTYPE` when something else is there; those of openat2(2).
pub fn root() -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let root = openat2(AT_FDCWD, "/proc", how)?;
    let is_procfs = fstatfs(&root)?.filesystem_type() == PROC_SUPER_MAGIC;
    if is_procfs && fstat(&root)?.st_ino == ROOT_INODE {
        Ok(root)
    } else {
        Err(Errno::EMEDIUMTYPE)
    }
}

/// Opens a file below the root for writing. Of links only `self` and the like are followed, and no mount is entered.
///
/// # Errors
/// `EXDEV` when something is mounted on the way; those of openat2(2).
pub fn open_for_writing(root: impl AsFd, path: &str) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(root, path, how)
}

/// A field of proc_pid_mountinfo(5), where blank, tab, newline and backslash are a backslash and three octal digits.
pub fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) if first == b'\\' => {
                plain.push(escaped);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}
