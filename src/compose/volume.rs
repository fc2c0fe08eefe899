//! Named volumes: directories that outlive containers.
//!
//! A new volume starts as a copy of the directory of the root file system that it hides, as in Docker: content, mode and
//! owner. It is made under another name and renamed, so that a volume is whole or not there.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};

use super::supervisor::place;
use crate::error::{Error, OsContext as _, Result};
use crate::rootfs::copy_up;
use crate::sys::fs::openat2;

const VOLUMES: &str = "/var/lib/minirun/volumes";

/// Where a volume is.
pub fn path(name: &str) -> PathBuf {
    Path::new(VOLUMES).join(name)
}

/// Whether a volume is there.
pub fn exists(name: &str) -> bool {
    path(name).is_dir()
}

/// Makes a volume, as `target` of the root file system at `rootfs`. Takes as long as copying that does.
///
/// # Errors
/// When the directory cannot be made or copied; nothing is left then, but for a copy without a name of its own, which the
/// next attempt removes.
pub fn make(name: &str, rootfs: &Path, target: &str) -> Result<()> {
    let (path, new) = (path(name), unfinished(name));
    place::remove_tree(&new)?;
    place::directory(&new)?;
    let to = File::open(&new).os("open", new.display())?;
    match template(rootfs, target)? {
        Some(from) => fill(&from, to)?,
        None => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            to.set_permissions(mode).os("change mode of", new.display())?;
        }
    }
    fs::rename(&new, &path).os("rename to", path.display())
}

fn unfinished(name: &str) -> PathBuf {
    Path::new(VOLUMES).join(format!(".{name}.new"))
}

/// The directory that the volume will hide, if there is one.
fn template(rootfs: &Path, target: &str) -> Result<Option<OwnedFd>> {
    let root = File::open(rootfs).os("open", rootfs.display())?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    match openat2(
        &root,
        target.trim_start_matches('/'),
        flags,
        ResolveFlag::RESOLVE_IN_ROOT,
    ) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(Error::os(
            "open",
            rootfs.join(target.trim_start_matches('/')).display(),
            errno,
        )),
    }
}

fn fill(from: &OwnedFd, to: File) -> Result<()> {
    let like = File::from(from.try_clone().os("keep", "the mount point")?);
    let like = like.metadata().os("stat", "the mount point")?;
    let to_fd = OwnedFd::from(to.try_clone().os("keep", "the volume")?);
    copy_up(from, &to_fd)?;
    fchown(&to, Some(like.uid()), Some(like.gid())).os("change owner of", "the volume")?;
    to.set_permissions(like.permissions())
        .os("change mode of", "the volume")
}

/// Removes a volume with everything in it, if it is there.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove(name: &str) -> Result<bool> {
    let path = path(name);
    place::remove_tree(&unfinished(name))?;
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        result => result.os("remove volume", path.display()).map(|()| true),
    }
}
