//! `create`: from a bundle to a process that waits for `start`.
//!
//! First `prepare`: no side effect yet. Then the record, which names all that is about to exist, and after it the
//! control group, the clone, networks and hooks. Whatever fails, [`delete::destroy`] undoes it from the record.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::caller::Caller;
use super::events::{self, Action, Event};
use super::network::Network;
use super::options::{Options, Terminal};
use super::prepare::{Prepared, prepare};
use super::record::Record;
use super::store::{Entry, Lock, Store};
use super::{console, delete, files, notify, pid_file, relay};
use crate::cgroup::systemd::Property;
use crate::cgroup::{self, Cgroup, Join, Limits};
use crate::error::{Error, Kind, OsContext, Result};
use crate::init;
use crate::init::hooks::Point;
use crate::init::parent::{self, Created, Stops};
use crate::init::protocol::Channel;
use crate::net;
use crate::process::Process;
use crate::resctrl;
use crate::spec::state::Status;
use crate::sys::clone::Child;

/// A container whose first process waits for the word.
#[derive(Debug)]
pub struct NewContainer {
    /// Its directory.
    pub entry: Entry,
    /// Its record.
    pub record: Record,
    /// Its first process.
    pub child: Child,
    /// The conversation with it.
    pub channel: Channel,
    /// The terminal's master, for [`Terminal::Relay`].
    pub console: Option<OwnedFd>,
    /// Its plan, for the hooks to come.
    pub plan: init::Plan,
    /// The right to change it.
    pub lock: Lock,
}

/// Who gives the word for which the first process waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// Whoever made the container, in the conversation that it has already.
    Creator,
    /// Whoever connects to the start socket later.
    Start,
}

/// Makes a container.
///
/// # Errors
/// Anything wrong with the bundle, before any side effect; any failure after, with everything taken back. When something
/// could not be taken back the error says what, and the record stays for `delete --force`.
pub fn create(store: &Store, options: &Options, starter: Starter) -> Result<NewContainer> {
    match create_as(store.caller(), store, options, starter) {
        Err(error) if is_refusal(&error) => match store.caller().after_refusal() {
            Some(caller) => create_as(caller, store, options, starter),
            None => Err(error),
        },
        result => result,
    }
}

/// Whether the making of a control group was refused, before anything that anybody could see was done.
fn is_refusal(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
        && error.to_string().starts_with(cgroup::CREATE)
}

fn create_as(caller: Caller, store: &Store, options: &Options, starter: Starter) -> Result<NewContainer> {
    let mut prepared = prepare(store, caller, options)?;
    let creator = prepared.record.creator;
    let (lock, entry) = store.create(&options.id)?;
    let mut lock = Some(lock);
    match make(&entry, &mut lock, &mut prepared, options, starter) {
        Ok((Created { child, channel }, console)) => {
            let record = &prepared.record;
            events::publish(store.root(), || {
                let mut events = vec![Event::of(record, Action::Create)];
                events.extend(Event::between_all(record, &record.networks, Action::Connect));
                events
            });
            let lock = lock.ok_or_else(|| Error::new(Kind::Os, "the container's lock is gone"))?;
            Ok(NewContainer {
                entry,
                record: prepared.record,
                child,
                channel,
                console,
                plan: prepared.plan,
                lock,
            })
        }
        Err(failure) => {
            // It was not created after all, however late it failed.
            prepared.record.creator = creator;
            Err(undo(&entry, &prepared, failure))
        }
    }
}

struct Failure {
    error: Error,
    /// Whether hooks had their turn: then the poststop hooks get theirs.
    hooks_ran: bool,
    /// The control group was refused: it is not the container's, and whoever is in it must not be touched.
    without_cgroup: bool,
}

fn undo(entry: &Entry, prepared: &Prepared, failure: Failure) -> Error {
    let Failure {
        error,
        hooks_ran,
        without_cgroup,
    } = failure;
    let plan = hooks_ran.then_some(&prepared.plan);
    let undone = match without_cgroup {
        // What was made of it is gone again, and nothing else was made but the record.
        true => entry.clone().remove(),
        false => delete::destroy(
            entry,
            &prepared.record,
            plan.map(|plan| (&plan.hooks, &plan.state)),
        ),
    };
    match undone {
        Ok(()) => error,
        Err(remains) => error.hint(format_args!(
            "not everything could be undone: {remains}; `minirun delete --force {}` tries again",
            prepared.record.id
        )),
    }
}

