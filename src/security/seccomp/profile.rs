//! Reading an OCI profile: every value is checked and translated once, independent of any architecture.

use std::fmt::Display;
use std::ops::Range;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};

use super::syscalls::Syscall;
use crate::error::{Error, Result};

/// What the filter returns for a system call: `SECCOMP_RET_*` with its data in the lower 16 bits.
pub(super) type Verdict = u32;

/// The profile with its names resolved.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) default: Verdict,
    /// Calls newer than every call that the profile names get ENOSYS instead of the default.
    pub(super) hides_newer_calls: bool,
    /// In the order of the file.
    pub(super) rules: Vec<Rule>,
    /// Each named call with its rules, in the order of the file. No rules: the profile asks for the default.
    pub(super) named: Vec<(Syscall, Range<usize>)>,
    /// Names that no architecture knows.
    pub(super) unknown: Vec<String>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(super) flags: libc::c_ulong,
}

/// A verdict for calls whose arguments meet all conditions. Without conditions it holds for every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verdict: Verdict,
    pub(super) conditions: Vec<Condition>,
}

/// A comparison of one argument, as 64 bits without sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) argument: u32,
    pub(super) comparison: Comparison,
    pub(super) value: u64,
}

/// The seven operators of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    /// Only the bits of the mask are compared; the value has no others.
    Masked(u64),
}

/// Checks a profile and resolves its names.
///
/// # Errors
/// A value that the specification or the kernel does not allow, with the path of its field.
pub(super) fn read(seccomp: &LinuxSeccomp) -> Result<Profile> {
    let path = seccomp
        .listener_path()
        .as_deref()
        .filter(|path| !path.as_os_str().is_empty());
    let metadata = seccomp
        .listener_metadata()
        .as_deref()
        .filter(|metadata| !metadata.is_empty());
    if metadata.is_some() && path.is_none() {
        let why = "is only allowed together with linux.seccomp.listenerPath";
        return Err(Error::invalid("linux.seccomp.listenerMetadata", why));
    }
    let default_action = seccomp.default_action();
    if default_action == Action::ScmpActNotify {
        return Err(Error::invalid(
            "linux.seccomp.defaultAction",
            "SCMP_ACT_NOTIFY cannot be the default",
        ));
    }
    let mut profile = Profile {
        default: verdict(
            default_action,
            seccomp.default_errno_ret(),
            &"linux.seccomp.defaultErrnoRet",
        )?,
        hides_newer_calls: !lets_calls_through(default_action),
        rules: Vec::new(),
        named: Vec::new(),
        unknown: Vec::new(),
        flags: flags(seccomp.flags().as_deref()),
    };
    for (index, syscall) in seccomp.syscalls().iter().flatten().enumerate() {
        profile.add(syscall, &format_args!("linux.seccomp.syscalls[{index}]"))?;
    }
    match path {
        None if profile.notifies() => {
            let why = "is required for SCMP_ACT_NOTIFY";
            return Err(Error::invalid("linux.seccomp.listenerPath", why));
        }
        // `start` is called from somewhere else than `create`.
        Some(path) if profile.notifies() && !path.is_absolute() => {
            let why = format_args!("must be an absolute path, found {path:?}").to_string();
            return Err(Error::invalid("linux.seccomp.listenerPath", why));
        }
        _ => {}
    }
    Ok(profile)
}

impl Profile {
    /// Whether a rule leaves the verdict to a listener.
    pub(super) fn notifies(&self) -> bool {
        self.named.iter().any(|(_, rules)| {
            let rules = self.rules.get(rules.clone()).unwrap_or_default();
            rules
                .iter()
                .any(|rule| rule.verdict == libc::SECCOMP_RET_USER_NOTIF)
        })
    }

