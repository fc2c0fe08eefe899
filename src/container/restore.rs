//! `restore`: a container from what `checkpoint` wrote.
//!
//! Everything around the processes is made as `create` makes it: the record, the control group and its limits. What `create`
//! has its first process do, CRIU does from the checkpoint: namespaces, mounts, processes. The prestart and createRuntime hooks
//! run when the namespaces are there and nothing is in them yet.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;
use oci_spec::runtime::Spec;

use super::checkpoint::{DESCRIPTORS, refuse_layer};
use super::criu::{self, Common, Criu, Directories, Notification, Request, Work};
use super::events::{self, Action, Event};
use super::options::{Options as CreateOptions, Terminal};
use super::prepare::{Prepared, prepare};
use super::record::Record;
use super::relay::{self, Signals};
use super::run;
use super::store::{Entry, Store};
use super::{console, delete, pid_file};
use crate::error::{Error, Kind, OsContext, Result};
use crate::init::{self, hooks::Point};
use crate::process::Process;
use crate::spec::load;
use crate::spec::state::Status;
use crate::sys::clone::Child;
use crate::sys::pidfd;

/// What the caller chooses, besides what `create` wants to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the checkpoint is.
    pub images: PathBuf,
    /// Where CRIU's log goes; to the images unless given.
    pub work: Option<PathBuf>,
    /// Return as soon as the container runs.
    pub detach: bool,
    /// `TYPE:NAME`, the profile that the processes get instead of theirs.
    pub lsm_profile: Option<String>,
    /// The SELinux context that mounts with one get instead of theirs.
    pub lsm_mount_context: Option<String>,
    /// What `checkpoint` takes too.
    pub common: Common,
}

/// Restores a container; its exit status, or 0 when detached.
///
/// # Errors
/// As `create`; CRIU's, with the last lines of its log. Nothing is left then.
pub fn restore(store: &Store, create: &CreateOptions, options: &Options) -> Result<u8> {
    // A directory is opened where CRIU makes mounts in it: it has to be of CRIU's mount namespace.
    own_mounts()?;
    let directories = Directories::open(&options.images, options.work.as_deref(), false)?;
    let mut prepared = prepare(store, store.caller(), create)?;
    if !prepared.record.networks.is_empty() || prepared.shared.is_some() {
        return Err(Error::unsupported(
            "restore",
            "a restored container cannot join networks while it is restored",
        )
        .hint("restore it without, then `minirun network connect`"));
    }
    let spec = load::parse(&create.bundle.join(load::CONFIG), prepared.config.clone())?.spec;
    refuse_layer(&spec, "restore")?;
    let mut signals = if options.detach {
        None
    } else {
        Some(Signals::block()?)
    };
    let (lock, entry) = store.create(&create.id)?;
    let mut restoration = Restoration {
        entry: &entry,
        prepared: &mut prepared,
        terminal: &create.terminal,
        console: None,
        hooks_ran: false,
    };
    let made = restoration.make(&spec, create, options, &directories);
    let (console, hooks_ran) = (restoration.console.take(), restoration.hooks_ran);
    let child = match made {
        Ok(child) => child,
        Err(error) => {
            let hooks = hooks_ran.then_some((&prepared.plan.hooks, &prepared.plan.state));
            return Err(match delete::destroy(&entry, &prepared.record, hooks) {
                Ok(()) => error,
                Err(remains) => error.hint(remains),
            });
        }
    };
    let Prepared { record, plan, .. } = prepared;
    events::publish(store.root(), || {
        vec![
            Event::of(&record, Action::Create),
            Event::of(&record, Action::Start),
        ]
    });
    drop(lock);
    let Some(signals) = &mut signals else { return Ok(0) };
    let status = relay::wait(&child, signals, console)?;
    events::publish(store.root(), || {
        vec![Event::of(&record, Action::Die).with("exitCode", status)]
    });
    run::remove(store, &record, &plan)?;
    Ok(status)
}

struct Restoration<'a> {
    entry: &'a Entry,
    prepared: &'a mut Prepared,
    terminal: &'a Terminal,
    console: Option<OwnedFd>,
    hooks_ran: bool,
}

