//! Being told when the kernel kills a process of the container for want of memory.
//!
//! Version 1 signals an event descriptor that was registered for `memory.oom_control` (Documentation/admin-guide/
//! cgroup-v1/memory.rst) each time that memory runs out, just before it kills. Version 2 changes `memory.events`, which
//! inotify(7) sees, and counts there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::Mode;

use super::file::{self, keyed};
use super::{Cgroup, V1, V2};
use crate::error::{OsContext, Result};

/// Tells of kills, from when it was made.
#[derive(Debug)]
pub struct OomWatch(Signal);

#[derive(Debug)]
enum Signal {
    V1 {
        event: EventFd,
        /// The last thing that the kernel signals is that this is gone.
        control: PathBuf,
    },
    V2 {
        inotify: Inotify,
        /// Its line `oom_kill` counts.
        counter: PathBuf,
        seen: u64,
    },
}

impl Cgroup {
    /// Begins to watch; `None` where the host has no memory controller.
    ///
    /// # Errors
    /// The directory does not exist; the host's limits of inotify(7) are reached.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        match self {
            Cgroup::V1(v1) => OomWatch::of_v1(v1),
            Cgroup::V2(v2) => OomWatch::of_v2(v2),
            Cgroup::None => Ok(None),
        }
    }
}

impl OomWatch {
    fn of_v1(cgroup: &V1) -> Result<Option<OomWatch>> {
        let Some(directory) = cgroup.directory_of("memory") else {
            return Ok(None);
        };
        let control = directory.join("memory.oom_control");
        let file = open(&control, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .os("open", control.display())?;
        let event =
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).os("create", "eventfd")?;
        let registration = format!("{} {}", event.as_fd().as_raw_fd(), file.as_raw_fd());
        file::set(&directory.join("cgroup.event_control"), &registration)?;
        Ok(Some(OomWatch(Signal::V1 { event, control })))
    }

    fn of_v2(cgroup: &V2) -> Result<Option<OomWatch>> {
        let counter = cgroup.directory().join("memory.events");
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).os("create", "inotify")?;
        match inotify.add_watch(&counter, AddWatchFlags::IN_MODIFY) {
            Ok(_) => {}
            Err(Errno::ENOENT) if cgroup.directory().exists() => return Ok(None),
            Err(errno) => return Err(errno).os("watch", counter.display()),
        }
        let seen = kills(&counter);
        Ok(Some(OomWatch(Signal::V2 {
            inotify,
            counter,
            seen,
        })))
    }

    /// How often memory ran out since this was asked last, as far as the kernel tells; the descriptor is quiet again.
    ///
    /// # Errors
    /// Those of reading the descriptor.
    pub fn take(&mut self) -> Result<u64> {
        let quiet = |errno: &Errno| matches!(errno, Errno::EAGAIN | Errno::EINTR);
        let subject = "the notification of killed processes";
        match &mut self.0 {
            Signal::V1 { event, control } => match event.read() {
                // One search for memory can signal more than once.
                Ok(signals) => Ok((signals - u64::from(!control.exists())).min(1)),
                Err(errno) if quiet(&errno) => Ok(0),
                Err(errno) => Err(errno).os("read", subject),
            },
            Signal::V2 {
                inotify,
                counter,
                seen,
            } => {
                match inotify.read_events() {
                    Err(errno) if !quiet(&errno) => return Err(errno).os("read", subject),
                    _ => {}
                }
                // 0 when it is gone with the container.
                let now = kills(counter).max(*seen);
                Ok(now - std::mem::replace(seen, now))
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Signal::V1 { event, .. } => event.as_fd(),
            Signal::V2 { inotify, .. } => inotify.as_fd(),
        }
    }
}

fn kills(counter: &Path) -> u64 {
    keyed(&file::read(counter).unwrap_or_default(), "oom_kill").unwrap_or(0)
}
