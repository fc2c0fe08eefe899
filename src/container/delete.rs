//! `delete`, and the way back of every failed `create`: everything that the record names goes.
//!
//! Each step can be repeated and is attempted whatever happened to the ones before it. The directory goes last and only
//! when nothing else remains, so `delete` never says that it succeeded while something is left.

use std::os::fd::AsFd;

use nix::poll::PollTimeout;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::events::{self, Action, Event};
use super::members;
use super::record::Record;
use super::store::{Entry, Store};
use crate::cgroup::{Cgroup, Layout};
use crate::error::{Error, Kind, OsContext, Result};
use crate::init;
use crate::init::hooks::{Hooks, Point};
use crate::process::Process;
use crate::resctrl;
use crate::spec::id::Id;
use crate::spec::state::{State, Status};
use crate::sys::pidfd;
use crate::{log, net};

/// How long a killed process may take to go; it can be held up by a dying disk or a debugger.
const KILL_TIMEOUT_MS: u16 = 10_000;

/// Deletes a container. Without `force` it must have stopped or never been started; with it, it is killed first, also
/// in the middle of its creation, and a container that does not exist is no error.
///
/// # Errors
/// `NotFound`, `WrongState`, or what could not be removed; the record stays then.
pub fn delete(store: &Store, id: &Id, force: bool) -> Result<()> {
    if force {
        return match delete_by_force(store, id) {
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            result => result,
        };
    }
    let (_lock, entry, record) = store.lock(id)?;
    match entry.status(&record)? {
        Status::Stopped | Status::Created => destroy_recorded(&entry, &record),
        status => Err(Error::new(
            Kind::WrongState,
            format_args!("cannot delete container {id} that is not stopped: {status}"),
        )
        .hint("kill it first, or use --force")),
    }
}

fn delete_by_force(store: &Store, id: &Id) -> Result<()> {
    let locked = store.try_lock(id)?;
    let (_lock, entry) = if let Some(locked) = locked {
        locked
    } else {
        // A verb that hangs holds the lock. It hangs on its hook or on the first process: their end is its end.
        if let Ok((_, record)) = store.read(id) {
            interrupt(&record)?;
        }
        store.wait_lock(id)?
    };
    match entry.load() {
        Ok(record) => destroy_recorded(&entry, &record),
        // Killed before the record was written or after it was removed: there is nothing else then.
        Err(error) if error.kind() == Kind::NotFound => entry.remove(),
        Err(damaged) => {
            log::warn(format_args!("{damaged}; deleting what config.json says"));
            destroy_recorded(&entry, &rebuild(&entry, id)?)
        }
    }
}

/// Ends the processes that a verb under way waits for, the runtime that creates the container first.
fn interrupt(record: &Record) -> Result<()> {
    record.creator.map_or(Ok(()), end)?;
    record.hook.map_or(Ok(()), end_group)?;
    record.init.map_or(Ok(()), end)
}

/// Kills a process and waits until it is gone.
fn end(process: Process) -> Result<()> {
    let Some(pidfd) = process.open()? else {
        return Ok(());
    };
    match pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(errno) => return Err(Error::os("kill process", process.pid, errno)),
    }
    let gone =
        pidfd::wait_exit(pidfd.as_fd(), PollTimeout::from(KILL_TIMEOUT_MS)).os("wait for", process.pid)?;
    // A child of ours stays in the process table until it is reaped.
    let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
    if gone {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Os,
            format_args!("process {} does not end", process.pid),
        ))
    }
}

