//! Ours against libseccomp's, call by call.

use oci_spec::runtime::{LinuxSeccomp, LinuxSyscall};
use serde_json::json;

use super::arch::X32_BIT;
use super::interpret::{self, Call};
use super::oracle::Oracle;
use super::syscalls::Syscall;
use super::*;

fn profile(value: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

/// Values on both sides of everything that a profile compares an argument with, and what 32 bits would confuse them with.
fn interesting_values(seccomp: &LinuxSeccomp) -> Vec<u64> {
    let arguments = seccomp
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|syscall| syscall.args().iter().flatten());
    let compared =
        arguments.flat_map(|argument| [argument.value(), argument.value_two().unwrap_or_default()]);
    let around = |value: u64| {
        let swapped = value.rotate_left(32);
        [
            value,
            value.wrapping_sub(1),
            value.wrapping_add(1),
            value ^ 1 << 32,
            value ^ 1 << 63,
            !value,
            swapped,
        ]
    };
    let mut values: Vec<u64> = compared.chain([0, u64::MAX]).flat_map(around).collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// Every number of interest with no arguments, and the numbers with rules on arguments with many.
fn calls(seccomp: &LinuxSeccomp, abis: &[Abi]) -> Vec<Call> {
    let mut calls = Vec::new();
    let values = interesting_values(seccomp);
    for abi in abis {
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
        calls.extend(numbers.map(|number| Call {
            number,
            audit: abi.audit(),
            arguments: [0; 6],
        }));
        let conditional = seccomp
            .syscalls()
            .iter()
            .flatten()
            .filter(|syscall| syscall.args().is_some());
        for syscall in conditional {
            let numbers = syscall
                .names()
                .iter()
                .filter_map(|name| Syscall::named(name)?.number(*abi));
            let multiplexers = [102, 117].into_iter().filter(|_| abi.multiplexes());
            for number in numbers.chain(multiplexers) {
                calls.extend(argument_table(&values, syscall).map(|arguments| Call {
                    number,
                    audit: abi.audit(),
                    arguments,
                }));
            }
        }
    }
    calls.push(Call {
        number: 1,
        audit: 0xdead_beef,
        arguments: [0; 6],
    });
    calls
}

/// Each argument that an entry names takes every value, with the others at what the entry compares them with.
fn argument_table<'a>(values: &'a [u64], syscall: &'a LinuxSyscall) -> impl Iterator<Item = [u64; 6]> + 'a {
    let named = syscall.args().iter().flatten();
    let mut base = [0; 6];
    for argument in named.clone() {
        base[argument.index()] = match argument.op() {
            oci_spec::runtime::LinuxSeccompOperator::ScmpCmpMaskedEq => {
                argument.value_two().unwrap_or_default()
            }
            _ => argument.value(),
        };
    }
    let swept = named.map(|argument| argument.index());
    swept.flat_map(move |index| {
        values.iter().flat_map(move |value| {
            let with = |mut arguments: [u64; 6]| {
                arguments[index] = *value;
                arguments
            };
            [with(base), with([*value; 6]), with([0; 6])]
        })
    })
}

/// Compares all verdicts and returns the lengths of both programs.
#[track_caller]
fn assert_same_verdicts(seccomp: &LinuxSeccomp, machine: Machine, abis: &[Abi]) -> (usize, usize) {
    let ours = Program::compile_for(seccomp, machine).unwrap();
    let oracle = Oracle::new(seccomp, machine);
    for call in calls(seccomp, abis) {
        let (mine, theirs) = (
            interpret::run(&ours.instructions, &call, machine.is_big_endian()),
            oracle.verdict(&call),
        );
        assert_eq!(
            mine,
            theirs,
            "{mine:#x} instead of {theirs:#x} for {call:x?} under {}",
            serde_json::to_string(seccomp).unwrap()
        );
    }
    (ours.instructions.len(), oracle.program.len())
}

const X86_FAMILY: [Abi; 3] = [Abi::X86_64, Abi::X86, Abi::X32];
const ARM_FAMILY: [Abi; 2] = [Abi::Aarch64, Abi::Arm];

#[track_caller]
fn assert_same_verdicts_everywhere(seccomp: &LinuxSeccomp) {
    assert_same_verdicts(seccomp, Machine::X86_64, &X86_FAMILY);
    assert_same_verdicts(seccomp, Machine::AARCH64, &ARM_FAMILY);
    assert_same_verdicts(seccomp, Machine::S390X, &[Abi::S390x]);
}

const ALL: [&str; 6] = [
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_S390X",
];

#[test]
fn an_allow_list_means_the_same_as_under_libseccomp() {
    assert_same_verdicts_everywhere(&profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ALL,
        "syscalls": [
            { "names": ["read", "write", "close", "openat", "clone3", "exit_group", "socket", "set_tls", "semop"],
              "action": "SCMP_ACT_ALLOW" },
            { "names": ["mkdir", "ptrace"], "action": "SCMP_ACT_KILL_PROCESS" },
            { "names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
            { "names": ["swapon"], "action": "SCMP_ACT_TRACE", "errnoRet": 77 },
            { "names": ["swapoff"], "action": "SCMP_ACT_LOG" },
            { "names": ["reboot"], "action": "SCMP_ACT_TRAP" },
        ]
    })));
}

#[test]
fn a_deny_list_means_the_same_as_under_libseccomp() {
    assert_same_verdicts_everywhere(&profile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ALL,
        "syscalls": [
            { "names": ["getcwd", "chown"], "action": "SCMP_ACT_ERRNO" },
            { "names": ["mount", "umount2"], "action": "SCMP_ACT_KILL" },
        ]
    })));
}

#[test]
fn profiles_without_x32_or_without_any_architecture_mean_the_same() {
    for architectures in [
        vec![],
        vec!["SCMP_ARCH_X86_64"],
        vec!["SCMP_ARCH_X86"],
        vec!["SCMP_ARCH_X32"],
        vec!["SCMP_ARCH_NATIVE"],
    ] {
        for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL"] {
            let seccomp = profile(json!({
                "defaultAction": default,
                "architectures": architectures,
                "syscalls": [
                    { "names": ["read", "execve", "statx"], "action": "SCMP_ACT_ALLOW" },
                    { "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2 },
                ]
            }));
            assert_same_verdicts(&seccomp, Machine::X86_64, &X86_FAMILY);
        }
    }
}

#[test]
fn every_operator_compares_as_libseccomp_does() {
    for op in ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"] {
        for value in [0, 1, 5, 0xffff_ffff, 0x1_0000_0000, 0x7_0000_0003, u64::MAX] {
            for index in [0, 3, 5] {
                let op = format!("SCMP_CMP_{op}");
                assert_same_verdicts_everywhere(&profile(json!({
                    "defaultAction": "SCMP_ACT_ERRNO",
                    "architectures": ALL,
                    "syscalls": [
                        { "names": ["personality", "socket", "shmctl", "ioctl"], "action": "SCMP_ACT_ALLOW",
                          "args": [{ "index": index, "value": value, "valueTwo": 0x1_0000_0001_u64, "op": op }] },
                    ]
                })));
            }
        }
    }
}
