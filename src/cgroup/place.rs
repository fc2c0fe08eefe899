//! One directory of the container in one hierarchy: made with its parents, and removed with those that were made.

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkdir;
use serde::{Deserialize, Serialize};

use super::file;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::xattr;

/// Parents that a container made carry this attribute, so that whichever container leaves last can remove them, and no
/// directory of anybody else is ever taken for ours. It lives in the kernel, so no crash can lose it.
const MADE_BY_US: &std::ffi::CStr = c"trusted.minirun";

/// What an error says first when a directory cannot be made.
pub const CREATE: &str = "create cgroup";

/// A directory below a hierarchy's mount point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The mount point.
    pub(super) mount: PathBuf,
    /// Below the mount point, without a leading slash.
    pub(super) path: PathBuf,
    /// How many of the parents, counted from the bottom, did not exist when the container was planned. A runtime that is
    /// killed between making one and marking it is cleaned up after all.
    #[serde(default, skip_serializing_if = "is_zero")]
    missing: usize,
}

fn is_zero(missing: &usize) -> bool {
    *missing == 0
}

/// What [`Place::make`] made, top down.
pub(super) struct Made {
    directories: Vec<PathBuf>,
    /// False when the container's own directory was there already.
    pub(super) fresh: bool,
}

impl Made {
    /// Takes it back, as far as nobody uses it.
    pub(super) fn undo(&self) {
        for directory in self.directories.iter().rev() {
            // What is in use by now stays, the error that led here is the one to report.
            let _ = rmdir(directory);
        }
    }
}

impl Place {
    pub(super) fn plan(mount: &Path, path: &Path) -> Place {
        let parents = path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty());
        Place {
            mount: mount.to_owned(),
            path: path.to_owned(),
            missing: parents.take_while(|parent| !mount.join(parent).exists()).count(),
        }
    }

    /// One whose parents are not ours, whether or not they exist.
    pub(super) fn of_somebody_else(mount: &Path, path: &Path) -> Place {
        Place {
            mount: mount.to_owned(),
            path: path.to_owned(),
            missing: 0,
        }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    /// The parents below the mount point, nearest first.
    pub(super) fn parents(&self) -> impl Iterator<Item = PathBuf> {
        let above = self.path.ancestors().skip(1);
        above
            .filter(|parent| !parent.as_os_str().is_empty())
            .map(|parent| self.mount.join(parent))
    }

    /// mkdir -p. The parents can vanish at any time, because another container that made them has left.
    pub(super) fn make(&self) -> Result<Made> {
        let directory = self.directory();
        let mut made = Made {
            directories: Vec::new(),
            fresh: true,
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            match mkdir(&directory, Mode::from_bits_truncate(0o755)) {
                Ok(()) => {
                    made.directories.push(directory);
                    return Ok(made);
                }
                Err(Errno::EEXIST) => {
                    made.fresh = false;
                    return Ok(made);
                }
                Err(Errno::ENOENT) if attempts < 16 => {
                    if let Err(error) = self.make_parents(&mut made) {
                        made.undo();
                        return Err(error);
                    }
                }
                Err(errno) => {
                    made.undo();
                    return Err(Error::os(CREATE, directory.display(), errno));
                }
            }
        }
    }

    fn make_parents(&self, made: &mut Made) -> Result<()> {
        let mut parents: Vec<_> = self.parents().collect();
        parents.reverse();
        for parent in parents {
            match mkdir(&parent, Mode::from_bits_truncate(0o755)) {
                Ok(()) => {
                    // Without the attribute the record alone tells, which is enough for this container.
                    let _ = xattr::mark(&parent, MADE_BY_US);
                    made.directories.push(parent);
                }
                Err(Errno::EEXIST | Errno::ENOENT) => {}
                Err(errno) => return Err(Error::os(CREATE, parent.display(), errno)),
            }
        }
        Ok(())
    }

    /// Removes the directory, what the container made in it, and the parents that are ours and empty. Nothing there is
    /// fine. `wait` is asked to wait for the last processes to leave a busy directory; it says false when time is up.
    pub(super) fn remove(&self, mut wait: impl FnMut(&Path) -> bool) -> Result<()> {
        let directory = self.directory();
        loop {
            match remove_tree(&directory) {
                Ok(()) => break,
                Err((busy, Errno::EBUSY)) if wait(&busy) => {}
                Err((directory, errno)) => return Err(remains(&directory, errno)),
            }
        }
        self.remove_parents();
        Ok(())
    }

    /// Removes the directory, and the parents that are ours and empty, if nobody is in it and it has no groups below. True
    /// when it is gone.
    pub(super) fn remove_unused(&self) -> bool {
        let removed = rmdir(&self.directory()).is_ok();
        if removed {
            self.remove_parents();
        }
        removed
    }

    fn remove_parents(&self) {
        for (height, parent) in self.parents().enumerate() {
            let ours = height < self.missing || xattr::is_marked(&parent, MADE_BY_US);
            if !ours || rmdir(&parent).is_err() {
                break; // not ours, or still in use by others
            }
        }
    }
}