fn make(
    entry: &Entry,
    lock: &mut Option<Lock>,
    prepared: &mut Prepared,
    options: &Options,
    starter: Starter,
) -> std::result::Result<(Created, Option<OwnedFd>), Failure> {
    let failed = |without_cgroup: bool| {
        move |error| Failure {
            error,
            hooks_ran: false,
            without_cgroup,
        }
    };
    let Prepared {
        config,
        record,
        limits,
        cgroup_owner,
        resctrl,
        properties,
        network,
        shared,
        devices,
        plan,
    } = prepared;
    let written = match record.scope {
        None => entry.save(record),
        // systemd may refuse the unit, which is somebody else's then: it is named once it is ours.
        Some(_) => entry.save(&Record {
            scope: None,
            cgroup: Cgroup::None,
            ..record.clone()
        }),
    };
    written
        .and_then(|()| match record.scope {
            None => record.cgroup.create(),
            Some(_) => Ok(()),
        })
        .map_err(failed(true))?;
    let mut set_up = || -> Result<(File, Option<OwnedFd>, init::Cgroup, Option<resctrl::Placing>)> {
        if record.scope.is_none() {
            record.cgroup.apply(limits)?;
            if let Some(owner) = *cgroup_owner {
                record.cgroup.delegate(owner)?;
            }
        }
        if !network.endpoints().is_empty() {
            files::create(entry.path())?;
        }
        if options.notify.is_some() {
            notify::make_directory(entry.path())?;
        }
        let config = entry.write_config(config)?;
        let listener = match starter {
            Starter::Creator => None,
            Starter::Start => Some(entry.listen()?),
        };
        // systemd makes a group around a process: there is none yet, and nothing to join.
        let cgroup = match record.scope {
            None => join(record.cgroup.join_handles()?),
            Some(_) => init::Cgroup::default(),
        };
        // Last: what holds it up is held up as briefly as can be.
        let placing = resctrl.as_ref().map(|plan| {
            plan.make(|group| {
                record.resctrl = Some(group.clone());
                entry.save(record)
            })
        });
        Ok((config, listener, cgroup, placing.transpose()?))
    };
    let (_config_lock, listener, cgroup, placing) = set_up().map_err(failed(false))?;

    let mut creation = Creation {
        entry,
        lock,
        record,
        limits,
        placing,
        properties,
        cgroup_owner: *cgroup_owner,
        plan,
        network,
        shared: shared.as_ref().map(|shared| shared.process),
        options,
        console: None,
        hooks_ran: false,
        devices,
        moved: None,
    };
    let result = parent::create(plan, &cgroup, listener.as_ref(), &mut creation).and_then(|created| {
        creation.finish(&created.child)?;
        Ok(created)
    });
    let (console, hooks_ran) = (creation.console.take(), creation.hooks_ran);
    let moved = creation.moved.take();
    result.map(|created| (created, console)).map_err(|error| Failure {
        error: match moved.map_or(Ok(()), net::Moved::back) {
            Ok(()) => error,
            Err(remains) => error.hint(format_args!("a network device is not back: {remains}")),
        },
        hooks_ran,
        without_cgroup: false,
    })
}

/// The runtime's work while the child sets up the container.
struct Creation<'a> {
    entry: &'a Entry,
    lock: &'a mut Option<Lock>,
    record: &'a mut Record,
    limits: &'a Limits,
    /// Its place in resctrl, until it is in.
    placing: Option<resctrl::Placing>,
    properties: &'a [Property],
    cgroup_owner: Option<u32>,
    plan: &'a init::Plan,
    network: &'a Network,
    shared: Option<Process>,
    options: &'a Options,
    console: Option<OwnedFd>,
    hooks_ran: bool,
    devices: &'a [net::Device],
    /// The way back for them, until the container exists.
    moved: Option<net::Moved>,
}

