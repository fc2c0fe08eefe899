//! The program of a container: who it runs as, with what, and the last steps before execve.
//!
//! What can fail for reasons that a user can mend (a missing program, a working directory without permission) fails in
//! [`Plan::settle`], at create; [`Settled::execute`] is the short way from the start message to execve. Until then the
//! real user id is already the program's and the effective one is still root's: access(2) answers for the real user, and
//! the privilege to load a seccomp filter without no_new_privs remains until it is used.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::prctl::{set_keepcaps, set_no_new_privs};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use nix::unistd::{AccessFlags, Gid, Uid, access, chdir, execve, fchown, getcwd};
use oci_spec::runtime as oci;

use super::Choices;
use super::environment::{Environment, c_strings, home_of};
use super::memory_policy::MemoryPolicy;
use super::protocol::Channel;
use super::scheduling::{Affinity, Scheduling};
use crate::error::{Error, Kind, OsContext, Result, describe};
use crate::log;
use crate::security::capabilities::Capabilities;
use crate::security::labels::{Labels, Opened};
use crate::security::rlimits::Rlimits;
use crate::security::seccomp::Program;
use crate::sys::{process, scheduling};

/// Everything about the process that does not depend on the container's file system.
#[derive(Debug)]
pub struct Plan {
    args: Vec<CString>,
    env: Vec<CString>,
    search_path: Option<String>,
    home_is_missing: bool,
    cwd: PathBuf,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: Mode,
    capabilities: Capabilities,
    rlimits: Rlimits,
    no_new_privileges: bool,
    seccomp: Option<Program>,
    keyring: Option<CString>,
    keep: Keep,
    /// The execution domain (personality(2)).
    personality: Option<libc::c_ulong>,
    memory_policy: Option<MemoryPolicy>,
    /// The control group has a set of CPUs: those of the runtime are of no account in it.
    has_cpus: bool,
    /// What confines the process from execve on.
    pub labels: Labels,
    /// Set by the runtime when the process is [`Settled`].
    pub scheduling: Scheduling,
    /// For a process of `exec`.
    pub affinity: Affinity,
    /// Written by the runtime through its own procfs; nothing is written when the configuration is silent.
    pub oom_score_adj: Option<i32>,
    /// The size in characters when the process gets a terminal; zero when the configuration does not say.
    pub terminal: Option<TerminalSize>,
}

/// Height and width in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Descriptors that the process gets besides its standard ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Sockets of sd_listen_fds(3), from descriptor 3 on.
    pub listen: u32,
    /// `--preserve-fds`, after those.
    pub preserve: u32,
}

impl Keep {
    /// At the start of the program: closes what the caller forgot to close. A directory of the host among it would be a
    /// way out of the container (CVE-2024-21626).
    ///
    /// # Errors
    /// `ENOSYS` before Linux 5.9.
    pub fn close_others(self) -> Result<()> {
        process::close_from(self.end()).os("close", "inherited descriptors")
    }

    /// The first descriptor that the process does not get.
    pub fn end(self) -> i32 {
        3_u32
            .saturating_add(self.listen)
            .saturating_add(self.preserve)
            .cast_signed()
    }
}

