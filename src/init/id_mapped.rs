//! Id-mapped mounts: the runtime makes them while the child waits, and sends them to it.
//!
//! A mount is mapped by a user namespace. That of the container is at hand once the child exists; a mapping of the
//! mount's own needs a namespace of its own, which lives no longer than it takes to map. Only a process can make one:
//! a copy of this one that waits for the end of a socket and does nothing else.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::Plan;
use super::protocol::Channel;
use crate::error::{Error, OsContext, Result};
use crate::rootfs::Maps;
use crate::sys::clone::{Options, spawn};

/// Makes every id-mapped mount and sends it to the child, before the word to go.
///
/// # Errors
/// When a mapping or a mount is refused; the error names the field that asks for it.
pub(super) fn lend(plan: &Plan, child: Pid, channel: &Channel) -> Result<()> {
    // Engines give all mounts of a container the same mapping.
    let mut namespaces: Vec<(Option<&Maps>, OwnedFd)> = Vec::new();
    for mount in plan.rootfs.id_mapped() {
        let known = namespaces.iter().position(|(maps, _)| *maps == mount.maps());
        let index = match known {
            Some(index) => index,
            None => {
                let namespace = match mount.maps() {
                    Some(maps) => namespace_of(maps, mount.field())?,
                    None => open(child)?,
                };
                namespaces.push((mount.maps(), namespace));
                namespaces.len() - 1
            }
        };
        if let Some((_, namespace)) = namespaces.get(index) {
            channel.lend(mount.make(namespace.as_fd())?.as_fd())?;
        }
    }
    Ok(())
}

/// The child's side of [`lend`].
///
/// # Errors
/// When the runtime is gone.
pub(super) fn receive(plan: &Plan, channel: &Channel) -> Result<Vec<OwnedFd>> {
    plan.rootfs.id_mapped().map(|_| channel.borrowed()).collect()
}

/// A new user namespace with these maps and nobody in it.
fn namespace_of(maps: &Maps, field: &str) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    let mut ours = Some(ours);
    let options = Options {
        flags: CloneFlags::CLONE_NEWUSER.into(),
        cgroup: None,
    };
    let waiting = spawn(options, || {
        // Without its copy of our end it sees ours close, however we end.
        drop(ours.take());
        let _ = theirs.hear();
        0
    })
    .map_err(|errno| Error::os("clone", "a process for a user namespace", errno).during(field))?;
    let made = write(maps, waiting.pid)
        .map_err(|error| error.during(field))
        .and_then(|()| open(waiting.pid));
    drop(ours);
    waitpid(waiting.pid, None).os("wait for", "the process of a user namespace")?;
    made
}

fn write(maps: &Maps, pid: Pid) -> Result<()> {
    for (file, map) in [("gid_map", &maps.gids), ("uid_map", &maps.uids)] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, map).os("write", path)?;
    }
    Ok(())
}

fn open(pid: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    Ok(File::open(&path).os("open", path)?.into())
}