/// What a damaged record must have said, from the snapshot of the configuration.
fn rebuild(entry: &Entry, id: &Id) -> Result<Record> {
    let layout = Layout::detect()?;
    let mut resctrl = None;
    let cgroup = match entry.config() {
        Ok(spec) => {
            let linux = spec.linux().as_ref();
            if let Some(asked) = linux.and_then(|linux| linux.intel_rdt().as_ref()) {
                resctrl = resctrl::Plan::lost(asked, id.as_str(), resctrl::Mount::find()?);
            }
            let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
            Cgroup::plan(&layout, path, id.as_str())?
        }
        // The last resort is the group that a container without a path of its own has, if there is one.
        Err(error) => {
            let cgroup = Cgroup::plan(&layout, None, id.as_str())?;
            if !cgroup
                .directories()
                .iter()
                .any(|(_, directory)| directory.exists())
            {
                return Err(
                    error.hint("the record is damaged as well: end the container's processes by hand")
                );
            }
            cgroup
        }
    };
    Ok(Record {
        id: id.clone(),
        oci_version: String::new(),
        bundle: Default::default(),
        rootfs: Default::default(),
        created: String::new(),
        owner: String::new(),
        annotations: Default::default(),
        creator: None,
        init: None,
        hook: None,
        cgroup,
        resctrl,
        scope: None,
        shares_pid_namespace: true,
        shares_keyring: false,
        hostname: String::new(),
        dns: net::Dns::default(),
        networks: net::names(&net::Dirs::default())?,
        attachment: net::Attachment::default(),
    })
}

/// Destroys a container whose plan has to be read back for its poststop hooks.
///
/// # Errors
/// As [`destroy`].
pub fn destroy_recorded(entry: &Entry, record: &Record) -> Result<()> {
    let hooks = entry
        .config()
        .ok()
        .and_then(|spec| Hooks::plan(spec.hooks().as_ref(), &[]).ok());
    let state = record.state();
    destroy(entry, record, hooks.as_ref().map(|hooks| (hooks, &state)))
}

/// Ends everything that the record names, then removes the record, then runs the poststop hooks.
///
/// # Errors
/// What remains; the record stays then. A poststop hook that fails is a warning.
pub fn destroy(entry: &Entry, record: &Record, poststop: Option<(&Hooks, &State)>) -> Result<()> {
    let mut remains = Vec::new();
    let mut attempt = |result: Result<()>| remains.extend(result.err().map(|error| error.to_string()));
    if let Some(creator) = record
        .creator
        .filter(|creator| creator.pid != Pid::this().as_raw())
    {
        attempt(end(creator));
    }
    if let Some(hook) = record.hook {
        attempt(end_group(hook));
    }
    // A runtime that was killed may have been about to be refused the group: whoever is in it is not ours then.
    let is_ours = record.creator.is_none() || entry.has_config();
    let cgroup_is_gone = if is_ours {
        record.cgroup.delete_unused()
    } else {
        record.cgroup.delete_empty();
        true
    };
    if !cgroup_is_gone {
        // The group first: it thaws what is frozen, and a frozen process does not die.
        attempt(record.cgroup.kill());
    }
    attempt(members::kill_without_group(record));
    if let Some(init) = record.init {
        attempt(end(init));
    }
    if !record.networks.is_empty() {
        attempt(net::detach(
            &net::Dirs::default(),
            record.id.as_str(),
            &record.networks,
        ));
    }
    if let Some(group) = &record.resctrl {
        attempt(group.remove(record.creator.is_some()));
    }
    if let Some(scope) = &record.scope {
        attempt(scope.stop());
    }
    if !cgroup_is_gone {
        attempt(record.cgroup.delete());
    }
    if !remains.is_empty() {
        return Err(Error::new(
            Kind::Os,
            format_args!("container {}: {}", record.id, remains.join("; ")),
        ));
    }
    entry.clone().remove()?;
    // One whose creation failed was never told of.
    if record.creator.is_none() {
        events::publish_beside(entry, || {
            let mut events = Event::between_all(record, &record.networks, Action::Disconnect);
            events.push(Event::of(record, Action::Delete));
            events
        });
    }
    if let Some((hooks, state)) = poststop {
        let state = || init::hook_state(state, Status::Stopped, Pid::from_raw(0));
        hooks.run(Point::Poststop, state, |_| Ok(()))?;
    }
    Ok(())
}

/// Kills a hook with all that it started: the group's number cannot be reused while its leader is unreaped.
fn end_group(leader: Process) -> Result<()> {
    if leader.is_alive()? {
        let _ = kill(Pid::from_raw(-leader.pid), Signal::SIGKILL);
    }
    end(leader)
}
