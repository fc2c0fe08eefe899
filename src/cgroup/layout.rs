//! Which hierarchies the host has, and where they are mounted.

use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use serde::{Deserialize, Serialize};

use super::file;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::procfs;

const MOUNT: &str = "/sys/fs/cgroup";

/// The controllers that a v1 hierarchy can have (kernel: linux/cgroup_subsys.h).
const CONTROLLERS: [&str; 16] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "dmem",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// The host's cgroup hierarchies. Injected everywhere, so that tests use a fake tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Controllers on version 1, also beside a version 2 tree (hybrid), which is left alone.
    V1(Vec<Hierarchy>),
    /// The one tree of version 2, mounted here.
    V2(PathBuf),
}

/// One mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// What the hierarchy carries, as in /proc/self/cgroup: `memory`, `cpu,cpuacct`, `name=systemd`.
    pub controllers: String,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Hierarchy {
    pub(super) fn has(&self, controller: &str) -> bool {
        has(&self.controllers, controller)
    }
}

/// Whether the comma separated list of a hierarchy names the controller.
pub(super) fn has(controllers: &str, controller: &str) -> bool {
    controllers.split(',').any(|name| name == controller)
}

impl Layout {
    /// Looks at /sys/fs/cgroup: its file system says version 2 at once; on version 1 its entries are the hierarchies.
    /// Only an unusual host makes it read /proc/self/mountinfo, which is slow where there are thousands of mounts.
    ///
    /// # Errors
    /// No hierarchy is mounted anywhere, or the places cannot be read.
    pub fn detect() -> Result<Layout> {
        let mount = Path::new(MOUNT);
        match statfs(mount) {
            Ok(found) if found.filesystem_type() == CGROUP2_SUPER_MAGIC => {
                return Ok(Layout::V2(mount.to_owned()));
            }
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(Error::os("look at", MOUNT, errno)),
        }
        let hierarchies = mounted_below(mount).os("list", MOUNT)?;
        if !hierarchies.is_empty() {
            return Ok(Layout::V1(hierarchies));
        }
        parse_mountinfo(&file::get(Path::new("/proc/self/mountinfo"))?).ok_or_else(|| {
            Error::new(Kind::Unsupported, "no cgroup hierarchy is mounted")
                .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        })
    }

    /// Whether the host's controllers are on cgroup version 2.
    pub fn is_v2(&self) -> bool {
        matches!(self, Layout::V2(_))
    }
}

/// The hierarchies that are mounted on entries of `directory`. By convention an entry has the controllers' names, and
/// symbolic links (`cpu -> cpu,cpuacct`) name those of merged ones.
fn mounted_below(directory: &Path) -> nix::Result<Vec<Hierarchy>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = match Dir::open(directory, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut names = Vec::new();
    let mut links = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        match entry.file_type() {
            Some(Type::Directory) if !name.starts_with('.') => names.push(name.to_owned()),
            Some(Type::Symlink) => links.push(name.to_owned()),
            _ => {}
        }
    }
    let own_device = fstat(&listing)?.st_dev;
    let mut found: Vec<(u64, Hierarchy)> = Vec::new();
    for name in names {
        let Some(controllers) = controllers_of(&name) else {
            continue;
        };
        let device = fstatat(&listing, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?.st_dev;
        if device == own_device {
            continue; // an empty directory, nothing mounted on it
        }
        match found.iter_mut().find(|(other, _)| *other == device) {
            Some((_, twice)) => add(&mut twice.controllers, &controllers),
            None => found.push((
                device,
                Hierarchy {
                    controllers,
                    mount: directory.join(name),
                },
            )),
        }
    }
    for name in links.iter().filter(|name| CONTROLLERS.contains(&name.as_str())) {
        let target = readlinkat(&listing, name.as_str())?;
        let merged = Path::new(&target).file_name().and_then(|target| {
            found
                .iter_mut()
                .find(|(_, hierarchy)| hierarchy.mount.file_name() == Some(target))
        });
        if let Some((_, hierarchy)) = merged {
            add(&mut hierarchy.controllers, name);
        }
    }
    // The kernel numbers file systems as they are made: this is the order of mountinfo, and of the mounts that runc makes
    // in a container.
    found.sort_by_key(|(device, _)| *device);
    Ok(found.into_iter().map(|(_, hierarchy)| hierarchy).collect())
}