impl Restoration<'_> {
    fn make(
        &mut self,
        spec: &Spec,
        create: &CreateOptions,
        options: &Options,
        directories: &Directories,
    ) -> Result<Child> {
        let Prepared {
            record,
            resctrl,
            limits,
            config,
            ..
        } = &mut *self.prepared;
        self.entry.save(record)?;
        record.cgroup.create()?;
        record.cgroup.apply(limits)?;
        // Its lock says that a container waits for `start`; this one does not.
        drop(self.entry.write_config(config)?);
        let placing = resctrl.as_ref().map(|plan| {
            plan.make(|group| {
                record.resctrl = Some(group.clone());
                self.entry.save(record)
            })
        });
        let placing = placing.transpose()?;
        let record = &self.prepared.record;

        let namespaces = external_namespaces(spec)?;
        self.prepared.plan.rootfs.make_mount_points()?;
        mount_root(&record.rootfs)?;
        let passed: Vec<_> = namespaces.iter().map(|(_, file)| file.as_fd()).collect();
        let criu = Criu::start(true, &passed)?;
        // What it restores is born where it is.
        record.cgroup.attach(criu.pid())?;
        placing.map_or(Ok(()), |placing| placing.place(criu.pid()).map(drop))?;
        let mut inherited = streams(&options.images)?;
        inherited.extend(
            namespaces
                .iter()
                .map(|(name, file)| ((*name).to_owned(), file.as_raw_fd())),
        );
        let request = Request {
            common: options.common,
            root: record.rootfs.to_string_lossy().into_owned(),
            external: external_mounts(spec, record),
            inherited,
            cgroup_roots: cgroup_roots(criu.pid())?,
            lsm_profile: options.lsm_profile.clone(),
            lsm_mount_context: options.lsm_mount_context.clone(),
            ..Request::default()
        };
        let pid = criu.perform(Work::Restore, &request, directories, |notification| {
            self.notified(notification)
        })?;
        let pid = Pid::from_raw(pid);
        let child = Child {
            pid,
            pidfd: pidfd::open(pid).os("open pidfd of", pid)?,
        };
        let record = &mut self.prepared.record;
        record.init = Some(Process::of(pid)?);
        record.creator = None;
        self.entry.save(record)?;
        create
            .pid_file
            .as_ref()
            .map_or(Ok(()), |path| pid_file::write(path, pid))?;
        Ok(child)
    }

    fn notified(&mut self, notification: Notification) -> Result<()> {
        match notification.script.as_str() {
            "setup-namespaces" => self.hooks(Pid::from_raw(notification.pid)),
            // From here on `delete --force` has a process to end, should we be killed.
            "post-restore" => {
                let record = &mut self.prepared.record;
                record.init = Some(Process::of(Pid::from_raw(notification.pid))?);
                self.entry.save(record)
            }
            "orphan-pts-master" => match (notification.fd, self.terminal) {
                (Some(master), Terminal::Socket(path)) => console::send_terminal(path, &master),
                (Some(master), Terminal::Relay) => {
                    relay::copy_size(&master)?;
                    self.console = Some(master);
                    Ok(())
                }
                _ => Err(Error::new(
                    Kind::Program,
                    "cannot allocate tty if runc will detach without setting console socket",
                )),
            },
            _ => Ok(()),
        }
    }

    fn hooks(&mut self, pid: Pid) -> Result<()> {
        let Prepared { plan, record, .. } = &mut *self.prepared;
        for point in [Point::Prestart, Point::CreateRuntime] {
            if !plan.hooks.any(point) {
                continue;
            }
            self.hooks_ran = true;
            let state = || init::hook_state(&plan.state, Status::Creating, pid);
            plan.hooks.run(point, state, |hook| {
                record.hook = Some(Process::of(hook)?);
                self.entry.save(record)
            })?;
            record.hook = None;
        }
        Ok(())
    }
}

const NONE: Option<&Path> = None;

/// A mount namespace of ours: what is mounted for CRIU goes when we go.
fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).os("make", "mount namespace for criu")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).os("make slave", "/")
}

/// The root as a mount of its own, which CRIU asks for.
fn mount_root(root: &Path) -> Result<()> {
    mount(Some(root), root, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).os("bind", root.display())
}

/// Where mounts of the checkpoint come from now. What it does not have is not looked for.
fn external_mounts(spec: &Spec, record: &Record) -> Vec<String> {
    criu::external_mounts(spec, &record.bundle, &record.cgroup)
        .into_iter()
        .chain(criu::masked_paths(spec).map(|path| (path.clone(), "/dev/null".to_owned())))
        .map(|(destination, source)| format!("mnt[{destination}]:{source}"))
        .collect()
}

fn external_namespaces(spec: &Spec) -> Result<Vec<(&'static str, File)>> {
    criu::external_namespaces(spec)
        .into_iter()
        .map(|(_, name, path)| Ok((name, File::open(path).os("open", path.display())?)))
        .collect()
}

/// Pipes and files of the checkpoint that our standard streams stand for now. A checkpoint without the list had none.
fn streams(images: &Path) -> Result<Vec<(String, i32)>> {
    let path = images.join(DESCRIPTORS);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.os("read", path.display())?,
    };
    let streams: Vec<String> = serde_json::from_slice(&text).map_err(|error| {
        Error::invalid(
            path.display(),
            format_args!("is not a list of three names: {error}"),
        )
    })?;
    let mut inherited: Vec<(String, i32)> = Vec::new();
    for (fd, name) in (0..3).zip(streams) {
        // Streams that were one file are one again.
        if (name.starts_with("pipe:") || criu::is_outside_file(&name))
            && !inherited.iter().any(|(other, _)| *other == name)
        {
            inherited.push((name, fd));
        }
    }
    Ok(inherited)
}

/// The groups of a process, as CRIU wants them: controllers (none for version 2) and path.
fn cgroup_roots(pid: i32) -> Result<Vec<(String, String)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).os("read", &path)?;
    let roots = text.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), path.to_owned()))
    });
    Ok(roots.collect())
}
