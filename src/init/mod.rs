//! From clone3 to execve: the runtime's side and the container's side of making a process.
//!
//! [`protocol`] has the chart of their conversation. [`parent`] is the runtime's side of it, `child` and [`exec`] are
//! the two scripts that run after the clone; [`exe`] keeps the runtime's own binary out of their reach; [`namespaces`],
//! `id_mapped`, [`hooks`], [`console`], [`sysctl`], `scheduling`, [`memory_policy`] and [`process`] are what the scripts are
//! made of. Everything that can be computed is
//! in the [`Plan`] before the clone.

mod cgroup;
mod child;
pub mod console;
mod environment;
pub mod exe;
pub mod exec;
pub mod hooks;
mod id_map;
mod id_mapped;
pub mod memory_policy;
pub mod namespaces;
pub mod parent;
pub mod process;
pub mod protocol;
mod scheduling;
pub mod sysctl;

use nix::unistd::Pid;
use oci_spec::runtime::Spec;

pub use self::cgroup::Cgroup;
use crate::error::Result;
use crate::rootfs;
use crate::spec::state::{State, Status};

/// Everything that the two sides need, computed from config.json before the first side effect.
#[derive(Debug)]
pub struct Plan {
    /// Namespaces to make and to join.
    pub namespaces: namespaces::Plan,
    /// The root file system.
    pub rootfs: rootfs::Plan,
    /// The program; a container may be created, never started, without one.
    pub process: Option<process::Plan>,
    /// Programs of the six hook points.
    pub hooks: hooks::Hooks,
    /// What hooks read on their standard input, but for status and pid.
    pub state: State,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: sysctl::Sysctls,
    /// Name in the container's UTS namespace.
    pub hostname: Option<String>,
    /// NIS domain in the container's UTS namespace.
    pub domainname: Option<String>,
    /// The runtime is an ordinary user's.
    pub unprivileged: bool,
}

/// What the runtime's caller chose for the process, besides config.json.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choices<'a> {
    /// Descriptors that the process gets.
    pub keep: process::Keep,
    /// Name of the session keyring; `None` keeps the caller's.
    pub keyring: Option<&'a str>,
    /// Where the process finds the socket of sd_notify(3).
    pub notify: Option<&'a str>,
    /// The runtime is an ordinary user's.
    pub unprivileged: bool,
}

impl Plan {
    /// Translates a validated configuration; pure.
    ///
    /// # Errors
    /// When a section is wrong or not supported, with its field's path.
    pub fn new(spec: &Spec, rootfs: rootfs::Plan, state: State, choices: Choices<'_>) -> Result<Plan> {
        let process = match spec.process() {
            Some(process) => Some(process::Plan::new(process, spec.linux().as_ref(), choices)?),
            None => None,
        };
        let env = process.as_ref().map_or(&[][..], process::Plan::env);
        Ok(Plan {
            hooks: hooks::Hooks::plan(spec.hooks().as_ref(), env)?,
            namespaces: namespaces::Plan::new(spec),
            sysctls: sysctl::Sysctls::plan(spec)?,
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
            domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
            unprivileged: choices.unprivileged,
            rootfs,
            process,
            state,
        })
    }
}

/// The state document for a hook; `pid` is the first process' number where the hook runs.
pub fn hook_state(state: &State, status: Status, pid: Pid) -> String {
    State {
        status,
        pid: pid.as_raw(),
        ..state.clone()
    }
    .to_hook_json()
}