impl Plan {
    /// Translates `process` and its part of `linux` of a validated configuration; pure.
    ///
    /// # Errors
    /// When a section is wrong, with its field's path.
    pub fn new(process: &oci::Process, linux: Option<&oci::Linux>, choices: Choices<'_>) -> Result<Plan> {
        let user = process.user();
        let Choices {
            keep,
            keyring,
            notify,
            ..
        } = choices;
        let variables = process.env().as_deref().unwrap_or_default();
        let environment = Environment::new(variables, keep, notify);
        let seccomp = linux
            .and_then(|linux| linux.seccomp().as_ref())
            .map(Program::compile)
            .transpose()?;
        let terminal = process.terminal().unwrap_or(false).then(|| {
            let size = process.console_size();
            let clamp = |length: u64| u16::try_from(length).unwrap_or(u16::MAX);
            size.map_or_else(TerminalSize::default, |size| TerminalSize {
                height: clamp(size.height()),
                width: clamp(size.width()),
            })
        });
        Ok(Plan {
            args: c_strings("process.args", process.args().as_deref().unwrap_or_default())?,
            search_path: environment.get("PATH").map(str::to_owned),
            home_is_missing: environment.get("HOME").is_none_or(str::is_empty),
            env: environment.into_c_strings()?,
            cwd: process.cwd().clone(),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            // The specification leaves the default to the runtime; runc's is what images expect.
            umask: Mode::from_bits_truncate(user.umask().unwrap_or(0o022)),
            capabilities: Capabilities::plan(process.capabilities().as_ref()),
            rlimits: Rlimits::plan(process.rlimits().as_deref().unwrap_or_default())?,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp,
            keyring: keyring
                .map(CString::new)
                .transpose()
                .map_err(|_| Error::invalid("id", "holds a NUL byte"))?,
            keep,
            personality: linux
                .and_then(|linux| linux.personality().as_ref())
                .map(|personality| match personality.domain() {
                    oci::LinuxPersonalityDomain::PerLinux => scheduling::PER_LINUX,
                    oci::LinuxPersonalityDomain::PerLinux32 => scheduling::PER_LINUX32,
                }),
            memory_policy: linux
                .and_then(|linux| linux.memory_policy().as_ref())
                .map(MemoryPolicy::plan)
                .transpose()?,
            has_cpus: linux.is_some_and(has_cpus),
            labels: Labels::plan(process),
            scheduling: Scheduling::plan(process)?,
            affinity: Affinity::plan(process)?,
            oom_score_adj: process.oom_score_adj(),
            terminal,
        })
    }

    /// The environment before HOME is looked up, for startContainer hooks that have none of their own.
    pub fn env(&self) -> &[CString] {
        &self.env
    }

    /// Owner for the terminal.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Inside the container's root and namespaces, as root there: everything up to the wait for the start message.
    /// `labels` were opened outside.
    ///
    /// # Errors
    /// When the working directory cannot be entered or lies outside, an id is not mapped, or the program is not found.
    pub fn settle(&self, labels: &Opened<'_>) -> Result<Settled<'_>> {
        labels.label_keys()?;
        if let Some(name) = &self.keyring {
            join_keyring(name)?;
        }
        let entered = self.enter_cwd();
        let mut env = self.env.clone();
        if self.home_is_missing {
            env.retain(|variable| !variable.as_bytes().starts_with(b"HOME="));
            env.push(home_of(self.uid));
        }
        self.reset_inherited()?;
        self.place()?;
        labels.apply()?;
        self.rlimits.apply()?;
        self.capabilities.drop_bounding()?;
        self.set_groups()?;
        process::set_group(self.gid).map_err(|errno| id_error("process.user.gid", self.gid, errno))?;
        chown_stdio(self.uid)?;
        process::set_real_user(self.uid).map_err(|errno| id_error("process.user.uid", self.uid, errno))?;
        // Root may lack the permission that the volume's owner has (a network file system); tried again as that user.
        let retry_cwd = match entered {
            Err(error) if error.errno() == Some(Errno::EACCES) => true,
            entered => entered.map(|()| false)?,
        };
        let program = if retry_cwd {
            None
        } else {
            Some(self.find_program()?)
        };
        Ok(Settled {
            plan: self,
            env,
            program,
        })
    }

    /// What the process would inherit from the runtime. Now and not right before execve, because a filter that is loaded
    /// in between may allow no more than the program needs.
    fn reset_inherited(&self) -> Result<()> {
        umask(self.umask);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).os("reset", "signal mask")?;
        process::default_signals();
        process::close_on_exec_from(self.keep.end()).os("close", "inherited descriptors")
    }

    /// In the control group: with a set of CPUs of its own, forgets those of the runtime. A caller that is bound to some
    /// CPUs would else bind the container to these among its own (since Linux 6.2).
    pub(super) fn forget_callers_cpus(&self) {
        if self.has_cpus {
            // What the control group does not allow is left out, and a failure costs no more than those CPUs.
            let _ = scheduling::set_affinity(&[u64::MAX; 128]);
        }
    }

