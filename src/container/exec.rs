//! `exec`: a further process in a running container.

use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::unistd::Pid;
use oci_spec::runtime as oci;

use super::create::join;
use super::options::Terminal;
use super::relay::{self, Signals};
use super::store::Store;
use super::{console, pid_file, seccomp_agent};
use crate::cgroup::Subgroup;
use crate::error::{Error, Kind, Result};
use crate::init;
use crate::init::exec::{Plan, Target};
use crate::init::parent;
use crate::init::process::{self, Keep};
use crate::init::protocol::ToChild;
use crate::spec::id::Id;
use crate::spec::state::{State, Status};

/// What the caller chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the terminal's master goes.
    pub terminal: Terminal,
    /// A socket that gets the pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// A file for the process' id.
    pub pid_file: Option<PathBuf>,
    /// Return as soon as the process runs.
    pub detach: bool,
    /// Go ahead in a paused container: the process waits with the others.
    pub ignore_paused: bool,
    /// Groups below the container's own for the process.
    pub subgroups: Vec<Subgroup>,
    /// Descriptors for the process.
    pub keep: Keep,
}

/// Runs a process; its exit status, or 0 when detached. `process` makes it from the container's own configuration.
///
/// # Errors
/// `WrongState` when the container does not run; whatever keeps the process from being executed.
pub fn exec(
    store: &Store,
    id: &Id,
    process: impl FnOnce(&oci::Spec) -> Result<oci::Process>,
    options: &Options,
) -> Result<u8> {
    let (entry, record) = store.read(id)?;
    let refuse = |why: &str| Error::new(Kind::WrongState, why);
    // Before the state is asked for, which looks whether this is still the first process.
    let leader = match record.init {
        Some(leader) => leader.open_number()?.map(|pidfd| (leader, pidfd)),
        None => None,
    };
    match entry.status(&record)? {
        Status::Stopped => return Err(refuse("cannot exec in a stopped container")),
        Status::Creating => return Err(refuse("cannot exec in a container that is being created")),
        Status::Paused if !options.ignore_paused => {
            return Err(refuse(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        Status::Paused | Status::Created | Status::Running => {}
    }
    let spec = entry.config()?;
    let keyring = record.keyring();
    let process = confined(process(&spec)?, &spec);
    let choices = init::Choices {
        keep: options.keep,
        keyring: keyring.as_deref(),
        ..Default::default()
    };
    let process = process::Plan::new(&process, spec.linux().as_ref(), choices)?;
    process.labels.check()?;
    check_terminal(&process, options)?;
    let plan = Plan {
        process,
        namespaces: init::namespaces::Plan::new(&spec),
    };

    let (leader, pidfd) = leader.ok_or_else(|| refuse("cannot exec in a stopped container"))?;
    let handles = || match options.subgroups.as_slice() {
        [] => record.cgroup.join_handles().map(join),
        subgroups => record.cgroup.join_below(subgroups).map(join),
    };
    let target = Target {
        pid: Pid::from_raw(leader.pid),
        pidfd,
        cgroup: handles()?,
        beside: &|| match options.subgroups.as_slice() {
            [] => record.cgroup.join_beside(leader.pid).map(join),
            // Where else is not for us to say.
            _ => handles(),
        },
        cloned: &|pid| {
            record
                .resctrl
                .as_ref()
                .map_or(Ok(()), |group| group.join(pid.as_raw()))
        },
    };

    let mut signals = if options.detach {
        None
    } else {
        Some(Signals::block()?)
    };
    let mut master = None;
    let created = init::exec::create(&plan, &target, |terminal| match &options.terminal {
        Terminal::Socket(path) => console::send_terminal(path, &terminal),
        _ => {
            relay::copy_size(&terminal)?;
            master = Some(terminal);
            Ok(())
        }
    })?;
    let announced = (|| {
        if let Some(path) = &options.pidfd_socket {
            console::send_pidfd(path, created.child.pidfd.as_fd())?;
        }
        options
            .pid_file
            .as_ref()
            .map_or(Ok(()), |path| pid_file::write(path, created.child.pid))?;
        created.channel.tell(ToChild::Start)?;
        parent::started(&created.channel, |listener| {
            let state = State {
                status: entry.status(&record)?,
                pid: leader.pid,
                ..record.state()
            };
            let child = &created.child;
            seccomp_agent::hand_on(&spec, &state, child.pid.as_raw(), child.pidfd.as_fd(), listener)
        })
    })();
    if let Err(error) = announced {
        parent::kill(&created.child);
        return Err(error);
    }
    match &mut signals {
        Some(signals) => relay::wait(&created.child, signals, master),
        None => Ok(0),
    }
}

/// A process document that names no profile or label does not lift the container's.
fn confined(mut process: oci::Process, spec: &oci::Spec) -> oci::Process {
    let is_missing = |value: &Option<String>| value.as_deref().unwrap_or_default().is_empty();
    if let Some(own) = spec.process() {
        if is_missing(process.apparmor_profile()) {
            process.set_apparmor_profile(own.apparmor_profile().clone());
        }
        if is_missing(process.selinux_label()) {
            process.set_selinux_label(own.selinux_label().clone());
        }
    }
    process
}

fn check_terminal(process: &process::Plan, options: &Options) -> Result<()> {
    if process.terminal.is_some() && options.terminal == Terminal::Nobody {
        return Err(Error::invalid(
            "process.terminal",
            "cannot allocate tty if runc will detach without setting console socket",
        )
        .hint("give --console-socket"));
    }
    Ok(())
}
