//! Which calls to try a filter with: every number, and around everything that a profile compares an argument with.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompOperator, LinuxSyscall};

use super::interpret::Call;
use crate::security::seccomp::arch::{Abi, X32_BIT};
use crate::security::seccomp::syscalls::Syscall;

/// socketcall and ipc.
pub(super) const MULTIPLEXERS: [u32; 2] = [102, 117];

/// Calls of one ABI's audit architecture, x32's numbers and impossible ones included.
pub(super) fn calls(seccomp: &LinuxSeccomp, abi: Abi) -> Vec<Call> {
    let call = |number, arguments| Call {
        number,
        audit: abi.audit(),
        arguments,
    };
    let edges = [
        X32_BIT - 1,
        1 << 31,
        (1 << 31) + 5,
        3 << 30,
        u32::MAX - 1,
        u32::MAX,
    ];
    let numbers = (0..=600)
        .chain(X32_BIT..=X32_BIT + 600)
        .chain(0xf_0000..0xf_0010)
        .chain(edges);
    let mut calls: Vec<Call> = numbers.map(|number| call(number, [0; 6])).collect();
    for syscall in seccomp.syscalls().iter().flatten() {
        let numbers = syscall
            .names()
            .iter()
            .filter_map(|name| Syscall::named(name)?.number(abi));
        let multiplexers = MULTIPLEXERS.into_iter().filter(|_| abi.multiplexes());
        let table = argument_table(syscall);
        // An entry's first few names stand for all: its rules are the same for each.
        for number in numbers.take(4).chain(multiplexers) {
            calls.extend(table.iter().map(|arguments| call(number, *arguments)));
        }
    }
    calls
}

/// Each argument that an entry compares takes every value of interest, with the others at what they are compared with,
/// at zero, and at the same value.
fn argument_table(syscall: &LinuxSyscall) -> Vec<[u64; 6]> {
    let conditions = syscall.args().as_deref().unwrap_or_default();
    let mut matching = [0; 6];
    for condition in conditions {
        matching[condition.index()] = match condition.op() {
            LinuxSeccompOperator::ScmpCmpMaskedEq => condition.value_two().unwrap_or_default(),
            _ => condition.value(),
        };
    }
    let mut table = Vec::new();
    for condition in conditions {
        for value in interesting_values(syscall) {
            for mut arguments in [matching, [0; 6], [value; 6]] {
                arguments[condition.index()] = value;
                table.push(arguments);
            }
        }
    }
    table
}

/// Values on both sides of what an entry compares with, and those that a mistake with halves would take for them.
fn interesting_values(syscall: &LinuxSyscall) -> Vec<u64> {
    let conditions = syscall.args().iter().flatten();
    let compared =
        conditions.flat_map(|condition| [condition.value(), condition.value_two().unwrap_or_default()]);
    let around = |value: u64| {
        let (before, after) = (value.wrapping_sub(1), value.wrapping_add(1));
        [
            value,
            before,
            after,
            value ^ 1 << 32,
            value ^ 1 << 63,
            !value,
            value.rotate_left(32),
        ]
    };
    let mut values: Vec<u64> = compared.chain([0, u64::MAX]).flat_map(around).collect();
    values.sort_unstable();
    values.dedup();
    values
}
