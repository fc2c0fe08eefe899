//! Where resctrl is mounted.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, statfs};
use serde::{Deserialize, Serialize};

use crate::error::{OsContext, Result};
use crate::sys::procfs;

/// Where everybody mounts it.
const USUAL: &str = "/sys/fs/resctrl";

/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const RESCTRL_MAGIC: FsType = FsType(0x0765_5821);

/// A mounted resctrl, by its mount point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mount(PathBuf);

impl Mount {
    /// That of this host; `None` where there is none. The list of all mounts is read only when it is not where it usually is.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn find() -> Result<Option<Mount>> {
        let is_resctrl =
            |path: &Path| statfs(path).is_ok_and(|found| found.filesystem_type() == RESCTRL_MAGIC);
        if is_resctrl(Path::new(USUAL)) {
            return Ok(Some(Mount(USUAL.into())));
        }
        const TABLE: &str = "/proc/self/mountinfo";
        Ok(Mount::find_in(&fs::read_to_string(TABLE).os("read", TABLE)?))
    }

    /// The first one in a table of mounts.
    ///
    /// proc_pid_mountinfo(5): `36 35 98:0 /root /mount options optional... - type source super-options`.
    pub(super) fn find_in(table: &str) -> Option<Mount> {
        table.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let point = left.split(' ').nth(4)?;
            (right.split(' ').next()? == "resctrl").then(|| Mount(procfs::unescape(point.as_bytes()).into()))
        })
    }

    /// Its top, which is the default class.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether the processor can do this: `L3` for shares of its L3 cache, `MB` for the memory bandwidth.
    pub(super) fn can(&self, resource: &str) -> bool {
        self.0.join("info").join(resource).is_dir()
    }

    /// Whether the L3 cache can be shared out, as a whole or with code and data apart.
    pub(super) fn can_share_l3(&self) -> bool {
        self.can("L3") || self.can("L3CODE")
    }

    /// A class' directory; "/" is the default class.
    pub(super) fn class(&self, name: &str) -> PathBuf {
        match name {
            "/" => self.0.clone(),
            name => self.0.join(name),
        }
    }
}
