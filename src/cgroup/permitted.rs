//! The control group of a container whose runtime has not root's privileges: there is one only where somebody delegated
//! control groups to the caller (cgroups(7), "Cgroup delegation"), that is, where he may write.
//!
//! On version 1 the hierarchies that are delegated are used and the others left alone. On version 2 a path that is not
//! absolute is below the group that the caller is in, or beside it where that is possible: a group with processes cannot
//! hand controllers down.

use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};

use super::{Cgroup, Hierarchy, Layout, V1, V2, file, layout, place};
use crate::error::Result;

impl Cgroup {
    /// [`Cgroup::plan`] for a caller who may not make groups anywhere: the container's group, [`Cgroup::None`] when it can have
    /// none, and the part of the layout in which it is.
    ///
    /// # Errors
    /// As [`Cgroup::plan`].
    pub fn plan_where_permitted(
        host: &Layout,
        cgroups_path: Option<&Path>,
        id: &str,
    ) -> Result<(Layout, Cgroup)> {
        let path = place::below_the_mount(cgroups_path, id)?;
        match host {
            Layout::V1(hierarchies) => {
                let mut permitted = hierarchies.clone();
                permitted.retain(|hierarchy| may_make(&hierarchy.mount, &path));
                if permitted.is_empty() {
                    return Ok((host.clone(), Cgroup::None));
                }
                let cgroup = Cgroup::V1(V1::plan(&permitted, &path));
                Ok((Layout::V1(permitted), cgroup))
            }
            Layout::V2(mount) => {
                let bases = match cgroups_path {
                    Some(given) if given.is_absolute() => vec![PathBuf::new()],
                    _ => bases(&own_groups()),
                };
                let found = bases.iter().map(|base| base.join(&path));
                let permitted = found.into_iter().find(|path| may_make(mount, path));
                let cgroup = permitted.map_or(Cgroup::None, |path| Cgroup::V2(V2::plan(mount, &path)));
                Ok((host.clone(), cgroup))
            }
        }
    }
}

/// The groups of this process, as directories of the host; what a container without a group of its own is in.
pub fn own_directories(host: &Layout) -> Vec<(String, PathBuf)> {
    let groups = own_groups();
    let of = |controllers: &str| own(&groups, controllers).unwrap_or_default();
    match host {
        Layout::V2(mount) => vec![(String::new(), mount.join(of("")))],
        Layout::V1(hierarchies) => {
            let each = |Hierarchy { controllers, mount }: &Hierarchy| {
                let first = controllers.split(',').next().unwrap_or_default();
                (controllers.clone(), mount.join(of(first)))
            };
            hierarchies.iter().map(each).collect()
        }
    }
}

/// cgroups(7): lines of `hierarchy-id:controllers:path`.
fn own_groups() -> String {
    file::read(Path::new("/proc/self/cgroup")).unwrap_or_default()
}

/// The path, without a leading slash, in the hierarchy that carries a controller; the empty name is version 2.
fn own(groups: &str, controller: &str) -> Option<PathBuf> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        // A group above the caller's cgroup namespace has no place that he could name.
        let path = path.strip_prefix('/').filter(|path| !path.starts_with(".."))?;
        layout::has(controllers, controller).then(|| PathBuf::from(path))
    })
}

/// Where a group of ours may be on version 2, best first: beside the group that we are in, in it.
fn bases(groups: &str) -> Vec<PathBuf> {
    let Some(own) = own(groups, "") else {
        return Vec::new();
    };
    let beside = own.parent().map(Path::to_owned);
    beside.into_iter().chain([own]).collect()
}

/// Whether the caller may make the group and move a process into it, as far as the nearest directory that exists tells.
fn may_make(mount: &Path, path: &Path) -> bool {
    let nearest = path
        .ancestors()
        .map(|part| mount.join(part))
        .find(|place| place.exists());
    nearest.is_some_and(|place| may_write(&place) && may_write(&place.join("cgroup.procs")))
}

fn may_write(path: &Path) -> bool {
    faccessat(nix::fcntl::AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str =
        "4:memory:/user/1000\n3:cpu,cpuacct:/\n1:name=systemd:/user.slice\n0::/user.slice/a.scope\n";

    #[test]
    fn the_callers_groups_are_known_by_controller() {
        assert_eq!(own(HYBRID, "cpuacct"), Some(PathBuf::new()));
        assert_eq!(own(HYBRID, "memory"), Some("user/1000".into()));
        assert_eq!(own(HYBRID, "pids"), None);
        assert_eq!(own("0::/../other\n", ""), None);
    }

    #[test]
    fn a_group_is_sought_beside_the_callers_before_in_it() {
        let expected: [PathBuf; 2] = ["user.slice".into(), "user.slice/a.scope".into()];
        assert_eq!(bases(HYBRID), expected);
        assert_eq!(bases("0::/\n"), [PathBuf::new()]);
        assert!(bases("").is_empty());
    }
}