    /// What the process' memory comes from, and what it takes the machine for.
    fn place(&self) -> Result<()> {
        if let Some(policy) = &self.memory_policy {
            policy.apply()?;
        }
        self.personality.map_or(Ok(()), |domain| {
            scheduling::set_personality(domain).os("set", "linux.personality")
        })
    }

    fn set_groups(&self) -> Result<()> {
        const FIELD: &str = "process.user.additionalGids";
        match process::set_groups(&self.groups) {
            // A user namespace whose group mappings an ordinary user made has no setgroups(2): the caller's groups stay.
            Err(Errno::EPERM) if self.groups.is_empty() => Ok(()),
            result => result.map_err(|errno| {
                let error = id_error(FIELD, format_args!("{:?}", self.groups), errno);
                if errno == Errno::EPERM {
                    error.hint("an ordinary user needs a range of groups in /etc/subgid for this")
                } else {
                    error
                }
            }),
        }
    }

    fn enter_cwd(&self) -> Result<()> {
        let stage = "process.cwd: chdir to";
        chdir(&self.cwd).os(stage, self.cwd.display())?;
        // A path through a leaked descriptor (/proc/self/fd/7) would leave the root; the kernel then has no path for it.
        match getcwd() {
            Ok(path) if path.is_absolute() => Ok(()),
            _ => Err(Error::invalid(
                "process.cwd",
                format_args!(
                    "{} is outside of the container's root file system",
                    self.cwd.display()
                ),
            )),
        }
    }

    /// execvp's search, for the real user: a name with a slash is a path, others are looked for in the container's PATH.
    fn find_program(&self) -> Result<CString> {
        let Some(name) = self.args.first() else {
            return Err(Error::invalid("process.args", "must have at least one element"));
        };
        let shown = name.to_string_lossy();
        if name.as_bytes().contains(&b'/') {
            return match executable(name) {
                Ok(()) => Ok(name.clone()),
                Err(Errno::ENOENT) => Err(exec_error(
                    Kind::NotFound,
                    format_args!("{shown:?}: stat {shown}: {}", describe(Errno::ENOENT)),
                )),
                // Engines of either age take one of the two texts for exit status 126.
                Err(Errno::EISDIR) => Err(exec_error(
                    Kind::Os,
                    format_args!(
                        "{shown:?}: {}: {}",
                        describe(Errno::EISDIR),
                        describe(Errno::EACCES)
                    ),
                )),
                Err(errno) => Err(exec_error(
                    Kind::Os,
                    format_args!("{shown:?}: {}", describe(errno)),
                )),
            };
        }
        let mut denied = false;
        for directory in self.search_path.as_deref().unwrap_or_default().split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let path = Path::new(directory).join(OsStr::from_bytes(name.as_bytes()));
            let Ok(path) = CString::new(path.into_os_string().into_encoded_bytes()) else {
                continue;
            };
            match executable(&path) {
                Ok(()) => return Ok(path),
                Err(Errno::EACCES) => denied = true,
                Err(_) => {}
            }
        }
        if denied {
            return Err(exec_error(
                Kind::Os,
                format_args!("{shown:?}: {}", describe(Errno::EACCES)),
            ));
        }
        Err(exec_error(
            Kind::NotFound,
            format_args!("{shown:?}: executable file not found in $PATH"),
        ))
    }
}

/// A process that waits for nothing but the start message.
#[derive(Debug)]
pub struct Settled<'a> {
    plan: &'a Plan,
    env: Vec<CString>,
    /// `None` when only the final user may enter the working directory.
    program: Option<CString>,
}

