//! The runtime's side of making a container: clone, then one loop with one arm per report of the child.

use std::os::fd::{OwnedFd, RawFd};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::child::{self, Inherited};
use super::protocol::{Channel, ToChild, ToParent};
use super::{Cgroup, Plan, id_mapped};
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::clone::Child;

/// What the runtime does while the child sets the container up.
pub trait Stops {
    /// In the child's copy of this process: drops what the child must not hold open, such as locks.
    fn in_child(&mut self);

    /// The child exists and waits; its id mappings are written. Last chance to record it before it acts.
    ///
    /// # Errors
    /// Ends the creation.
    fn cloned(&mut self, child: &Child) -> Result<()>;

    /// The child works on its mounts; the runtime may work on the network at the same time.
    ///
    /// # Errors
    /// Ends the creation.
    fn meanwhile(&mut self, child: &Child) -> Result<()>;

    /// Mounts are in place: time for the prestart and createRuntime hooks.
    ///
    /// # Errors
    /// Ends the creation.
    fn mounted(&mut self, child: &Child) -> Result<()>;

    /// The container's terminal.
    ///
    /// # Errors
    /// Ends the creation.
    fn console(&mut self, master: OwnedFd) -> Result<()>;
}

/// A child that is ready to start.
#[derive(Debug)]
pub struct Created {
    /// The container's first process.
    pub child: Child,
    /// The conversation with it.
    pub channel: Channel,
}

/// Makes the container's first process and sees it through to `Ready`.
///
/// # Errors
/// What failed on either side. The child is dead and reaped then; what it was given (cgroup, network) is the caller's
/// to take back.
pub fn create(
    plan: &Plan,
    cgroup: &Cgroup,
    listener: Option<&OwnedFd>,
    stops: &mut impl Stops,
) -> Result<Created> {
    let namespaces = plan.namespaces.open()?;
    plan.sysctls.check(&namespaces)?;
    let (channel, childs_end) = Channel::pair()?;
    let (mut ours, mut theirs) = (Some(channel), Some(childs_end));
    let inherited = Inherited {
        namespaces: &namespaces,
        cgroup,
        listener,
    };
    let child = namespaces.spawn(cgroup, || {
        // The child's copy of our end would keep it from seeing our death.
        drop(ours.take());
        stops.in_child();
        theirs
            .take()
            .map_or(1, |channel| child::run(plan, &inherited, channel))
    })?;
    drop(theirs.take());
    let Some(channel) = ours.take() else {
        return Err(Error::new(Kind::Os, "the init socket is gone"));
    };
    match converse(plan, &channel, &child, stops) {
        Ok(()) => Ok(Created { child, channel }),
        Err(error) => {
            drop(channel);
            kill(&child);
            Err(error)
        }
    }
}

fn converse(plan: &Plan, channel: &Channel, child: &Child, stops: &mut impl Stops) -> Result<()> {
    plan.namespaces.write_id_maps(child.pid)?;
    if let Some(adjustment) = plan.process.as_ref().and_then(|process| process.oom_score_adj) {
        write_oom_score_adj(child.pid, adjustment)?;
    }
    stops.cloned(child)?;
    id_mapped::lend(plan, child.pid, channel)?;
    channel.tell(ToChild::Go)?;
    stops.meanwhile(child)?;
    loop {
        match channel.next()? {
            ToParent::Mounted => {
                stops.mounted(child)?;
                channel.tell(ToChild::Continue)?;
            }
            ToParent::Console(master) => stops.console(master)?,
            ToParent::Ready => {
                let process = plan.process.as_ref();
                return process.map_or(Ok(()), |process| process.scheduling.apply(child.pid));
            }
            ToParent::Failed(error) => return Err(error),
            ToParent::Closed => return Err(died(child)),
            other @ (ToParent::Detached | ToParent::Listener(_)) => return Err(unexpected(&other)),
        }
    }
}

/// Written by the runtime: the child's own procfs may be the container's.
pub(super) fn write_oom_score_adj(pid: Pid, adjustment: i32) -> Result<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(&path, adjustment.to_string()).os("process.oomScoreAdj: write", path)
}

/// The child is gone without a word: only a signal does that.
pub(super) fn died(child: &Child) -> Error {
    match waitpid(child.pid, None) {
        Ok(WaitStatus::Signaled(_, signal, _)) => Error::new(
            Kind::Os,
            format_args!("the container's init process was killed by {signal} during set-up"),
        )
        .hint("is linux.resources.memory.limit too low to start with?"),
        Ok(status) => Error::new(
            Kind::Os,
            format_args!("the container's init process ended during set-up: {status:?}"),
        ),
        Err(errno) => Error::os("wait for", "the container's init process", errno),
    }
}

/// Ends the child and reaps it; it may have been reaped already.
pub fn kill(child: &Child) {
    use std::os::fd::AsFd;
    let _ = crate::sys::pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
    let _ = waitpid(child.pid, None);
}

/// Lets the child outlive the runtime; it waits on the start socket from now on.
///
/// # Errors
/// When the child is gone.
pub fn detach(channel: &Channel) -> Result<()> {
    channel.tell(ToChild::Detach)?;
    match channel.next()? {
        ToParent::Detached => Ok(()),
        ToParent::Failed(error) => Err(error),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(report: &ToParent) -> Error {
    Error::new(
        Kind::Os,
        format_args!("unexpected report of the container's process: {report:?}"),
    )
}

/// Waits for the end of file that says execve succeeded. `hand_on` gets the number of the child's descriptor of its
/// seccomp listener, if it has one.
///
/// # Errors
/// What the child reports instead, and those of `hand_on`: the child may be waiting for an answer to a system call then,
/// and has to be killed.
pub fn started(channel: &Channel, mut hand_on: impl FnMut(RawFd) -> Result<()>) -> Result<()> {
    loop {
        match channel.next()? {
            ToParent::Closed => return Ok(()),
            ToParent::Listener(number) => {
                hand_on(number)?;
                channel.tell(ToChild::Continue)?;
            }
            ToParent::Failed(error) => return Err(error),
            other => return Err(unexpected(&other)),
        }
    }
}
