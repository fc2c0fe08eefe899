//! Control groups, versions 1 and 2: the container's directories, its limits, freezing, killing and counting.
//!
//! [`Layout`] says what the host has, [`Cgroup`] names the container's directories (plain data: it goes into the
//! container's record before anything is made, and `delete` needs nothing else), [`Limits`] is linux.resources translated
//! for the layout. In the order of a container's life:
//!
//! ```no_run
//! # use minirun::cgroup::{Cgroup, DefaultDevices, Layout, Limits};
//! # fn example(spec: &oci_spec::runtime::Linux) -> minirun::error::Result<()> {
//! let layout = Layout::detect()?;
//! let limits = Limits::plan(spec.resources().as_ref(), &layout, DefaultDevices::Allow)?; // pure
//! let cgroup = Cgroup::plan(&layout, spec.cgroups_path().as_deref(), "web")?; // pure but for a look at the parents
//! // ... the record is written ...
//! cgroup.create()?;
//! cgroup.apply(&limits)?;
//! let join = cgroup.join_handles()?;
//! // clone3, into join.clone_into() on version 2; the child calls join.enter() first of all
//! cgroup.kill()?;
//! cgroup.delete()?;
//! # Ok(()) }
//! ```

mod device_program;
mod devices;
mod file;
mod join;
mod kill;
mod layout;
mod limits;
mod oom;
mod permitted;
mod place;
mod statistics;
mod subgroup;
pub mod systemd;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

pub use self::devices::DefaultDevices;
pub use self::join::Join;
pub use self::layout::{Hierarchy, Layout};
pub use self::limits::{Change, Limits, Undo};
pub use self::oom::OomWatch;
pub use self::permitted::own_directories;
pub use self::statistics::Statistics;
pub use self::subgroup::Subgroup;
pub use self::v1::V1;
pub use self::v2::V2;
use crate::error::{Error, Kind, Result};
pub use place::CREATE;
use place::Patience;

/// The container's cgroup directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "version")]
pub enum Cgroup {
    /// One directory in each hierarchy.
    #[serde(rename = "1")]
    V1(V1),
    /// One directory.
    #[serde(rename = "2")]
    V2(V2),
    /// None: nobody delegated control groups to the user who made the container. It stays in the caller's.
    #[serde(rename = "none")]
    None,
}

impl Cgroup {
    /// Chooses the directories. `cgroups_path` is linux.cgroupsPath: absolute or relative, it means the place below each
    /// mount point; without one it is `minirun-<id>`.
    ///
    /// # Errors
    /// The path has `..` in it or names the root.
    pub fn plan(layout: &Layout, cgroups_path: Option<&Path>, id: &str) -> Result<Cgroup> {
        let path = place::below_the_mount(cgroups_path, id)?;
        Ok(match layout {
            Layout::V1(hierarchies) => Cgroup::V1(V1::plan(hierarchies, &path)),
            Layout::V2(mount) => Cgroup::V2(V2::plan(mount, &path)),
        })
    }

    /// Makes the directories and whatever parents they lack.
    ///
    /// # Errors
    /// A directory is there already and has processes in it, or is frozen; the kernel refuses. What was made until then is
    /// removed again.
    pub fn create(&self) -> Result<()> {
        match self {
            Cgroup::V1(v1) => v1.create(),
            Cgroup::V2(v2) => v2.create(),
            Cgroup::None => Ok(()),
        }
    }

    /// Writes the limits, before the first process joins.
    ///
    /// # Errors
    /// Names the field of config.json, and says when the host lacks the controller.
    pub fn apply(&self, limits: &Limits) -> Result<()> {
        match self {
            Cgroup::V1(v1) => limits.apply_v1(v1),
            Cgroup::V2(v2) => limits.apply_v2(v2),
            Cgroup::None => limits.refuse_any(),
        }
    }

