//! Killing every process of a group by signals, where the kernel has no cgroup.kill.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use super::place::{Patience, list};
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::pidfd;

/// How long processes may take to die; one that hangs in the kernel longer than this is reported.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What killing needs of a group.
pub(super) trait Victims {
    fn pids(&self) -> Result<Vec<i32>>;
    /// Stops them from forking faster than they are killed; it need not have finished on return.
    fn hold(&self);
    /// Lets them go, which is when a held process meets its signal.
    fn release(&self);
}

/// Kills until no process is left.
pub(super) fn by_signal(group: &impl Victims) -> Result<()> {
    let mut patience = Patience::new(PATIENCE);
    loop {
        let pids = group.pids()?;
        if pids.is_empty() {
            group.release(); // for whoever joins next; a paused container may be empty
            return Ok(());
        }
        group.hold();
        let killed = signal_all(group, &pids);
        group.release();
        for process in killed? {
            let left = PollTimeout::try_from(patience.left()).unwrap_or(PollTimeout::MAX);
            pidfd::wait_exit(process.as_fd(), left).os("wait for", "a killed process")?;
        }
        let survivors = group.pids()?;
        if !survivors.is_empty() && !patience.pause() {
            return report(&survivors);
        }
    }
}

/// Fails when processes survived.
pub(super) fn report(pids: &[i32]) -> Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Os,
        format_args!("{} process(es) survive SIGKILL: {}", pids.len(), list(pids)),
    )
    .hint("they hang in the kernel, perhaps on a dead file system or device; try again later"))
}

/// Signals the processes by descriptors, and only those that are still members once their descriptor is open: a number
/// that was reused meanwhile belongs to somebody else.
fn signal_all(group: &impl Victims, pids: &[i32]) -> Result<Vec<OwnedFd>> {
    let mut opened = Vec::new();
    for &pid in pids {
        match pidfd::open(Pid::from_raw(pid)) {
            Ok(process) => opened.push((pid, process)),
            // Gone; or the list shows 0, a process that this pid namespace cannot see.
            Err(Errno::ESRCH) => {}
            // The descriptors are used up: those we have are killed now, the rest in the next round.
            Err(Errno::EMFILE | Errno::ENFILE) if !opened.is_empty() => break,
            Err(errno) => return Err(Error::os("open process", pid, errno)),
        }
    }
    let members = group.pids()?;
    opened.retain(|(pid, _)| members.binary_search(pid).is_ok());
    for (pid, process) in &opened {
        match pidfd::send_signal(process.as_fd(), nix::libc::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::os("kill process", pid, errno)),
        }
    }
    Ok(opened.into_iter().map(|(_, process)| process).collect())
}
