//! Namespaces: which are made by the clone, which are joined by path, and who enters them when.
//!
//! One clone3 makes all new namespaces. Those that are joined by path are entered by the runtime for the time of the
//! clone, so the child is born in them: the runtime has the privilege over them that a child in a new user namespace
//! would have lost. Two exceptions: a mount namespace is joined by the child, because it replaces root and working
//! directory; a user namespace is joined by a short-lived process in between, because there is no way back from it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::fstat;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::Cgroup;
use super::id_map::IdMaps;
use super::protocol::Channel;
use crate::error::{Error, Kind, OsContext, Result};
use crate::sys::clone::{Child, Flags, Options, spawn};
use crate::sys::{process, socket};

/// The namespaces of a container, from `linux.namespaces`, the id mappings and the time offsets.
#[derive(Debug)]
pub struct Plan {
    create: Flags,
    /// Made by the child once it has become root of its user namespace: the root directory of the IPC namespace's
    /// message queues belongs to whoever makes it.
    create_as_root: CloneFlags,
    join: Vec<Join>,
    id_maps: IdMaps,
    time_offsets: String,
}

#[derive(Debug)]
struct Join {
    flag: CloneFlags,
    path: PathBuf,
    index: usize,
}

/// The kinds of namespaces, by the names of /proc/PID/ns.
const KINDS: [(LinuxNamespaceType, &str, i32); 8] = [
    (LinuxNamespaceType::User, "user", libc::CLONE_NEWUSER),
    (LinuxNamespaceType::Pid, "pid", libc::CLONE_NEWPID),
    (LinuxNamespaceType::Network, "net", libc::CLONE_NEWNET),
    (LinuxNamespaceType::Ipc, "ipc", libc::CLONE_NEWIPC),
    (LinuxNamespaceType::Uts, "uts", libc::CLONE_NEWUTS),
    (LinuxNamespaceType::Cgroup, "cgroup", libc::CLONE_NEWCGROUP),
    (LinuxNamespaceType::Time, "time", libc::CLONE_NEWTIME),
    (LinuxNamespaceType::Mount, "mnt", libc::CLONE_NEWNS),
];

/// The kinds that a container can make or join, for `features`.
pub fn kinds() -> [LinuxNamespaceType; KINDS.len()] {
    KINDS.map(|(kind, _, _)| kind)
}

impl Plan {
    /// Translates a validated configuration; pure.
    pub fn new(spec: &Spec) -> Plan {
        let mut plan = Plan {
            create: Flags::default(),
            create_as_root: CloneFlags::empty(),
            join: Vec::new(),
            id_maps: IdMaps::new(spec),
            time_offsets: String::new(),
        };
        let Some(linux) = spec.linux() else { return plan };
        for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let flag = flag_of(namespace.typ());
            match namespace.path() {
                Some(path) if !path.as_os_str().is_empty() => {
                    plan.join.push(Join {
                        flag,
                        path: path.clone(),
                        index,
                    });
                }
                _ => plan.create |= flag.into(),
            }
        }
        if plan.has(LinuxNamespaceType::User) && plan.creates(LinuxNamespaceType::Ipc) {
            plan.create_as_root = CloneFlags::CLONE_NEWIPC;
        }
        for (clock, offset) in linux.time_offsets().iter().flatten() {
            let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            plan.time_offsets
                .push_str(&format!("{clock} {seconds} {nanoseconds}\n"));
        }
        plan
    }

    /// Whether the container gets a namespace of this kind of its own.
    pub fn creates(&self, kind: LinuxNamespaceType) -> bool {
        self.create.contains(flag_of(kind).into())
    }

    /// Whether the container has a namespace of this kind that is not the runtime's: a new one or one joined by path.
    pub fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.creates(kind) || self.join.iter().any(|join| join.flag == flag_of(kind))
    }

    /// The namespaces that a further process of the container has to join: all that are not the runtime's.
    ///
    /// # Errors
    /// When the container's first process is gone.
    pub(super) fn joined_by_exec(&self, init: Pid) -> Result<CloneFlags> {
        let mut flags = CloneFlags::empty();
        for (kind, name, _) in KINDS {
            // Joining the user namespace that one is in already is an error; joining any other again is not.
            if self.has(kind) && !(kind == LinuxNamespaceType::User && is_same_namespace(name, init)?) {
                flags |= flag_of(kind);
            }
        }
        Ok(flags)
    }

    /// Opens every namespace that is joined by path.
    ///
    /// # Errors
    /// When a path does not exist or is no namespace of the type that the configuration says.
    pub fn open(&self) -> Result<Opened<'_>> {
        let mut opened = Opened {
            plan: self,
            enter: Vec::new(),
            user: None,
            mount: None,
        };
        for join in &self.join {
            let namespace = open_namespace(join)?;
            match join.flag {
                CloneFlags::CLONE_NEWUSER => opened.user = Some(namespace),
                CloneFlags::CLONE_NEWNS => opened.mount = Some(namespace),
                flag => opened.enter.push((flag, namespace)),
            }
        }
        Ok(opened)
    }

    /// Gives a child in a new user namespace its mappings (user_namespaces(7)).
    ///
    /// # Errors
    /// `EINVAL` for overlapping or too many ranges; ids that the caller may not map.
    pub fn write_id_maps(&self, child: Pid) -> Result<()> {
        if self.creates(LinuxNamespaceType::User) {
            self.id_maps.write(child)
        } else {
            Ok(())
        }
    }

    /// The part that only the child can do, after it was placed into its cgroup.
    ///
    /// # Errors
    /// Those of unshare(2) and setns(2).
    pub fn settle(&self, opened: &Opened<'_>) -> Result<()> {
        if self.creates(LinuxNamespaceType::Cgroup) {
            unshare(CloneFlags::CLONE_NEWCGROUP).os("unshare", "cgroup namespace")?;
        }
        if let Some(namespace) = &opened.mount {
            setns(namespace, CloneFlags::CLONE_NEWNS).os("join", "mount namespace")?;
        }
        Ok(())
    }
}