/// Removes a cgroup and its descendants, deepest first. In the usual case, no descendants, this is one call.
fn remove_tree(directory: &Path) -> std::result::Result<(), (PathBuf, Errno)> {
    match rmdir(directory) {
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        result => return result.map_err(|errno| (directory.to_owned(), errno)),
    }
    for child in children(directory) {
        remove_tree(&child)?;
    }
    rmdir(directory).map_err(|errno| (directory.to_owned(), errno))
}

/// rmdir(2), content with a directory that is not there.
fn rmdir(directory: &Path) -> nix::Result<()> {
    match std::fs::remove_dir(directory)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    {
        // ENODEV: the group is on its way out already.
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        result => result,
    }
}

fn remains(directory: &Path, errno: Errno) -> Error {
    let error = Error::os("remove cgroup", directory.display(), errno);
    let pids = pids_of(directory).unwrap_or_default();
    if pids.is_empty() {
        return error;
    }
    error.hint(format_args!(
        "{} process(es) are still in it: {}",
        pids.len(),
        list(&pids)
    ))
}

/// A readable list of process ids.
pub(super) fn list(pids: &[i32]) -> String {
    let shown: Vec<_> = pids.iter().take(10).map(ToString::to_string).collect();
    let more = if pids.len() > shown.len() { " ..." } else { "" };
    format!("{}{more}", shown.join(" "))
}

/// The direct child groups. A directory's link count tells the common case, no children, without a listing.
pub(super) fn children(directory: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.nlink() != 2 => {}
        _ => return Vec::new(),
    }
    let Ok(listing) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let entries = listing
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    entries.map(|entry| entry.path()).collect()
}

/// The directory and all its descendants, parents first.
pub(super) fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut all = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(directory) = all.get(next) {
        let below = children(directory);
        all.extend(below);
        next += 1;
    }
    all
}

/// The processes of the directory and all its descendants; none when it does not exist.
pub(super) fn pids_of(directory: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for directory in tree(directory) {
        let procs = directory.join("cgroup.procs");
        match file::read(&procs) {
            Ok(content) => pids.extend(content.lines().filter_map(|line| line.parse::<i32>().ok())),
            // Gone meanwhile; or a threaded group of v2, whose processes its parent lists.
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno).os("read", procs.display()),
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// A wait for something that the kernel gives no event for: short pauses that grow, until a deadline.
pub(super) struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Patience {
        Patience {
            deadline: Instant::now() + limit,
            pause: Duration::from_micros(200),
        }
    }

    /// Time left until the deadline.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Pauses; false when the deadline has passed.
    pub(super) fn pause(&mut self) -> bool {
        let left = self.left();
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(Duration::from_millis(50));
        true
    }
}

/// cgroupsPath as a path below every mount point: what is absolute and what is relative mean the same place, so the same
/// value always does. Without one the container gets a directory of its own at the top.
pub(super) fn below_the_mount(cgroups_path: Option<&Path>, id: &str) -> Result<PathBuf> {
    const FIELD: &str = "linux.cgroupsPath";
    let Some(given) = cgroups_path.filter(|path| !path.as_os_str().is_empty()) else {
        // A name has at most 255 bytes, an id too.
        let separator = if id.len() + "minirun-".len() <= 255 {
            '-'
        } else {
            '/'
        };
        return Ok(PathBuf::from(format!("minirun{separator}{id}")));
    };
    let mut path = PathBuf::new();
    for component in given.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                let why = format_args!("{} must not contain \"..\"", given.display()).to_string();
                return Err(Error::invalid(FIELD, why));
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if path.as_os_str().is_empty() {
        let why = format!("{} names the host's root cgroup", given.display());
        return Err(Error::invalid(FIELD, why).hint("give the container a directory below it"));
    }
    if path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|byte| matches!(byte, 0 | b'\n'))
    {
        return Err(Error::new(
            Kind::InvalidConfig,
            format_args!("{FIELD}: {path:?} holds a NUL or a newline"),
        ));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_relative_and_untidy_paths_mean_the_same_place() {
        let place = |path: &str| below_the_mount(Some(Path::new(path)), "web").unwrap();
        assert_eq!(place("/shop/web"), Path::new("shop/web"));
        assert_eq!(place("shop/web"), Path::new("shop/web"));
        assert_eq!(place("/shop//./web/"), Path::new("shop/web"));
    }

    #[test]
    fn without_a_path_the_container_gets_one_flat_directory() {
        assert_eq!(below_the_mount(None, "web").unwrap(), Path::new("minirun-web"));
        assert_eq!(
            below_the_mount(Some(Path::new("")), "web").unwrap(),
            Path::new("minirun-web")
        );
        let long = "x".repeat(255);
        assert_eq!(
            below_the_mount(None, &long).unwrap(),
            Path::new("minirun").join(&long)
        );
    }

    #[test]
    fn paths_that_leave_the_mount_or_name_its_root_are_refused() {
        let refused = |path: &str| {
            below_the_mount(Some(Path::new(path)), "web")
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("/a/../../b"),
            "linux.cgroupsPath: /a/../../b must not contain \"..\""
        );
        assert_eq!(
            refused("/"),
            "linux.cgroupsPath: / names the host's root cgroup; give the container a directory below it"
        );
        assert!(refused("a\nb").starts_with("linux.cgroupsPath: "));
    }
}
