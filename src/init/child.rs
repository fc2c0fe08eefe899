//! The container's first process, from clone3 to execve: a straight script.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, sethostname, setsid};
use oci_spec::runtime::LinuxNamespaceType;

use super::console::{self, Console};
use super::hooks::Point;
use super::namespaces::Opened;
use super::process::TerminalSize;
use super::protocol::{Channel, ToChild, ToParent};
use super::{Cgroup, Plan, hook_state, id_mapped};
use crate::error::{Error, OsContext, Result};
use crate::rootfs::RootFd;
use crate::spec::state::Status;
use crate::sys;

/// What the child takes over from the runtime besides the plan.
pub(super) struct Inherited<'a> {
    pub(super) namespaces: &'a Opened<'a>,
    pub(super) cgroup: &'a Cgroup,
    /// The start socket, for a container that outlives the runtime before it starts.
    pub(super) listener: Option<&'a OwnedFd>,
}

/// Runs the script; returns only when it failed, after the failure was reported.
pub(super) fn run(plan: &Plan, inherited: &Inherited<'_>, channel: Channel) -> u8 {
    let mut channel = channel;
    let Err(error) = script(plan, inherited, &mut channel);
    // Nobody may be there to read it any more.
    let _ = channel.report(&ToParent::Failed(error));
    1
}

fn script(plan: &Plan, inherited: &Inherited<'_>, channel: &mut Channel) -> Result<Infallible> {
    // Before joining anything: no process of a container may look into this one. An ordinary user's runtime cannot
    // either then, so it writes the id mappings first; until they are there nobody is in the new user namespace.
    if !plan.unprivileged {
        set_dumpable(false).os("set", "dumpable")?;
    }
    die_with_parent()?;
    let id_mapped = id_mapped::receive(plan, channel)?;
    wait_for(channel, ToChild::Go);
    if plan.unprivileged {
        set_dumpable(false).os("set", "dumpable")?;
    }
    inherited.cgroup.join()?;
    let labels = plan.process.as_ref().map(|process| process.labels.open());
    let labels = labels.transpose()?.unwrap_or_default();
    plan.namespaces.settle(inherited.namespaces)?;
    // Before the ids change: the container's root may not be allowed to reach what is mounted into it.
    let mut root = plan.rootfs.open(id_mapped)?;
    plan.namespaces.become_root()?;
    setsid().os("create", "session")?;
    set_up_kernel(plan)?;
    umask(Mode::from_bits_truncate(0o022));
    root.mount_all()?;
    channel.report(&ToParent::Mounted)?;
    wait_for(channel, ToChild::Continue);

    let state = |status| move || hook_state(&plan.state, status, Pid::this());
    plan.hooks
        .run(Point::CreateContainer, state(Status::Creating), |_| Ok(()))?;
    if let Some(size) = plan.process.as_ref().and_then(|process| process.terminal) {
        set_up_console(plan, root.root(), size, channel)?;
    }
    root.pivot()?;

    let settled = plan
        .process
        .as_ref()
        .map(|process| {
            process.forget_callers_cpus();
            process.settle(&labels)
        })
        .transpose()?;
    // Changing the group id cleared it.
    die_with_parent()?;
    channel.report(&ToParent::Ready)?;
    let starter = match channel.hear()? {
        Some(ToChild::Start) => None,
        Some(ToChild::Detach) => {
            let Some(listener) = inherited.listener else {
                exit()
            };
            set_pdeathsig(None).os("clear", "parent death signal")?;
            // An ordinary user's `exec` finds the namespaces through this process, and has no privilege to look into one that
            // may not be dumped. Who is executed has not: this process holds all capabilities of the user namespace still.
            let show = |show: bool| match plan.unprivileged {
                true => set_dumpable(show).os("set", "dumpable"),
                false => Ok(()),
            };
            show(true)?;
            channel.report(&ToParent::Detached)?;
            let starter = wait_for_starter(listener)?;
            show(false)?;
            Some(starter)
        }
        _ => exit(),
    };
    set_pdeathsig(None).os("clear", "parent death signal")?;
    if let Some(starter) = starter {
        *channel = starter;
    }
    match settled {
        Some(process) => Err(process.execute(channel, || {
            plan.hooks
                .run(Point::StartContainer, state(Status::Created), |_| Ok(()))
        })),
        None => Err(Error::invalid(
            "process",
            "is missing: this container has nothing to start",
        )),
    }
}

/// The kernel kills this process when the runtime dies, until the record says created.
fn die_with_parent() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).os("set", "parent death signal")
}

/// Waits for a message; an end of file means that the runtime died before the death signal was set.
fn wait_for(channel: &Channel, expected: ToChild) {
    if channel.hear().ok().flatten() != Some(expected) {
        exit();
    }
}

fn exit() -> ! {
    std::process::exit(1)
}

/// Host name, loopback and kernel parameters, while the host's procfs is still in sight.
fn set_up_kernel(plan: &Plan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        sethostname(name).os("hostname: set", name)?;
    }
    if let Some(name) = &plan.domainname {
        sys::process::set_domain_name(name).os("domainname: set", name)?;
    }
    if plan.namespaces.creates(LinuxNamespaceType::Network) {
        sys::net::loopback_up().os("set up", "loopback interface")?;
    }
    plan.sysctls.write()
}

/// The console exists before the root is entered, because /dev/console is bound through the root's descriptor.
fn set_up_console(plan: &Plan, root: &RootFd, size: TerminalSize, channel: &Channel) -> Result<()> {
    let uid = plan.process.as_ref().map_or(0, |process| process.uid());
    let console = Console::open(root.as_fd(), size, uid)?;
    if plan.namespaces.has(LinuxNamespaceType::Mount) {
        root.bind_file(console.terminal.as_fd(), "/dev/console")?;
    }
    channel.report(&ToParent::Console(console.master))?;
    console::attach(&console.terminal)
}

/// Waits on the start socket for a starter that says so; one that goes away without a word is forgotten.
fn wait_for_starter(listener: &OwnedFd) -> Result<Channel> {
    loop {
        let starter = match sys::socket::accept(listener.as_fd()) {
            Ok(starter) => Channel::from(starter),
            Err(Errno::ECONNABORTED) => continue,
            Err(errno) => return Err(Error::os("wait on", "start socket", errno)),
        };
        if matches!(starter.hear(), Ok(Some(ToChild::Start))) {
            return Ok(starter);
        }
    }
}