impl Plan {
    /// In a user namespace: becomes its root, and makes the namespaces that are to belong to it.
    ///
    /// # Errors
    /// Those of setresuid(2) and unshare(2).
    pub fn become_root(&self) -> Result<()> {
        if !self.has(LinuxNamespaceType::User) {
            return Ok(());
        }
        become_root()?;
        if self.create_as_root.is_empty() {
            return Ok(());
        }
        unshare(self.create_as_root).os("unshare", "ipc namespace")
    }
}

/// The mapped root owns what is made from here on. Without a mapping for 0 the ids stay as they are.
pub(super) fn become_root() -> Result<()> {
    for (stage, result) in [
        ("set group id", process::set_group(0)),
        ("set user id", process::set_user(0)),
    ] {
        match result {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(Error::os(stage, "0 in the user namespace", errno)),
        }
    }
    Ok(())
}

/// A plan whose joined namespaces are open.
#[derive(Debug)]
pub struct Opened<'a> {
    plan: &'a Plan,
    enter: Vec<(CloneFlags, OwnedFd)>,
    user: Option<OwnedFd>,
    mount: Option<OwnedFd>,
}

impl Opened<'_> {
    /// Whether the container joins, by path, a namespace that the runtime is in itself.
    ///
    /// # Errors
    /// Those of reading /proc/self/ns.
    pub fn is_runtimes(&self, kind: LinuxNamespaceType) -> Result<bool> {
        let Some((flag, namespace)) = self.enter.iter().find(|(flag, _)| *flag == flag_of(kind)) else {
            return Ok(false);
        };
        let (_, own) = own(*flag)?;
        let identity = |namespace: &OwnedFd| {
            fstat(namespace)
                .map(|status| (status.st_dev, status.st_ino))
                .os("stat", "a namespace")
        };
        Ok(identity(namespace)? == identity(&own)?)
    }

    /// Clones `child` into its namespaces (the cgroup and mount namespaces that [`Plan::settle`] handles aside).
    ///
    /// # Errors
    /// Those of setns(2), unshare(2) and clone3(2). The runtime is back in its own namespaces on return; when it cannot
    /// get back it exits, because nothing that it did after would be in the right place.
    pub fn spawn(&self, cgroup: &Cgroup, child: impl FnOnce() -> u8) -> Result<Child> {
        let plan = self.plan;
        let mut flags = plan
            .create
            .without((CloneFlags::CLONE_NEWCGROUP | plan.create_as_root).into());
        let mut back = Vec::new();
        if !plan.time_offsets.is_empty() {
            // Offsets must be written before the first process enters, so the clone cannot make this namespace.
            flags = flags.without(Flags::NEWTIME);
            back.push(own(time_flag())?);
            unshare(time_flag()).os("unshare", "time namespace")?;
            let path = "/proc/self/timens_offsets";
            File::options()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(plan.time_offsets.as_bytes()))
                .os("linux.timeOffsets: write", path)?;
        }
        let mut enter_as_root = Vec::new();
        for (flag, namespace) in &self.enter {
            let here = own(*flag)?;
            match setns(namespace, *flag) {
                // Not an ordinary user's, but perhaps the user namespace's that is joined as well.
                Err(Errno::EPERM) if self.user.is_some() => enter_as_root.push((*flag, namespace)),
                entered => {
                    entered.os("join", format_args!("{} namespace", name_of(*flag)))?;
                    back.push(here);
                }
            }
        }
        let mut child = Some(child);
        let spawned = cgroup.spawn(|cgroup| {
            let child = || child.take().map_or(1, |child| child());
            match &self.user {
                None => spawn(Options { flags, cgroup }, child).os("clone", "the container's init process"),
                Some(user) => {
                    let enter = || {
                        setns(user, CloneFlags::CLONE_NEWUSER)?;
                        enter_as_root
                            .iter()
                            .try_for_each(|(flag, namespace)| setns(namespace, *flag))
                    };
                    spawn_beyond(enter, Options { flags, cgroup }, child)
                }
            }
        });
        for (flag, namespace) in back.iter().rev() {
            if let Err(errno) = setns(namespace, *flag) {
                let error = Error::os(
                    "return to the runtime's",
                    format_args!("{} namespace", name_of(*flag)),
                    errno,
                );
                crate::log::error(&error);
                std::process::exit(1);
            }
        }
        cgroup.settle(spawned?, || Ok(None))
    }
}

