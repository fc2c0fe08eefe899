//! Mount points without the mounts: for a restored container, whose mounts CRIU makes on what it finds.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, fstat, umask};

use super::attach::open_source;
use super::mount_plan::{Action, Mount};
use super::plan::Plan;
use super::root_fd::{Make, RootFd, file_type};
use crate::error::{OsContext, Result};

impl Plan {
    /// Makes the directories and files in the root that mounts are made on, as [`super::Rootfs::mount_all`] does on its way.
    /// Those on other mounts are not among them: they are part of what is mounted there.
    ///
    /// # Errors
    /// The root or the source of a bind mount cannot be opened, or a mount point cannot be made.
    pub fn make_mount_points(&self) -> Result<()> {
        let root = RootFd::new(self.open_root()?);
        let before = umask(Mode::empty());
        let result = self.in_root().try_for_each(|mount| make(&root, mount));
        umask(before);
        result
    }

    fn in_root(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().enumerate().filter_map(|(index, mount)| {
            let earlier = self.mounts.get(..index).unwrap_or_default();
            let hidden = earlier
                .iter()
                .any(|other| path(&mount.destination.path).starts_with(path(&other.destination.path)));
            (!hidden).then_some(mount)
        })
    }
}

fn make(root: &RootFd, mount: &Mount) -> Result<()> {
    let kind = match &mount.action {
        Action::FileSystem(_) | Action::CgroupV1(_) => Make::Directory,
        Action::Bind(bind) => {
            let source = open_source(&bind.source)?;
            match file_type(&fstat(&source).os("stat bind source", bind.source.to_string_lossy())?) {
                SFlag::S_IFDIR => Make::Directory,
                _ => Make::File,
            }
        }
        Action::Remount(_) => return Ok(()),
    };
    let destination = &mount.destination;
    root.open_or_make(&destination.path, destination.links, kind)
        .map(drop)
        .os("create mount point", destination.path.to_string_lossy())
        .map_err(|error| error.during(format_args!("mount {}", mount.label)))
}

fn path(text: &CStr) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(text.to_bytes()))
}
