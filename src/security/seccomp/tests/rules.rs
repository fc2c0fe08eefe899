//! An OCI profile put into libseccomp in the way that runc does it. Also a part of `examples/seccomp-cost.rs`, so it knows
//! nothing of the compiler.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use libc::sock_filter;
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Operator,
};

/// A filter with the profile's default, for the architecture of the machine that this runs on.
pub(super) fn context(seccomp: &LinuxSeccomp) -> ScmpFilterContext {
    ScmpFilterContext::new(default(seccomp)).unwrap()
}

fn default(seccomp: &LinuxSeccomp) -> ScmpAction {
    action(seccomp.default_action(), seccomp.default_errno_ret())
}

/// Adds the profile's rules for all architectures that the filter has by now.
pub(super) fn add(context: &mut ScmpFilterContext, seccomp: &LinuxSeccomp) {
    let default = default(seccomp);
    for syscall in seccomp.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret());
        if action == default {
            continue;
        }
        let arguments = syscall.args().as_deref().unwrap_or_default();
        for name in syscall.names() {
            let Ok(call) = ScmpSyscall::from_name(name) else {
                continue;
            };
            for conditions in alternatives(arguments) {
                context.add_rule_conditional(action, call, &conditions).unwrap();
            }
        }
    }
}

fn alternatives(arguments: &[LinuxSeccompArg]) -> Vec<Vec<ScmpArgCompare>> {
    let indexes: BTreeSet<usize> = arguments.iter().map(LinuxSeccompArg::index).collect();
    let conditions: Vec<ScmpArgCompare> = arguments.iter().map(condition).collect();
    if indexes.len() < arguments.len() {
        return conditions.into_iter().map(|condition| vec![condition]).collect();
    }
    vec![conditions]
}

fn condition(argument: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, value) = match argument.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, argument.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, argument.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, argument.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, argument.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, argument.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, argument.value()),
        Operator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(argument.value()),
            argument.value_two().unwrap_or_default(),
        ),
    };
    ScmpArgCompare::new(argument.index() as u32, operator, value)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let data = errno.unwrap_or(libc::EPERM as u32);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(data as i32),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(data as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
    }
}

/// libseccomp writes a program in the byte order of its architectures.
pub(super) fn export(context: &ScmpFilterContext, big_endian: bool) -> Vec<sock_filter> {
    let descriptor = memfd_create("bpf", MFdFlags::MFD_CLOEXEC).unwrap();
    context.export_bpf(&descriptor).unwrap();
    let mut file = std::fs::File::from(descriptor);
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let (instructions, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let read = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| match big_endian {
        true => sock_filter {
            code: u16::from_be_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_be_bytes([k0, k1, k2, k3]),
        },
        false => sock_filter {
            code: u16::from_le_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_le_bytes([k0, k1, k2, k3]),
        },
    };
    instructions.iter().map(read).collect()
}
