//! Version 2: one directory in the one tree, with the controllers switched on by its ancestors.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown};
use serde::{Deserialize, Serialize};

use super::join::Join;
use super::kill::{self, Victims};
use super::place::{self, Patience, Place};
use super::{file, frozen, not_empty};
use crate::error::{Error, Kind, OsContext, Result};

/// The container's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V2 {
    #[serde(flatten)]
    place: Place,
}

impl V2 {
    pub(super) fn plan(mount: &Path, path: &Path) -> V2 {
        V2 {
            place: Place::plan(mount, path),
        }
    }

    /// One that somebody else makes.
    pub(super) fn of_somebody_else(mount: &Path, path: &Path) -> V2 {
        V2 {
            place: Place::of_somebody_else(mount, path),
        }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.place.directory()
    }

    pub(super) fn mount(&self) -> &Path {
        &self.place.mount
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    pub(super) fn create(&self) -> Result<()> {
        let made = self.place.make()?;
        let result = self.enable_controllers().and_then(|()| {
            if !made.fresh {
                let pids = self.pids()?;
                if !pids.is_empty() {
                    return Err(not_empty(pids.len()));
                }
            }
            // A new directory is frozen only below a frozen one, and the root never is.
            let nested = self.place.parents().next().is_some();
            if (nested || !made.fresh) && self.is_frozen()? {
                return Err(frozen());
            }
            Ok(())
        });
        if result.is_err() {
            made.undo();
        }
        result
    }

    /// A controller works in a directory when every ancestor hands it down (`cgroup.subtree_control`), from the top. All that
    /// exist are handed down, limited or not, because engines read usage from their files. One that cannot be (a parent has
    /// processes of its own, a real-time process holds the cpu controller) matters only when a limit needs it, and is an
    /// error then.
    fn enable_controllers(&self) -> Result<()> {
        let mut available = words(&file::get(&self.place.mount.join("cgroup.controllers"))?);
        let mut ancestors: Vec<_> = self.place.parents().collect();
        ancestors.push(self.place.mount.clone());
        for ancestor in ancestors.iter().rev() {
            let control = ancestor.join("cgroup.subtree_control");
            let enabled = words(&file::get(&control)?);
            let missing: Vec<_> = available
                .difference(&enabled)
                .map(|name| format!("+{name}"))
                .collect();
            if missing.is_empty() {
                continue;
            }
            if file::write(&control, &missing.join(" ")).is_err() {
                for name in &missing {
                    // See above: a limit that needs it will say so.
                    let _ = file::write(&control, name);
                }
                available = words(&file::get(&control)?);
            }
        }
        Ok(())
    }

    /// Whether `controller` works here.
    pub(super) fn has(&self, controller: &str) -> bool {
        file::read(&self.file("cgroup.controllers")).is_ok_and(|content| words(&content).contains(controller))
    }

    pub(super) fn open(&self) -> Result<OwnedFd> {
        open_directory(&self.directory())
    }

    pub(super) fn join_handles(&self) -> Result<Join> {
        Ok(Join::Directory(self.open()?))
    }

    /// The directory that process `pid` is in: a container that made groups of its own and handed controllers down to them
    /// can take no process at its top any more.
    pub(super) fn join_beside(&self, pid: i32) -> Result<Join> {
        let memberships = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let content = file::get(&memberships)?;
        let own = content.lines().find_map(|line| line.strip_prefix("0::/"));
        let directory = own
            .map(|own| self.place.mount.join(own))
            .filter(|own| own.starts_with(self.directory()));
        match directory {
            Some(directory) => Ok(Join::Directory(open_directory(&directory)?)),
            None => Err(Error::new(
                Kind::WrongState,
                format_args!(
                    "process {pid} is not in the container's cgroup {}",
                    self.directory().display()
                ),
            )),
        }
    }

    pub(super) fn attach(&self, pid: i32) -> Result<()> {
        file::set(&self.file("cgroup.procs"), &pid.to_string())
    }

    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        place::pids_of(&self.directory())
    }

    pub(super) fn freeze(&self) -> Result<()> {
        file::set(&self.file("cgroup.freeze"), "1")?;
        if self.wait_for("frozen", 1, Duration::from_secs(5))? {
            return Ok(());
        }
        file::set(&self.file("cgroup.freeze"), "0")?;
        let directory = self.directory();
        Err(Error::new(
            Kind::Os,
            format_args!("freeze {}: some processes do not stop", directory.display()),
        ))
    }