    /// Writes what `update` changes for the processes that are in already. When something is refused, what was written until
    /// then is put back. `Undo` puts all of it back later.
    ///
    /// # Errors
    /// As [`Cgroup::apply`]; the error also names what could not be put back.
    pub fn change(&self, limits: &Limits) -> Result<Undo<'_>> {
        let undo = limits.undo(self);
        match self.apply(limits) {
            Ok(()) => Ok(undo),
            Err(error) => Err(undo.after(error)),
        }
    }

    /// The layout of the host as far as this container was made for it.
    pub fn layout(&self) -> Layout {
        match self {
            Cgroup::V1(v1) => Layout::V1(v1.hierarchies()),
            Cgroup::V2(v2) => Layout::V2(v2.mount().to_owned()),
            Cgroup::None => Layout::V1(Vec::new()),
        }
    }

    /// Opens what a new process needs to become a member.
    ///
    /// # Errors
    /// A directory does not exist.
    pub fn join_handles(&self) -> Result<Join> {
        match self {
            Cgroup::V1(v1) => v1.join_handles(),
            Cgroup::V2(v2) => v2.join_handles(),
            Cgroup::None => Ok(Join::Tasks(Vec::new())),
        }
    }

    /// As [`Cgroup::join_handles`], of these directories: one for each hierarchy.
    fn join_at(&self, directories: impl Iterator<Item = PathBuf>) -> Result<Join> {
        match self {
            Cgroup::V1(_) => v1::join_at(directories),
            Cgroup::V2(_) => v2::join_at(directories),
            Cgroup::None => Err(none("run a program in a group below the container's")),
        }
    }

    /// For `exec` when [`Cgroup::join_handles`] led to EBUSY: joins wherever `pid`, the container's init, is now. On version
    /// 2 a container that made groups of its own can take no process at its top any more.
    ///
    /// # Errors
    /// The process is gone, or outside of the container's directory.
    pub fn join_beside(&self, pid: i32) -> Result<Join> {
        match self {
            Cgroup::V1(v1) => v1.join_handles(),
            Cgroup::V2(v2) => v2.join_beside(pid),
            Cgroup::None => Ok(Join::Tasks(Vec::new())),
        }
    }

    /// Moves a process in by its number: slower than the other ways, and works for any process.
    ///
    /// # Errors
    /// The process is gone, or the kernel refuses.
    pub fn attach(&self, pid: i32) -> Result<()> {
        match self {
            Cgroup::V1(v1) => v1.attach(pid),
            Cgroup::V2(v2) => v2.attach(pid),
            Cgroup::None => Ok(()),
        }
    }

    /// The processes in the directories and below, ascending; none when they do not exist. 0 stands for processes that the
    /// caller's pid namespace cannot see.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        match self {
            Cgroup::V1(v1) => v1.pids(),
            Cgroup::V2(v2) => v2.pids(),
            Cgroup::None => Ok(Vec::new()),
        }
    }

    /// Stops all processes, and returns when they have stopped.
    ///
    /// # Errors
    /// They do not stop in five seconds (they are let go again), or v1 has no freezer.
    pub fn freeze(&self) -> Result<()> {
        match self {
            Cgroup::V1(v1) => v1.freeze(),
            Cgroup::V2(v2) => v2.freeze(),
            Cgroup::None => Err(none("pause the container")),
        }
    }

    /// Lets frozen processes go on.
    ///
    /// # Errors
    /// The directory does not exist, or v1 has no freezer.
    pub fn thaw(&self) -> Result<()> {
        match self {
            Cgroup::V1(v1) => v1.thaw(),
            Cgroup::V2(v2) => v2.thaw(),
            Cgroup::None => Err(none("resume the container")),
        }
    }

    /// Whether the processes are frozen or about to be; false when there is no directory or no freezer.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        match self {
            Cgroup::V1(v1) => v1.is_frozen(),
            Cgroup::V2(v2) => v2.is_frozen(),
            Cgroup::None => Ok(false),
        }
    }

    /// Refuses a frozen cgroup: nothing that is started in it would run.
    ///
    /// # Errors
    /// It is frozen.
    pub fn refuse_frozen(&self) -> Result<()> {
        if self.is_frozen()? { Err(frozen()) } else { Ok(()) }
    }

    /// Kills every process, frozen ones too, and returns when none is left; fine when there is none, or no directory.
    ///
    /// # Errors
    /// Processes are left after ten seconds; the error lists them.
    pub fn kill(&self) -> Result<()> {
        match self {
            Cgroup::V1(v1) => v1.kill(),
            Cgroup::V2(v2) => v2.kill(),
            Cgroup::None => Ok(()),
        }
    }

    /// [`Cgroup::delete`] for the usual end of a container, when its processes are gone and it made no groups of its own: one
    /// call a directory, and no question who is in it. True when all is gone; otherwise some of it may be.
    pub fn delete_unused(&self) -> bool {
        match self {
            Cgroup::V1(v1) => v1.delete_unused(),
            Cgroup::V2(v2) => v2.delete_unused(),
            Cgroup::None => true,
        }
    }

    /// Removes those directories that nobody is in, with the parents that minirun made, for a container that never had a
    /// process: what is left is somebody else's.
    pub fn delete_empty(&self) {
        match self {
            Cgroup::V1(v1) => v1.delete_empty(),
            Cgroup::V2(v2) => drop(v2.delete_unused()),
            Cgroup::None => {}
        }
    }

    /// Removes the directories, what the container made in them, and those parents that minirun made and that are empty now.
    /// Waits for processes that are about to leave. Nothing there is fine.
    ///
    /// # Errors
    /// Says which directories remain, and which processes are in them.
    pub fn delete(&self) -> Result<()> {
        let patience = Patience::new(Duration::from_secs(5));
        match self {
            Cgroup::V1(v1) => v1.delete(patience),
            Cgroup::V2(v2) => v2.delete(patience),
            Cgroup::None => Ok(()),
        }
    }

    /// Gives the directory to the user `owner` (of the host) on version 2, as runtime-spec asks for a container with its own
    /// cgroup namespace and a writable cgroup mount. On version 1 nothing is ever given away.
    ///
    /// # Errors
    /// chown fails, unless it is only that the caller is not root, whose groups are his own.
    pub fn delegate(&self, owner: u32) -> Result<()> {
        match self {
            Cgroup::V1(_) | Cgroup::None => Ok(()),
            Cgroup::V2(v2) => v2.delegate(Uid::from_raw(owner)),
        }
    }

    /// Every directory with what its hierarchy carries: `memory`, `cpu,cpuacct`, `name=systemd`; on version 2 one directory
    /// with an empty name.
    pub fn directories(&self) -> Vec<(String, PathBuf)> {
        match self {
            Cgroup::V1(v1) => v1.directories(),
            Cgroup::V2(v2) => vec![(String::new(), v2.directory())],
            Cgroup::None => Vec::new(),
        }
    }

    /// What the container uses now. Files that the host lacks count as zero or are left out.
    ///
    /// # Errors
    /// The directories do not exist.
    pub fn statistics(&self) -> Result<Statistics> {
        match self {
            Cgroup::V1(v1) => Statistics::of_v1(v1),
            Cgroup::V2(v2) => Statistics::of_v2(v2),
            Cgroup::None => Err(none("count what the container uses")),
        }
    }
}

fn none(what: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format_args!("cannot {what}: it has no control group"),
    )
    .hint("an ordinary user's container has one only where control groups are delegated to him")
}

fn not_empty(processes: usize) -> Error {
    Error::new(
        Kind::WrongState,
        format_args!("container's cgroup is not empty: {processes} process(es) found"),
    )
    .hint("choose another linux.cgroupsPath")
}

fn frozen() -> Error {
    Error::new(Kind::WrongState, "container's cgroup unexpectedly frozen").hint("resume it first")
}