impl Stops for Creation<'_> {
    fn in_child(&mut self) {
        self.lock.take();
        self.placing.take();
    }

    fn cloned(&mut self, child: &Child) -> Result<()> {
        self.record.init = Some(Process::of(child.pid)?);
        if let Some(scope) = &self.record.scope {
            if let Err(error) = scope.start(child.pid.as_raw(), self.properties) {
                // Whoever has a unit of this name must not be touched. One of ours goes with its only process.
                self.record.scope = None;
                self.record.cgroup = Cgroup::None;
                return Err(error);
            }
            // Until here the unit would have gone with its only process, which dies with us.
            self.entry.save(self.record)?;
            self.record.cgroup.apply(self.limits)?;
            if let Some(owner) = self.cgroup_owner {
                self.record.cgroup.delegate(owner)?;
            }
        }
        if let Some(placing) = self.placing.take() {
            placing.place(child.pid.as_raw())?;
        }
        // Its number may have come to mean another process before the child was in its namespace, but not if it lives.
        if self
            .shared
            .is_some_and(|shared| !shared.is_alive().unwrap_or(false))
        {
            return Err(Error::new(
                Kind::WrongState,
                "--network: the container whose network was to be shared has stopped meanwhile",
            ));
        }
        // Before the child sets kernel parameters, which may be those of a device.
        if !self.devices.is_empty() {
            let namespace = network_namespace(child)?;
            self.moved = Some(net::move_into(namespace.as_fd(), self.devices)?);
        }
        // Without hooks nobody can look at a container that is being made for longer than it takes to make it, and the
        // child dies with us: the record need not name it yet.
        let hooks = [Point::Prestart, Point::CreateRuntime, Point::CreateContainer];
        if hooks.into_iter().any(|point| self.plan.hooks.any(point)) {
            self.entry.save(self.record)?;
        }
        Ok(())
    }

    fn meanwhile(&mut self, child: &Child) -> Result<()> {
        if self.network.endpoints().is_empty() {
            return Ok(());
        }
        let namespace = network_namespace(child)?;
        self.record.attachment = net::attach(
            &net::Dirs::default(),
            &net::Request {
                container: self.record.id.as_str(),
                hostname: &self.record.hostname,
                netns: namespace.as_fd(),
                process: self.record.init,
                pidfd: Some(child.pidfd.as_fd()),
                endpoints: self.network.endpoints(),
                attached: &[],
                publish: &self.network.publish,
                dns: &self.network.dns,
                ready: !self.network.unready,
            },
        )?;
        files::fill(
            self.entry.path(),
            &self.record.hostname,
            &self.record.attachment,
            self.network,
        )
    }

    fn mounted(&mut self, child: &Child) -> Result<()> {
        for point in [Point::Prestart, Point::CreateRuntime] {
            if !self.plan.hooks.any(point) {
                continue;
            }
            self.hooks_ran = true;
            let state = || init::hook_state(&self.plan.state, Status::Creating, child.pid);
            let (entry, record) = (self.entry, &mut *self.record);
            self.plan.hooks.run(point, state, |hook| {
                record.hook = Some(Process::of(hook)?);
                entry.save(record)
            })?;
            record.hook = None;
        }
        // From here on the child may run hooks of its own.
        self.hooks_ran |= self.plan.hooks.any(Point::CreateContainer);
        Ok(())
    }

    fn console(&mut self, master: OwnedFd) -> Result<()> {
        match &self.options.terminal {
            Terminal::Socket(path) => console::send_terminal(path, &master),
            _ => {
                relay::copy_size(&master)?;
                self.console = Some(master);
                Ok(())
            }
        }
    }
}

impl Creation<'_> {
    /// The first process is ready: from now on the container exists.
    fn finish(&mut self, child: &Child) -> Result<()> {
        if let Some(path) = &self.options.pidfd_socket {
            console::send_pidfd(path, child.pidfd.as_fd())?;
        }
        self.record.creator = None;
        self.entry.save(self.record)?;
        match &self.options.pid_file {
            Some(path) => pid_file::write(path, child.pid),
            None => Ok(()),
        }
    }
}

fn network_namespace(child: &Child) -> Result<File> {
    let path = format!("/proc/{}/ns/net", child.pid);
    File::open(&path).os("open", &path)
}

/// How a child gets into the control group, in init's words.
pub(super) fn join(handles: Join) -> init::Cgroup {
    match handles {
        Join::Tasks(tasks) => init::Cgroup {
            tasks,
            directory: None,
        },
        Join::Directory(directory) => init::Cgroup {
            tasks: Vec::new(),
            directory: Some(directory),
        },
    }
}