    pub(super) fn thaw(&self) -> Result<()> {
        file::set(&self.file("cgroup.freeze"), "0")
    }

    /// Asked to freeze, itself or an ancestor; "frozen" alone in cgroup.events is how a group without processes looks then.
    pub(super) fn is_frozen(&self) -> Result<bool> {
        match file::read(&self.file("cgroup.freeze")) {
            Ok(own) if own.trim() == "1" => return Ok(true),
            Ok(_) => {}
            Err(Errno::ENOENT | Errno::ENODEV) => return Ok(false),
            Err(errno) => return Err(errno).os("read", self.file("cgroup.freeze").display()),
        }
        Ok(file::keyed(&file::get(&self.file("cgroup.events"))?, "frozen") == Some(1))
    }

    /// Waits until `key` of cgroup.events is `value`: the kernel reports every change of that file as an event.
    fn wait_for(&self, key: &str, value: u64, limit: Duration) -> Result<bool> {
        let path = self.file("cgroup.events");
        let events = match open(&path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(true),
            events => events.os("open", path.display())?,
        };
        let patience = Patience::new(limit);
        let mut buffer = [0; 256];
        loop {
            match nix::sys::uio::pread(&events, &mut buffer, 0) {
                Ok(length) => {
                    let content = String::from_utf8_lossy(&buffer[..length]);
                    if file::keyed(&content, key).unwrap_or(value) == value {
                        return Ok(true);
                    }
                }
                Err(Errno::ENODEV) => return Ok(true), // removed
                Err(errno) => return Err(errno).os("read", path.display()),
            }
            let left = patience.left();
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).os("wait for", path.display()),
            }
        }
    }

    pub(super) fn kill(&self) -> Result<()> {
        let kill = self.file("cgroup.kill");
        match file::write(&kill, "1") {
            Ok(()) => {
                self.wait_for("populated", 0, kill::PATIENCE)?;
                self.release();
                kill::report(&self.pids()?)
            }
            // Before Linux 5.14; or the directory is gone, which listing finds out.
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => kill::by_signal(self),
            Err(errno) => Err(errno).os("write", kill.display()),
        }
    }

    pub(super) fn delete_unused(&self) -> bool {
        self.place.remove_unused()
    }

    pub(super) fn delete(&self, mut patience: Patience) -> Result<()> {
        self.place.remove(|busy| {
            let group = V2 {
                place: Place::plan(busy, Path::new("")),
            };
            // Empty by the events, busy all the same: the last process is between the two.
            let emptied = group.wait_for("populated", 0, patience.left()).unwrap_or(false);
            emptied && patience.pause()
        })
    }

    /// Hands the directory to a user, who may then make groups in it (cgroup v2 delegation): the directory itself and the
    /// files that the kernel names for this.
    pub(super) fn delegate(&self, owner: Uid) -> Result<()> {
        const OLDER_KERNELS: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
        let directory = self.directory();
        match chown(&directory, Some(owner), None) {
            Err(Errno::EPERM) if !Uid::effective().is_root() => return Ok(()),
            result => result.os("chown", directory.display())?,
        }
        let names =
            file::read(Path::new("/sys/kernel/cgroup/delegate")).unwrap_or_else(|_| OLDER_KERNELS.to_owned());
        for name in names.lines() {
            match chown(&directory.join(name), Some(owner), None) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno).os("chown", directory.join(name).display()),
            }
        }
        Ok(())
    }
}

impl Victims for V2 {
    fn pids(&self) -> Result<Vec<i32>> {
        V2::pids(self)
    }

    fn hold(&self) {
        // Without it a fork bomb only lasts longer.
        let _ = file::write(&self.file("cgroup.freeze"), "1");
    }

    fn release(&self) {
        // A frozen process of v2 takes its SIGKILL all the same; this is for who joins next.
        let _ = file::write(&self.file("cgroup.freeze"), "0");
    }
}

/// The one directory of these.
pub(super) fn join_at(mut directories: impl Iterator<Item = PathBuf>) -> Result<Join> {
    let directory = directories.next().unwrap_or_default();
    Ok(Join::Directory(open_directory(&directory)?))
}

fn open_directory(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(directory, flags, Mode::empty()).os("open cgroup", directory.display())
}

fn words(content: &str) -> BTreeSet<String> {
    content.split_whitespace().map(str::to_owned).collect()
}
