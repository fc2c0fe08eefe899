//! Version 1: one directory of the container in every hierarchy that the host has.
//!
//! All of them are made, limited or not, because engines read usage and send processes there (Docker's `stats`, the
//! containerd shim, cAdvisor).

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::join::Join;
use super::kill::{self, Victims};
use super::layout::{self, Hierarchy};
use super::place::{self, Patience, Place};
use super::{file, frozen, not_empty};
use crate::error::{Error, Kind, OsContext, Result};

/// The container's directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1 {
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    controllers: String,
    #[serde(flatten)]
    place: Place,
}

impl V1 {
    pub(super) fn plan(hierarchies: &[Hierarchy], path: &Path) -> V1 {
        let group = |hierarchy: &Hierarchy| Group {
            controllers: hierarchy.controllers.clone(),
            place: Place::plan(&hierarchy.mount, path),
        };
        V1 {
            groups: hierarchies.iter().map(group).collect(),
        }
    }

    pub(super) fn create(&self) -> Result<()> {
        let mut made = Vec::with_capacity(self.groups.len());
        let result = self.groups.iter().try_for_each(|group| {
            let new = group.place.make()?;
            let fresh = new.fresh;
            made.push(new);
            if layout::has(&group.controllers, "cpuset") {
                fill_cpuset(&group.place.mount, &group.place.directory(), fresh)?;
            }
            Ok(())
        });
        let result = result.and_then(|()| {
            let shared = made.iter().any(|made| !made.fresh);
            if shared {
                let pids = self.pids()?;
                if !pids.is_empty() {
                    return Err(not_empty(pids.len()));
                }
            }
            // A new directory is frozen only below a frozen one, and the top never is.
            let nested = self
                .groups
                .iter()
                .any(|group| group.place.parents().next().is_some());
            if (shared || nested) && self.is_frozen()? {
                return Err(frozen());
            }
            Ok(())
        });
        if result.is_err() {
            made.iter().for_each(place::Made::undo);
        }
        result
    }

    pub(super) fn directory_of(&self, controller: &str) -> Option<PathBuf> {
        let group = self
            .groups
            .iter()
            .find(|group| layout::has(&group.controllers, controller))?;
        Some(group.place.directory())
    }

    pub(super) fn hierarchies(&self) -> Vec<Hierarchy> {
        let each = |group: &Group| Hierarchy {
            controllers: group.controllers.clone(),
            mount: group.place.mount.clone(),
        };
        self.groups.iter().map(each).collect()
    }

    pub(super) fn directories(&self) -> Vec<(String, PathBuf)> {
        let each = |group: &Group| (group.controllers.clone(), group.place.directory());
        self.groups.iter().map(each).collect()
    }

    /// The first write to `cgroup.procs` waits for an RCU grace period, 10 ms and more, because it has to stop all threads of
    /// a process from changing; a single-threaded process that writes "0" to `tasks` moves itself in 40 us.
    pub(super) fn join_handles(&self) -> Result<Join> {
        join_at(self.groups.iter().map(|group| group.place.directory()))
    }

    pub(super) fn attach(&self, pid: i32) -> Result<()> {
        let pid = pid.to_string();
        self.groups
            .iter()
            .try_for_each(|group| file::set(&group.place.directory().join("cgroup.procs"), &pid))
    }

    /// Of all hierarchies together: a process killed while it joined is in some of them only.
    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        for group in &self.groups {
            all.append(&mut place::pids_of(&group.place.directory())?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    fn freezer(&self) -> Result<PathBuf> {
        self.directory_of("freezer").ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "cannot freeze the container: the freezer controller is not mounted on this host",
            )
        })
    }

    /// The kernel freezes task by task and gives no event when it is done. Asking again catches tasks that were forked
    /// meanwhile.
    pub(super) fn freeze(&self) -> Result<()> {
        let state = self.freezer()?.join("freezer.state");
        let mut patience = Patience::new(Duration::from_secs(5));
        loop {
            file::set(&state, "FROZEN")?;
            if file::get(&state)?.trim() == "FROZEN" {
                return Ok(());
            }
            if !patience.pause() {
                file::set(&state, "THAWED")?;
                return Err(Error::new(
                    Kind::Os,
                    format_args!("freeze {}: some processes do not stop", state.display()),
                ));
            }
        }
    }

    pub(super) fn thaw(&self) -> Result<()> {
        file::set(&self.freezer()?.join("freezer.state"), "THAWED")
    }

    pub(super) fn is_frozen(&self) -> Result<bool> {
        let Some(freezer) = self.directory_of("freezer") else {
            return Ok(false);
        };
        let state = freezer.join("freezer.state");
        match file::read(&state) {
            Ok(state) => Ok(state.trim() != "THAWED"),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            Err(errno) => Err(errno).os("read", state.display()),
        }
    }

    pub(super) fn kill(&self) -> Result<()> {
        kill::by_signal(self)
    }

    pub(super) fn delete_unused(&self) -> bool {
        self.groups.iter().all(|group| group.place.remove_unused())
    }

    pub(super) fn delete_empty(&self) {
        for group in &self.groups {
            group.place.remove_unused();
        }
    }

    pub(super) fn delete(&self, mut patience: Patience) -> Result<()> {
        let remove = |group: &Group| group.place.remove(|_| patience.pause()).err();
        let failures: Vec<_> = self.groups.iter().filter_map(remove).collect();
        match failures.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            [first, ..] => Err(Error::new(
                first.kind(),
                format_args!(
                    "{} cgroups remain: {}",
                    failures.len(),
                    failures
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )),
        }
    }
}

/// The `tasks` files of these directories.
pub(super) fn join_at(directories: impl Iterator<Item = PathBuf>) -> Result<Join> {
    let open_tasks = |directory: PathBuf| {
        let tasks = directory.join("tasks");
        open(&tasks, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).os("open", tasks.display())
    };
    Ok(Join::Tasks(directories.map(open_tasks).collect::<Result<_>>()?))
}

impl Victims for V1 {
    fn pids(&self) -> Result<Vec<i32>> {
        V1::pids(self)
    }

    fn hold(&self) {
        if let Some(freezer) = self.directory_of("freezer") {
            // Without it a fork bomb only lasts longer.
            let _ = file::write(&freezer.join("freezer.state"), "FROZEN");
        }
    }

    fn release(&self) {
        let freezer = self.directory_of("freezer");
        // The container can have frozen groups of its own.
        for directory in freezer.iter().flat_map(|freezer| place::tree(freezer)) {
            let _ = file::write(&directory.join("freezer.state"), "THAWED");
        }
    }
}

/// A new cpuset group has no processors and no memory, and nothing can join it until it gets its parent's.
fn fill_cpuset(mount: &Path, directory: &Path, fresh: bool) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(name);
        if !fresh && !file::get(&own)?.trim().is_empty() {
            continue;
        }
        let Some(parent) = directory.parent().filter(|_| directory != mount) else {
            continue;
        };
        let mut value = file::get(&parent.join(name))?;
        if value.trim().is_empty() {
            fill_cpuset(mount, parent, false)?;
            value = file::get(&parent.join(name))?;
        }
        file::set(&own, value.trim())?;
    }
    Ok(())
}
