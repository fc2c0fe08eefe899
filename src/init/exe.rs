//! Keeps containers from overwriting the runtime's binary through /proc/PID/exe (CVE-2019-5736).
//!
//! A program of `#!/proc/self/exe`, or an ELF file with that interpreter, makes the kernel run the runtime's own binary
//! inside the container, where other processes can open it. So whatever enters a container runs from a copy of the
//! binary's mount that is read-only for good: writing through it fails, whoever tries and whenever. Where the mount
//! cannot be copied (a filter of an outer container) the binary is copied into sealed memory.
//!
//! Where there is [`crate::sys`]' `entry`, it has done this before the C library started, and [`protect`] only looks.

use std::ffi::{CString, OsString};
use std::fs::{File, metadata, read_link};
use std::io::copy;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Uid, execveat};

use crate::error::{Error, OsContext, Result};
use crate::sys::mount::{Change, attribute, clone_tree, set_attributes};

const SELF: &str = "/proc/self/exe";

/// Goes on in a protected copy of this binary, from the start of `main`; returns when this is one already. The `user` who
/// calls needs none of a binary that only root can write to.
///
/// # Errors
/// When no copy can be made or executed.
pub fn protect(args: &[OsString], user: Uid) -> Result<()> {
    if is_protected()? || !user.is_root() && is_roots()? {
        return Ok(());
    }
    let copy = match read_only_mount() {
        Ok(copy) => copy,
        Err(Errno::EPERM | Errno::ENOSYS | Errno::EINVAL) => sealed_memory()?,
        Err(errno) => return Err(Error::os("clone the mount of", SELF, errno)),
    };
    // What came through execve holds no NUL byte.
    let c_string = |bytes: Vec<u8>| CString::new(bytes).unwrap_or_default();
    let args: Vec<CString> = args.iter().map(|arg| c_string(arg.as_bytes().to_vec())).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    let Err(errno) = execveat(copy, c"", &args, &environment, AtFlags::AT_EMPTY_PATH);
    Err(Error::os("execute a protected copy of", SELF, errno))
}

/// Whether this process runs from a copy that [`protect`], or the first instructions of the program, made.
fn is_protected() -> Result<bool> {
    let path = read_link(SELF).os("read", SELF)?;
    // Only a mount of the binary alone has the binary at its root. That the mount it was installed on is read-only
    // says nothing: an update of the host makes that one writable for a while.
    if path == Path::new("/") {
        let mount = statvfs(SELF).os("statvfs", SELF)?;
        return Ok(mount.flags().contains(FsFlags::ST_RDONLY));
    }
    let file = File::open(SELF).os("open", SELF)?;
    // Only memory has seals.
    Ok(fcntl(&file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals & SealFlag::F_SEAL_WRITE.bits() != 0))
}

/// Whether nobody but root can change the binary: no container of an ordinary user has root's id.
fn is_roots() -> Result<bool> {
    const OTHERS_WRITE: u32 = 0o022;
    let file = metadata(SELF).os("stat", SELF)?;
    Ok(file.uid() == 0 && file.mode() & OTHERS_WRITE == 0)
}

fn read_only_mount() -> nix::Result<OwnedFd> {
    let file = open(SELF, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let mount = clone_tree(file.as_fd(), false)?;
    set_attributes(&mount, false, Change::set(attribute::RDONLY))?;
    Ok(mount)
}

fn sealed_memory() -> Result<OwnedFd> {
    let mut memory = memfd_create(c"minirun", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .map(File::from)
        .os("create", "sealed memory")?;
    copy(&mut File::open(SELF).os("open", SELF)?, &mut memory).os("copy", SELF)?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(seals)).os("seal", "memory")?;
    Ok(memory.into())
}