    fn add(&mut self, syscall: &LinuxSyscall, field: &dyn Display) -> Result<()> {
        let verdict = verdict(
            syscall.action(),
            syscall.errno_ret(),
            &format_args!("{field}.errnoRet"),
        )?;
        let alternatives = alternatives(syscall.args().as_deref().unwrap_or_default(), field)?;
        if syscall.names().is_empty() {
            return Err(Error::invalid(
                format_args!("{field}.names"),
                "must name at least one system call",
            ));
        }
        let is_write = |name: &String| name == "write";
        if syscall.action() == Action::ScmpActNotify && syscall.names().iter().any(is_write) {
            // With it the process tells the runtime of its listener: it would wait for who does not know of it yet.
            return Err(Error::invalid(
                format_args!("{field}.action"),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
        let first = self.rules.len();
        // As in runc: a rule that asks for the default is as good as absent, and does not stop a later rule.
        if verdict != self.default {
            self.rules.extend(
                alternatives
                    .into_iter()
                    .map(|conditions| Rule { verdict, conditions }),
            );
        }
        for (index, name) in syscall.names().iter().enumerate() {
            match Syscall::named(name) {
                Some(call) => self.named.push((call, first..self.rules.len())),
                None if name.is_empty() => {
                    return Err(Error::invalid(format_args!("{field}.names[{index}]"), "is empty"));
                }
                None => self.unknown.push(name.clone()),
            }
        }
        Ok(())
    }
}

/// Actions after which the call, or a tracer in its place, still answers for itself: these need no ENOSYS.
fn lets_calls_through(action: Action) -> bool {
    matches!(
        action,
        Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
    )
}

/// The filter's return value for an action and its error number, whose field is named for errors.
fn verdict(action: Action, errno: Option<u32>, errno_field: &dyn Display) -> Result<Verdict> {
    /// The kernel cuts larger ones to this (`MAX_ERRNO`).
    const LARGEST_ERRNO: u32 = 4095;
    let largest = match action {
        Action::ScmpActErrno => LARGEST_ERRNO,
        // What a tracer reads with PTRACE_GETEVENTMSG has 16 bits.
        Action::ScmpActTrace => u32::from(u16::MAX),
        _ if errno.is_some() => {
            let why = format_args!("{action} returns no error number").to_string();
            return Err(Error::invalid(errno_field, why));
        }
        _ => 0,
    };
    match errno {
        Some(errno) if errno > largest => Err(Error::invalid(
            errno_field,
            format_args!("{errno} is larger than {largest}"),
        )),
        _ => Ok(action.as_u32(errno)),
    }
}

/// Translates the arguments of one entry. All conditions must hold, unless two of them are about the same argument:
/// then, as in runc, each is an alternative of its own.
fn alternatives(arguments: &[LinuxSeccompArg], field: &dyn Display) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = Vec::with_capacity(arguments.len());
    let mut seen = [false; 6];
    let mut repeated = false;
    for (index, argument) in arguments.iter().enumerate() {
        let Some(seen) = seen.get_mut(argument.index()) else {
            let why = format_args!(
                "{} is not an argument: they are numbered from 0 to 5",
                argument.index()
            )
            .to_string();
            return Err(Error::invalid(format_args!("{field}.args[{index}].index"), why));
        };
        repeated |= std::mem::replace(seen, true);
        conditions.push(Condition::of(argument));
    }
    Ok(match repeated {
        true => conditions.into_iter().map(|condition| vec![condition]).collect(),
        false => vec![conditions],
    })
}

impl Condition {
    fn of(argument: &LinuxSeccompArg) -> Self {
        let (comparison, value) = match argument.op() {
            Operator::ScmpCmpEq => (Comparison::Equal, argument.value()),
            Operator::ScmpCmpNe => (Comparison::NotEqual, argument.value()),
            Operator::ScmpCmpGt => (Comparison::Greater, argument.value()),
            Operator::ScmpCmpGe => (Comparison::GreaterOrEqual, argument.value()),
            Operator::ScmpCmpLt => (Comparison::Less, argument.value()),
            Operator::ScmpCmpLe => (Comparison::LessOrEqual, argument.value()),
            Operator::ScmpCmpMaskedEq => {
                let mask = argument.value();
                (Comparison::Masked(mask), argument.value_two().unwrap_or(0) & mask)
            }
        };
        Self {
            argument: argument.index() as u32,
            comparison,
            value,
        }
    }
}

/// Absent means runc's default, which spares the container the speculation barrier that kernels before 5.16 put on
/// every filtered process; an empty list means none.
fn flags(flags: Option<&[Flag]>) -> libc::c_ulong {
    let Some(flags) = flags else {
        return libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    };
    flags.iter().fold(0, |all, flag| {
        all | match flag {
            Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        }
    })
}
