//! A container's cgroup files, under either version.

use std::fs;
use std::path::{Path, PathBuf};

use super::container::Container;

/// True on a host that has cgroup v2 only.
pub(crate) fn cgroup_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether this host offers a controller to containers.
pub(crate) fn has_controller(name: &str) -> bool {
    if cgroup_v2() {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
        controllers
            .split_whitespace()
            .any(|controller| controller == name)
    } else {
        mount_point(name).is_some()
    }
}

impl Container<'_> {
    /// The directory of the container's cgroup; `controller` (`memory`, `cpu` ...) picks the hierarchy on v1.
    #[track_caller]
    pub(crate) fn cgroup(&self, controller: &str) -> PathBuf {
        let memberships = fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).unwrap();
        let path = memberships.lines().find_map(|line| {
            // hierarchy-ID:controller-list:cgroup-path, see cgroups(7)
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let wanted = if cgroup_v2() { "" } else { controller };
            controllers
                .split(',')
                .any(|name| name == wanted)
                .then(|| path.trim_start_matches('/').to_owned())
        });
        let path = path.unwrap_or_else(|| panic!("no {controller} hierarchy in {memberships}"));
        if cgroup_v2() {
            return Path::new("/sys/fs/cgroup").join(path);
        }
        mount_point(controller).unwrap().join(path)
    }

    /// The trimmed content of one of its files.
    #[track_caller]
    pub(crate) fn cgroup_file(&self, controller: &str, file: &str) -> String {
        let path = self.cgroup(controller).join(file);
        let content = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        content.trim().to_owned()
    }
}

fn mount_point(controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let found = fields[2] == "cgroup" && fields[3].split(',').any(|option| option == controller);
        found.then(|| PathBuf::from(fields[1]))
    })
}