impl Settled<'_> {
    /// Becomes the program: filter, user, capabilities, execve. `hooks` runs the startContainer hooks, as the final
    /// user. The filter's listener goes over `channel`. Returns only with the reason why it could not.
    pub fn execute(self, channel: &Channel, hooks: impl FnOnce() -> Result<()>) -> Error {
        match self
            .become_user(channel)
            .and_then(|program| hooks().map(|()| program))
        {
            Err(error) => error,
            Ok(program) => self.replace_image(&program, channel),
        }
    }

    fn become_user(&self, channel: &Channel) -> Result<CString> {
        let plan = self.plan;
        if !plan.no_new_privileges
            && let Some(filter) = &plan.seccomp
        {
            // Without no_new_privs this needs CAP_SYS_ADMIN, so it comes before the capabilities go.
            load(filter, channel)?;
        }
        set_keepcaps(true).os("keep", "capabilities")?;
        process::set_user(plan.uid).map_err(|errno| id_error("process.user.uid", plan.uid, errno))?;
        set_keepcaps(false).os("reset", "keep capabilities")?;
        plan.capabilities.apply()?;
        if plan.no_new_privileges {
            set_no_new_privs().os("set", "no_new_privs")?;
        }
        match &self.program {
            Some(program) => Ok(program.clone()),
            None => {
                plan.enter_cwd()?;
                plan.find_program()
            }
        }
    }

    fn replace_image(&self, program: &CStr, channel: &Channel) -> Error {
        let plan = self.plan;
        let last_steps = || -> Result<()> {
            plan.rlimits.apply_low()?;
            match &plan.seccomp {
                Some(filter) if plan.no_new_privileges => load(filter, channel),
                _ => Ok(()),
            }
        };
        if let Err(error) = last_steps() {
            return error;
        }
        let Err(errno) = execve(program, &plan.args, &self.env);
        exec_error(
            Kind::Os,
            format_args!("{:?}: {}", program.to_string_lossy(), describe(errno)),
        )
    }
}

/// Loads the filter. Our own descriptor of its listener is closed once the runtime has one: calls that nobody is left to
/// answer fail then, instead of waiting for ever.
fn load(filter: &Program, channel: &Channel) -> Result<()> {
    match filter.load()? {
        Some(listener) => channel.hand_over(listener.as_raw_fd()),
        None => Ok(()),
    }
}

fn has_cpus(linux: &oci::Linux) -> bool {
    let cpu = linux
        .resources()
        .as_ref()
        .and_then(|resources| resources.cpu().as_ref());
    cpu.and_then(|cpu| cpu.cpus().as_deref())
        .is_some_and(|cpus| !cpus.trim().is_empty())
}

fn exec_error(kind: Kind, what: impl std::fmt::Display) -> Error {
    Error::new(kind, format_args!("exec: {what}"))
}

fn id_error(field: &str, id: impl std::fmt::Display, errno: Errno) -> Error {
    let error = Error::os(format_args!("{field}: set"), id, errno);
    if errno == Errno::EINVAL {
        error.hint("is the id mapped into the container's user namespace?")
    } else {
        error
    }
}

/// Whether the real user may execute a file, as execve would judge it.
fn executable(path: &CStr) -> nix::Result<()> {
    let kind = SFlag::from_bits_truncate(nix::sys::stat::stat(path)?.st_mode);
    if kind.contains(SFlag::S_IFDIR) && !kind.contains(SFlag::S_IFREG) {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}

fn join_keyring(name: &CStr) -> Result<()> {
    match process::join_session_keyring(name) {
        // Kernels without keyrings, and filters that deny them to a runtime inside a container.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(Errno::EDQUOT) => {
            log::warn(
                "the user's quota of keyrings is exhausted; the container shares the caller's session keyring",
            );
            Ok(())
        }
        Err(errno) => Err(Error::os("join", "session keyring", errno)
            .hint("--no-new-keyring shares the caller's session keyring")),
    }
}

/// Standard streams belong to the process' user, so that it may reopen /dev/stderr.
fn chown_stdio(uid: u32) -> Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [input.as_fd(), output.as_fd(), error.as_fd()] {
        let status = fstat(stream).os("stat", "standard stream")?;
        let is_null = status.st_rdev == nix::sys::stat::makedev(1, 3);
        if status.st_uid == uid || is_null {
            continue;
        }
        match fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>) {
            Ok(()) | Err(Errno::EROFS | Errno::EPERM | Errno::EINVAL | Errno::EACCES) => {}
            Err(errno) => return Err(Error::os("change owner of", "standard stream", errno)),
        }
    }
    Ok(())
}
