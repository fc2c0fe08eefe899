//! The option `tmpcopyup`: a new tmpfs starts with what it hides.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, fstatat, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use super::root_fd::file_type;
use crate::error::{Error, Result};

/// Deeper trees are refused: each level holds two descriptors and a stack frame, and the image decides how many.
const DEEPEST: usize = 128;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Copies everything in the directory `from` (`O_PATH` suffices) to the root of the mount `to`: files, directories,
/// links, nodes, with owner, mode and times. Links are copied, not followed; sockets are left out; hard links become
/// files of their own.
///
/// # Errors
/// When something cannot be read or made (ENOSPC when the tmpfs is too small), or the tree is too deep.
pub fn copy_up(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let mut path = Vec::new();
    let open = |fd: &OwnedFd| openat(fd, c".", DIRECTORY, Mode::empty());
    open(from)
        .and_then(|from| copy_directory(from, open(to)?, &mut path))
        .map_err(|errno| Error::os("tmpcopyup", path.join("/"), errno))
}

/// `path` names the entry being copied, for errors: it is left as it is when one happens.
fn copy_directory(from: OwnedFd, to: OwnedFd, path: &mut Vec<String>) -> nix::Result<()> {
    if path.len() > DEEPEST {
        return Err(Errno::ENAMETOOLONG);
    }
    let source = from.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut entries = Dir::from_fd(from)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name: CString = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") || entry.file_type() == Some(Type::Socket) {
            continue;
        }
        path.push(name.to_string_lossy().into_owned());
        copy_entry(source.as_fd(), to.as_fd(), &name, path)?;
        path.pop();
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd, to: BorrowedFd, name: &CStr, path: &mut Vec<String>) -> nix::Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match file_type(&stat) {
        SFlag::S_IFDIR => {
            let source = openat(from, name, DIRECTORY, Mode::empty())?;
            mkdirat(to, name, Mode::from_bits_truncate(0o700))?;
            copy_directory(source, openat(to, name, DIRECTORY, Mode::empty())?, path)?;
        }
        SFlag::S_IFREG => copy_file(from, to, name)?,
        SFlag::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?,
        SFlag::S_IFSOCK => return Ok(()),
        node => mknodat(to, name, node, Mode::empty(), stat.st_rdev)?,
    }
    copy_metadata(to, name, &stat)
}

fn copy_file(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> nix::Result<()> {
    // The name can have become a FIFO or a device meanwhile: do not wait for a writer, and look again.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let source = openat(from, name, flags, Mode::empty())?;
    if file_type(&fstat(&source)?) != SFlag::S_IFREG {
        return Err(Errno::ESTALE);
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = openat(to, name, flags, Mode::from_bits_truncate(0o600))?;
    let copied = io::copy(&mut File::from(source), &mut File::from(target));
    copied
        .map(drop)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// Owner before mode, because a change of owner clears set-user-ID.
fn copy_metadata(to: BorrowedFd, name: &CStr, stat: &FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if file_type(stat) != SFlag::S_IFLNK {
        // The tmpfs is not attached yet, so nobody else can have put a link there.
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        fchmodat(to, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    utimensat(to, name, &accessed, &modified, UtimensatFlags::NoFollowSymlink)
}
