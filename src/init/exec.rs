//! A further process in a running container: clone, join, become the program.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, chroot, fchdir, setsid};
use oci_spec::runtime::LinuxNamespaceType;

use super::console::{self, Console};
use super::parent::{self, Created};
use super::process;
use super::protocol::{Channel, ToChild, ToParent};
use super::{Cgroup, namespaces};
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::clone::{Flags, Options, spawn};

/// A process to run in a container.
#[derive(Debug)]
pub struct Plan {
    /// The program.
    pub process: process::Plan,
    /// The container's namespaces that are not the runtime's.
    pub namespaces: namespaces::Plan,
}

/// Where the process goes.
pub struct Target<'a> {
    /// The container's first process.
    pub pid: Pid,
    /// The same process by descriptor.
    pub pidfd: OwnedFd,
    /// How to get into its control group.
    pub cgroup: Cgroup,
    /// How to get where its first process is, should the group itself take no processes.
    pub beside: &'a dyn Fn() -> Result<Cgroup>,
    /// What is done to the process while it waits, outside still.
    pub cloned: &'a dyn Fn(Pid) -> Result<()>,
}

/// Makes the process and sees it through to `Ready`; `console` gets the master of its terminal.
///
/// # Errors
/// What failed on either side; the process is dead and reaped then.
pub fn create(
    plan: &Plan,
    target: &Target<'_>,
    mut console: impl FnMut(OwnedFd) -> Result<()>,
) -> Result<Created> {
    let flags = plan.namespaces.joined_by_exec(target.pid)?;
    let root = open_root(plan, target)?;
    let (channel, childs_end) = Channel::pair()?;
    let (mut ours, mut theirs) = (Some(channel), Some(childs_end));
    // Only children enter a pid namespace; this process makes no other child after.
    let first = match join_pid_namespace(target, flags)? {
        Joined::Here => CloneFlags::empty(),
        Joined::AsRoot => CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID,
    };
    if let (false, Some(adjustment)) = (first.is_empty(), plan.process.oom_score_adj) {
        // Inherited: nobody but root may write that of a process which went into another user namespace.
        parent::write_oom_score_adj(Pid::this(), adjustment)?;
    }
    let mut process = || {
        drop(ours.take());
        let Some(channel) = theirs.take() else { return 1 };
        let Err(error) = script(plan, target, (flags, flags - first), root.as_ref(), &channel);
        let _ = channel.report(&ToParent::Failed(error));
        1
    };
    let spawned = plan.process.affinity.with_initial(|| {
        target.cgroup.spawn(|cgroup| {
            let options = Options {
                flags: Flags::default(),
                cgroup,
            };
            if first.is_empty() {
                return spawn(options, &mut process).os("clone", "process");
            }
            namespaces::spawn_beyond(|| setns(&target.pidfd, first), options, &mut process)
        })
    })?;
    let child = target.cgroup.settle(spawned, || (target.beside)().map(Some))?;
    drop(theirs.take());
    let Some(channel) = ours.take() else {
        return Err(Error::new(Kind::Os, "the init socket is gone"));
    };
    let mut converse = || -> Result<()> {
        if let (true, Some(adjustment)) = (first.is_empty(), plan.process.oom_score_adj) {
            parent::write_oom_score_adj(child.pid, adjustment)?;
        }
        (target.cloned)(child.pid)?;
        channel.tell(ToChild::Go)?;
        loop {
            match channel.next()? {
                ToParent::Console(master) => console(master)?,
                ToParent::Ready => return plan.process.scheduling.apply(child.pid),
                ToParent::Failed(error) => return Err(error),
                ToParent::Closed => return Err(parent::died(&child)),
                other => return Err(parent::unexpected(&other)),
            }
        }
    };
    match converse() {
        Ok(()) => Ok(Created { child, channel }),
        Err(error) => {
            drop(channel);
            parent::kill(&child);
            Err(error)
        }
    }
}

/// Who entered the container's pid namespace, or whether it has none.
enum Joined {
    /// This process, for its next child.
    Here,
    /// An ordinary user cannot: it takes a process that has become root of the container's user namespace first.
    AsRoot,
}

fn join_pid_namespace(target: &Target<'_>, flags: CloneFlags) -> Result<Joined> {
    if !flags.contains(CloneFlags::CLONE_NEWPID) {
        return Ok(Joined::Here);
    }
    match setns(&target.pidfd, CloneFlags::CLONE_NEWPID) {
        Err(Errno::EPERM) if flags.contains(CloneFlags::CLONE_NEWUSER) => Ok(Joined::AsRoot),
        entered => {
            entered.os("join", "the container's pid namespace")?;
            Ok(Joined::Here)
        }
    }
}

/// Without a mount namespace of its own the container's root is a chroot.
fn open_root(plan: &Plan, target: &Target<'_>) -> Result<Option<File>> {
    if plan.namespaces.has(LinuxNamespaceType::Mount) {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", target.pid);
    File::open(&path).map(Some).os("open", path)
}

/// `flags` are the container's namespaces, `rest` those that are yet to be joined.
fn script(
    plan: &Plan,
    target: &Target<'_>,
    (flags, rest): (CloneFlags, CloneFlags),
    root: Option<&File>,
    channel: &Channel,
) -> Result<Infallible> {
    // Before joining anything: no process of the container may look into this one.
    set_dumpable(false).os("set", "dumpable")?;
    set_pdeathsig(Signal::SIGKILL).os("set", "parent death signal")?;
    if channel.hear()? != Some(ToChild::Go) {
        std::process::exit(1);
    }
    target.cgroup.join()?;
    let labels = plan.process.labels.open()?;
    let here = rest - CloneFlags::CLONE_NEWPID;
    if !here.is_empty() {
        // One call: the kernel takes the user namespace first.
        setns(&target.pidfd, here).os("join", "the container's namespaces")?;
    }
    if let Some(root) = root {
        fchdir(root)
            .and_then(|()| chroot("."))
            .os("enter", "the container's root")?;
    }
    if flags.contains(CloneFlags::CLONE_NEWUSER) {
        namespaces::become_root()?;
    }
    setsid().os("create", "session")?;
    if let Some(size) = plan.process.terminal {
        let root = File::open("/").os("open", "/")?;
        let console = Console::open(root.as_fd(), size, plan.process.uid())?;
        channel.report(&ToParent::Console(console.master))?;
        console::attach(&console.terminal)?;
    }
    if !plan.process.affinity.has_initial() {
        plan.process.forget_callers_cpus();
    }
    plan.process.affinity.set_final()?;
    let settled = plan.process.settle(&labels)?;
    set_pdeathsig(Signal::SIGKILL).os("set", "parent death signal")?;
    channel.report(&ToParent::Ready)?;
    if channel.hear()? != Some(ToChild::Start) {
        std::process::exit(1);
    }
    set_pdeathsig(None).os("clear", "parent death signal")?;
    Err(settled.execute(channel, || Ok(())))
}
