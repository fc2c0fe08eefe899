//! `start`: the word for which a container's first process waits.

use std::os::fd::{AsFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use oci_spec::runtime::Spec;

use super::events::{self, Action, Event};
use super::notify::{Manager, Notifications};
use super::record::Record;
use super::store::{Entry, Store};
use super::{delete, seccomp_agent};
use crate::error::{Error, Kind, Result};
use crate::init;
use crate::init::hooks::{Hooks, Point};
use crate::init::parent;
use crate::init::protocol::{Channel, ToChild};
use crate::process::Process;
use crate::spec::id::Id;
use crate::spec::state::{State, Status};
use crate::sys::pidfd;

/// Starts a created container, and waits until its program is ready where `manager` wants to know.
///
/// # Errors
/// `WrongState` when it is not `created`; why its program could not be executed; a poststart hook's failure, after
/// which the container is gone.
pub fn start(store: &Store, id: &Id, manager: Option<Manager>) -> Result<()> {
    let (lock, entry, mut record) = store.lock(id)?;
    let refuse = |why: &str| Err(Error::new(Kind::WrongState, why));
    match entry.status(&record)? {
        Status::Created => {}
        Status::Stopped => return refuse("cannot start a container that has stopped"),
        Status::Running => return refuse("cannot start an already running container"),
        status => return refuse(&format!("cannot start a container in the {status} state")),
    }
    let spec = entry.config()?;
    if spec.process().is_none() {
        return Err(Error::invalid(
            "process",
            "property must not be empty: this container has nothing to start",
        ));
    }
    let channel = Channel::from(entry.connect().map_err(|error| match error.errno() {
        Some(Errno::ECONNREFUSED) => {
            Error::new(Kind::WrongState, "cannot start a container that has stopped")
        }
        _ => error,
    })?);
    let notifications = manager
        .map(|manager| Notifications::listen(entry.path(), manager))
        .transpose()?
        .flatten();
    channel.tell(ToChild::Start)?;
    let init = record.init;
    parent::started(&channel, |listener| hand_on(&spec, &record, listener)).inspect_err(|_| kill(init))?;
    events::publish(store.root(), || vec![Event::of(&record, Action::Start)]);
    let hooks = Hooks::plan(spec.hooks().as_ref(), &[])?;
    let state = record.state();
    run_poststart(&entry, &mut record, &hooks, &state)?;
    // Whoever finds that it takes too long has to be able to kill it.
    drop(lock);
    match (notifications, init) {
        (Some(notifications), Some(init)) => match init.open()? {
            Some(pidfd) => notifications.wait(pidfd.as_fd(), Some(init.pid)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Gives the listener of the first process' filter to the agent. As under runc, which loads the filter in `create`, the
/// agent reads that the container is being created.
pub(super) fn hand_on(spec: &Spec, record: &Record, listener: RawFd) -> Result<()> {
    let gone = || Error::new(Kind::WrongState, "the container's first process has ended");
    let init = record.init.ok_or_else(gone)?;
    let pidfd = init.open()?.ok_or_else(gone)?;
    let state = State {
        status: Status::Creating,
        pid: init.pid,
        ..record.state()
    };
    seccomp_agent::hand_on(spec, &state, init.pid, pidfd.as_fd(), listener)
}

/// A first process that could not become its program: it may be waiting for an agent that never heard of it.
fn kill(init: Option<Process>) {
    if let Some(pidfd) = init.and_then(|init| init.open().ok().flatten()) {
        let _ = pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
    }
}

/// Runs the poststart hooks of a container that runs; when one fails the container is stopped and deleted.
///
/// # Errors
/// The hook's failure.
pub fn run_poststart(entry: &Entry, record: &mut Record, hooks: &Hooks, state: &State) -> Result<()> {
    if !hooks.any(Point::Poststart) {
        return Ok(());
    }
    let pid = Pid::from_raw(record.init.map_or(0, |init| init.pid));
    let state_json = || init::hook_state(state, Status::Running, pid);
    let ran = hooks.run(Point::Poststart, state_json, |hook| {
        record.hook = Some(Process::of(hook)?);
        entry.save(record)
    });
    record.hook = None;
    match ran {
        Ok(()) => entry.save(record),
        Err(error) => Err(match delete::destroy(entry, record, Some((hooks, state))) {
            Ok(()) => error,
            Err(remains) => error.hint(remains),
        }),
    }
}
