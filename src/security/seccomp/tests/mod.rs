//! The compiler's programs against libseccomp's and against the plain meaning of the profile, call by call.

mod calls;
mod fields;
mod generated;
mod interpret;
mod loaded;
mod meaning;
mod oracle;
mod podman;
mod rules;
mod shape;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::json;

use super::*;
use calls::{MULTIPLEXERS, calls};
use interpret::Call;
use oracle::Oracle;

const X86_FAMILY: [Abi; 3] = [Abi::X86_64, Abi::X86, Abi::X32];
const ARM_FAMILY: [Abi; 2] = [Abi::Aarch64, Abi::Arm];

const ALL: [&str; 6] = [
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_S390X",
];

fn profile(value: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

/// Compares all verdicts and returns our program and libseccomp's.
#[track_caller]
fn assert_same_verdicts(seccomp: &LinuxSeccomp, machine: Machine, abis: &[Abi]) -> (Program, Oracle) {
    let ours = Program::compile_for(seccomp, machine).unwrap();
    let oracle = Oracle::new(seccomp, machine);
    // libseccomp also looks at the upper half of a multiplexer's operation, which the kernel ignores.
    let is_odd_operation = |call: &Call| {
        machine == Machine::S390X && MULTIPLEXERS.contains(&call.number) && call.arguments[0] >> 32 != 0
    };
    let unknown_architecture = Call {
        number: 1,
        audit: 0xdead_beef,
        arguments: [0; 6],
    };
    let calls = abis
        .iter()
        .flat_map(|abi| calls(seccomp, *abi))
        .chain([unknown_architecture]);
    for call in calls.filter(|call| !is_odd_operation(call)) {
        let mine = interpret::run(&ours.instructions, &call, machine.is_big_endian());
        let theirs = oracle.verdict(&call);
        assert_eq!(
            mine,
            theirs,
            "{mine:#x} instead of {theirs:#x} for {call:x?} under {}",
            text(seccomp)
        );
    }
    (ours, oracle)
}

fn text(seccomp: &LinuxSeccomp) -> String {
    serde_json::to_string(seccomp).unwrap()
}

#[track_caller]
fn assert_same_verdicts_everywhere(seccomp: &LinuxSeccomp) {
    assert_same_verdicts(seccomp, Machine::X86_64, &X86_FAMILY);
    assert_same_verdicts(seccomp, Machine::AARCH64, &ARM_FAMILY);
    assert_same_verdicts(seccomp, Machine::S390X, &[Abi::S390x]);
}

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

#[test]
fn conditions_on_several_arguments_mean_the_same() {
    assert_same_verdicts_everywhere(&profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ALL,
        "syscalls": [
            // The way of engines to allow some values of one argument.
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 131_072, "op": "SCMP_CMP_EQ" }] },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 4_294_967_295_u64, "op": "SCMP_CMP_EQ" }] },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 2_114_060_288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
              "args": [{ "index": 0, "value": 2_114_060_288, "valueTwo": 268_435_456, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
              "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": 9, "op": "SCMP_CMP_EQ" }] },
            { "names": ["keyctl", "prctl"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 3, "op": "SCMP_CMP_GE" }, { "index": 1, "value": 0x2_0000_0007_u64, "op": "SCMP_CMP_LT" },
                       { "index": 4, "value": 9, "op": "SCMP_CMP_NE" }] },
            // Two conditions on one argument: alternatives.
            { "names": ["ioctl"], "action": "SCMP_ACT_KILL",
              "args": [{ "index": 1, "value": 3, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 4, "op": "SCMP_CMP_EQ" }] },
            { "names": ["mount_setattr"], "action": "SCMP_ACT_ALLOW" },
        ]
    })));
}

#[test]
fn rules_with_and_without_conditions_for_one_call_mean_the_same() {
    let conditional = json!({ "names": ["keyctl", "chmod"], "action": "SCMP_ACT_LOG",
        "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_GT" }] });
    let unconditional = json!({ "names": ["keyctl", "chmod"], "action": "SCMP_ACT_ALLOW" });
    let second = json!({ "names": ["keyctl", "chmod"], "action": "SCMP_ACT_KILL" });
    let like_the_default = json!({ "names": ["keyctl", "chmod"], "action": "SCMP_ACT_ERRNO" });
    let masks_nothing = json!({ "names": ["keyctl", "chmod"], "action": "SCMP_ACT_TRAP",
        "args": [{ "index": 1, "value": 0xff_0000_0000_u64, "valueTwo": 7, "op": "SCMP_CMP_MASKED_EQ" }] });
    for syscalls in [
        vec![&conditional, &unconditional],
        vec![&unconditional, &conditional],
        vec![&unconditional, &second],
        vec![&second, &conditional, &unconditional],
        vec![&unconditional, &second, &conditional],
        vec![&like_the_default, &conditional],
        vec![&masks_nothing],
    ] {
        assert_same_verdicts_everywhere(&profile(json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ALL, "syscalls": syscalls,
        })));
    }
}