/// What a hierarchy in a directory of this name carries; none when it is no v1 hierarchy.
fn controllers_of(directory: &str) -> Option<String> {
    if matches!(directory, "systemd" | "elogind") {
        return Some(format!("name={directory}"));
    }
    directory
        .split(',')
        .all(|name| CONTROLLERS.contains(&name))
        .then(|| directory.to_owned())
}

fn add(controllers: &mut String, more: &str) {
    for name in more.split(',') {
        if !has(controllers, name) {
            controllers.push(',');
            controllers.push_str(name);
        }
    }
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /mount options optional... - type source super-options`.
fn parse_mountinfo(content: &str) -> Option<Layout> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    let mut unified = None;
    for line in content.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(mount), mut right) = (left.split(' ').nth(4), right.split(' ')) else {
            continue;
        };
        let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
        let mount = PathBuf::from(procfs::unescape(mount.as_bytes()));
        match kind {
            Some("cgroup2") if unified.is_none() => unified = Some(mount),
            Some("cgroup") => {
                let carried: Vec<_> = options
                    .split(',')
                    .filter(|option| option.starts_with("name=") || CONTROLLERS.contains(option))
                    .collect();
                let controllers = carried.join(",");
                if !controllers.is_empty() && hierarchies.iter().all(|known| known.controllers != controllers)
                {
                    hierarchies.push(Hierarchy { controllers, mount });
                }
            }
            _ => {}
        }
    }
    let carries_controllers = |hierarchy: &Hierarchy| !hierarchy.controllers.starts_with("name=");
    if hierarchies.iter().any(carries_controllers) || unified.is_none() {
        return (!hierarchies.is_empty()).then_some(Layout::V1(hierarchies));
    }
    unified.map(Layout::V2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1(found: &[(&str, &str)]) -> Layout {
        let hierarchy = |(controllers, mount): &(&str, &str)| Hierarchy {
            controllers: (*controllers).to_owned(),
            mount: PathBuf::from(mount),
        };
        Layout::V1(found.iter().map(hierarchy).collect())
    }

    #[test]
    fn this_host_has_a_layout_and_mountinfo_agrees_with_it() {
        let quick = Layout::detect().unwrap();
        let full = parse_mountinfo(&std::fs::read_to_string("/proc/self/mountinfo").unwrap()).unwrap();
        match (quick, full) {
            (Layout::V1(quick), Layout::V1(full)) => {
                let sorted = |hierarchies: Vec<Hierarchy>| {
                    let mut all: Vec<_> = hierarchies
                        .into_iter()
                        .map(|h| (h.mount, h.controllers))
                        .collect();
                    all.sort();
                    all
                };
                assert_eq!(sorted(quick), sorted(full));
            }
            (quick, full) => assert_eq!(quick, full),
        }
    }

    #[test]
    fn mountinfo_of_a_merged_hybrid_host_gives_each_hierarchy_once() {
        let content = "\
25 30 0:23 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,mode=755
26 25 0:24 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:25 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
30 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct
31 25 0:29 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct
";
        let expected = v1(&[
            ("name=systemd", "/sys/fs/cgroup/systemd"),
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
        ]);
        assert_eq!(parse_mountinfo(content), Some(expected));
    }

    #[test]
    fn version_2_is_found_at_an_unusual_mount_point() {
        let content = "26 25 0:24 / /my\\040cgroups rw - cgroup2 none rw\n";
        assert_eq!(parse_mountinfo(content), Some(Layout::V2("/my cgroups".into())));
        assert_eq!(parse_mountinfo("26 25 0:24 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn a_directory_name_tells_the_controllers() {
        assert_eq!(
            controllers_of("net_cls,net_prio").as_deref(),
            Some("net_cls,net_prio")
        );
        assert_eq!(controllers_of("systemd").as_deref(), Some("name=systemd"));
        assert_eq!(controllers_of("unified"), None);
        assert_eq!(controllers_of("backup"), None);
    }
}
