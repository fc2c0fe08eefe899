//! What is taken away at the end, inside the container: masked paths, read-only paths, a read-only root.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat, makedev};

use super::mount_label::MountLabel;
use super::root_fd::{Links, RootFd, file_type};
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::mount::{self, Change, Context, attribute, clone_tree, set_attributes};

/// Hides each path: a directory under an empty read-only tmpfs, anything else under /dev/null.
pub(super) fn mask(root: &RootFd, paths: &[CString], label: Option<&MountLabel>) -> Result<()> {
    let mut mask = Mask {
        label,
        tmpfs: None,
        null: None,
    };
    for path in paths {
        let Some(target) = find(root, path, "linux.maskedPaths")? else {
            continue;
        };
        let shown = path.to_string_lossy();
        let kind = file_type(&fstat(&target).os("stat", &shown)?);
        let detached = match kind {
            SFlag::S_IFDIR => mask.directory()?,
            _ => mask.file(root)?,
        };
        mount::attach(&detached, &target).os("mask", &shown)?;
        mask.remember(kind, detached);
    }
    Ok(())
}

/// Makes each path read-only and keeps its other attributes.
pub(super) fn make_read_only(root: &RootFd, paths: &[CString]) -> Result<()> {
    for path in paths {
        let Some(target) = find(root, path, "linux.readonlyPaths")? else {
            continue;
        };
        clone_tree(&target, true)
            .and_then(|detached| {
                set_attributes(&detached, false, Change::set(attribute::RDONLY))?;
                mount::attach(&detached, &target)
            })
            .os("make read-only", path.to_string_lossy())?;
    }
    Ok(())
}

/// The object at a path, or None when there is none. A link is refused: it could point the restriction at something
/// else and leave what was meant uncovered (CVE-2025-31133).
fn find(root: &RootFd, path: &CString, field: &str) -> Result<Option<OwnedFd>> {
    match root.open(path, Links::Refuse) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(Errno::ELOOP) => {
            let why = format_args!(
                "{field}: {} is or lies behind a symbolic link",
                path.to_string_lossy()
            );
            Err(Error::new(Kind::InvalidConfig, why))
        }
        Err(errno) => Err(Error::os("open", path.to_string_lossy(), errno).during(field)),
    }
}

/// Mounts to mask with. One tmpfs serves all directories, as copies of one mount.
struct Mask<'a> {
    label: Option<&'a MountLabel>,
    tmpfs: Option<OwnedFd>,
    null: Option<OwnedFd>,
}

impl Mask<'_> {
    fn directory(&mut self) -> Result<OwnedFd> {
        if let Some(tmpfs) = &self.tmpfs {
            return clone_tree(tmpfs, false).os("open_tree", "tmpfs for masked paths");
        }
        let new = || {
            let context = Context::open(c"tmpfs")?;
            context.string(c"source", c"tmpfs")?;
            // Who remounts it writable gets no room for files.
            context.string(c"nr_inodes", c"1")?;
            context.flag(c"ro")?;
            if let Some((option, Some(label))) = self.label.map(MountLabel::as_option) {
                context.string(&option, &label)?;
            }
            context.mount(attribute::RDONLY)
        };
        new().os("create", "tmpfs for masked paths")
    }

    fn file(&mut self, root: &RootFd) -> Result<OwnedFd> {
        if self.null.is_none() {
            self.null = Some(null_device(root)?);
        }
        match &self.null {
            Some(null) => clone_tree(null, false).os("open_tree", "/dev/null"),
            None => Err(Error::os("open", "/dev/null", Errno::ENOENT)),
        }
    }

    fn remember(&mut self, kind: SFlag, attached: OwnedFd) {
        if kind == SFlag::S_IFDIR && self.tmpfs.is_none() {
            self.tmpfs = Some(attached);
        }
    }
}

/// The container's /dev/null, if it is the null device: another file in its place would show its content, and take what
/// is written, wherever a path was to be masked (CVE-2025-31133).
fn null_device(root: &RootFd) -> Result<OwnedFd> {
    let null = root
        .open(c"/dev/null", Links::Refuse)
        .os("open", "/dev/null of the container")?;
    let stat = fstat(&null).os("stat", "/dev/null of the container")?;
    if file_type(&stat) == SFlag::S_IFCHR && stat.st_rdev == makedev(1, 3) {
        return Ok(null);
    }
    let why = "linux.maskedPaths: /dev/null of the container is not the null device (character device 1:3)";
    Err(Error::new(Kind::InvalidConfig, why))
}