/// A process in between enters a user namespace, and what it takes that namespace's root to enter, and clones the
/// container's process as our child.
pub(super) fn spawn_beyond(
    enter: impl FnOnce() -> nix::Result<()>,
    options: Options<'_>,
    child: impl FnOnce() -> u8,
) -> Result<Child> {
    let (ours, theirs) = Channel::pair()?;
    let between = Options {
        flags: Flags::default(),
        cgroup: options.cgroup,
    };
    let options = Options {
        flags: options.flags | Flags::PARENT,
        cgroup: None,
    };
    let join = || -> nix::Result<()> {
        enter()?;
        let child = spawn(options, child)?;
        socket::send(theirs.as_fd(), b"p", Some(child.pidfd.as_fd()))
    };
    let exit_with_errno =
        || join().map_or_else(|errno| u8::try_from(errno as i32).unwrap_or(u8::MAX), |()| 0);
    let between = spawn(between, exit_with_errno).os("clone", "a process to join the user namespace")?;
    let status = waitpid(between.pid, None).os("wait for", "the process that joins the user namespace")?;
    match status {
        nix::sys::wait::WaitStatus::Exited(_, 0) => {}
        nix::sys::wait::WaitStatus::Exited(_, errno) => {
            return Err(Error::os("join", "user namespace", Errno::from_raw(errno)));
        }
        other => {
            return Err(Error::new(
                Kind::Os,
                format_args!("join user namespace: {other:?}"),
            ));
        }
    }
    let (_, pidfd) =
        socket::receive(ours.as_fd(), &mut [0; 8]).os("receive", "the container's init process")?;
    let pidfd = pidfd.ok_or_else(|| Error::new(Kind::Os, "join user namespace: no process came back"))?;
    let pid = pid_of(&pidfd)?;
    Ok(Child { pid, pidfd })
}

/// The process id behind a pidfd in our pid namespace, from /proc/self/fdinfo (pidfd_open(2)).
fn pid_of(pidfd: &OwnedFd) -> Result<Pid> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).os("read", &path)?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .map(Pid::from_raw)
        .ok_or_else(|| Error::new(Kind::Os, format_args!("{path}: no process id")))
}

fn open_namespace(join: &Join) -> Result<OwnedFd> {
    let field = format!("linux.namespaces[{}].path", join.index);
    let file = File::open(&join.path).os(format_args!("{field}: open"), join.path.display())?;
    let found = process::namespace_type(file.as_fd()).map_err(|_| not_a_namespace(&field, &join.path))?;
    if found != join.flag.bits() {
        let (wanted, found) = (name_of(join.flag), name_of(CloneFlags::from_bits_retain(found)));
        return Err(Error::invalid(
            field,
            format_args!(
                "{} is a {found} namespace, not a {wanted} one",
                join.path.display()
            ),
        ));
    }
    Ok(file.into())
}

fn not_a_namespace(field: &str, path: &Path) -> Error {
    Error::invalid(field, format_args!("{} is not a namespace", path.display()))
        .hint("namespaces are in /proc/PID/ns")
}

/// setns(2) refuses the user namespace that the caller is in already.
fn is_same_namespace(name: &str, pid: Pid) -> Result<bool> {
    let identity = |owner: &str| {
        let path = format!("/proc/{owner}/ns/{name}");
        nix::sys::stat::stat(path.as_str())
            .map(|status| (status.st_dev, status.st_ino))
            .map_err(|errno| {
                let error = Error::os("stat", &path, errno);
                if errno == Errno::ENOENT {
                    error.hint("the container has stopped")
                } else {
                    error
                }
            })
    };
    Ok(identity("self")? == identity(&pid.to_string())?)
}

/// The runtime's own namespace of a kind, to come back to.
fn own(flag: CloneFlags) -> Result<(CloneFlags, OwnedFd)> {
    let path = format!("/proc/self/ns/{}", name_of(flag));
    Ok((flag, File::open(&path).os("open", &path)?.into()))
}

fn flag_of(kind: LinuxNamespaceType) -> CloneFlags {
    let bits = KINDS
        .iter()
        .find(|entry| entry.0 == kind)
        .map_or(0, |entry| entry.2);
    CloneFlags::from_bits_retain(bits)
}

fn name_of(flag: CloneFlags) -> &'static str {
    KINDS
        .iter()
        .find(|entry| entry.2 == flag.bits())
        .map_or("unknown", |entry| entry.1)
}

fn time_flag() -> CloneFlags {
    CloneFlags::from_bits_retain(libc::CLONE_NEWTIME)
}
