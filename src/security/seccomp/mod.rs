//! Our own compiler from an OCI seccomp profile to a classic BPF program.
//!
//! A filter is a small program that the kernel runs before a system call. It reads the architecture, the number and the
//! six arguments of the call and returns a verdict: allow, fail with an error number, trap, kill. libseccomp writes one
//! comparison after another for hundreds of names, in milliseconds; this compiler writes a binary search in a
//! fraction of that, and the kernel takes a fraction of the time to load it.
//!
//! ```text
//! LinuxSeccomp --profile--> rules --dispatch--> segments of numbers --tree--> instructions <--emit
//!                             ^                     ^
//!                          syscalls               arch
//! ```
//!
//! [`Program::compile`] is pure. [`Program::load`] is one system call and allocates nothing, so it can be the last thing
//! before execve.
//!
//! # Meaning
//! As runc with libseccomp, so that a profile means the same under both; a test compares the verdicts of both programs.
//! - Calls of an architecture that the profile does not list kill the thread. The machine's own is always listed.
//! - The profile's default action holds for calls that no rule matches.
//! - In an architecture that the profile lists, calls newer than the newest one named fail with ENOSYS, unless the
//!   default lets calls through: the C library then falls back on an older call.
//! - A rule that asks for the default action is ignored. A rule without conditions beats those with some; of two the
//!   first in the profile decides.
//! - Among rules with conditions that hold at once the strictest verdict decides, in the kernel's order for several
//!   filters. (libseccomp sorts such contradictions by the shape of the conditions, or refuses the profile.)
//! - Several conditions on one argument are alternatives; otherwise all must hold.
//! - 32-bit architectures compare the lower halves of arguments and values.

mod arch;
mod dispatch;
mod emit;
pub mod known;
mod profile;
mod syscalls;
mod tree;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;

use libc::sock_filter;
use oci_spec::runtime::LinuxSeccomp;

use crate::error::{Error, OsContext, Result};
use crate::sys;
use arch::{Abi, Machine};
use dispatch::{Architecture, BAD_ARCHITECTURE, Dispatch};
use emit::Assembler;
use profile::Profile;
use tree::Writer;

/// `BPF_MAXINSNS` of linux/bpf_common.h.
const LONGEST_PROGRAM: usize = 4096;

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Program {
    instructions: Vec<sock_filter>,
    flags: libc::c_ulong,
    /// Some of its verdicts are a listener's.
    notifies: bool,
    unknown_names: Vec<String>,
    warnings: Vec<String>,
}

impl Program {
    /// Compiles a profile for the machine that this binary was built for.
    ///
    /// # Errors
    /// `InvalidConfig` with the field's path for values that the specification or the kernel refuses, `Unsupported`
    /// for machines without a table of system calls.
    pub fn compile(seccomp: &LinuxSeccomp) -> Result<Self> {
        let machine = Machine::host().ok_or_else(|| {
            Error::unsupported(
                "linux.seccomp",
                "this build has no table of system calls for its processor",
            )
        })?;
        Self::compile_for(seccomp, machine)
    }

    fn compile_for(seccomp: &LinuxSeccomp, machine: Machine) -> Result<Self> {
        let profile = profile::read(seccomp)?;
        let (architectures, warnings) = architectures(seccomp, machine);
        let instructions = instructions(&profile, &architectures, machine);
        if instructions.len() > LONGEST_PROGRAM {
            let why = format_args!(
                "the filter has {} instructions, the kernel takes at most {LONGEST_PROGRAM}",
                instructions.len()
            )
            .to_string();
            return Err(Error::invalid("linux.seccomp", why).hint("use fewer rules on arguments"));
        }
        let notifies = profile.notifies();
        Ok(Self {
            instructions,
            // The kernel refuses it on a filter that has no listener to wait for.
            flags: if notifies {
                profile.flags
            } else {
                profile.flags & !libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
            },
            notifies,
            unknown_names: profile.unknown,
            warnings,
        })
    }

    /// Puts the filter on the calling thread and all that it starts. Cannot be undone.
    ///
    /// With SCMP_ACT_NOTIFY in the profile the listener's descriptor comes back: from here on calls may wait for whoever
    /// holds it.
    ///
    /// Needs no_new_privs or CAP_SYS_ADMIN in the thread's user namespace.
    ///
    /// # Errors
    /// `EACCES` without either, `EINVAL` when the kernel does not know a flag of the profile.
    pub fn load(&self) -> Result<Option<OwnedFd>> {
        let loaded = if self.notifies {
            sys::seccomp::load_with_listener(&self.instructions, self.flags).map(Some)
        } else {
            sys::seccomp::load(&self.instructions, self.flags).map(|()| None)
        };
        loaded.os("load", "seccomp filter")
    }

    /// The program, first instruction first.
    pub fn instructions(&self) -> &[sock_filter] {
        &self.instructions
    }

    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2).
    pub fn flags(&self) -> libc::c_ulong {
        self.flags
    }

    /// Names in the profile that no architecture knows and that were ignored. Usual in profiles written for newer or
    /// stranger machines, so runc only mentions them in its debug log.
    pub fn unknown_names(&self) -> &[String] {
        &self.unknown_names
    }

    /// What the user should hear about.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The ABIs that the filter is about, the machine's own first. Those that this machine's kernel never reports are left
/// out; one that it may report without our having a table for it is, too, and warned about.
fn architectures(seccomp: &LinuxSeccomp, machine: Machine) -> (Vec<Architecture>, Vec<String>) {
    let mut architectures = vec![Architecture {
        abi: machine.native(),
        listed: false,
    }];
    let mut warnings = Vec::new();
    for (index, arch) in seccomp.architectures().iter().flatten().enumerate() {
        match Abi::of(*arch, machine) {
            Some(abi) => match architectures.iter_mut().find(|known| known.abi == abi) {
                Some(known) => known.listed = true,
                None if machine.can_report(abi) => architectures.push(Architecture { abi, listed: true }),
                None => {}
            },
            None if machine.can_report_without_table(*arch) => warnings.push(format!(
                "linux.seccomp.architectures[{index}]: {arch} has no table of system calls in minirun; \
                 its programs will be killed"
            )),
            None => {}
        }
    }
    (architectures, warnings)
}

/// Writes the whole program: the machine's own architecture is tested first and its code stands nearest to the entry.
fn instructions(profile: &Profile, architectures: &[Architecture], machine: Machine) -> Vec<sock_filter> {
    let mut assembler = Assembler::default();
    let x32 = architectures
        .iter()
        .find(|architecture| architecture.abi == Abi::X32);
    let mut sections = Vec::new();
    for architecture in architectures.iter().rev() {
        let dispatch = match architecture.abi {
            Abi::X32 => continue,
            Abi::X86_64 => Dispatch::of_x86_64(profile, *architecture, x32.copied()),
            _ => Dispatch::of(profile, *architecture),
        };
        let mut writer = Writer {
            assembler: &mut assembler,
            machine,
            default: profile.default,
        };
        sections.push((architecture.abi.audit(), writer.dispatch(&dispatch)));
    }
    let bad = assembler.ret(BAD_ARCHITECTURE);
    let entry = sections.into_iter().fold(bad, |next, (audit, section)| {
        assembler.jump(emit::Test::Equal, audit, section, next)
    });
    assembler.load(tree::ARCHITECTURE, entry);
    assembler.finish()
}
